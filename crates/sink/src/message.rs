//! A message as a source gives it.

use bytes::Bytes;
use tidegauge_store::SourceId;

/// One message with its origin.
#[derive(Debug, Clone)]
pub struct Message {
    /// What the partition belongs to.
    pub source: SourceId,
    /// The partition; 0 for a spool.
    pub partition: i32,
    /// Its offset; for a spool, the entry's number.
    pub offset: i64,
    /// When the producer or the broker took it, microseconds since 1970 UTC, where the source keeps
    /// that: the time of points that have none of their own.
    pub received_us: Option<i64>,
    /// The value of the header `tidegauge-encoding`, where there is one.
    pub encoding: Option<Bytes>,
    /// The bytes.
    pub payload: Bytes,
}
