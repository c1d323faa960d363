//! The agent: collectors and probes on a schedule, their points as batches in a durable spool, and
//! the spool published to Kafka.
//!
//! ```text
//! collectors ─┐
//! probes ─────┼─> collect ─> spool ─> publish ─> Kafka
//! listeners ──┘
//! ```
//! The two halves, [`collect::run`] and [`publish::run`], share the spool and nothing else: either
//! may stand still without holding up the other, until the spool is full. Roots, clock, spool and
//! cancel token are passed in (A3); files of settings are read elsewhere.

mod check_state;
pub mod collect;
pub mod collectors;
mod error;
pub mod identity;
pub mod instruments;
pub mod listeners;
mod own;
pub mod probes;
pub mod publish;
mod roots;
mod runners;
pub mod schedule;
mod settings;
mod status;
mod turnstiles;
mod writer;

pub use check_state::CheckState;
pub use error::AgentError;
pub use roots::HostRoots;
pub use runners::CollectorFailure;
pub use settings::{CollectSettings, PublishSettings};
pub use status::{
    AgentFigures, AgentStatus, METRICS, PublishState, SpoolFigures, describe_metrics,
};
pub use turnstiles::CheckLimits;
pub use writer::Writer;
