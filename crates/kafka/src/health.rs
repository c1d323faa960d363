//! Whether brokers can be reached, as state; and librdkafka's log, in sane amounts.
//!
//! Not a metric: owners read the state and count. librdkafka reports every failed attempt, for days
//! if need be; here only a change of the state is logged, everything else is for `debug`.

use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use tokio::sync::watch;

use crate::diagnosis::{explain, explain_known};

/// What is known about the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerState {
    /// Nothing was heard yet.
    #[default]
    Unknown,
    /// The last thing heard was an answer.
    Up,
    /// No broker can be reached, or none accepts us.
    Down {
        /// Why, and what to do if that is known.
        reason: String,
    },
}

/// Keeps the state of one client and logs its changes.
pub(crate) struct Health {
    role: &'static str,
    state: watch::Sender<BrokerState>,
    /// What was said of single connections since the last answer: that all are down says less.
    cause: Mutex<Option<String>>,
}

impl Health {
    pub(crate) fn new(role: &'static str) -> Self {
        Self {
            role,
            state: watch::Sender::new(BrokerState::Unknown),
            cause: Mutex::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<BrokerState> {
        self.state.subscribe()
    }

    /// An answer came from a broker.
    pub(crate) fn answered(&self) {
        let changed = self.state.send_if_modified(|state| {
            let changed = *state != BrokerState::Up;
            if changed {
                *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            if changed {
                *state = BrokerState::Up;
            }
            changed
        });
        if changed {
            tracing::info!(client = self.role, "Kafka brokers answer");
        }
    }

    /// librdkafka logged that a connection failed. That a broker hung up is said nowhere else; it counts where it is
    /// known what that means.
    pub(crate) fn heard(&self, facility: &str, line: &str) {
        if facility == "FAIL"
            && let Some(meaning) = explain_known(line)
        {
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(meaning);
        }
    }

    /// librdkafka reported an error of the client as a whole.
    pub(crate) fn failed(&self, error: &ClientError, reason: &str) {
        let code = error.rdkafka_error_code();
        let down = matches!(
            code,
            Some(
                Code::AllBrokersDown
                    | Code::Authentication
                    | Code::SaslAuthenticationFailed
                    | Code::SSL
            )
        );
        let reason = {
            let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
            if code != Some(Code::AllBrokersDown) {
                *cause = Some(explain(reason));
            }
            cause.clone().unwrap_or_else(|| reason.to_owned())
        };
        let changed = down
            && self.state.send_if_modified(|state| {
                let changed = !matches!(state, BrokerState::Down { .. });
                *state = BrokerState::Down {
                    reason: reason.clone(),
                };
                changed
            });
        if changed {
            tracing::warn!(client = self.role, reason, "Kafka brokers can't be reached");
        } else {
            tracing::debug!(client = self.role, %error, reason, "Kafka client error");
        }
    }
}

/// Passes a line of librdkafka's log on. Failed connections are told by [`Health::failed`] once;
/// their lines, which come with every attempt, are for `debug`.
pub(crate) fn log(level: Level, facility: &str, line: &str) {
    let repeated = matches!(
        facility,
        "FAIL" | "ERROR" | "CONFWARN" | "REQTMOUT" | "SESSTMOUT"
    );
    match level {
        Level::Emerg | Level::Alert | Level::Critical => {
            tracing::error!(target: "librdkafka", facility, "{line}");
        }
        Level::Error | Level::Warning if !repeated => {
            tracing::warn!(target: "librdkafka", facility, "{line}");
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hung_up_on_us_is_told_where_it_is_known_what_that_means() {
        let health = Health::new("consumer");
        let state = health.subscribe();
        let reason = || match &*state.borrow() {
            BrokerState::Down { reason } => reason.clone(),
            other => panic!("{other:?}"),
        };
        let down = ClientError::Global(Code::AllBrokersDown);
        health.heard("FAIL", "a:1/1: Disconnected (after 600001ms in state UP)");
        health.failed(&down, "1/1 brokers are down");
        assert_eq!(reason(), "1/1 brokers are down", "an idle connection ended");
        health.heard(
            "FAIL",
            "a:1/bootstrap: Disconnected while requesting ApiVersion (after 2ms in state APIVERSION_QUERY)",
        );
        health.failed(&down, "1/1 brokers are down");
        assert!(
            reason().starts_with("the broker hangs up on plaintext"),
            "{}",
            reason()
        );
    }

    #[test]
    fn only_changes_are_seen() {
        let health = Health::new("producer");
        let mut state = health.subscribe();
        let down = ClientError::Global(Code::AllBrokersDown);
        health.failed(
            &ClientError::Global(Code::BrokerTransportFailure),
            "one of many",
        );
        assert!(
            !state.has_changed().expect("alive"),
            "one lost connection is no outage"
        );
        health.failed(&down, "1/1 brokers are down");
        assert!(state.has_changed().expect("alive"));
        state.mark_unchanged();
        health.failed(&down, "1/1 brokers are down");
        assert!(
            !state.has_changed().expect("alive"),
            "a storm of errors is one change"
        );
        assert_eq!(
            *state.borrow(),
            BrokerState::Down {
                reason: "one of many".into()
            }
        );
        health.answered();
        assert_eq!(*state.borrow_and_update(), BrokerState::Up);
        health.answered();
        assert!(!state.has_changed().expect("alive"));
    }
}
