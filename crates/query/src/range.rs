//! Values of a range of time, as rows or as buckets, whichever fits.
//!
//! Rows are read first, at most one more per series than the answer may have; when a series has
//! more, the database sums it up in buckets. So a short range costs one read, and a day of seconds
//! never travels.

use crate::query::field;
use crate::rate::rates;
use crate::step::{bucket_width_us, usual_step_us};
use crate::{Column, Envelope, Frame, Query, QueryError};
use std::collections::HashMap;
use std::ops::Range;
use tidegauge_model::{Kind, Value, ValueType};
use tidegauge_store::{
    Bucket, BucketsRequest, FieldInfo, HostId, MeasurementInfo, RowsRequest, SeriesBuckets,
    SeriesId, SeriesInfo, SeriesRows,
};

/// What becomes of counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Counters {
    /// Their change per second.
    #[default]
    Rates,
    /// What is stored.
    Totals,
}

/// Which values, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// The measurement.
    pub measurement: String,
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only series with these tags.
    pub tags: Vec<(String, String)>,
    /// The fields; truth values are answered as 0 and 1.
    pub fields: Vec<String>,
    /// From (inclusive) to (exclusive), microseconds since 1970 UTC.
    pub range_us: Range<i64>,
    /// Times that the answer may have, apart from those that mark gaps: the pixels of a chart.
    pub max_points: u32,
    /// What becomes of counters.
    pub counters: Counters,
}

/// Rows of one series in one shape, whether they came as rows or as buckets.
struct Samples<'a> {
    series: &'a SeriesInfo,
    step_us: Option<i64>,
    times_us: Vec<i64>,
    columns: Vec<Values>,
}

/// What was read of all series.
struct Read<'a> {
    bucket_us: Option<i64>,
    samples: Vec<Samples<'a>>,
}

struct Values {
    values: Vec<Option<f64>>,
    envelope: Option<Envelope>,
    /// Samples per bucket; empty for rows.
    counts: Vec<u64>,
}

impl Query {
    /// Values of a range. A series without values in it is left out.
    ///
    /// # Errors
    /// [`QueryError`]: something that is not there, an empty range, or the database.
    pub async fn range(&self, request: &RangeRequest) -> Result<Frame, QueryError> {
        let measurement = self.measurement(&request.measurement).await?;
        self.range_of(&measurement, request).await
    }

    /// As [`Query::range`] for a measurement that the caller has already.
    ///
    /// # Errors
    /// As [`Query::range`].
    pub async fn range_of(
        &self,
        measurement: &MeasurementInfo,
        request: &RangeRequest,
    ) -> Result<Frame, QueryError> {
        let fields = request.check(measurement)?;
        let series = self.series_of(measurement, request).await?;
        let read = self.read(measurement, request, &fields, &series).await?;
        let samples: Vec<_> = read.samples.iter().collect();
        Ok(read.frame(request, &fields, &samples))
    }

    /// As [`Query::range_of`], but one frame per series, each with an axis of its own: for series
    /// that are not sampled together, as those of checks.
    ///
    /// # Errors
    /// As [`Query::range`].
    pub async fn range_by_series(
        &self,
        measurement: &MeasurementInfo,
        request: &RangeRequest,
    ) -> Result<Vec<Frame>, QueryError> {
        let fields = request.check(measurement)?;
        let series = self.series_of(measurement, request).await?;
        let read = self.read(measurement, request, &fields, &series).await?;
        let frame = |samples| read.frame(request, &fields, &[samples]);
        let frames = read.samples.iter().map(frame);
        Ok(frames.filter(|frame| !frame.columns.is_empty()).collect())
    }

    async fn series_of(
        &self,
        measurement: &MeasurementInfo,
        request: &RangeRequest,
    ) -> Result<Vec<SeriesInfo>, QueryError> {
        let name = Some(measurement.name.as_str());
        let mut series = self.series(request.host, name, &request.tags).await?;
        series.sort_by(|one, other| (one.host, &one.tags).cmp(&(other.host, &other.tags)));
        Ok(series)
    }

    async fn read<'a>(
        &self,
        measurement: &MeasurementInfo,
        request: &RangeRequest,
        fields: &[&FieldInfo],
        series: &'a [SeriesInfo],
    ) -> Result<Read<'a>, QueryError> {
        let mut read = Read {
            bucket_us: None,
            samples: Vec::new(),
        };
        if series.is_empty() || fields.is_empty() {
            return Ok(read);
        }
        let rows_request = RowsRequest {
            measurement: measurement.name.clone(),
            series: series.iter().map(|series| series.id).collect(),
            fields: request.fields.clone(),
            range_us: request.range_us.clone(),
            limit_per_series: request.max_points.saturating_add(1),
        };
        let answer = self.reader.rows(&rows_request).await;
        let rows = answer.map_err(QueryError::reading(format!("rows of {}", measurement.name)))?;
        let steps: HashMap<SeriesId, i64> = rows
            .iter()
            .filter_map(|rows| Some((rows.series, usual_step_us(&rows.times_us)?)))
            .collect();

        let fits = |rows: &SeriesRows| rows.times_us.len() <= request.max_points as usize;
        if rows.iter().all(fits) {
            let samples = rows.into_iter().filter_map(|rows| from_rows(rows, series));
            read.samples = samples.collect();
        } else {
            let length_us = request.range_us.end.saturating_sub(request.range_us.start);
            let width_us = bucket_width_us(length_us, request.max_points);
            read.bucket_us = Some(width_us);
            let buckets = self
                .buckets(&rows_request, width_us, fields, request)
                .await?;
            let samples = buckets.into_iter();
            let samples =
                samples.filter_map(|buckets| from_buckets(buckets, series, fields, request));
            read.samples = samples.collect();
        }
        for samples in &mut read.samples {
            samples.step_us = steps.get(&samples.series.id).copied();
            let longest_us = match spacing_us(samples.step_us, read.bucket_us) {
                0 => i64::MAX,
                spacing => (spacing as f64 * Frame::GAP_STEPS) as i64,
            };
            for (values, field) in samples.columns.iter_mut().zip(fields) {
                if request.is_rate(field) {
                    let step_us = samples.step_us.unwrap_or(0);
                    let times_us = sampled_us(&samples.times_us, &values.counts, step_us);
                    values.values = rates(&times_us, &values.values, longest_us);
                    values.envelope = None;
                }
            }
        }
        let place =
            |samples: &Samples<'_>| series.iter().position(|info| info.id == samples.series.id);
        read.samples.sort_by_key(place);
        Ok(read)
    }

    async fn buckets(
        &self,
        rows: &RowsRequest,
        width_us: i64,
        fields: &[&FieldInfo],
        request: &RangeRequest,
    ) -> Result<Vec<SeriesBuckets>, QueryError> {
        // A rate needs the value before: one bucket more, which is not shown.
        let has_rates = fields.iter().any(|field| request.is_rate(field));
        let lead_us = if has_rates { width_us } else { 0 };
        let from_us = rows.range_us.start.saturating_sub(lead_us);
        let request = BucketsRequest {
            measurement: rows.measurement.clone(),
            series: rows.series.clone(),
            fields: rows.fields.clone(),
            range_us: from_us..rows.range_us.end,
            bucket_us: width_us,
        };
        let answer = self.reader.buckets(&request).await;
        answer.map_err(QueryError::reading(format!(
            "buckets of {}",
            rows.measurement
        )))
    }
}

impl RangeRequest {
    fn check<'a>(
        &self,
        measurement: &'a MeasurementInfo,
    ) -> Result<Vec<&'a FieldInfo>, QueryError> {
        if self.range_us.is_empty() || self.max_points == 0 {
            return Err(QueryError::EmptyRange {
                from_us: self.range_us.start,
                to_us: self.range_us.end,
                max_points: self.max_points,
            });
        }
        let numbers = |name: &String| match field(measurement, name)? {
            text if text.value_type == ValueType::Text => Err(QueryError::TextField {
                measurement: measurement.name.clone(),
                field: name.clone(),
            }),
            field => Ok(field),
        };
        self.fields.iter().map(numbers).collect()
    }

    fn is_rate(&self, field: &FieldInfo) -> bool {
        field.kind == Kind::Counter && self.counters == Counters::Rates
    }
}

pub(crate) fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Float(number) => Some(*number),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Text(_) => None,
    }
}

fn from_rows(rows: SeriesRows, all: &[SeriesInfo]) -> Option<Samples<'_>> {
    let numbers = |column: &Vec<Option<Value>>| Values {
        values: column.iter().map(|value| number(value.as_ref())).collect(),
        envelope: None,
        counts: Vec::new(),
    };
    Some(Samples {
        series: all.iter().find(|series| series.id == rows.series)?,
        columns: rows.columns.iter().map(numbers).collect(),
        step_us: None,
        times_us: rows.times_us,
    })
}

fn from_buckets<'a>(
    buckets: SeriesBuckets,
    all: &'a [SeriesInfo],
    fields: &[&FieldInfo],
    request: &RangeRequest,
) -> Option<Samples<'a>> {
    let columns = buckets.columns.iter().zip(fields).map(|(column, field)| {
        let pick = |value: fn(&Bucket) -> f64| -> Vec<Option<f64>> {
            let filled = |bucket: &&Bucket| bucket.count > 0;
            column
                .iter()
                .map(|bucket| bucket.as_ref().filter(filled).map(value))
                .collect()
        };
        if request.is_rate(field) {
            let counts = column
                .iter()
                .map(|bucket| bucket.map_or(0, |bucket| bucket.count));
            return Values {
                values: pick(|bucket| bucket.last),
                envelope: None,
                counts: counts.collect(),
            };
        }
        Values {
            values: pick(|bucket| bucket.sum / bucket.count as f64),
            envelope: Some(Envelope {
                min: pick(|bucket| bucket.min),
                max: pick(|bucket| bucket.max),
            }),
            counts: Vec::new(),
        }
    });
    Some(Samples {
        series: all.iter().find(|series| series.id == buckets.series)?,
        columns: columns.collect(),
        step_us: None,
        times_us: buckets.starts_us,
    })
}

/// The usual time between two points of an answer, 0 if unknown.
fn spacing_us(step_us: Option<i64>, bucket_us: Option<i64>) -> i64 {
    step_us.unwrap_or(0).max(bucket_us.unwrap_or(0))
}

/// When the last samples of buckets were taken, as far as rates need it: only differences count.
///
/// A bucket that is not full, or buckets that are no multiple of the step, would give rates that
/// are wrong by up to a step: so many steps lie between two last samples as the later bucket has
/// samples. Where that is not within a step of the buckets' distance, some were missed, and the
/// distance is all that is known.
fn sampled_us(times_us: &[i64], counts: &[u64], step_us: i64) -> Vec<i64> {
    let mut sampled_us = times_us.to_vec();
    for row in 1..counts.len() {
        let distance_us = times_us[row] - times_us[row - 1];
        let steps_us = i64::try_from(counts[row])
            .unwrap_or(0)
            .saturating_mul(step_us);
        let is_newest = row + 1 == counts.len();
        let is_close = (distance_us - steps_us).abs() <= step_us;
        let elapsed_us = match steps_us > 0 && (is_close || is_newest && steps_us < distance_us) {
            true => steps_us,
            false => distance_us,
        };
        sampled_us[row] = sampled_us[row - 1] + elapsed_us;
    }
    sampled_us
}

impl Read<'_> {
    fn frame(
        &self,
        request: &RangeRequest,
        fields: &[&FieldInfo],
        samples: &[&Samples<'_>],
    ) -> Frame {
        let step_us = samples.iter().filter_map(|samples| samples.step_us).min();
        let merged_us = match self.bucket_us {
            None => step_us.map_or(0, |step| step / 2),
            Some(_) => 0,
        };
        let mut frame = Frame {
            measurement: request.measurement.clone(),
            from_us: request.range_us.start,
            to_us: request.range_us.end,
            bucket_us: self.bucket_us,
            step_us,
            times_us: Vec::new(),
            columns: Vec::new(),
        };
        lay_out(&mut frame, samples, fields, request, merged_us);
        if let Some(width_us) = self.bucket_us {
            stand_at_middle(&mut frame, width_us);
        }
        let spacing_us = spacing_us(step_us, self.bucket_us);
        if spacing_us > 0 {
            frame.mark_gaps(spacing_us);
        }
        frame
    }
}

/// Puts series on one axis. Samples of one collection are microseconds apart and share a time:
/// what is at most `merged_us` after the first of a group belongs to it, each series once.
fn lay_out(
    frame: &mut Frame,
    samples: &[&Samples<'_>],
    fields: &[&FieldInfo],
    request: &RangeRequest,
    merged_us: i64,
) {
    let mut order: Vec<(i64, usize, usize)> = Vec::new();
    for (index, samples) in samples.iter().enumerate() {
        let rows = samples.times_us.iter().enumerate();
        order.extend(rows.map(|(row, &time_us)| (time_us, index, row)));
    }
    order.sort_unstable();
    // Where each (series, row) stands on the axis.
    let mut places: HashMap<(usize, usize), usize> = HashMap::with_capacity(order.len());
    let mut in_group = vec![false; samples.len()];
    for (time_us, index, row) in order {
        let joins = frame
            .times_us
            .last()
            .is_some_and(|first| time_us - first <= merged_us);
        if !joins || in_group[index] {
            frame.times_us.push(time_us);
            in_group.fill(false);
        }
        in_group[index] = true;
        places.insert((index, row), frame.times_us.len() - 1);
    }

    let height = frame.times_us.len();
    for (index, samples) in samples.iter().enumerate() {
        let spread = |values: &[Option<f64>]| {
            let mut column = vec![None; height];
            for (row, value) in values.iter().enumerate() {
                column[places[&(index, row)]] = *value;
            }
            column
        };
        for (values, field) in samples.columns.iter().zip(fields) {
            frame.columns.push(Column {
                series: samples.series.id,
                host: samples.series.host,
                tags: samples.series.tags.clone(),
                field: field.name.clone(),
                unit: field.unit.clone(),
                per_second: request.is_rate(field),
                values: spread(&values.values),
                envelope: values.envelope.as_ref().map(|envelope| Envelope {
                    min: spread(&envelope.min),
                    max: spread(&envelope.max),
                }),
            });
        }
    }
    frame.drop_empty();
}

/// Forgets the bucket before the range and moves each to its middle, inside of the range.
fn stand_at_middle(frame: &mut Frame, width_us: i64) {
    let first_start_us = frame.from_us.div_euclid(width_us) * width_us;
    frame.keep_after(first_start_us - 1);
    for time_us in &mut frame.times_us {
        *time_us = (*time_us + width_us / 2).clamp(frame.from_us, frame.to_us - 1);
    }
}
