//! A fleet that is made up: batches of the default collectors' shapes, as agents would send them.

use anyhow::Context;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use tidegauge_kafka::{
    Admin, Delivery, KafkaSettings, Outgoing, Producer, ProducerOptions, SendError, TopicPlan,
};
use tidegauge_model::catalog::{self, FieldEntry, Kind, MeasurementEntry};
use tidegauge_model::{AgentId, Batch, Host, Name, Origin, Point, Value, ValueType};
use tidegauge_wire::{Encoder, HEADER, header_value};
use tokio::sync::mpsc;

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

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fleet {
    pub(super) hosts: u64,
    pub(super) points: u64,
    /// Microseconds between two collections.
    pub(super) interval_us: i64,
    /// The time of the last collection.
    pub(super) until_us: i64,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) messages: u64,
    pub(super) points: u64,
    pub(super) values: u64,
    /// Bytes of the messages before compression.
    pub(super) bytes: u64,
}

/// Makes the topic and fills it; every message is acknowledged when this returns.
pub(super) fn fill(
    brokers: &str,
    topic: &str,
    partitions: i32,
    encoding: &dyn Encoder,
    fleet: Fleet,
) -> anyhow::Result<Sent> {
    let settings = KafkaSettings {
        brokers: vec![brokers.to_owned()],
        client_id: "tidegauge-bench".to_owned(),
        properties: BTreeMap::new(),
    };
    let plan = TopicPlan {
        name: topic.to_owned(),
        partitions,
        replication: 1,
        config: BTreeMap::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Admin::new(&settings)?.ensure_topic(&plan, Duration::from_secs(30)))?;
    let (sender, mut deliveries) = mpsc::unbounded_channel();
    let producer = Producer::new(&settings, &ProducerOptions::default(), sender)?;
    let header = header_value(encoding);
    let mut sent = Sent::default();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::new();
    let per_collection: u64 = SERIES
        .iter()
        .map(|(_, series)| series.len() as u64)
        .sum::<u64>()
        * fleet.hosts;
    let collections = fleet.points.div_ceil(per_collection).max(1);
    for collection in 0..collections {
        let time_us = fleet.until_us - fleet.interval_us * (collections - 1 - collection) as i64;
        for host in 0..fleet.hosts {
            let batch = batch(host, collection, time_us, &mut numbers)?;
            bytes.clear();
            encoding.encode(&batch, &mut bytes);
            let agent = format!("bench-{host}");
            loop {
                let outgoing = Outgoing {
                    topic,
                    key: agent.as_bytes(),
                    headers: &[(HEADER, header.as_bytes())],
                    payload: &bytes,
                    token: 0,
                };
                match producer.send(outgoing) {
                    Ok(()) => break,
                    Err(SendError::Full) => std::thread::sleep(Duration::from_millis(5)),
                    Err(error) => return Err(error).context("fill the topic"),
                }
            }
            sent.messages += 1;
            sent.points += batch.points.len() as u64;
            sent.values += batch
                .points
                .iter()
                .map(|point| point.fields().len() as u64)
                .sum::<u64>();
            sent.bytes += bytes.len() as u64;
        }
    }
    producer
        .flush(Duration::from_secs(120))
        .context("fill the topic")?;
    for _ in 0..sent.messages {
        let Delivery { result, .. } = deliveries
            .blocking_recv()
            .context("an acknowledgement is missing")?;
        result.context("a message was not taken")?;
    }
    Ok(sent)
}

fn batch(host: u64, sequence: u64, time_us: i64, numbers: &mut Numbers) -> anyhow::Result<Batch> {
    let mut points = Vec::new();
    for (name, series) in SERIES {
        let entry =
            catalog::measurement(name).with_context(|| format!("{name} is not in the catalog"))?;
        points.extend(
            series
                .iter()
                .map(|series| point(entry, series, sequence, time_us, numbers)),
        );
    }
    Ok(Batch {
        origin: Some(Origin {
            agent: AgentId::new(format!("bench-{host}"))?,
            epoch: 1,
            sequence,
        }),
        host: Host::new(format!("host-{host}.example.org"))?,
        labels: Vec::new(),
        drops: Vec::new(),
        points,
    })
}

fn point(
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
        (_, Kind::Counter, _) => {
            Value::Float((sequence * 1_000_000 + numbers.below(1_000_000)) as f64)
        }
        (_, _, "bytes") => Value::Float((numbers.below(1 << 24) * 4_096) as f64),
        _ => Value::Float(numbers.below(100_000) as f64 / 1_000.0),
    }
}

/// The same numbers in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
