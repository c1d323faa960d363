//! What the topic holds, read to its ends by a group of its own.

use super::oracle::{Row, Sent, value_text};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tidegauge_kafka::{
    Admin, Consumer, ConsumerOptions, Event, KafkaSettings, Message, Positions, PositionsError,
    TopicIdentity, TopicPlan,
};
use tidegauge_model::{Batch, BatchRef, Point, Value};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

fn settings(brokers: &str) -> KafkaSettings {
    KafkaSettings {
        brokers: vec![brokers.to_owned()],
        client_id: "faults".to_owned(),
        properties: BTreeMap::new(),
        ..KafkaSettings::default()
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")
}

/// Makes the topic.
pub(super) fn make(brokers: &str, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let plan = TopicPlan {
        name: topic.to_owned(),
        partitions,
        replication: 1,
        config: BTreeMap::new(),
    };
    let admin = Admin::new(&settings(brokers))?;
    runtime()?
        .block_on(admin.ensure_topic(&plan, PATIENCE))
        .context("make the topic")?;
    Ok(())
}

/// The ends of the partitions that are not empty.
pub(super) fn ends(brokers: &str, topic: &str) -> anyhow::Result<BTreeMap<i32, u64>> {
    let admin = Admin::new(&settings(brokers))?;
    let watermarks = runtime()?
        .block_on(admin.watermarks(topic, PATIENCE))
        .context("ask for the ends of the topic")?;
    watermarks
        .into_iter()
        .filter(|mark| mark.high > 0)
        .map(|mark| Ok((mark.partition, u64::try_from(mark.high)?)))
        .collect()
}

/// Every message up to the ends; a list of them goes to the file `list`.
pub(super) fn read(
    brokers: &str,
    topic: &str,
    ends: &BTreeMap<i32, u64>,
    list: &Path,
) -> anyhow::Result<Vec<Sent>> {
    let messages = runtime()?.block_on(messages(brokers, topic, ends))?;
    let mut text = String::new();
    let mut sent = Vec::with_capacity(messages.len());
    for message in &messages {
        let (partition, offset) = (message.partition, message.offset);
        let batch = decode(message).with_context(|| format!("read {partition}/{offset}"))?;
        let origin = batch.origin.clone().context("a batch without a number")?;
        let (agent, epoch, sequence) = (origin.agent.as_str(), origin.epoch, origin.sequence);
        let (points, drops) = (batch.points.len(), &batch.drops);
        writeln!(
            text,
            "{partition}/{offset} {agent} {epoch}/{sequence} {points} points {drops:?}"
        )?;
        sent.push(Sent {
            partition,
            offset: u64::try_from(offset)?,
            numbering: (agent.to_owned(), epoch),
            sequence,
            rows: batch
                .points
                .iter()
                .map(|point| row(&batch, point))
                .collect(),
        });
    }
    std::fs::write(list, text).with_context(|| format!("write {}", list.display()))?;
    Ok(sent)
}

async fn messages(
    brokers: &str,
    topic: &str,
    ends: &BTreeMap<i32, u64>,
) -> anyhow::Result<Vec<Message>> {
    let wanted: u64 = ends.values().sum();
    let (sender, mut events) = mpsc::channel(64);
    let options = ConsumerOptions::new(&format!("{topic}-oracle"), topic);
    let mut consumer =
        Consumer::start(&settings(brokers), &options, Box::new(FromTheStart), sender)?;
    let mut found = BTreeMap::new();
    while (found.len() as u64) < wanted {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        match event.with_context(|| format!("{} of {wanted} messages were read", found.len()))? {
            Some(Event::Messages(messages)) => {
                let of = |message: Message| ((message.partition, message.offset), message);
                found.extend(messages.into_iter().map(of));
            }
            Some(_) => {}
            None => bail!("the consumer ended"),
        }
    }
    consumer.close(Duration::from_secs(10)).await.ok();
    Ok(found.into_values().collect())
}

struct FromTheStart;

impl Positions for FromTheStart {
    fn assigned(
        &mut self,
        _: &TopicIdentity,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64)>, PositionsError> {
        Ok(partitions.to_vec())
    }
}

fn decode(message: &Message) -> anyhow::Result<Batch> {
    let header = message.encoding.as_deref().context("it has no header")?;
    let mut batch = BatchRef::default();
    tidegauge_wire::by_header(header)?.decode(&message.payload, &mut batch)?;
    anyhow::ensure!(batch.rejected.is_empty(), "{:?}", batch.rejected);
    Ok(batch.to_batch()?)
}

fn row(batch: &Batch, point: &Point) -> Row {
    let tags = point
        .tags()
        .iter()
        .map(|(name, text)| (name.as_str().to_owned(), value_text(text)));
    let fields = point.fields().iter().map(|(name, value)| {
        let text = match value {
            Value::Float(number) => format!("{number:?}"),
            Value::Bool(truth) => truth.to_string(),
            Value::Text(text) => value_text(text),
        };
        (name.as_str().to_owned(), text)
    });
    Row {
        host: batch.host.as_str().to_owned(),
        measurement: point.measurement().as_str().to_owned(),
        time_us: point.time_us(),
        values: tags.chain(fields).collect(),
    }
}
