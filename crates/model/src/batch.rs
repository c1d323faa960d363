//! A batch: what one agent sends at once.

use crate::{Host, Kind, Name, Origin, Point, Tags};
use std::collections::BTreeMap;

/// Why an agent gave up batches that it had taken. A closed list; the words are part of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// The spool's bound in bytes forced the oldest out.
    SpoolFull,
    /// The spool's bound in age forced the oldest out.
    SpoolAge,
    /// The disk under the spool was full.
    DiskFull,
    /// The spool's file was corrupt and was set aside.
    SpoolCorrupt,
    /// The broker refused the batch for good, for example because of its size.
    Refused,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SpoolFull,
        Self::SpoolAge,
        Self::DiskFull,
        Self::SpoolCorrupt,
        Self::Refused,
    ];

    /// The word on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool_full",
            Self::SpoolAge => "spool_age",
            Self::DiskFull => "disk_full",
            Self::SpoolCorrupt => "spool_corrupt",
            Self::Refused => "refused",
        }
    }

    /// The reason behind a word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A range of batches that the agent had to give up, told with a later batch (D2).
///
/// Telling the same range twice counts once: the sink keeps ranges, not sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropNotice {
    /// The epoch that the batches belong to.
    pub epoch: i64,
    /// Sequence of the first one.
    pub first_sequence: u64,
    /// Sequence of the last one, not below the first.
    pub last_sequence: u64,
    /// Why they were given up.
    pub reason: DropReason,
}

/// What one agent sends at once: the envelope and its points; one Kafka message.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Agent, epoch and sequence; absent for producers that do not number their batches.
    pub origin: Option<Origin>,
    /// The host that the points speak of.
    pub host: Host,
    /// Labels of the host from the agent's configuration (`env=prod`).
    pub labels: Tags,
    /// Batches that were given up before this one and are told with it.
    pub drops: Vec<DropNotice>,
    /// The points.
    pub points: Vec<Point>,
}

impl Batch {
    /// The kinds of the measurements of its points, without gauges: what has no kind is one.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<&Name, Kind> {
        let told = self
            .points
            .iter()
            .filter(|point| !point.fields().is_empty());
        told.filter(|point| point.kind() != Kind::Gauge)
            .map(|point| (point.measurement(), point.kind()))
            .collect()
    }
}
