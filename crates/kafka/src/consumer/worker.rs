//! The consumer's thread: polls, batches, and hands over without ever making the group wait.
//!
//! Not where positions are found; that is `placing`. One turn of the loop follows what the group and
//! the owner want, then hands over what is ready, then polls. The thread sleeps only inside of
//! librdkafka's poll and, for at most [`FULL_PATIENCE`], while the owner's channel is full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::context::{GroupContext, Rebalance};
use super::partitions::{Assignment, Stage};
use super::{ConsumerOptions, ENCODING_HEADER, Event, Message, Positions, Shared};
use crate::KafkaError;
use crate::error::{Right, is_unknown_topic};

/// Longest sleep while nothing happens; also how late a wish of the owner may be followed.
const POLL: Duration = Duration::from_millis(20);
/// Longest sleep while the group is being left.
const LEAVE_POLL: Duration = Duration::from_millis(2);
/// How often a full channel is looked at.
const FULL_POLL: Duration = Duration::from_millis(5);
/// Sleep between polls while everything is paused.
const HELD_POLL: Duration = Duration::from_millis(50);
/// How long a full channel is waited for before partitions are paused: pausing throws away what was
/// fetched ahead, so a reader that is merely slower than Kafka must not cause it.
const FULL_PATIENCE: Duration = Duration::from_secs(1);
/// A repeated problem is told again after this long.
const PROBLEM_AGAIN: Duration = Duration::from_secs(60);
/// How long the coordinator may take to answer before leaving the group is put off.
const COORDINATOR_DEADLINE: Duration = Duration::from_secs(2);
/// Rest between attempts to reach the coordinator when leaving.
const LEAVE_AGAIN: Duration = Duration::from_secs(1);

/// When something that failed is due again.
#[derive(Debug)]
pub(super) struct Backoff {
    due: Instant,
    delay: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn due_now() -> Self {
        Self {
            due: Instant::now(),
            delay: Self::FIRST,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    pub(super) fn failed(&mut self) {
        self.due = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(Self::LONGEST);
    }
}

pub(super) struct Worker {
    pub(super) client: BaseConsumer<GroupContext>,
    pub(super) positions: Box<dyn Positions>,
    pub(super) shared: Arc<Shared>,
    pub(super) assignment: Assignment,
    pub(super) generation: u64,
    /// When partitions without a position are tried again.
    pub(super) placing: Backoff,
    /// Set when librdkafka has met an offset outside of a log.
    pub(super) range_check: Option<Backoff>,
    pub(super) identity_check: Instant,
    /// Whether everything is paused because the owner's channel is full.
    pub(super) held_back: bool,
    options: ConsumerOptions,
    events: mpsc::Sender<Event>,
    /// Told in order, before anything else is polled: at most one batch, and what the group, the
    /// brokers and the owner's seeks caused since the channel had room.
    outbox: VecDeque<Event>,
    full_since: Option<Instant>,
    last_problem: Option<(String, Instant)>,
    fatal: bool,
}

impl Worker {
    pub(super) fn new(
        client: BaseConsumer<GroupContext>,
        options: &ConsumerOptions,
        positions: Box<dyn Positions>,
        events: mpsc::Sender<Event>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            client,
            positions,
            shared,
            assignment: Assignment::default(),
            generation: 0,
            placing: Backoff::due_now(),
            range_check: None,
            identity_check: Instant::now(),
            held_back: false,
            options: options.clone(),
            events,
            outbox: VecDeque::new(),
            full_since: None,
            last_problem: None,
            fatal: false,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.follow_group();
            self.follow_owner();
            self.place_waiting();
            self.check_ranges();
            self.check_identities();
            match self.hand_over() {
                HandOver::Done if self.fatal => break,
                HandOver::Done => self.go_on(),
                HandOver::Full => {
                    if self.wait_for_room() {
                        continue;
                    }
                }
                HandOver::OwnerGone => break,
            }
            self.poll();
        }
        self.leave();
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.outbox.push_back(event);
    }

    /// Tells a problem once, and again only if it lasts.
    pub(super) fn problem(&mut self, error: KafkaError) {
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let repeated = self
            .last_problem
            .as_ref()
            .is_some_and(|(last, told)| *last == text && told.elapsed() < PROBLEM_AGAIN);
        if !repeated {
            self.last_problem = Some((text, Instant::now()));
            self.tell(Event::Problem(error));
        }
    }

    /// Follows what the group was already answered.
    fn follow_group(&mut self) {
        while let Some(rebalance) = self.client.context().next_rebalance() {
            match rebalance {
                Rebalance::Assigned(partitions) => {
                    for (topic, partition) in partitions {
                        self.assignment.add(&topic, partition);
                    }
                    self.placing = Backoff::due_now();
                }
                Rebalance::Revoked(partitions) => self.revoked(partitions),
            }
        }
    }

    fn revoked(&mut self, partitions: Vec<(String, i32)>) {
        let mut told: Vec<(Arc<super::TopicIdentity>, Vec<i32>)> = Vec::new();
        for (topic, partition) in partitions {
            let Some((identity, was)) = self.assignment.remove(&topic, partition) else {
                continue;
            };
            let Some(identity) = identity.filter(|_| was.stage != Stage::Waiting) else {
                continue;
            };
            match told.iter_mut().find(|(other, _)| *other == identity) {
                Some((_, numbers)) => numbers.push(partition),
                None => told.push((identity, vec![partition])),
            }
        }
        self.drop_stale();
        for (topic, partitions) in told {
            let generation = self.generation;
            self.tell(Event::Revoked {
                topic,
                partitions,
                generation,
            });
        }
    }

    /// Throws away batched messages whose generation is over.
    pub(super) fn drop_stale(&mut self) {
        let shared = self.shared.lock();
        for event in &mut self.outbox {
            if let Event::Messages(messages) = event {
                messages.retain(|message| {
                    let of_topic = shared.current.get(&message.topic.name);
                    let current =
                        of_topic.and_then(|partitions| partitions.get(&message.partition));
                    current == Some(&message.generation)
                });
            }
        }
        drop(shared);
        self.outbox
            .retain(|event| !matches!(event, Event::Messages(batch) if batch.is_empty()));
    }

    fn follow_owner(&mut self) {
        let wishes = std::mem::take(&mut self.shared.lock().wishes);
        for ((topic, partition), paused) in wishes.paused {
            if let Some(known) = self.assignment.get_mut(&topic, partition) {
                known.paused_by_owner = paused;
                let stands = known.stage != Stage::Reading || (self.held_back && !paused);
                if !stands {
                    self.set_paused(&list([(topic.as_str(), partition)]), paused);
                }
            }
        }
        for ((topic, partition), offset) in wishes.seeks {
            self.seek(&topic, partition, offset);
        }
        if !wishes.commits.is_empty() {
            let mut offsets = TopicPartitionList::new();
            for ((topic, partition), offset) in &wishes.commits {
                let added =
                    offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset));
                debug_assert!(added.is_ok(), "a plain offset is always representable");
            }
            if let Err(error) = self.client.commit(&offsets, CommitMode::Async) {
                tracing::debug!(%error, "committing offsets for lag tools");
            }
        }
    }

    pub(super) fn set_paused(&self, partitions: &TopicPartitionList, paused: bool) {
        let done = if paused {
            self.client.pause(partitions)
        } else {
            self.client.resume(partitions)
        };
        if let Err(error) = done {
            tracing::warn!(%error, paused, "pausing or resuming partitions");
        }
    }

    fn hand_over(&mut self) -> HandOver {
        while let Some(event) = self.outbox.front() {
            let bytes = match event {
                Event::Messages(messages) => messages.iter().map(|m| m.payload.len()).sum(),
                _ => 0,
            };
            let waiting = self.shared.waiting_bytes.load(Ordering::Relaxed);
            if bytes > 0 && waiting > 0 && waiting + bytes > self.options.max_waiting_bytes {
                return match self.events.is_closed() {
                    true => HandOver::OwnerGone,
                    false => HandOver::Full,
                };
            }
            match self.events.try_reserve() {
                Ok(room) => {
                    if let Some(event) = self.outbox.pop_front() {
                        self.shared
                            .waiting_bytes
                            .fetch_add(bytes, Ordering::Relaxed);
                        room.send(event);
                    }
                }
                Err(TrySendError::Full(())) => return HandOver::Full,
                Err(TrySendError::Closed(())) => return HandOver::OwnerGone,
            }
        }
        if self.events.is_closed() {
            HandOver::OwnerGone
        } else {
            HandOver::Done
        }
    }

    /// The owner is slow. First sleeps a little (`true`), later pauses everything and goes on polling
    /// for the group's sake (`false`).
    fn wait_for_room(&mut self) -> bool {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < FULL_PATIENCE {
            std::thread::sleep(FULL_POLL);
            return true;
        }
        if !self.held_back {
            tracing::debug!("the reader of this consumer is slow: fetching pauses");
            self.held_back = true;
            self.shared.pauses.fetch_add(1, Ordering::Relaxed);
            self.set_paused(&self.reading(|_| true), true);
        }
        false
    }

    fn go_on(&mut self) {
        self.full_since = None;
        if self.held_back {
            self.held_back = false;
            self.set_paused(&self.reading(|partition| !partition.paused_by_owner), false);
        }
    }

    fn reading(&self, which: impl Fn(&super::partitions::Partition) -> bool) -> TopicPartitionList {
        let of_topic = self.assignment.topics.iter().flat_map(|(name, topic)| {
            let reading = topic
                .partitions
                .iter()
                .filter(|(_, p)| p.stage == Stage::Reading);
            reading
                .filter(|(_, p)| which(p))
                .map(move |(number, _)| (name.as_str(), *number))
        });
        list(of_topic)
    }

    /// Waits for the first message or event, then takes what is there without waiting.
    fn poll(&mut self) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut wait = if self.held_back { HELD_POLL } else { POLL };
        while batch.len() < self.options.max_batch_messages && bytes < self.options.max_batch_bytes
        {
            let failed = match self.client.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let at = (message.topic(), message.partition(), message.offset());
                    if let Some((topic, generation)) = self.assignment.accept(at.0, at.1, at.2) {
                        bytes += message.payload_len();
                        batch.push(copied(&message, topic, generation));
                    }
                    None
                }
                Some(Err(error)) => Some(error),
            };
            if let Some(error) = failed {
                self.failed(error);
            }
            wait = Duration::ZERO;
        }
        if !batch.is_empty() {
            self.client.context().health.answered();
            self.tell(Event::Messages(batch));
        }
    }

    fn failed(&mut self, error: ClientError) {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset) => self.range_check = Some(Backoff::due_now()),
            // Told by the broker state; it would repeat with every attempt to connect.
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::PartitionEOF,
            ) => {}
            Some(code) if is_unknown_topic(code) => {
                self.identity_check = Instant::now();
                let missing = self.options.topics.iter();
                let missing = missing.filter(|name| !self.assignment.topics.contains_key(*name));
                let topic = missing.cloned().collect::<Vec<_>>().join(", ");
                if !topic.is_empty() {
                    self.problem(KafkaError::TopicMissing { topic });
                }
            }
            code => {
                let (topics, group) = (self.options.topics.join(", "), &self.options.group);
                let right = match code {
                    Some(Code::GroupAuthorizationFailed) => Right::Group(group),
                    _ => Right::Read(&topics),
                };
                let what = format!("consume {topics}");
                let problem = KafkaError::of_client(what, error).needing(right);
                self.fatal |= matches!(problem, KafkaError::Fatal { .. });
                self.problem(problem);
            }
        }
    }

    /// Leaves the group. librdkafka 2.12 crashes when a member leaves while no coordinator is known
    /// (librdkafka#5327), or waits for one without end (#3740); so a coordinator is looked for first,
    /// for as long as it takes. The owner waits only as long as it wants to.
    fn leave(mut self) {
        self.follow_owner();
        let Self {
            client,
            positions,
            events,
            options,
            ..
        } = self;
        drop((positions, events));
        let mut probe = TopicPartitionList::new();
        probe.add_partition(options.topics.first().map_or("-", String::as_str), 0);
        while let Err(error) = client.committed_offsets(probe.clone(), COORDINATOR_DEADLINE) {
            tracing::debug!(%error, "leaving the group waits for its coordinator");
            let again = Instant::now() + LEAVE_AGAIN;
            while Instant::now() < again {
                // Also answers a rebalance that comes meanwhile.
                drop(client.poll(POLL));
            }
        }
        // Revokes all partitions and leaves the group. Dropping the client would do the same, but
        // looks only every 100 ms whether it is done.
        if let Err(error) = client.close_queue() {
            tracing::debug!(%error, "leaving the group");
        } else {
            while !client.closed() {
                drop(client.poll(LEAVE_POLL));
            }
        }
    }
}

enum HandOver {
    Done,
    Full,
    OwnerGone,
}

pub(super) fn list<'a>(partitions: impl IntoIterator<Item = (&'a str, i32)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, partition);
    }
    list
}

fn copied(
    message: &BorrowedMessage<'_>,
    topic: Arc<super::TopicIdentity>,
    generation: u64,
) -> Message {
    let encoding = message.headers().and_then(|headers| {
        let named = headers
            .iter()
            .filter(|header| header.key == ENCODING_HEADER)
            .last()?;
        named.value.map(<[u8]>::to_vec)
    });
    Message {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        encoding,
        payload: message.payload().unwrap_or_default().to_vec(),
        generation,
    }
}
