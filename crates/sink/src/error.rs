//! What ends a sink. An outage does not (D8); these do.

use tidegauge_kafka::KafkaError;
use tidegauge_spool::SpoolError;
use tidegauge_store::StoreError;

/// An error that ends a sink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The store cannot be used as it is configured.
    #[error("using the store")]
    Store(#[source] StoreError),
    /// Kafka cannot be used as it is configured.
    #[error("reading from kafka topic {topic}")]
    Kafka {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: KafkaError,
    },
    /// The topic that is to be read to its end is not there.
    #[error(
        "reading kafka topic {topic} to its end: there is no such topic; create it or check its name"
    )]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// The spool cannot be read.
    #[error("reading the spool")]
    Spool(#[source] SpoolError),
    /// A stored position is not in the log any more.
    #[error(
        "reading {topic} partition {partition}: the stored position {stored} is outside of the log, \
         which goes from {low} to {high}: messages were removed before they were read, or the log was \
         cut; nothing is skipped by itself: to have the gap recorded in the table gap and go on, set \
         sink.on_lost_messages to skip_and_record and start again"
    )]
    PositionLost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The stored position.
        stored: i64,
        /// The first offset of the log.
        low: i64,
        /// The offset after the last.
        high: i64,
    },
    /// A task of the sink ended without an answer.
    #[error("running the sink's {task}")]
    Task {
        /// Which.
        task: &'static str,
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
}
