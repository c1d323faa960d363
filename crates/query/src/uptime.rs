//! Checks counted: how many failed, by day or in all, and which phases took how long.
//!
//! From buckets of days, which the database sums up, so that a year of checks need not travel. As in the
//! view `uptime`, an attempt that was repeated at once is no check by itself.

use crate::{Query, QueryError};
use std::ops::Range;
use tidegauge_model::ValueType;
use tidegauge_store::{BucketsRequest, HostId, MeasurementInfo, SeriesBuckets, SeriesInfo};

const DAY_US: i64 = 86_400_000_000;

/// The fields of checks that are phases, one after the other.
const PHASES: &[&str] = &[
    "resolve_seconds",
    "connect_seconds",
    "starttls_seconds",
    "tls_seconds",
    "dialogue_seconds",
    "answer_seconds",
    "first_byte_seconds",
    "transfer_seconds",
];

/// Which checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksRequest {
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only with these tags.
    pub tags: Vec<(String, String)>,
    /// From (inclusive) to (exclusive), microseconds since 1970 UTC.
    pub range_us: Range<i64>,
}

/// The checks of one series on one UTC day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckDay {
    /// Begin of the day, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Checks; an attempt that is repeated at once is none.
    pub checks: u64,
    /// Those of them that failed.
    pub failed: u64,
}

/// One check over the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckDays {
    /// Its series: measurement, host and tags.
    pub series: SeriesInfo,
    /// Its days on which it was made, ascending; never none.
    pub days: Vec<CheckDay>,
}

/// How long one phase of one check took.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckPhase {
    /// Its series: measurement, host and tags.
    pub series: SeriesInfo,
    /// The phase, the field's name without its unit: `first_byte`.
    pub phase: String,
    /// Checks that came to its end.
    pub count: u64,
    /// Its mean, in seconds.
    pub mean_seconds: f64,
    /// Its longest, in seconds.
    pub max_seconds: f64,
}

impl CheckDays {
    /// All days together; `from_us` is that of the first.
    #[must_use]
    pub fn total(&self) -> CheckDay {
        CheckDay {
            from_us: self.days.first().map_or(0, |day| day.from_us),
            checks: self.days.iter().map(|day| day.checks).sum(),
            failed: self.days.iter().map(|day| day.failed).sum(),
        }
    }
}

impl CheckDay {
    /// The share of the checks that did not fail, 0 to 1.
    #[must_use]
    pub fn availability(&self) -> f64 {
        (self.checks - self.failed) as f64 / self.checks as f64
    }

    /// How many checks may fail by this objective, a share between 0 and 1.
    #[must_use]
    pub fn allowed(&self, objective: f64) -> f64 {
        (1.0 - objective) * self.checks as f64
    }

    /// What is left of the error budget of this objective: 1 where nothing failed, 0 where all that may fail
    /// has, below 0 where more has.
    #[must_use]
    pub fn budget_left(&self, objective: f64) -> f64 {
        1.0 - self.failed as f64 / self.allowed(objective)
    }
}

impl Query {
    /// The checks of all kinds that were made in the range, by measurement, tags and host.
    ///
    /// # Errors
    /// [`QueryError::EmptyRange`], [`QueryError::Store`].
    pub async fn uptime(&self, request: &ChecksRequest) -> Result<Vec<CheckDays>, QueryError> {
        let mut found = Vec::new();
        for measurement in self.checks().await? {
            let mut fields = vec!["up".to_owned()];
            fields.extend(
                has(&measurement, "repeated", ValueType::Bool).then(|| "repeated".to_owned()),
            );
            for (series, buckets) in self.days(&measurement, fields, request).await? {
                let days = days_of(&buckets);
                if !days.is_empty() {
                    found.push(CheckDays { series, days });
                }
            }
        }
        Ok(found)
    }

    /// The phases of these checks, that with the greatest mean first.
    ///
    /// # Errors
    /// As [`Query::uptime`].
    pub async fn slowest_phases(
        &self,
        request: &ChecksRequest,
    ) -> Result<Vec<CheckPhase>, QueryError> {
        let mut found = Vec::new();
        for measurement in self.checks().await? {
            let is_there = |name: &&&str| has(&measurement, name, ValueType::Float);
            let phases: Vec<&str> = PHASES.iter().filter(is_there).copied().collect();
            if phases.is_empty() {
                continue;
            }
            let fields = phases.iter().map(|&name| name.to_owned()).collect();
            for (series, buckets) in self.days(&measurement, fields, request).await? {
                for (phase, column) in phases.iter().zip(&buckets.columns) {
                    let days = || column.iter().flatten();
                    let count: u64 = days().map(|day| day.count).sum();
                    if count > 0 {
                        let sum: f64 = days().map(|day| day.sum).sum();
                        found.push(CheckPhase {
                            series: series.clone(),
                            phase: phase.trim_end_matches("_seconds").to_owned(),
                            count,
                            mean_seconds: sum / count as f64,
                            max_seconds: days().map(|day| day.max).fold(0.0, f64::max),
                        });
                    }
                }
            }
        }
        found.sort_by(|one, other| other.mean_seconds.total_cmp(&one.mean_seconds));
        Ok(found)
    }

    /// The measurements of checks: what the store's views take in.
    async fn checks(&self) -> Result<Vec<MeasurementInfo>, QueryError> {
        let mut measurements = self.measurements().await?;
        measurements
            .retain(|known| known.name.ends_with("_check") && has(known, "up", ValueType::Bool));
        Ok(measurements)
    }

    /// The days of each series of a measurement, by tags and host.
    async fn days(
        &self,
        measurement: &MeasurementInfo,
        fields: Vec<String>,
        request: &ChecksRequest,
    ) -> Result<Vec<(SeriesInfo, SeriesBuckets)>, QueryError> {
        let range_us = request.range_us.clone();
        if range_us.is_empty() {
            return Err(QueryError::EmptyRange {
                from_us: range_us.start,
                to_us: range_us.end,
                max_points: u32::MAX,
            });
        }
        let series = self
            .series(request.host, Some(&measurement.name), &request.tags)
            .await?;
        let buckets_request = BucketsRequest {
            measurement: measurement.name.clone(),
            series: series.iter().map(|series| series.id).collect(),
            fields,
            range_us,
            bucket_us: DAY_US,
        };
        let answer = self.reader.buckets(&buckets_request).await;
        let what = format!("buckets of {}", measurement.name);
        let mut found = Vec::new();
        for buckets in answer.map_err(QueryError::reading(what))? {
            if let Some(info) = series.iter().find(|series| series.id == buckets.series) {
                found.push((info.clone(), buckets));
            }
        }
        found.sort_by(|(one, _), (other, _)| (&one.tags, one.host).cmp(&(&other.tags, other.host)));
        Ok(found)
    }
}

fn has(measurement: &MeasurementInfo, name: &str, value_type: ValueType) -> bool {
    let mut fields = measurement.fields.iter();
    fields.any(|field| field.name == name && field.value_type == value_type)
}

/// The days of buckets of `up`, and of `repeated` where there is such a field.
fn days_of(buckets: &SeriesBuckets) -> Vec<CheckDay> {
    let bucket = |column: usize, at: usize| *buckets.columns.get(column)?.get(at)?;
    let days = (0..).zip(&buckets.starts_us).filter_map(|(at, &from_us)| {
        let up = bucket(0, at)?;
        let repeated = bucket(1, at).map_or(0, |repeated| repeated.sum.round() as u64);
        let checks = up.count.saturating_sub(repeated);
        let good = (up.sum.round() as u64).min(checks);
        (checks > 0).then_some(CheckDay {
            from_us,
            checks,
            failed: checks - good,
        })
    });
    days.collect()
}
