//! The words of Tidegauge as types: point, tags, value, batch, kind, and the catalog of built-in
//! measurements.
//!
//! This crate does no I/O and knows no encoding, no Kafka and no database: every other crate may
//! import it, and it imports none of them.

mod batch;
mod batch_ref;
pub mod catalog;
mod chain;
mod clock;
mod file_stamp;
mod identity;
mod limits;
mod metric;
mod name;
mod point;
mod ranges;
mod reason;
mod shape;
mod value;

pub use batch::{Batch, DropNotice, DropReason};
pub use batch_ref::{BatchRef, MOST_REJECTED, PointRef, RejectedPoint};
pub use catalog::Kind;
pub use chain::chain;
pub use clock::{Clock, ManualClock, SystemClock};
pub use file_stamp::FileStamp;
pub use identity::{AgentId, Host, IdentityError, Origin};
pub use limits::Limits;
pub use metric::{Metric, MetricKind};
pub use name::{Name, NameError};
pub use point::{Field, Point, Tag, Tags};
pub use ranges::SequenceRanges;
pub use reason::Reason;
pub use shape::Shape;
pub use value::{Value, ValueRef, ValueType};
