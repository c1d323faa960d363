//! A topic of Kafka as a source: the group shares the partitions, the database says where to
//! begin (D4).
//!
//! At every assignment the consumer's thread asks the database for the positions, over a
//! connection of its own, so that a step that is being committed is never in the way. A step
//! that was packed from an older position is fenced by its conditional update (D5).

use super::lag::LagBook;
use super::{Source, SourceEvent, SourceReport};
use crate::{Message, SinkError};
use bytes::Bytes;
use std::error::Error;
use std::time::Duration;
use tidegauge_kafka::{
    Admin, BrokerState, Consumer, ConsumerOptions, Event, KafkaError, KafkaSettings, Positions,
    TopicIdentity,
};
use tidegauge_model::chain;
use tidegauge_store::{PositionMove, SourceId, Store};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Events between the consumer's thread and the loop. When it is full the thread pauses its
/// partitions and goes on polling, so that the group keeps the member (D11).
const EVENTS: usize = 8;
/// The longest that the database may take to tell positions within a rebalance.
const POSITIONS_DEADLINE: Duration = Duration::from_secs(20);
/// The longest that the broker may take to describe the topic.
const ADMIN_DEADLINE: Duration = Duration::from_secs(30);

/// What a topic is read with.
#[derive(Debug, Clone)]
pub struct KafkaSourceSettings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Silence after which the group takes the partitions of a sink that has died.
    pub session_timeout: Duration,
}

impl KafkaSourceSettings {
    /// Long enough for a pause of a virtual machine, short enough that a crash is hardly noticed.
    pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
}

/// A topic, read as a member of a group.
pub struct KafkaSource {
    settings: KafkaSourceSettings,
    consumer: Consumer,
    events: mpsc::Receiver<Event>,
    lags: LagBook,
}

impl KafkaSource {
    /// Joins the group. `positions` is a store of its own, for the consumer's thread.
    ///
    /// # Errors
    /// [`SinkError::Kafka`] when a setting is refused. That the broker is away is no error.
    pub fn start(
        settings: KafkaSourceSettings,
        positions: Box<dyn Store>,
    ) -> Result<Self, SinkError> {
        let (sender, events) = mpsc::channel(EVENTS);
        let options = ConsumerOptions {
            session_timeout: settings.session_timeout,
            ..ConsumerOptions::new(&settings.group, &settings.topic)
        };
        let positions = StoredPositions {
            store: positions,
            runtime: Handle::current(),
        };
        let consumer = Consumer::start(&settings.kafka, &options, Box::new(positions), sender)
            .map_err(|source| failed(&settings, source))?;
        Ok(Self {
            settings,
            consumer,
            events,
            lags: LagBook::default(),
        })
    }

    /// The messages that are still to be applied. What was fetched before a rebalance or a rewind is
    /// read again from the right place; taken now it would look like a hole in the offsets.
    fn current(&mut self, messages: Vec<tidegauge_kafka::Message>) -> Vec<Message> {
        self.consumer.taken(&messages);
        let mut current: Vec<Message> = Vec::with_capacity(messages.len());
        // Where the runs of one partition begin, with the first time stamp of each.
        let mut runs = Vec::new();
        for message in messages {
            let (topic, partition) = (&message.topic, message.partition);
            if !self
                .consumer
                .is_current(&topic.name, partition, message.generation)
            {
                continue;
            }
            let source = source_id(topic);
            let goes_on = current
                .last()
                .is_some_and(|last| last.partition == partition && last.source == source);
            if !goes_on {
                runs.push((current.len(), message.timestamp_ms));
            }
            current.push(Message {
                source,
                partition,
                offset: message.offset,
                received_us: message.timestamp_ms.map(|ms| ms.saturating_mul(1_000)),
                encoding: message.encoding.map(Bytes::from),
                payload: Bytes::from(message.payload),
            });
        }
        let ends = runs.iter().skip(1).map(|(begin, _)| *begin);
        let ends: Vec<usize> = ends.chain([current.len()]).collect();
        for (&(_, first_ms), end) in runs.iter().zip(ends) {
            let last = &current[end - 1];
            self.lags
                .given(&last.source, last.partition, first_ms, last.offset + 1);
        }
        current
    }

    fn translate(&mut self, event: Event) -> Option<SourceEvent> {
        match event {
            Event::Messages(messages) => {
                let current = self.current(messages);
                (!current.is_empty()).then_some(SourceEvent::Messages(current))
            }
            Event::Assigned {
                topic, partitions, ..
            } => {
                let source = source_id(&topic);
                for &(partition, next) in &partitions {
                    self.lags.assigned(&source, partition, next);
                }
                let partitions = partitions
                    .into_iter()
                    .map(|(p, next)| (source.clone(), p, next));
                Some(SourceEvent::Assigned(partitions.collect()))
            }
            Event::Revoked {
                topic, partitions, ..
            } => {
                let source = source_id(&topic);
                for &partition in &partitions {
                    self.lags.revoked(&source, partition);
                }
                let partitions = partitions.into_iter().map(|p| (source.clone(), p));
                Some(SourceEvent::Revoked(partitions.collect()))
            }
            Event::OutOfRange {
                topic,
                partition,
                requested,
                low,
                high,
            } => {
                let source = source_id(&topic);
                Some(SourceEvent::PositionLost {
                    source,
                    partition,
                    stored: requested,
                    low,
                    high,
                })
            }
            Event::Problem(error) => {
                tracing::warn!(error = %chain(&error), "kafka");
                None
            }
        }
    }
}

#[async_trait::async_trait]
impl Source for KafkaSource {
    async fn next(&mut self) -> Result<SourceEvent, SinkError> {
        loop {
            let Some(event) = self.events.recv().await else {
                return Err(failed(&self.settings, KafkaError::Closed));
            };
            if let Some(event) = self.translate(event) {
                return Ok(event);
            }
        }
    }

    fn try_next(&mut self) -> Result<Option<SourceEvent>, SinkError> {
        while let Ok(event) = self.events.try_recv() {
            if let Some(event) = self.translate(event) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    async fn acknowledge(&mut self, moves: &[PositionMove]) -> Result<(), SinkError> {
        for moved in moves {
            self.lags.applied(&moved.source, moved.partition, moved.to);
        }
        // For lag tools only (D4): nobody reads these offsets back.
        let offsets = moves
            .iter()
            .map(|m| (m.source.label().to_owned(), m.partition, m.to));
        self.consumer.commit_for_lag_tools(offsets.collect());
        Ok(())
    }

    async fn rewind(&mut self, positions: &[(SourceId, i32, i64)]) -> Result<(), SinkError> {
        for (source, partition, next) in positions {
            self.consumer.seek(source.label(), *partition, *next);
        }
        Ok(())
    }

    async fn ends(&mut self) -> Result<Vec<(SourceId, i32, i64)>, SinkError> {
        let failed = |source| failed(&self.settings, source);
        let topic = &self.settings.topic;
        let admin = Admin::new(&self.settings.kafka).map_err(failed)?;
        let found = admin.topic(topic, ADMIN_DEADLINE).await.map_err(failed)?;
        let info = found.ok_or_else(|| SinkError::NoTopic {
            topic: topic.clone(),
        })?;
        let watermarks = admin
            .watermarks(topic, ADMIN_DEADLINE)
            .await
            .map_err(failed)?;
        let source = SourceId::kafka(&info.id, topic);
        Ok(watermarks
            .into_iter()
            .map(|w| (source.clone(), w.partition, w.high))
            .collect())
    }

    fn is_through(&self, source: &SourceId, partition: i32, end: i64) -> bool {
        let fetched = self.consumer.fetched(source.label());
        let fetched = fetched.get(&partition).copied();
        // What has left the client's queue is here, or was given.
        self.events.is_empty()
            && fetched.is_some_and(|fetched| self.lags.is_through(source, partition, end, fetched))
    }

    fn report(&mut self, now_us: i64) -> SourceReport {
        let fetched = self.consumer.fetched(&self.settings.topic);
        let away = match &*self.consumer.broker_state().borrow() {
            BrokerState::Down { reason } => Some(reason.clone()),
            _ => None,
        };
        SourceReport {
            lags: self
                .lags
                .lags(now_us, |_, partition| fetched.get(&partition).copied()),
            away,
            pauses: self.consumer.pauses(),
        }
    }

    async fn close(&mut self, deadline: Duration) {
        self.events.close();
        if let Err(error) = self.consumer.close(deadline).await {
            tracing::warn!(error = %chain(&error), "leaving the consumer group");
        }
    }
}

/// Asks the store for positions, from the consumer's thread.
struct StoredPositions {
    store: Box<dyn Store>,
    runtime: Handle,
}

impl Positions for StoredPositions {
    fn assigned(
        &mut self,
        topic: &TopicIdentity,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64)>, Box<dyn Error + Send + Sync>> {
        let source = source_id(topic);
        let asking = self.store.positions(&source, partitions);
        // This is the consumer's own thread, none of the runtime's, so waiting here is allowed.
        let stored = self
            .runtime
            .block_on(async move { tokio::time::timeout(POSITIONS_DEADLINE, asking).await })??;
        Ok(stored
            .into_iter()
            .map(|p| (p.partition, p.next_offset))
            .collect())
    }
}

fn source_id(topic: &TopicIdentity) -> SourceId {
    SourceId::kafka(&topic.id, &topic.name)
}

fn failed(settings: &KafkaSourceSettings, source: KafkaError) -> SinkError {
    SinkError::Kafka {
        topic: settings.topic.clone(),
        source,
    }
}
