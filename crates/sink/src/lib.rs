//! The sink: from messages to committed steps.
//!
//! Data flows one way: a [`Source`] gives messages, the [`assemble`] module decodes them and packs
//! a step, [`Sink::run`] has the store commit it. The only backward flow is the acknowledgement of
//! what was committed, given to the source as a value (A4).
//!
//! What this crate is not: it knows no SQL and no librdkafka, and it keeps nothing that the
//! database does not have. Killed at any moment, it goes on from the stored positions (D4).

pub mod assemble;
mod bisect;
mod error;
mod ledger;
mod message;
mod metric_table;
mod replay;
mod retry;
mod run;
mod settings;
mod source;
mod status;
pub mod upkeep;

pub use error::SinkError;
pub use message::Message;
pub use metric_table::{METRICS, describe_metrics};
pub use replay::{Replayed, Replayer};
pub use run::{Finished, Sink};
pub use settings::{OnLostMessages, SinkSettings};
pub use source::{
    KafkaSource, KafkaSourceSettings, PartitionLag, Source, SourceEvent, SourceReport, SpoolSource,
};
pub use status::{SinkStatus, StatusReport};
pub use upkeep::UpkeepSettings;
