//! Where messages come from: a topic of Kafka, or a spool that is read directly.

mod kafka;
mod lag;
mod spool;

pub use kafka::{KafkaSource, KafkaSourceSettings};
pub use spool::SpoolSource;

use crate::{Message, SinkError};
use std::time::Duration;
use tidegauge_store::{PositionMove, SourceId};

/// What a source has to say.
#[derive(Debug)]
pub enum SourceEvent {
    /// Messages, each partition's in order and without a gap since its position was set.
    Messages(Vec<Message>),
    /// These partitions are ours from now on, beginning at their stored positions.
    Assigned(Vec<(SourceId, i32, i64)>),
    /// These partitions are not ours any more.
    Revoked(Vec<(SourceId, i32)>),
    /// A stored position is not in the log: retention ran before the messages were read, or the
    /// log is shorter than it was.
    PositionLost {
        /// What the partition belongs to.
        source: SourceId,
        /// The partition.
        partition: i32,
        /// The stored position.
        stored: i64,
        /// The first offset of the log.
        low: i64,
        /// The offset after the last.
        high: i64,
    },
}

/// How far behind a partition is.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLag {
    /// What the partition belongs to.
    pub source: SourceId,
    /// The partition.
    pub partition: i32,
    /// Offsets between the stored position and the end, as it was known some seconds ago.
    pub messages: u64,
    /// Age of the oldest message that waits, as far as it is known.
    pub seconds: Option<f64>,
}

impl PartitionLag {
    /// Whether both are of one partition.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.partition == other.partition && self.source == other.source
    }
}

/// What a source says of itself.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct SourceReport {
    /// How far behind each partition that is ours is.
    pub lags: Vec<PartitionLag>,
    /// Why the source cannot be reached at the moment.
    pub away: Option<String>,
    /// How often it paused because its reader took nothing.
    pub pauses: u64,
}

/// Where messages come from. One owner.
#[async_trait::async_trait]
pub trait Source: Send {
    /// Waits for the next event. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// [`SinkError`] for what waiting cannot mend.
    async fn next(&mut self) -> Result<SourceEvent, SinkError>;

    /// The next event, if there is one at once.
    ///
    /// # Errors
    /// As [`Source::next`].
    fn try_next(&mut self) -> Result<Option<SourceEvent>, SinkError>;

    /// Hands back what was committed: the acknowledgement (A4).
    ///
    /// # Errors
    /// [`SinkError`].
    async fn acknowledge(&mut self, moves: &[PositionMove]) -> Result<(), SinkError>;

    /// Goes on from these positions; messages that were read before are not given any more.
    ///
    /// # Errors
    /// [`SinkError`].
    async fn rewind(&mut self, positions: &[(SourceId, i32, i64)]) -> Result<(), SinkError>;

    /// The end of each partition as it is now: the offset after the last message.
    ///
    /// # Errors
    /// [`SinkError`].
    async fn ends(&mut self) -> Result<Vec<(SourceId, i32, i64)>, SinkError>;

    /// Whether nothing is to come before `end` of a partition of ours whose position is before that:
    /// not every offset holds a message.
    fn is_through(&self, _source: &SourceId, _partition: i32, _end: i64) -> bool {
        false
    }

    /// How far behind its reader is, and whether it can be reached; asked every second or so.
    fn report(&mut self, _now_us: i64) -> SourceReport {
        SourceReport::default()
    }

    /// Stops reading and leaves the group, within the deadline.
    async fn close(&mut self, deadline: Duration);
}
