//! Where messages come from: a topic of Kafka, or a spool that is read directly.

mod kafka;
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

    /// Stops reading and leaves the group, within the deadline.
    async fn close(&mut self, deadline: Duration);
}
