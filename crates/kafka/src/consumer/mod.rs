//! A member of a consumer group that begins each partition where its owner says.
//!
//! Not a store of offsets: what is committed to Kafka serves lag tools only (D4), and is never read.
//!
//! # The contract
//! 1. At every assignment the consumer's thread asks [`Positions`] where to begin, and gives the
//!    partition to librdkafka once, with that offset. Until there is an answer (database or broker
//!    away) nothing of the partition is read; it is asked again for ever, with backoff, and the member
//!    stays in the group (D8).
//! 2. A position outside of the log is never repaired silently: it becomes [`Event::OutOfRange`], and
//!    the partition stands still until the owner answers with [`Consumer::seek`].
//! 3. Every assignment and every seek begins a new *generation* of the partition, announced by
//!    [`Event::Assigned`] before its first message. [`Consumer::is_current`] is true for the youngest
//!    generation only and turns false at once when a partition is revoked or a seek is asked for, even
//!    if older messages are still in the channel.
//! 4. A topic that was deleted and made again has a new identity: its partitions are revoked and
//!    assigned anew. This is noticed within ten seconds; what was read before under the old identity is
//!    read again under the new one, so nothing is missed.
//! 5. When the event channel is full, by events or by bytes that the owner has not
//!    [taken](Consumer::taken), the thread waits a second, then pauses all partitions; in both
//!    states it answers the group in time. At most one batch waits outside of librdkafka's bounded
//!    queue (D11).
//! 6. A subscribed topic may be missing, and partitions may be added: both are noticed within seconds.

mod context;
mod partitions;
mod placing;
mod statistics;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::{mpsc, oneshot, watch};

use self::context::GroupContext;
pub use self::statistics::FetchState;
use self::statistics::FetchStates;
use self::worker::Worker;
use crate::health::Health;
use crate::producer::spawn;
use crate::settings::{check_topic_name, of_config};
use crate::{BrokerState, KafkaError, KafkaSettings};

/// Header that names a message's encoding and its version.
pub const ENCODING_HEADER: &str = "tidegauge-encoding";

/// How often librdkafka says where the logs end.
const STATISTICS_EVERY: Duration = Duration::from_secs(5);

/// Any error of a [`Positions`].
pub type PositionsError = Box<dyn Error + Send + Sync>;

/// The owner's knowledge of where to go on.
pub trait Positions: Send {
    /// Says for every given partition the next offset to read. The second number of each is the
    /// offset of its oldest message: where to begin if no position is stored.
    ///
    /// Called on the consumer's thread, which does nothing else meanwhile; must answer within a
    /// deadline of its own, well below [`ConsumerOptions::max_poll_interval`].
    ///
    /// # Errors
    /// Any failure; the question is asked again.
    fn assigned(
        &mut self,
        topic: &TopicIdentity,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64)>, PositionsError>;
}

/// A topic as such, not only its name: a topic made again under the same name is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicIdentity {
    /// Its name.
    pub name: String,
    /// Its id: 22 characters of base64 (KIP-516).
    pub id: String,
}

/// Bounds and timing of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The group whose members share the partitions.
    pub group: String,
    /// The topics' names; they may be missing.
    pub topics: Vec<String>,
    /// Most messages of one [`Event::Messages`].
    pub max_batch_messages: usize,
    /// A batch ends with the message that reaches this many bytes of payload.
    pub max_batch_bytes: usize,
    /// Silence after which the group takes a dead member's partitions (at least the broker's
    /// `group.min.session.timeout.ms`, 6 s by default).
    pub session_timeout: Duration,
    /// Longest time between two polls, an answer of [`Positions`] included.
    pub max_poll_interval: Duration,
    /// Bytes of payload that may wait in the event channel, above one batch: what the owner has not
    /// [taken](Consumer::taken).
    pub max_waiting_bytes: usize,
    /// Bytes that librdkafka may fetch ahead, for all partitions together (rounded to KiB).
    pub max_prefetch_bytes: u64,
    /// How long a broker may hold an empty fetch.
    pub fetch_wait: Duration,
}

impl ConsumerOptions {
    /// Defaults for one topic: small memory, short waits.
    #[must_use]
    pub fn new(group: &str, topic: &str) -> Self {
        Self {
            group: group.to_owned(),
            topics: vec![topic.to_owned()],
            max_batch_messages: 1_000,
            max_batch_bytes: 1 << 20,
            max_waiting_bytes: 8 << 20,
            session_timeout: Duration::from_secs(10),
            max_poll_interval: Duration::from_secs(300),
            max_prefetch_bytes: 8 << 20,
            fetch_wait: Duration::from_millis(100),
        }
    }

    fn apply(&self, config: &mut ClientConfig) {
        let heartbeat = (self.session_timeout / 3).min(Duration::from_secs(3));
        let ms = |duration: Duration| duration.as_millis().to_string();
        // The prefetch bound is looked at before each fetch, and what one fetch brings is compressed:
        // twenty times smaller than it gets in memory, where batches of measurements are concerned.
        let fetch_bytes = (self.max_prefetch_bytes / 16).clamp(1 << 20, 64 << 20);
        for (name, value) in [
            ("group.id", self.group.clone()),
            ("group.protocol", "classic".to_owned()),
            (
                "partition.assignment.strategy",
                "cooperative-sticky".to_owned(),
            ),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "error".to_owned()),
            ("check.crcs", "true".to_owned()),
            ("session.timeout.ms", ms(self.session_timeout)),
            ("heartbeat.interval.ms", ms(heartbeat)),
            ("max.poll.interval.ms", ms(self.max_poll_interval)),
            // Missing topics, new partitions and recreated topics are seen this soon.
            ("topic.metadata.refresh.interval.ms", "3000".to_owned()),
            (
                "queued.max.messages.kbytes",
                (self.max_prefetch_bytes / 1024).max(1).to_string(),
            ),
            ("fetch.max.bytes", fetch_bytes.to_string()),
            ("fetch.message.max.bytes", (fetch_bytes / 4).to_string()),
            ("fetch.min.bytes", "1".to_owned()),
            ("fetch.wait.max.ms", ms(self.fetch_wait)),
            ("statistics.interval.ms", ms(STATISTICS_EVERY)),
            // How long fetching rests when the prefetch bound is reached; its default of a second
            // would starve a fast reader.
            ("fetch.queue.backoff.ms", "10".to_owned()),
        ] {
            config.set(name, value);
        }
    }
}

/// What a consumer tells its owner, in order.
#[derive(Debug)]
pub enum Event {
    /// Messages in the order of their offsets within each partition.
    Messages(Vec<Message>),
    /// These partitions are read from these offsets on.
    Assigned {
        /// The topic.
        topic: Arc<TopicIdentity>,
        /// Partitions and where each begins.
        partitions: Vec<(i32, i64)>,
        /// Given to every message that follows of them.
        generation: u64,
    },
    /// These partitions are not ours any more; a step of them that is not committed is void.
    Revoked {
        /// The topic.
        topic: Arc<TopicIdentity>,
        /// The partitions.
        partitions: Vec<i32>,
        /// The last generation in use when this was told.
        generation: u64,
    },
    /// The partition's position is outside of its log; it stands still until [`Consumer::seek`].
    OutOfRange {
        /// The topic.
        topic: Arc<TopicIdentity>,
        /// The partition.
        partition: i32,
        /// The offset that is wanted.
        requested: i64,
        /// The oldest offset that is there.
        low: i64,
        /// The offset of the next message to come.
        high: i64,
    },
    /// Something does not work at the moment; told once per change, the consumer goes on by itself.
    /// Only after [`KafkaError::Fatal`] it ends, and the channel with it.
    Problem(KafkaError),
}

/// One record as it was stored, copied out of librdkafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: Arc<TopicIdentity>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970, set by the producer or the broker.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value of the last header [`ENCODING_HEADER`].
    pub encoding: Option<Vec<u8>>,
    /// The payload; empty for a tombstone.
    pub payload: Vec<u8>,
    /// See [`Consumer::is_current`].
    pub generation: u64,
}

/// What owner and thread share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// How often everything was paused because the owner's channel was full.
    pauses: AtomicU64,
    /// Bytes of payload in the event channel.
    waiting_bytes: AtomicUsize,
    state: Mutex<SharedState>,
}

#[derive(Default)]
struct SharedState {
    /// The generation of every partition that is being read.
    current: BTreeMap<String, BTreeMap<i32, u64>>,
    /// The owner's wishes, bounded by the number of partitions: the last wish of a kind counts.
    wishes: Wishes,
    /// As the last statistics said.
    fetched: FetchStates,
}

type PerPartition<T> = BTreeMap<(String, i32), T>;

#[derive(Default)]
struct Wishes {
    paused: PerPartition<bool>,
    seeks: PerPartition<i64>,
    commits: PerPartition<i64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedState {
    fn forget(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.current.get_mut(topic) {
            partitions.remove(&partition);
        }
    }
}

/// Handle of a consumer; its thread ends soon after this is closed or dropped.
pub struct Consumer {
    shared: Arc<Shared>,
    health: watch::Receiver<BrokerState>,
    ended: oneshot::Receiver<()>,
}

impl Consumer {
    /// Joins the group, on a thread of its own; needs no broker yet. `events` is bounded: see the
    /// module's contract for what happens when it is full.
    ///
    /// # Errors
    /// Properties, options or topic names that are refused, and a client that can't be made.
    pub fn start(
        settings: &KafkaSettings,
        options: &ConsumerOptions,
        positions: Box<dyn Positions>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, KafkaError> {
        settings.check()?;
        options
            .topics
            .iter()
            .try_for_each(|topic| check_topic_name(topic))?;
        let role = "consumer";
        let mut config = settings.config(role)?;
        options.apply(&mut config);
        // That a broker hangs up, as on plaintext where it wants TLS, is only logged, and at this level.
        config.set("log.connection.close", "true");
        if !tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
            config.set_log_level(RDKafkaLogLevel::Info);
        }
        let health = Health::new(role);
        let (state, shared) = (health.subscribe(), Arc::new(Shared::default()));
        let context = GroupContext::new(health, Arc::clone(&shared), settings.sasl.clone());
        let client = BaseConsumer::from_config_and_context(&config, context)
            .map_err(|error| of_config(role, error))?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        client
            .subscribe(&topics)
            .map_err(|error| KafkaError::of_client(format!("subscribe to {topics:?}"), error))?;
        let (ending, ended) = oneshot::channel();
        let worker = Worker::new(client, options, positions, events, Arc::clone(&shared));
        spawn("kafka-consume", move || {
            worker.run();
            drop(ending);
        })?;
        Ok(Self {
            shared,
            health: state,
            ended,
        })
    }

    /// Whether a message of this generation is still to be applied. Generations are unique across
    /// partitions and topics.
    #[must_use]
    pub fn is_current(&self, topic: &str, partition: i32, generation: u64) -> bool {
        let state = self.shared.lock();
        let current = state
            .current
            .get(topic)
            .and_then(|partitions| partitions.get(&partition));
        current == Some(&generation)
    }

    /// Fetches no more of these partitions until [`Self::resume`] or the next rebalance. What is on
    /// its way may still arrive.
    pub fn pause(&self, partitions: &[(&str, i32)]) {
        self.wish_paused(partitions, true);
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self, partitions: &[(&str, i32)]) {
        self.wish_paused(partitions, false);
    }

    fn wish_paused(&self, partitions: &[(&str, i32)], paused: bool) {
        let wishes = &mut self.shared.lock().wishes;
        for &(topic, partition) in partitions {
            wishes.paused.insert((topic.to_owned(), partition), paused);
        }
    }

    /// Goes on at another offset: the answer to [`Event::OutOfRange`], and the way back after a step
    /// was thrown away. A new generation begins, told by [`Event::Assigned`]; the old one is over when
    /// this returns. Ignored for a partition that is not ours at that moment.
    pub fn seek(&self, topic: &str, partition: i32, offset: i64) {
        let mut state = self.shared.lock();
        state.forget(topic, partition);
        state
            .wishes
            .seeks
            .insert((topic.to_owned(), partition), offset);
    }

    /// Commits next offsets to Kafka, so that lag tools show something; nobody reads them back (D4).
    pub fn commit_for_lag_tools(&self, offsets: Vec<(String, i32, i64)>) {
        let commits = &mut self.shared.lock().wishes.commits;
        commits.extend(
            offsets
                .into_iter()
                .map(|(topic, at, offset)| ((topic, at), offset)),
        );
    }

    /// The owner took messages out of the channel: room for as many bytes again (D11).
    pub fn taken(&self, messages: &[Message]) {
        let bytes = messages.iter().map(|message| message.payload.len()).sum();
        self.shared
            .waiting_bytes
            .fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How far the partitions of a topic are fetched, and where they end, as it was known some seconds
    /// ago at most; what is not known yet is left out.
    #[must_use]
    pub fn fetched(&self, topic: &str) -> BTreeMap<i32, FetchState> {
        let state = self.shared.lock();
        state.fetched.get(topic).cloned().unwrap_or_default()
    }

    /// How often fetching was paused because the owner took nothing for a second.
    #[must_use]
    pub fn pauses(&self) -> u64 {
        self.shared.pauses.load(Ordering::Relaxed)
    }

    /// Whether the brokers can be reached, as far as messages and errors tell.
    #[must_use]
    pub fn broker_state(&self) -> watch::Receiver<BrokerState> {
        self.health.clone()
    }

    /// Leaves the group and ends the thread.
    ///
    /// # Errors
    /// [`KafkaError::Timeout`] when that takes longer, say because the brokers are away; the thread is
    /// then left behind, leaves the group when it can, and touches nothing of the owner's any more.
    pub async fn close(&mut self, deadline: Duration) -> Result<(), KafkaError> {
        self.shared.stop.store(true, Ordering::Release);
        match tokio::time::timeout(deadline, &mut self.ended).await {
            // The thread never sends: its end of the channel goes with it.
            Ok(_) => Ok(()),
            Err(_) => Err(KafkaError::Timeout {
                what: "leave the consumer group".to_owned(),
            }),
        }
    }
}

impl Drop for Consumer {
    /// Tells the thread to leave the group, and does not wait for it.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}
