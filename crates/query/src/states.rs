//! Up and down over time, with the reason: what a strip of states shows.
//!
//! From rows where they are few, from buckets where they are many. A bucket in which one check
//! failed is down, so that a short outage does not vanish in a long range.

use crate::query::field;
use crate::step::{bucket_width_us, usual_step_us};
use crate::{Frame, Query, QueryError};
use serde::Serialize;
use std::ops::Range;
use tidegauge_model::Value;
use tidegauge_store::{
    BucketsRequest, HostId, MeasurementInfo, RowsRequest, SeriesBuckets, SeriesInfo, SeriesRows,
};

/// Rows per series that are read for a strip, at most.
const MAX_ROWS: u32 = 10_000;
/// Outages of a long range whose reason is looked up, the newest ones.
const MAX_LOOKUPS: usize = 32;
/// Rows of the first bucket of an outage that are read to find its reason.
const LOOKUP_ROWS: u32 = 2_000;

/// Which states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatesRequest {
    /// The measurement.
    pub measurement: String,
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only series with these tags.
    pub tags: Vec<(String, String)>,
    /// The field that is true when the target is up.
    pub up_field: String,
    /// The field with the reason; a change of it begins a new run.
    pub reason_field: String,
    /// A field with more words, of which the first of a run is kept. Unlike the others it may be
    /// one that was never stored, as nothing ever failed.
    pub detail_field: Option<String>,
    /// From (inclusive) to (exclusive), microseconds since 1970 UTC.
    pub range_us: Range<i64>,
    /// Runs that the answer may have: the pixels of a strip.
    pub max_points: u32,
}

/// The states of one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesStates {
    /// Its tags, sorted by name.
    pub tags: Vec<(String, String)>,
    /// Checks in the range.
    pub samples: u64,
    /// Those of them that were up.
    pub up_samples: u64,
    /// What was in between, ascending; silence has no run.
    pub runs: Vec<StateRun>,
}

/// A time of one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateRun {
    /// Begin, microseconds since 1970 UTC.
    pub from_us: i64,
    /// End: the next state's begin, or one step after the last sample.
    pub to_us: i64,
    /// Whether it was up.
    pub up: bool,
    /// The reason, if it is known.
    pub reason: Option<String>,
    /// More words, if there are.
    pub detail: Option<String>,
}

impl Query {
    /// The states of each series that has one in the range.
    ///
    /// # Errors
    /// [`QueryError`]: something that is not there, an empty range, or the database.
    pub async fn states(&self, request: &StatesRequest) -> Result<Vec<SeriesStates>, QueryError> {
        let measurement = self.measurement(&request.measurement).await?;
        self.states_of(&measurement, request).await
    }

    /// As [`Query::states`] for a measurement that the caller has already.
    ///
    /// # Errors
    /// As [`Query::states`].
    pub async fn states_of(
        &self,
        measurement: &MeasurementInfo,
        request: &StatesRequest,
    ) -> Result<Vec<SeriesStates>, QueryError> {
        if request.range_us.is_empty() || request.max_points == 0 {
            return Err(QueryError::EmptyRange {
                from_us: request.range_us.start,
                to_us: request.range_us.end,
                max_points: request.max_points,
            });
        }
        let mut fields = Vec::new();
        for name in [&request.up_field, &request.reason_field] {
            fields.push(field(measurement, name)?.name.clone());
        }
        let detail = request.detail_field.iter();
        fields.extend(
            detail
                .filter(|name| field(measurement, name).is_ok())
                .cloned(),
        );
        let series = self
            .series(request.host, Some(&measurement.name), &request.tags)
            .await?;
        if series.is_empty() {
            return Ok(Vec::new());
        }
        let rows_request = RowsRequest {
            measurement: measurement.name.clone(),
            series: series.iter().map(|series| series.id).collect(),
            fields,
            range_us: request.range_us.clone(),
            limit_per_series: MAX_ROWS + 1,
        };
        let answer = self.reader.rows(&rows_request).await;
        let rows = answer.map_err(QueryError::reading(format!("rows of {}", measurement.name)))?;
        let few = |rows: &SeriesRows| rows.times_us.len() <= MAX_ROWS as usize;
        let mut found: Vec<SeriesStates> = match rows.iter().all(few) {
            true => rows
                .iter()
                .filter_map(|rows| from_rows(rows, &series, request))
                .collect(),
            false => Vec::new(),
        };
        let fits = |states: &SeriesStates| states.runs.len() <= request.max_points as usize;
        if found.is_empty() && !rows.is_empty() || !found.iter().all(fits) {
            found = self
                .sum_up_buckets(&rows_request, &rows, &series, request)
                .await?;
        }
        found.sort_by(|one, other| one.tags.cmp(&other.tags));
        Ok(found)
    }

    async fn sum_up_buckets(
        &self,
        rows_request: &RowsRequest,
        newest: &[SeriesRows],
        series: &[SeriesInfo],
        request: &StatesRequest,
    ) -> Result<Vec<SeriesStates>, QueryError> {
        let length_us = request.range_us.end.saturating_sub(request.range_us.start);
        let buckets_request = BucketsRequest {
            measurement: rows_request.measurement.clone(),
            series: rows_request.series.clone(),
            fields: vec![request.up_field.clone()],
            range_us: request.range_us.clone(),
            bucket_us: bucket_width_us(length_us, request.max_points),
        };
        let answer = self.reader.buckets(&buckets_request).await;
        let what = format!("buckets of {}", rows_request.measurement);
        let buckets = answer.map_err(QueryError::reading(what))?;
        let mut found = Vec::new();
        for buckets in &buckets {
            let Some(info) = series.iter().find(|series| series.id == buckets.series) else {
                continue;
            };
            let rows = newest.iter().find(|rows| rows.series == buckets.series);
            let step_us = rows
                .and_then(|rows| usual_step_us(&rows.times_us))
                .unwrap_or(0);
            let mut states = sum_up(
                buckets,
                info,
                request,
                buckets_request.bucket_us.max(step_us),
            );
            let down = states.runs.iter_mut().rev().filter(|run| !run.up);
            for run in down.take(MAX_LOOKUPS) {
                let lookup = RowsRequest {
                    series: vec![info.id],
                    range_us: run.from_us..run.to_us.min(run.from_us + buckets_request.bucket_us),
                    limit_per_series: LOOKUP_ROWS,
                    ..rows_request.clone()
                };
                let answer = self.reader.rows(&lookup).await;
                let rows = answer.map_err(QueryError::reading("the reason of an outage"))?;
                let first = rows.first().and_then(|rows| {
                    (0..rows.times_us.len())
                        .map(|row| Sample::of(rows, row))
                        .find(|sample| sample.up == Some(false))
                });
                if let Some(sample) = first {
                    run.reason = sample.reason.map(str::to_owned);
                    run.detail = sample.detail.map(str::to_owned);
                }
            }
            found.push(states);
        }
        Ok(found)
    }
}

/// One row of a check, read as up, reason and perhaps detail.
struct Sample<'a> {
    up: Option<bool>,
    reason: Option<&'a str>,
    detail: Option<&'a str>,
}

impl<'a> Sample<'a> {
    fn of(rows: &'a SeriesRows, row: usize) -> Self {
        let value = |column: usize| rows.columns.get(column)?.get(row)?.as_ref();
        let text = |column: usize| match value(column)? {
            Value::Text(text) => Some(text.as_ref()),
            _ => None,
        };
        Self {
            up: match value(0) {
                Some(Value::Bool(up)) => Some(*up),
                Some(Value::Float(number)) => Some(*number != 0.0),
                _ => None,
            },
            reason: text(1),
            detail: text(2),
        }
    }
}

fn from_rows(
    rows: &SeriesRows,
    all: &[SeriesInfo],
    request: &StatesRequest,
) -> Option<SeriesStates> {
    let info = all.iter().find(|series| series.id == rows.series)?;
    let step_us = usual_step_us(&rows.times_us).unwrap_or(1_000_000);
    let mut states = SeriesStates::empty(info);
    let known = (0..rows.times_us.len()).map(|row| (rows.times_us[row], Sample::of(rows, row)));
    for (time_us, sample) in known {
        let Some(up) = sample.up else { continue };
        states.samples += 1;
        states.up_samples += u64::from(up);
        states.add(time_us, step_us, request, up, &sample);
    }
    Some(states)
}

fn sum_up(
    buckets: &SeriesBuckets,
    info: &SeriesInfo,
    request: &StatesRequest,
    step_us: i64,
) -> SeriesStates {
    let mut states = SeriesStates::empty(info);
    let column = buckets.columns.first().map_or(&[][..], Vec::as_slice);
    for (&start_us, bucket) in buckets.starts_us.iter().zip(column) {
        let Some(bucket) = bucket.filter(|bucket| bucket.count > 0) else {
            continue;
        };
        states.samples += bucket.count;
        states.up_samples += bucket.sum.round() as u64;
        let nothing = Sample {
            up: None,
            reason: None,
            detail: None,
        };
        let time_us = start_us.max(request.range_us.start);
        states.add(time_us, step_us, request, bucket.min >= 1.0, &nothing);
    }
    states
}

impl SeriesStates {
    fn empty(info: &SeriesInfo) -> Self {
        Self {
            tags: info.tags.clone(),
            samples: 0,
            up_samples: 0,
            runs: Vec::new(),
        }
    }

    /// Adds a sample: it prolongs the last run up to itself, joins it or begins a new one.
    fn add(
        &mut self,
        time_us: i64,
        step_us: i64,
        request: &StatesRequest,
        up: bool,
        sample: &Sample<'_>,
    ) {
        let to_us = time_us.saturating_add(step_us).min(request.range_us.end);
        // A run ends one step after its last sample, so 1.5 more are 2.5 since that sample.
        let joins_us = (step_us as f64 * (Frame::GAP_STEPS - 1.0)) as i64;
        if let Some(last) = self.runs.last_mut()
            && time_us - last.to_us <= joins_us
        {
            last.to_us = time_us;
            if last.up == up && last.reason.as_deref() == sample.reason {
                last.to_us = to_us;
                return;
            }
        }
        self.runs.push(StateRun {
            from_us: time_us,
            to_us,
            up,
            reason: sample.reason.map(str::to_owned),
            detail: sample.detail.map(str::to_owned),
        });
    }
}
