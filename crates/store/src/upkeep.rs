//! What a store is asked for from time to time, beside its steps: settling and retention.
//!
//! Both are done by one program at a time, may be stopped at any moment and asked for again.

use std::collections::BTreeMap;

/// What to settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleRequest {
    /// The time now, microseconds since 1970 UTC.
    pub now_us: i64,
    /// How long after its end a partition is left open for late rows, microseconds.
    pub grace_us: i64,
    /// Partitions that are taken on at most.
    pub at_most: usize,
    /// Whether those are taken on too that were put off a short while ago.
    pub postponed_too: bool,
}

/// What came of settling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettleReport {
    /// Another program is at it: nothing was done.
    pub is_busy: bool,
    /// Partitions that are settled now.
    pub settled: Vec<SettledPartition>,
    /// Partitions that stay open for now.
    pub postponed: Vec<PostponedPartition>,
    /// Partitions that wait to be settled, without those above.
    pub remaining: u64,
}

/// A partition that was settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledPartition {
    /// Its measurement.
    pub measurement: String,
    /// Its table.
    pub partition: String,
    /// The rows that it has.
    pub rows: u64,
    /// The rows that repeated another's (series, time), and are gone.
    pub duplicates_removed: u64,
}

/// A partition whose settling was put off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostponedPartition {
    /// Its measurement.
    pub measurement: String,
    /// Its table.
    pub partition: String,
    /// Why.
    pub why: String,
}

/// What is old enough to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionRequest {
    /// The time now, microseconds since 1970 UTC.
    pub now_us: i64,
    /// How long rows are kept, microseconds; `None`: for ever.
    pub keep_us: Option<i64>,
    /// The same for single measurements, which comes first.
    pub keep_of_us: BTreeMap<String, i64>,
    /// Only say what would go.
    pub dry_run: bool,
}

impl RetentionRequest {
    /// Rows of this measurement before this time go.
    #[must_use]
    pub fn before_us(&self, measurement: &str) -> Option<i64> {
        let keep_us = self.keep_of_us.get(measurement).copied().or(self.keep_us)?;
        Some(self.now_us.saturating_sub(keep_us))
    }

    /// Whether there is any limit at all.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.keep_us.is_some() || !self.keep_of_us.is_empty()
    }
}

/// What retention removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Another program is at it: nothing was done.
    pub is_busy: bool,
    /// What went, oldest first within a measurement.
    pub removed: Vec<RemovedRows>,
}

/// Rows of one measurement that went together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedRows {
    /// The measurement.
    pub measurement: String,
    /// The partition that went as a whole, where the database has partitions.
    pub partition: Option<String>,
    /// All of them are before this time, microseconds since 1970 UTC.
    pub before_us: i64,
    /// How many; with partitions it is what the database's statistics estimate.
    pub rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurements_own_limit_comes_first() {
        let mut request = RetentionRequest {
            now_us: 100,
            ..RetentionRequest::default()
        };
        assert!(!request.has_limits() && request.before_us("cpu").is_none());
        request.keep_of_us.insert("cpu".to_owned(), 30);
        assert!(request.has_limits() && request.before_us("load").is_none());
        request.keep_us = Some(10);
        assert_eq!(request.before_us("cpu"), Some(70));
        assert_eq!(request.before_us("load"), Some(90));
    }
}
