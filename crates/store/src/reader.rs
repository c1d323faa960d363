//! `trait Reader`: what queries ask of a database.
//!
//! Narrow on purpose: lists of hosts, measurements and series, rows of a range, and rows summed
//! up in buckets, which the database does so that a day of seconds need not travel.

use crate::{HostFreshness, HostId, Loss, PartitionProgress, SeriesId, StoreCondition, StoreError};
use std::ops::Range;
use tidegauge_model::{Kind, Value, ValueType};

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Its number.
    pub id: HostId,
    /// What tells it apart: `agent:<id>` or `name:<host>`.
    pub identity: String,
    /// Its name.
    pub name: String,
    /// Its labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// When it was first seen, microseconds since 1970 UTC.
    pub first_seen_us: i64,
}

/// A field of a measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfo {
    /// Its name.
    pub name: String,
    /// Its type.
    pub value_type: ValueType,
    /// What it is.
    pub kind: Kind,
    /// Its unit, empty for none.
    pub unit: String,
    /// What it says.
    pub description: String,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasurementInfo {
    /// Its name.
    pub name: String,
    /// The kind of most of its fields.
    pub kind: Kind,
    /// What it says.
    pub description: String,
    /// Names of its tags.
    pub tags: Vec<String>,
    /// Its fields.
    pub fields: Vec<FieldInfo>,
}

/// A series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesInfo {
    /// Its number.
    pub id: SeriesId,
    /// Its host.
    pub host: HostId,
    /// Its measurement.
    pub measurement: String,
    /// Its tags, sorted by name.
    pub tags: Vec<(String, String)>,
}

/// Which series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesFilter {
    /// Only of this measurement.
    pub measurement: Option<String>,
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only with these tags.
    pub tags: Vec<(String, String)>,
}

/// Rows of some series of one measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsRequest {
    /// The measurement.
    pub measurement: String,
    /// The series; none given: none answered.
    pub series: Vec<SeriesId>,
    /// The fields, each a column of the answer.
    pub fields: Vec<String>,
    /// From (inclusive) to (exclusive), microseconds since 1970 UTC.
    pub range_us: Range<i64>,
    /// At most so many rows per series, the newest ones.
    pub limit_per_series: u32,
}

/// The rows of one series, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRows {
    /// The series.
    pub series: SeriesId,
    /// Times, microseconds since 1970 UTC.
    pub times_us: Vec<i64>,
    /// One column per field of the request, each as long as `times_us`.
    pub columns: Vec<Vec<Option<Value>>>,
}

/// Rows summed up in buckets of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketsRequest {
    /// The measurement.
    pub measurement: String,
    /// The series; none given: none answered.
    pub series: Vec<SeriesId>,
    /// The fields: numbers, and truth values as 0 and 1. Texts are refused.
    pub fields: Vec<String>,
    /// From (inclusive) to (exclusive), microseconds since 1970 UTC.
    pub range_us: Range<i64>,
    /// Width of a bucket in microseconds, above 0; buckets begin at multiples of it.
    pub bucket_us: i64,
}

/// One field in one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Values that are there.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The sum.
    pub sum: f64,
    /// The youngest, from which rates of counters are made.
    pub last: f64,
}

/// The buckets of one series, oldest first; empty buckets are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesBuckets {
    /// The series.
    pub series: SeriesId,
    /// Begin of each bucket, microseconds since 1970 UTC.
    pub starts_us: Vec<i64>,
    /// One column per field of the request, each as long as `starts_us`.
    pub columns: Vec<Vec<Option<Bucket>>>,
}

/// The answer to a [`BucketsRequest`].
pub type Buckets = Vec<SeriesBuckets>;

/// The store in a few numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreSummary {
    /// Hosts.
    pub hosts: u64,
    /// Measurements.
    pub measurements: u64,
    /// Series.
    pub series: u64,
    /// Points that were stored, by the bookkeeping of the positions.
    pub points: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Bytes on disk, all tables and indexes.
    pub bytes: u64,
}

/// A database that answers queries; many may ask at once.
#[async_trait::async_trait]
pub trait Reader: Send + Sync {
    /// The store in a few numbers.
    ///
    /// # Errors
    /// [`StoreError`], as all of them.
    async fn summary(&self) -> Result<StoreSummary, StoreError>;

    /// What the database is and how it stands. It is asked only, and answers also where there are no tables
    /// yet, if that can be.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn condition(&self) -> Result<StoreCondition, StoreError>;

    /// All hosts by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn hosts(&self) -> Result<Vec<HostInfo>, StoreError>;

    /// All measurements by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn measurements(&self) -> Result<Vec<MeasurementInfo>, StoreError>;

    /// Series by host, measurement and tags.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn series(&self, filter: &SeriesFilter) -> Result<Vec<SeriesInfo>, StoreError>;

    /// Rows of a range. A series without rows in it is left out.
    ///
    /// # Errors
    /// [`StoreError`]; of class `Usage` for a measurement or field that is not there.
    async fn rows(&self, request: &RowsRequest) -> Result<Vec<SeriesRows>, StoreError>;

    /// Rows of a range, summed up in buckets. A series without rows in it is left out.
    ///
    /// # Errors
    /// [`StoreError`]; of class `Usage` for a measurement or field that is not there.
    async fn buckets(&self, request: &BucketsRequest) -> Result<Buckets, StoreError>;

    /// All that was not stored, by what it is, source and reason; nothing: nothing was lost.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn losses(&self) -> Result<Vec<Loss>, StoreError>;

    /// How fresh each host is, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn freshness(&self) -> Result<Vec<HostFreshness>, StoreError>;

    /// How far each partition was read, by topic, source and partition.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn progress(&self) -> Result<Vec<PartitionProgress>, StoreError>;
}
