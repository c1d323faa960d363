//! The encoding `otlp/1`: a request of OpenTelemetry's metrics (OTLP 1.x,
//! `ExportMetricsServiceRequest`), as protobuf or as JSON. It is only read. `docs/wire-format.md` is
//! its reference.
//!
//! 1. A message that begins with `{` is JSON, any other is protobuf, whose messages begin with the
//!    byte 0x0a.
//! 2. A data point is a point: the metric's name is the measurement; attributes of the resource and of
//!    the point are tags, the point's win; the scope's name is the tag `otel_scope_name`.
//! 3. The host is the attribute `host.name`, else `service.instance.id`.
//! 4. Of points of temporality delta the tag `temporality` is `delta`, so that they never are one
//!    series with cumulative ones.
//! 5. What grows from the start of its sender on (monotonic sums, histograms and summaries that are
//!    cumulative) is of kind counter, delta histograms are timers, everything else is a gauge.
//! 6. A point that says that it has no value makes no row.
//! 7. Keys of JSON that are not known are stepped over, as OTLP asks of receivers.

mod fields;
mod message;

use crate::check::{Checked, wrong};
use crate::foreign::points::{ForeignPoints, ForeignRules};
use crate::{DecodeContext, DecodeError, Encoding, Place, TimeUnit, clean_name};
use fields::DataPoint;
use message::{AnyValue, KeyValue, Metric, MetricsData};
use prost::Message as _;
use std::borrow::Cow;
use std::collections::HashSet;
use tidegauge_model::{BatchRef, Kind, Name, Reason};

/// The encoding `otlp/1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Otlp;

const VERSION: u32 = 1;

const RULES: ForeignRules = ForeignRules {
    host_tags: &["host.name", "service.instance.id"],
    cut_port: false,
    last_field_counts: false,
};

/// `AGGREGATION_TEMPORALITY_DELTA`.
const DELTA: i32 = 1;

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
const NO_RECORDED_VALUE: u32 = 1;

impl Encoding for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
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
        let mut reader = Reader {
            points: ForeignPoints::new(into, context, RULES),
            received_us: context.received_us,
            index: 0,
            told: HashSet::new(),
        };
        for of_resource in request(bytes)?.resource_metrics {
            let resource = of_resource.resource.unwrap_or_default().attributes;
            for of_scope in of_resource.scope_metrics {
                let scope = of_scope.scope.unwrap_or_default().name;
                let origin = Origin {
                    resource: &resource,
                    scope: &scope,
                };
                for metric in &of_scope.metrics {
                    reader.metric(origin, metric);
                }
            }
        }
        Ok(())
    }
}

fn request(bytes: &[u8]) -> Result<MetricsData, DecodeError> {
    match bytes.first() {
        None => {
            let detail = "the message is empty";
            Err(DecodeError::new(Reason::Empty, Place::default(), detail))
        }
        Some(b'{') => serde_json::from_slice(bytes).map_err(|error| {
            let at = Place::in_text(bytes, error.line(), error.column(), String::new());
            let detail = crate::json::value::without_place(&error.to_string());
            DecodeError::new(Reason::Syntax, at, detail)
        }),
        Some(_) => MetricsData::decode(bytes).map_err(|error| {
            let detail = format!("no request of metrics: {error}");
            DecodeError::new(Reason::Syntax, Place::default(), detail)
        }),
    }
}

/// Where the points of a metric come from.
#[derive(Debug, Clone, Copy)]
struct Origin<'m> {
    resource: &'m [KeyValue],
    scope: &'m str,
}

#[derive(Debug)]
struct Reader<'c, 'a> {
    points: ForeignPoints<'c, 'a>,
    received_us: Option<i64>,
    index: u32,
    /// Measurements whose kind was told.
    told: HashSet<Name>,
}

impl<'a> Reader<'_, 'a> {
    fn metric(&mut self, origin: Origin<'_>, metric: &Metric) {
        let name = metric.name.as_str();
        self.kind(metric);
        if let Some(gauge) = &metric.gauge {
            self.points(origin, name, false, &gauge.data_points);
        }
        if let Some(sum) = &metric.sum {
            let is_delta = sum.aggregation_temporality == DELTA;
            self.points(origin, name, is_delta, &sum.data_points);
        }
        if let Some(histogram) = &metric.histogram {
            let is_delta = histogram.aggregation_temporality == DELTA;
            self.points(origin, name, is_delta, &histogram.data_points);
        }
        if let Some(histogram) = &metric.exponential_histogram {
            let is_delta = histogram.aggregation_temporality == DELTA;
            self.points(origin, name, is_delta, &histogram.data_points);
        }
        if let Some(summary) = &metric.summary {
            self.points(origin, name, false, &summary.data_points);
        }
    }

    /// Tells the kind of a measurement that is no gauge.
    fn kind(&mut self, metric: &Metric) {
        let of = |temporality: i32| match temporality {
            DELTA => Kind::Timer,
            _ => Kind::Counter,
        };
        let sum = metric
            .sum
            .as_ref()
            .filter(|sum| sum.is_monotonic && sum.aggregation_temporality != DELTA);
        let histogram = metric
            .histogram
            .as_ref()
            .map(|one| one.aggregation_temporality);
        let exponential = metric.exponential_histogram.as_ref();
        let kind = sum
            .map(|_| Kind::Counter)
            .or(histogram.map(of))
            .or(exponential.map(|one| of(one.aggregation_temporality)))
            .or(metric.summary.as_ref().map(|_| Kind::Counter));
        if let Some((kind, name)) = kind.zip(clean_name(&metric.name))
            && !self.told.contains(&name)
        {
            self.points.kind(&name, kind);
            self.told.insert(name);
        }
    }

    /// Reads points; each fails alone.
    fn points<P: DataPoint>(
        &mut self,
        origin: Origin<'_>,
        measurement: &str,
        is_delta: bool,
        points: &[P],
    ) {
        for point in points {
            if point.flags() & NO_RECORDED_VALUE == 0
                && let Err(wrong) = self.point(origin, measurement, is_delta, point)
            {
                let at = format!("data point {}", self.index);
                self.points.reject(self.index, &at, &wrong);
            }
            self.index = self.index.saturating_add(1);
        }
    }

    fn point<P: DataPoint>(
        &mut self,
        origin: Origin<'_>,
        measurement: &str,
        is_delta: bool,
        point: &P,
    ) -> Checked {
        for attribute in origin.resource {
            let is_of_point = |own: &KeyValue| own.key == attribute.key;
            if !point.attributes().iter().any(is_of_point) {
                self.tag(attribute)?;
            }
        }
        if !origin.scope.is_empty() {
            let scope = Cow::Owned(origin.scope.to_owned());
            self.points.tag(Cow::Borrowed("otel_scope_name"), scope)?;
        }
        if is_delta {
            let (name, text) = (Cow::Borrowed("temporality"), Cow::Borrowed("delta"));
            self.points.tag(name, text)?;
        }
        for attribute in point.attributes() {
            self.tag(attribute)?;
        }
        point.fields(&mut self.points)?;
        let time_us = match i64::try_from(point.time_unix_nano()) {
            Ok(0) => match self.received_us {
                Some(received_us) => received_us,
                None => return wrong(Reason::BadTime, "the point has no time"),
            },
            Ok(nanoseconds) => TimeUnit::Nanoseconds
                .microseconds(nanoseconds)
                .unwrap_or(nanoseconds),
            Err(_) => return wrong(Reason::BadTime, "the time is beyond the year 2262"),
        };
        let measurement = Cow::Owned(measurement.to_owned());
        self.points.finish(self.index, measurement, time_us)
    }

    fn tag(&mut self, attribute: &KeyValue) -> Checked {
        match attribute.value.as_ref().and_then(text) {
            Some(text) => {
                let name = Cow::Owned(attribute.key.clone());
                self.points.tag(name, Cow::Owned(text))
            }
            None => Ok(()),
        }
    }
}

/// The text of a tag; `None` for what is empty, a list, a map or bytes.
fn text(value: &AnyValue) -> Option<String> {
    let text = value.string_value.clone();
    text.or_else(|| value.bool_value.map(|truth| truth.to_string()))
        .or_else(|| value.int_value.map(|number| number.to_string()))
        .or_else(|| value.double_value.map(|number| number.to_string()))
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
