//! The encoding `prometheus-remote-write/1`: a `WriteRequest` of Prometheus' remote write 1.0, as
//! protobuf in a block of snappy, the body of its HTTP request. It is only read.
//! `docs/wire-format.md` is its reference.
//!
//! Specification: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.
//!
//! 1. A sample is a point: the label `__name__` is the measurement, the other labels are tags, and
//!    the number is the field `value`. The index of a point counts the samples of the message.
//! 2. The host is the label `instance` without its port, else `host`; the label stays a tag where it
//!    had a port.
//! 3. A marker of staleness says that a series has ended; it is no value and makes no point. Other
//!    numbers that are not finite are left out and counted.
//! 4. Exemplars and metadata are stepped over. A native histogram is a dead letter of its own.
//! 5. A block that says to be larger than [`MAX_BYTES`] is refused before it is unpacked.

mod message;

use crate::check::{Checked, wrong};
use crate::foreign::points::{ForeignPoints, ForeignRules};
use crate::{DecodeContext, DecodeError, Encoding, Place, TimeUnit};
use message::{TimeSeries, WriteRequest};
use prost::Message as _;
use std::borrow::Cow;
use tidegauge_model::{BatchRef, Reason, ValueRef};

/// The encoding `prometheus-remote-write/1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrometheusRemoteWrite;

const VERSION: u32 = 1;

/// The most bytes of a message without its compression.
const MAX_BYTES: usize = 32 << 20;

/// The label that names the metric.
const NAME: &str = "__name__";

/// The field of a point.
const FIELD: &str = "value";

/// The NaN by which Prometheus says that a series has ended (its `model/value/value.go`).
const STALE: u64 = 0x7ff0_0000_0000_0002;

const RULES: ForeignRules = ForeignRules {
    host_tags: &["instance", "host"],
    cut_port: true,
    last_field_counts: false,
};

impl Encoding for PrometheusRemoteWrite {
    fn name(&self) -> &'static str {
        "prometheus-remote-write"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn decode_in<'a>(
        &self,
        bytes: &'a [u8],
        context: DecodeContext<'a>,
        into: &mut BatchRef<'a>,
    ) -> Result<(), DecodeError> {
        let mut points = ForeignPoints::new(into, context, RULES);
        let request = unpack(bytes)?;
        let mut index = 0;
        for series in request.timeseries {
            read_series(&series, &mut index, &mut points);
        }
        Ok(())
    }
}

fn unpack(bytes: &[u8]) -> Result<WriteRequest, DecodeError> {
    let refuse = |reason, detail: String| DecodeError::new(reason, Place::default(), detail);
    if bytes.is_empty() {
        return Err(refuse(Reason::Empty, "the message is empty".to_owned()));
    }
    let length = snap::raw::decompress_len(bytes)
        .map_err(|error| refuse(Reason::Syntax, format!("no block of snappy: {error}")))?;
    if length > MAX_BYTES {
        let detail = format!("{length} bytes without compression, the limit is {MAX_BYTES}");
        return Err(refuse(Reason::MessageTooLarge, detail));
    }
    let unpacked = snap::raw::Decoder::new()
        .decompress_vec(bytes)
        .map_err(|error| refuse(Reason::Syntax, format!("no block of snappy: {error}")))?;
    WriteRequest::decode(unpacked.as_slice())
        .map_err(|error| refuse(Reason::Syntax, format!("no WriteRequest: {error}")))
}

/// Reads the samples of a series; each is a point that fails alone.
fn read_series(series: &TimeSeries, index: &mut u32, points: &mut ForeignPoints<'_, '_>) {
    let name = series.labels.iter().find(|label| label.name == NAME);
    let histograms = series.histograms.iter().map(|_| None);
    for sample in series.samples.iter().map(Some).chain(histograms) {
        let read = match sample {
            None => wrong(
                Reason::WrongType,
                "a native histogram, which remote write 1.0 does not have",
            ),
            Some(sample) if sample.value.to_bits() == STALE => Ok(()),
            Some(sample) if !sample.value.is_finite() => {
                points.leave_out();
                Ok(())
            }
            Some(sample) => read_labels(series, points).and_then(|()| {
                let Some(name) = name else {
                    let detail = format!("the label {NAME} is missing");
                    return wrong(Reason::MissingKey, detail);
                };
                points.field(Cow::Borrowed(FIELD), ValueRef::Float(sample.value))?;
                let Some(time_us) = TimeUnit::Milliseconds.microseconds(sample.timestamp) else {
                    let detail = format!("{} ms are beyond 64 bits", sample.timestamp);
                    return wrong(Reason::BadTime, detail);
                };
                points.finish(*index, Cow::Owned(name.value.clone()), time_us)
            }),
        };
        if let Err(wrong) = read {
            points.reject(*index, &format!("sample {index}"), &wrong);
        }
        *index = index.saturating_add(1);
    }
}

/// Hands over the tags of the open point.
fn read_labels(series: &TimeSeries, points: &mut ForeignPoints<'_, '_>) -> Checked {
    let tags = series.labels.iter().filter(|label| label.name != NAME);
    for label in tags {
        points.tag(
            Cow::Owned(label.name.clone()),
            Cow::Owned(label.value.clone()),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
