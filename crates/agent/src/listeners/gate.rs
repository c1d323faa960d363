//! The limits of one listener (D14): which of its points may go on.
//!
//! What the sink would refuse is refused here, where the application can still be told. A field
//! keeps its type from its first point on, as in the database.

use super::{ListenerLimits, Refusal};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use tidegauge_model::catalog::{self, RESERVED_FIELDS};
use tidegauge_model::{Name, Point, Reason, Tag, Value, ValueType};
use tidegauge_wire::clean_name;

/// A series counts against the limit until it was not there for so long, or for twice as long.
const SERIES_AGE_US: i64 = 3_600_000_000;

/// What is known of one listener's measurements and series.
#[derive(Debug)]
pub(super) struct Gate {
    limits: ListenerLimits,
    prefix: Option<Name>,
    /// Their fields, with the type of each.
    measurements: HashMap<Name, HashMap<Name, ValueType>>,
    /// Hashes of the series of this period and of the one before.
    series: HashSet<u64>,
    old_series: HashSet<u64>,
    period_began_us: Option<i64>,
}

type Judged<T = ()> = Result<T, (Refusal, String)>;

fn refuse<T>(reason: Reason, detail: String) -> Judged<T> {
    Err((reason.into(), detail))
}

impl Gate {
    pub(super) fn new(limits: ListenerLimits, prefix: Option<Name>) -> Self {
        Self {
            limits,
            prefix,
            measurements: HashMap::new(),
            series: HashSet::new(),
            old_series: HashSet::new(),
            period_began_us: None,
        }
    }

    /// The point under its full name, or why it is refused.
    pub(super) fn judge(&mut self, mut point: Point, now_us: i64) -> Judged<Point> {
        if let Some(prefix) = &self.prefix {
            let full = format!("{prefix}_{}", point.measurement());
            let Some(full) = clean_name(&full) else {
                return refuse(Reason::BadName, full);
            };
            point.rename(full);
        }
        self.sizes(&point)?;
        if point.fields().is_empty() {
            let detail = format!("{}: no field has a value", point.measurement());
            return refuse(Reason::NoFields, detail);
        }
        self.names(&point)?;
        self.series(&point, now_us)?;
        self.learn(&point);
        Ok(point)
    }

    fn sizes(&self, point: &Point) -> Judged {
        let (limits, measurement) = (&self.limits, point.measurement());
        let tags = point.tags().len();
        if tags > limits.tags_per_point {
            let detail = format!("{measurement}: {tags} tags");
            return refuse(Reason::TooManyTags, detail);
        }
        let long = |(_, text): &&Tag| text.len() > limits.tag_bytes;
        if let Some((name, text)) = point.tags().iter().find(long) {
            let detail = format!("{measurement}: the tag {name} has {} bytes", text.len());
            return refuse(Reason::TagTooLong, detail);
        }
        for (name, value) in point.fields() {
            if let Value::Text(text) = value
                && text.len() > limits.text_bytes
            {
                let detail = format!("{measurement}: {name} has {} bytes", text.len());
                return refuse(Reason::TextTooLong, detail);
            }
        }
        Ok(())
    }

    fn names(&self, point: &Point) -> Judged {
        let measurement = point.measurement();
        let known = self.measurements.get(measurement);
        if known.is_none() {
            let name = measurement.as_str();
            if catalog::measurement(name).is_some() || catalog::is_reserved_measurement(name) {
                let detail =
                    format!("{name} is a measurement of the agent's own or a table; set a prefix");
                return refuse(Reason::ReservedName, detail);
            }
            if self.measurements.len() >= self.limits.measurements {
                return refuse(Reason::TooManyMeasurements, name.to_owned());
            }
        }
        let mut fields = known.map_or(0, HashMap::len);
        for (name, value) in point.fields() {
            match known.and_then(|known| known.get(name)) {
                Some(first) if *first != value.value_type() => {
                    let (first, this) = (first.as_str(), value.value_type().as_str());
                    let detail = format!("{measurement}.{name} is a {first}, not a {this}");
                    return refuse(Reason::TypeConflict, detail);
                }
                Some(_) => {}
                None if RESERVED_FIELDS.contains(&name.as_str()) => {
                    let detail = format!("{measurement}.{name} is a column of every view");
                    return refuse(Reason::ReservedName, detail);
                }
                None => fields += 1,
            }
        }
        if fields > self.limits.fields_per_measurement {
            let detail = format!("{measurement} would have {fields} fields");
            return refuse(Reason::TooManyFields, detail);
        }
        Ok(())
    }

    fn series(&mut self, point: &Point, now_us: i64) -> Judged {
        let began_us = *self.period_began_us.get_or_insert(now_us);
        if (now_us - began_us).abs() > SERIES_AGE_US {
            self.old_series = std::mem::take(&mut self.series);
            self.period_began_us = Some(now_us);
        }
        let mut tags: Vec<_> = point.tags().iter().collect();
        tags.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (point.measurement(), tags).hash(&mut hasher);
        let series = hasher.finish();
        if self.series.contains(&series) {
            return Ok(());
        }
        let known = self.old_series.remove(&series);
        if !known && self.series.len() + self.old_series.len() >= self.limits.series {
            let (measurement, most) = (point.measurement(), self.limits.series);
            let detail = format!("{measurement}: one more series than {most}");
            return refuse(Reason::TooManySeries, detail);
        }
        self.series.insert(series);
        Ok(())
    }

    fn learn(&mut self, point: &Point) {
        if !self.measurements.contains_key(point.measurement()) {
            let measurement = point.measurement().clone();
            self.measurements.insert(measurement, HashMap::new());
        }
        if let Some(known) = self.measurements.get_mut(point.measurement()) {
            for (name, value) in point.fields() {
                if !known.contains_key(name) {
                    known.insert(name.clone(), value.value_type());
                }
            }
        }
    }
}
