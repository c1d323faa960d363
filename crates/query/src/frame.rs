//! The shape of an answer: columns over one time axis, as charts want them.

use serde::{Serialize, Serializer};
use tidegauge_store::{HostId, SeriesId};

/// Columns over one time axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frame {
    /// The measurement.
    pub measurement: String,
    /// Begin of the range, microseconds since 1970 UTC, inclusive.
    pub from_us: i64,
    /// End of the range, microseconds since 1970 UTC, exclusive.
    pub to_us: i64,
    /// Width of a bucket in microseconds, when rows were summed up.
    pub bucket_us: Option<i64>,
    /// The usual time between two samples of a series in microseconds, when there were two.
    pub step_us: Option<i64>,
    /// The axis, ascending, microseconds since 1970 UTC. A bucket stands at its middle.
    ///
    /// Where all series are silent for more than [`Frame::GAP_STEPS`] steps there is one time
    /// without values in between, so that a line that is drawn breaks.
    pub times_us: Vec<i64>,
    /// The columns, by series and then in the order of the fields asked for. A column without
    /// any value is left out.
    pub columns: Vec<Column>,
}

/// One field of one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// The series.
    #[serde(serialize_with = "series_number")]
    pub series: SeriesId,
    /// Its host.
    #[serde(serialize_with = "host_number")]
    pub host: HostId,
    /// Its tags, sorted by name.
    pub tags: Vec<(String, String)>,
    /// The field.
    pub field: String,
    /// Unit of the field, empty for none.
    pub unit: String,
    /// Whether the values are the change per second of a counter.
    pub per_second: bool,
    /// One value per time of the axis: as stored, the mean of a bucket, or a rate.
    pub values: Vec<Option<f64>>,
    /// Least and greatest value of each bucket; absent for rows and for rates.
    pub envelope: Option<Envelope>,
}

/// What a mean hides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Envelope {
    /// The least value of each bucket.
    pub min: Vec<Option<f64>>,
    /// The greatest value of each bucket.
    pub max: Vec<Option<f64>>,
}

impl Frame {
    /// A series that is silent for longer than so many of its steps has a gap.
    pub const GAP_STEPS: f64 = 2.5;

    /// The newest time with a value.
    #[must_use]
    pub fn last_us(&self) -> Option<i64> {
        (0..self.times_us.len())
            .rev()
            .find(|&row| {
                self.columns
                    .iter()
                    .any(|column| column.values[row].is_some())
            })
            .map(|row| self.times_us[row])
    }

    /// Forgets the times up to `time_us` (inclusive), and columns that have no value left.
    pub fn keep_after(&mut self, time_us: i64) {
        let first = self.times_us.partition_point(|&time| time <= time_us);
        self.times_us.drain(..first);
        for column in &mut self.columns {
            column.values.drain(..first);
            if let Some(envelope) = &mut column.envelope {
                envelope.min.drain(..first);
                envelope.max.drain(..first);
            }
        }
        self.drop_empty();
    }

    pub(crate) fn drop_empty(&mut self) {
        self.columns
            .retain(|column| column.values.iter().any(Option::is_some));
    }

    /// Puts a time without values into every silence longer than [`Frame::GAP_STEPS`] of `step_us`.
    pub(crate) fn mark_gaps(&mut self, step_us: i64) {
        let longest_us = (step_us as f64 * Self::GAP_STEPS) as i64;
        for row in (1..self.times_us.len()).rev() {
            let before = self.times_us[row - 1];
            if self.times_us[row] - before <= longest_us {
                continue;
            }
            self.times_us.insert(row, before + step_us);
            for column in &mut self.columns {
                column.values.insert(row, None);
                if let Some(envelope) = &mut column.envelope {
                    envelope.min.insert(row, None);
                    envelope.max.insert(row, None);
                }
            }
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for this shape"
)]
fn series_number<S: Serializer>(series: &SeriesId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32(series.0)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for this shape"
)]
fn host_number<S: Serializer>(host: &HostId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32(host.0)
}
