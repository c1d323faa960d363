//! Publishing: spool to Kafka, in order; a batch is forgotten after the broker's acknowledgement
//! and not before (D2).
//!
//! ```text
//! spool ──read, take the newest──> in flight (bounded) ──> broker
//!   ^                                                        │
//!   └── acknowledge, refuse ────────── outcomes <────────────┘
//! ```
//! A broker that is away, for days or from the start, is no error: the samples stay in the spool
//! and the log says so once. When a batch fails, what is under way is waited for, and then the
//! spool is read again from its oldest batch: what was stored is no longer in it, so the order
//! holds as far as it can. A batch that the broker has, but whose acknowledgement was lost, is sent
//! again; the sink knows it by its number (D6).

mod link;
#[cfg(test)]
mod tests;
mod tls_files;

pub use tls_files::TlsFiles;

use crate::status::{AgentStatus, PublishState};
use crate::{AgentError, PublishSettings};
use link::{Broker, KafkaBroker, Link, NotSent, Outcome, Trouble, Verdict};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, chain};
use tidegauge_spool::{Entry, Spool, SpoolError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An outage is assumed when the broker has not answered for so long.
const NO_ANSWER: Duration = Duration::from_secs(15);
/// How often an outage is looked for while batches are under way.
const LOOK: Duration = Duration::from_secs(1);
/// Acknowledged batches that no append takes out of the spool are taken out after this.
const FORGET: Duration = Duration::from_secs(60);
const LEAST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Publishes until `cancel`; then no more is read, and what is under way is waited for up to the
/// settings' deadline. `appended` says that the spool may have something new.
///
/// # Errors
/// Only when the settings can never work. Outages are waited for.
pub async fn run(
    settings: PublishSettings,
    spool: Spool,
    clock: Arc<dyn Clock>,
    appended: Arc<Notify>,
    status: AgentStatus,
    cancel: CancellationToken,
) -> Result<(), AgentError> {
    let broker = Box::new(KafkaBroker::new(settings.clone()));
    Publisher::new(settings, spool, clock, appended, status, cancel)
        .run(broker)
        .await
}

struct Publisher {
    settings: PublishSettings,
    spool: Spool,
    clock: Arc<dyn Clock>,
    appended: Arc<Notify>,
    status: AgentStatus,
    cancel: CancellationToken,
    pause: Duration,
    /// Why the topic cannot be used, as it was told last.
    told_no_topic: Option<String>,
}

/// Why a link is given up.
enum Ended {
    Cancelled,
    TopicMissing,
    Broken,
    /// Files that the link was made from were replaced.
    Outdated,
}

/// What was handed over through one link and how far.
#[derive(Default)]
struct Flight {
    /// Bytes of each batch that has no outcome yet, by id.
    batches: HashMap<i64, usize>,
    bytes: usize,
    /// The last id that was handed over.
    cursor: i64,
    /// The spool has nothing behind the cursor.
    drained: bool,
    /// A batch failed: nothing new until all outcomes are there.
    failed: bool,
    topic_missing: bool,
    broken: bool,
    /// Stored, but the spool could not forget them yet.
    to_forget: Vec<i64>,
}

impl Publisher {
    fn new(
        settings: PublishSettings,
        spool: Spool,
        clock: Arc<dyn Clock>,
        appended: Arc<Notify>,
        status: AgentStatus,
        cancel: CancellationToken,
    ) -> Self {
        let pause = LEAST_PAUSE;
        Self {
            settings,
            spool,
            clock,
            appended,
            status,
            cancel,
            pause,
            told_no_topic: None,
        }
    }

    async fn run(mut self, mut broker: Box<dyn Broker>) -> Result<(), AgentError> {
        self.status
            .update(|figures| figures.publish = PublishState::Connecting);
        let cancel = self.cancel.clone();
        loop {
            let prepared = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                prepared = broker.prepare() => prepared,
            };
            match prepared {
                Ok(()) => {}
                Err(Trouble::Unusable(error)) => return Err(error),
                Err(Trouble::Away(cause)) => {
                    self.away(cause);
                    self.wait_a_little().await;
                    continue;
                }
                Err(Trouble::NoTopic(cause)) => {
                    self.no_topic(cause);
                    self.wait_a_little().await;
                    continue;
                }
            }
            let mut link = broker.connect()?;
            let ended = self.pump(&mut *link).await;
            // Stopping a client waits for its threads.
            if tokio::task::spawn_blocking(move || drop(link))
                .await
                .is_err()
            {
                tracing::error!("stopping the producer panicked");
            }
            match ended {
                Ended::Cancelled => return Ok(()),
                Ended::TopicMissing | Ended::Broken => self.wait_a_little().await,
                Ended::Outdated => {}
            }
        }
    }

    /// Hands over and takes outcomes until the link is of no more use.
    async fn pump(&mut self, link: &mut dyn Link) -> Ended {
        let mut flight = Flight::default();
        let mut heard = Instant::now();
        let cancel = self.cancel.clone();
        let appended = Arc::clone(&self.appended);
        loop {
            self.fill(link, &mut flight).await;
            let nothing_under_way = flight.batches.is_empty();
            if flight.broken {
                return Ended::Broken;
            }
            // What is under way is better waited for, unless nothing comes any more.
            if (nothing_under_way || flight.failed || link.outage().is_some()) && link.is_outdated()
            {
                return Ended::Outdated;
            }
            if flight.failed && nothing_under_way {
                if flight.topic_missing {
                    return Ended::TopicMissing;
                }
                self.wait_a_little().await;
                flight = Flight {
                    to_forget: flight.to_forget,
                    ..Flight::default()
                };
                continue;
            }
            if nothing_under_way {
                heard = Instant::now();
            }
            tokio::select! {
                () = cancel.cancelled() => {
                    self.finish(link, &mut flight).await;
                    return Ended::Cancelled;
                }
                outcome = link.outcome(), if !nothing_under_way => {
                    heard = Instant::now();
                    self.take(outcome, link, &mut flight).await;
                }
                () = appended.notified(), if flight.drained && !flight.failed => {
                    flight.drained = false;
                }
                () = tokio::time::sleep(FORGET), if self.spool.has_more_to_forget() => {
                    self.on_spool(|spool| spool.acknowledge(&[])).await;
                }
                () = tokio::time::sleep(LOOK), if !flight.is_idle() => {
                    self.settle(&mut flight, Vec::new()).await;
                    let silent = heard.elapsed() >= NO_ANSWER;
                    let outage = link.outage();
                    let outage = outage.or_else(|| silent.then(|| "no answer".to_owned()));
                    if let Some(cause) = outage {
                        self.away(cause);
                    }
                }
            }
        }
    }

    /// Reads and hands over as long as there is room. Reads when half of the room is free, so that
    /// a backlog is not read batch by batch.
    async fn fill(&mut self, link: &mut dyn Link, flight: &mut Flight) {
        loop {
            let under_way = flight.batches.len() + flight.to_forget.len();
            let room = self
                .settings
                .max_in_flight_batches
                .saturating_sub(under_way);
            let bytes = self
                .settings
                .max_in_flight_bytes
                .saturating_sub(flight.bytes);
            let much = room > self.settings.max_in_flight_batches / 2
                && bytes > self.settings.max_in_flight_bytes / 2;
            if flight.drained || flight.failed || flight.broken || !much {
                return;
            }
            let cursor = flight.cursor;
            // A publisher that keeps up need not read what was just written.
            let (entries, is_last) = if let Some(newest) = self.spool.take_newest(cursor) {
                (vec![newest], true)
            } else {
                let read = self
                    .on_spool(move |spool| spool.read(cursor, room, bytes))
                    .await;
                let Some(page) = read else {
                    // The spool failed; what is under way goes on, and reading begins again later.
                    flight.failed = true;
                    return;
                };
                (page.entries, page.is_last)
            };
            for entry in entries {
                match link.send(entry.id, &entry.payload) {
                    Ok(()) => flight.handed_over(&entry),
                    // The rest is read again when outcomes have made room.
                    Err(NotSent::Full) => return,
                    Err(NotSent::Broken(cause)) => {
                        self.away(cause);
                        flight.broken = true;
                        return;
                    }
                }
            }
            flight.drained = is_last;
        }
    }

    /// Takes an outcome, and all others that are there already.
    async fn take(&mut self, first: Outcome, link: &mut dyn Link, flight: &mut Flight) {
        let mut next = Some(first);
        let mut stored = 0;
        let mut refused = Vec::new();
        while let Some(Outcome { id, verdict }) = next {
            flight.bytes -= flight.batches.remove(&id).unwrap_or(0);
            match verdict {
                Verdict::Stored => {
                    flight.to_forget.push(id);
                    stored += 1;
                }
                Verdict::Refused(cause) => {
                    tracing::error!(
                        id,
                        cause,
                        "the broker refused a batch for good; it is given up"
                    );
                    refused.push(id);
                }
                Verdict::Failed {
                    cause,
                    topic_missing,
                    broken,
                } => {
                    metrics::counter!("tidegauge_agent_publish_failures_total").increment(1);
                    flight.failed = true;
                    flight.topic_missing |= topic_missing;
                    flight.broken |= broken;
                    self.away(cause);
                }
            }
            next = link.try_outcome();
        }
        metrics::counter!("tidegauge_agent_published_batches_total").increment(stored);
        self.status
            .update(|figures| figures.acknowledged_batches += stored);
        self.settle(flight, refused).await;
        if (stored > 0 || flight.batches.is_empty()) && !flight.failed {
            self.pause = LEAST_PAUSE;
            self.back().await;
        }
    }

    /// Lets the spool forget what was stored, and note what was refused.
    async fn settle(&mut self, flight: &mut Flight, refused: Vec<i64>) {
        let stored = std::mem::take(&mut flight.to_forget);
        // A few go with the next batch that is appended.
        if !self.spool.acknowledge_in_memory(&stored) {
            let ids = stored.clone();
            if self
                .on_spool(move |spool| spool.acknowledge(&ids))
                .await
                .is_none()
            {
                flight.to_forget = stored;
            }
        }
        let given_up = refused.len() as u64;
        for id in refused {
            // When the spool fails, the batch stays in it and is refused again after a restart.
            self.on_spool(move |spool| spool.refuse(id)).await;
        }
        if given_up > 0 {
            metrics::counter!("tidegauge_agent_dropped_batches_total", "reason" => "refused")
                .increment(given_up);
            self.status
                .update(|figures| figures.dropped_batches += given_up);
        }
    }

    /// Hands over what is left if there is room, and waits for the outcomes, up to the deadline.
    async fn finish(&mut self, link: &mut dyn Link, flight: &mut Flight) {
        let due = Instant::now() + self.settings.flush_deadline;
        flight.drained = false;
        self.fill(link, flight).await;
        while !flight.batches.is_empty() {
            match tokio::time::timeout_at(due, link.outcome()).await {
                Ok(outcome) => self.take(outcome, link, flight).await,
                Err(_) => {
                    let batches = flight.batches.len();
                    tracing::info!(batches, "not acknowledged in time; they stay in the spool");
                    break;
                }
            }
        }
        // What is still to be forgotten in the file.
        self.on_spool(|spool| spool.acknowledge(&[])).await;
    }

    /// Works on the spool where blocking is allowed; `None` when it failed, which is logged.
    async fn on_spool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
    ) -> Option<T> {
        let spool = self.spool.clone();
        let cause = match tokio::task::spawn_blocking(move || work(&spool)).await {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => chain(&error),
            Err(died) => died.to_string(),
        };
        tracing::error!(cause, "publishing could not use the spool");
        self.note_error(cause);
        None
    }

    /// Waits before trying again, longer each time, and never as long as others do.
    async fn wait_a_little(&mut self) {
        let pause = self.pause.mul_f64(jitter());
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn away(&self, cause: String) {
        metrics::gauge!("tidegauge_agent_publish_connected").set(0.0);
        // Attempts differ in their numbers: ports, and how long they took.
        let words = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
        let (since_us, is_news) = match self.status.figures().publish {
            PublishState::Away {
                since_us,
                cause: before,
            } => (since_us, words(&before) != words(&cause)),
            _ => (self.clock.now_us(), true),
        };
        if is_news {
            tracing::warn!(cause, "broker away, keeping samples in the spool");
        }
        let publish = PublishState::Away {
            since_us,
            cause: cause.clone(),
        };
        self.status.update(|figures| figures.publish = publish);
        self.note_error(cause);
    }

    fn no_topic(&mut self, cause: String) {
        let PublishSettings {
            topic,
            partitions,
            replication,
            ..
        } = &self.settings;
        if self.told_no_topic.as_ref() != Some(&cause) {
            tracing::error!(
                "the topic {topic} cannot be used, samples are kept in the spool: {cause}; if it is missing, \
                 create it, for example with `kafka-topics.sh --create --topic {topic} --partitions \
                 {partitions} --replication-factor {replication}`"
            );
            self.told_no_topic = Some(cause.clone());
        }
        let since_us = self.clock.now_us();
        metrics::gauge!("tidegauge_agent_publish_connected").set(0.0);
        self.status.update(|figures| {
            if !matches!(figures.publish, PublishState::Away { .. }) {
                figures.publish = PublishState::Away {
                    since_us,
                    cause: cause.clone(),
                };
            }
        });
        self.note_error(cause);
    }

    async fn back(&mut self) {
        let before = self.status.figures().publish;
        if before == PublishState::Connected {
            return;
        }
        self.told_no_topic = None;
        metrics::gauge!("tidegauge_agent_publish_connected").set(1.0);
        self.status
            .update(|figures| figures.publish = PublishState::Connected);
        let waiting = self
            .on_spool(|spool| spool.stats())
            .await
            .map_or(0, |stats| stats.entries);
        let topic = self.settings.topic.as_str();
        if matches!(before, PublishState::Away { .. }) {
            tracing::info!(topic, "broker is back, {waiting} batches waiting");
        } else {
            tracing::info!(topic, waiting, "publishing");
        }
    }

    fn note_error(&self, cause: String) {
        let now_us = self.clock.now_us();
        self.status
            .update(|figures| figures.last_error = Some((now_us, cause)));
    }
}

impl Flight {
    /// Nothing is under way and nothing is to be read or forgotten.
    fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.to_forget.is_empty() && self.drained
    }

    fn handed_over(&mut self, entry: &Entry) {
        self.cursor = entry.id;
        self.bytes += entry.payload.len();
        self.batches.insert(entry.id, entry.payload.len());
    }
}

/// A factor between 0.75 and 1.25.
fn jitter() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    0.75 + 0.5 * f64::from(random) / f64::from(u32::MAX)
}
