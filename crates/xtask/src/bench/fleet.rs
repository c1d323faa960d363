//! A fleet that is made up: batches of known shapes, as agents would send them.

use anyhow::Context;
use std::borrow::Cow;
use tidegauge_model::catalog::{self, FieldEntry, Kind, MeasurementEntry};
use tidegauge_model::{AgentId, Batch, Host, Name, Origin, Point, Value, ValueType};

/// Series of each measurement on one host: a small server.
const SERIES: &[(&str, &[&str])] = &[
    ("cpu", &["total", "0", "1", "2", "3"]),
    ("disk_io", &["sda", "sdb"]),
    ("filesystem", &["/", "/var", "/home"]),
    ("load", &[""]),
    ("memory", &[""]),
    ("network", &["lo", "eth0", "eth1"]),
    ("swap", &[""]),
    ("system", &[""]),
];

/// The measurement of [`Shape::Narrow`]: none of the catalog's.
const NARROW: &str = "port_use";
const NARROW_FIELDS: [&str; 8] = [
    "received_percent",
    "sent_percent",
    "received_bytes",
    "sent_bytes",
    "received_packets",
    "sent_packets",
    "queue_milliseconds",
    "errors",
];
const NARROW_DEVICES: [&str; 5] = ["switch-1", "switch-2", "switch-3", "switch-4", "switch-5"];
const NARROW_PORTS: [&str; 4] = ["1", "2", "3", "4"];

/// What the points of a batch look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The default collectors' measurements: 13.7 values a row, texts and truth values too.
    Host,
    /// One measurement of eight numbers and two tags.
    Narrow,
}

impl Shape {
    /// The words of the command line.
    pub(super) const WORDS: [&str; 2] = ["host", "narrow"];

    pub(super) fn by_word(word: &str) -> anyhow::Result<Self> {
        match word {
            "host" => Ok(Self::Host),
            "narrow" => Ok(Self::Narrow),
            _ => anyhow::bail!("there is no shape {word}"),
        }
    }

    /// Points in one batch of one host.
    pub(super) fn points_per_batch(self) -> u64 {
        match self {
            Self::Host => SERIES.iter().map(|(_, series)| series.len() as u64).sum(),
            Self::Narrow => (NARROW_DEVICES.len() * NARROW_PORTS.len()) as u64,
        }
    }

    /// One collection of one host.
    pub(super) fn batch(
        self,
        host: u64,
        sequence: u64,
        time_us: i64,
        numbers: &mut Numbers,
    ) -> anyhow::Result<Batch> {
        let points = match self {
            Self::Host => host_points(sequence, time_us, numbers)?,
            Self::Narrow => narrow_points(sequence, time_us, numbers),
        };
        Ok(Batch {
            origin: Some(Origin {
                agent: AgentId::new(agent(host))?,
                epoch: 1,
                sequence,
            }),
            host: Host::new(format!("host-{host}.example.org"))?,
            labels: Vec::new(),
            drops: Vec::new(),
            points,
        })
    }
}

/// The id of a host's agent, which is the key of its messages.
pub(super) fn agent(host: u64) -> String {
    format!("bench-{host}")
}

/// The number of values of a batch.
pub(super) fn values(batch: &Batch) -> u64 {
    let fields = batch.points.iter().map(|point| point.fields().len() as u64);
    fields.sum()
}

fn host_points(sequence: u64, time_us: i64, numbers: &mut Numbers) -> anyhow::Result<Vec<Point>> {
    let mut points = Vec::new();
    for (name, series) in SERIES {
        let entry =
            catalog::measurement(name).with_context(|| format!("{name} is not in the catalog"))?;
        points.extend(
            series
                .iter()
                .map(|series| host_point(entry, series, sequence, time_us, numbers)),
        );
    }
    Ok(points)
}

fn host_point(
    entry: &'static MeasurementEntry,
    series: &'static str,
    sequence: u64,
    time_us: i64,
    numbers: &mut Numbers,
) -> Point {
    let mut point = Point::new(Name::literal(entry.name), time_us);
    for (at, tag) in entry.tags.iter().enumerate() {
        let text = if at == 0 { series } else { "ext4" };
        point = point.tag(Name::literal(tag.name), Cow::Borrowed(text));
    }
    for field in entry.fields {
        point.set(Name::literal(field.name), value(field, sequence, numbers));
    }
    point
}

/// Values as a source tells them: percentages with three decimals, sizes and counts as integers.
fn value(field: &FieldEntry, sequence: u64, numbers: &mut Numbers) -> Value {
    match (field.value_type, field.kind, field.unit) {
        (ValueType::Bool, ..) => Value::Bool(true),
        (ValueType::Text, ..) => Value::Text(Cow::Borrowed("none")),
        (_, Kind::Counter, _) => count(sequence, numbers),
        (_, _, "bytes") => Value::Float((numbers.below(1 << 24) * 4_096) as f64),
        _ => fraction(numbers),
    }
}

fn narrow_points(sequence: u64, time_us: i64, numbers: &mut Numbers) -> Vec<Point> {
    let mut points = Vec::with_capacity(NARROW_DEVICES.len() * NARROW_PORTS.len());
    for device in NARROW_DEVICES {
        for port in NARROW_PORTS {
            let mut point = Point::new(Name::literal(NARROW), time_us)
                .tag(Name::literal("device"), Cow::Borrowed(device))
                .tag(Name::literal("port"), Cow::Borrowed(port));
            for (at, field) in NARROW_FIELDS.into_iter().enumerate() {
                let value = match at {
                    2..=5 | 7 => count(sequence, numbers),
                    _ => fraction(numbers),
                };
                point.set(Name::literal(field), value);
            }
            points.push(point);
        }
    }
    points
}

fn count(sequence: u64, numbers: &mut Numbers) -> Value {
    Value::Float((sequence * 1_000_000 + numbers.below(1_000_000)) as f64)
}

fn fraction(numbers: &mut Numbers) -> Value {
    Value::Float(numbers.below(100_000) as f64 / 1_000.0)
}

/// The same numbers in every run (xorshift64).
#[derive(Debug)]
pub(super) struct Numbers(u64);

impl Default for Numbers {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_shape_and_every_batch_has_as_many_points_as_it_says() {
        for word in Shape::WORDS {
            let shape = Shape::by_word(word).expect("a shape");
            let batch = shape
                .batch(1, 0, 1, &mut Numbers::default())
                .expect("a batch");
            assert_eq!(batch.points.len() as u64, shape.points_per_batch());
        }
        assert!(Shape::by_word("wide").is_err());
    }

    #[test]
    fn a_narrow_row_has_eight_numbers_and_two_tags() {
        let points = narrow_points(3, 1, &mut Numbers::default());
        for point in points {
            assert_eq!((point.fields().len(), point.tags().len()), (8, 2));
            let mut values = point.fields().iter().map(|(_, value)| value);
            assert!(values.all(|value| matches!(value, Value::Float(_))));
        }
    }
}
