//! Settings of the agent, with their defaults. Files, flags and environment are read elsewhere;
//! what is here knows their values only, and refuses those that cannot be used.

use crate::AgentError;
use crate::collectors::{COLLECTORS, CollectorContext, CollectorEntry, OwnCollector};
use crate::listeners::ListenerSettings;
use crate::probes::CheckSettings;
use crate::turnstiles::CheckLimits;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tidegauge_kafka::KafkaSettings;
use tidegauge_model::{AgentId, Host, Tags};
use tidegauge_wire::Encoder;

/// What to collect and to check, and how often.
#[derive(Debug, Clone)]
pub struct CollectSettings {
    /// Who this agent is.
    pub agent: AgentId,
    /// The name of the host.
    pub host: Host,
    /// Labels of the host.
    pub labels: Tags,
    /// Where the host's files lie, and the settings of collectors.
    pub context: CollectorContext,
    /// The collectors to run.
    pub collectors: Vec<&'static CollectorEntry>,
    /// Collectors that the application brings; they are run like the others.
    pub own_collectors: Vec<OwnCollector>,
    /// The targets to check.
    pub checks: Vec<CheckSettings>,
    /// How many of them may be under way at once.
    pub check_limits: CheckLimits,
    /// How often the targets of services are looked up (SRV records).
    pub srv_interval: Duration,
    /// The name servers to ask for them instead of the system's; none are the system's.
    pub name_servers: Vec<SocketAddr>,
    /// What takes points from applications.
    pub listeners: ListenerSettings,
    /// How often the collectors run, all together: their points are one batch.
    pub interval: Duration,
    /// How long a collection waits for its collectors; by default 0.8 of the interval, but at most
    /// 10 s.
    pub deadline: Option<Duration>,
    /// Whether the first collection and the first checks happen at once, instead of at their phase.
    pub first_at_once: bool,
    /// Stop after so many collections.
    pub cycles: Option<u64>,
    /// How messages are encoded; those that wait in the spool keep the encoding that they have.
    pub encoding: &'static dyn Encoder,
    /// No message is larger than this; collections above it become several messages.
    pub max_message_bytes: usize,
}

impl CollectSettings {
    /// As often as Prometheus looks up its own.
    pub const DEFAULT_SRV_INTERVAL: Duration = Duration::from_secs(30);
    /// Below the limit that brokers have for messages unless it was changed (1 MiB).
    pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 900_000;

    /// Settings for a host: the default collectors every 10 s, no checks.
    #[must_use]
    pub fn new(agent: AgentId, host: Host, context: impl Into<CollectorContext>) -> Self {
        Self {
            agent,
            host,
            labels: Tags::new(),
            context: context.into(),
            collectors: COLLECTORS.iter().filter(|entry| entry.default_on).collect(),
            own_collectors: Vec::new(),
            checks: Vec::new(),
            srv_interval: Self::DEFAULT_SRV_INTERVAL,
            name_servers: Vec::new(),
            check_limits: CheckLimits::default(),
            listeners: ListenerSettings::default(),
            interval: Duration::from_secs(10),
            deadline: None,
            first_at_once: false,
            cycles: None,
            encoding: &tidegauge_wire::json::Json,
            max_message_bytes: Self::DEFAULT_MAX_MESSAGE_BYTES,
        }
    }

    /// How long a collection waits for its collectors.
    #[must_use]
    pub fn collection_deadline(&self) -> Duration {
        let default = || self.interval.mul_f64(0.8).min(Duration::from_secs(10));
        self.deadline.unwrap_or_else(default)
    }

    pub(crate) fn all_collectors(&self) -> Vec<OwnCollector> {
        let built_in = self.collectors.iter().map(|entry| (*entry).into());
        built_in
            .chain(self.own_collectors.iter().cloned())
            .collect()
    }

    /// Refuses what cannot be used.
    ///
    /// # Errors
    /// [`AgentError::Setting`] for the first one.
    pub fn validate(&self) -> Result<(), AgentError> {
        let refuse = |key, problem: &str| {
            Err(AgentError::Setting {
                key,
                problem: problem.to_owned(),
            })
        };
        if self.interval < Duration::from_millis(10) {
            return refuse("interval", "it must be at least 10ms");
        }
        let deadline = self.collection_deadline();
        if deadline.is_zero() || deadline > self.interval {
            return refuse(
                "deadline",
                "it must be longer than 0 and no longer than the interval",
            );
        }
        if self.srv_interval < Duration::from_millis(10) {
            return refuse("srv_interval", "it must be at least 10ms");
        }
        if self.max_message_bytes < 10_000 {
            return refuse("max_message_bytes", "it must be at least 10000");
        }
        let mut names: Vec<_> = self
            .all_collectors()
            .iter()
            .map(OwnCollector::name)
            .collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let problem = format!("two have the name {:?}; give one another name", twice[0]);
            return refuse("collectors", &problem);
        }
        validate_checks(&self.checks)
    }
}

/// Refuses two checks of one name, which would be one series.
pub(crate) fn validate_checks(checks: &[CheckSettings]) -> Result<(), AgentError> {
    let mut names: Vec<_> = checks.iter().map(CheckSettings::name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(twice) => Err(AgentError::Setting {
            key: "checks",
            problem: format!(
                "two checks have the name {:?}; give one another name",
                twice[0]
            ),
        }),
    }
}

/// Where to publish, and how much may be under way.
#[derive(Debug, Clone)]
pub struct PublishSettings {
    /// How to reach the brokers.
    pub kafka: KafkaSettings,
    /// The topic.
    pub topic: String,
    /// Who this agent is: the key of its messages, so that they stay in order in one partition.
    pub agent: AgentId,
    /// Encodings that the application brings: their messages are told by their first bytes, as those
    /// of the built-in ones are.
    pub own_encoders: Vec<&'static dyn Encoder>,
    /// Partitions of the topic if it has to be made.
    pub partitions: i32,
    /// Replicas of each partition if the topic has to be made.
    pub replication: i32,
    /// Settings of the topic if it has to be made.
    pub topic_config: BTreeMap<String, String>,
    /// So many batches are handed over and not yet acknowledged at most.
    pub max_in_flight_batches: usize,
    /// So many bytes are handed over and not yet acknowledged at most, or one batch.
    pub max_in_flight_bytes: usize,
    /// How long a stop waits for the acknowledgements of what was handed over.
    pub flush_deadline: Duration,
    /// How much later the producer may begin what only time makes due; see [`ProducerOptions::timer_slack`].
    ///
    /// [`ProducerOptions::timer_slack`]: tidegauge_kafka::ProducerOptions::timer_slack
    pub timer_slack: Duration,
}

impl PublishSettings {
    /// Settings with defaults for everything but the essentials.
    #[must_use]
    pub fn new(kafka: KafkaSettings, topic: impl Into<String>, agent: AgentId) -> Self {
        Self {
            kafka,
            topic: topic.into(),
            agent,
            own_encoders: Vec::new(),
            partitions: 6,
            replication: 1,
            topic_config: BTreeMap::new(),
            max_in_flight_batches: 500,
            max_in_flight_bytes: 8 * 1024 * 1024,
            flush_deadline: Duration::from_secs(5),
            timer_slack: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostRoots;

    #[test]
    fn settings_that_cannot_be_used_are_refused() {
        let agent = AgentId::new("a").expect("valid");
        let host = Host::new("h").expect("valid");
        let settings = CollectSettings::new(agent, host, HostRoots::default());
        settings.validate().expect("the defaults are fine");
        assert_eq!(settings.collection_deadline(), Duration::from_secs(8));
        let refused = |change: fn(&mut CollectSettings)| {
            let mut settings = settings.clone();
            change(&mut settings);
            settings.validate().expect_err("refused").to_string()
        };
        assert!(refused(|settings| settings.interval = Duration::ZERO).contains("interval"));
        assert!(refused(|settings| settings.deadline = Some(Duration::ZERO)).contains("deadline"));
        assert!(refused(|settings| settings.max_message_bytes = 1).contains("max_message_bytes"));
        assert!(
            refused(|settings| {
                let check = CheckSettings::new("http://localhost/").expect("valid");
                settings.checks = vec![check.clone(), check];
            })
            .contains("two checks")
        );
        assert!(
            refused(|settings| {
                let load = COLLECTORS.iter().find(|entry| entry.name == "load");
                settings.own_collectors = load.map(OwnCollector::from).into_iter().collect();
            })
            .contains("two have the name \"load\"")
        );
    }
}
