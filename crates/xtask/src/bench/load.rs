//! Batches of a made-up fleet on their way into a topic.

use super::fleet::{Numbers, Shape, agent, values};
use anyhow::Context;
use std::time::Duration;
use tidegauge_kafka::{
    Admin, Delivery, KafkaSettings, Outgoing, Producer, ProducerOptions, SendError, TopicPlan,
};
use tidegauge_model::Batch;
use tidegauge_wire::{Encoder, HEADER, header_value};
use tokio::sync::mpsc;

/// The most bytes of a message that the topics take, with what Kafka adds to it.
pub(super) const LARGEST_MESSAGE: usize = 16 << 20;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fleet {
    pub(super) shape: Shape,
    pub(super) hosts: u64,
    pub(super) points: u64,
    /// Microseconds between two collections.
    pub(super) interval_us: i64,
    /// The time of the last collection.
    pub(super) until_us: i64,
}

impl Fleet {
    /// How often every host collects, so that there are at least as many points as wanted.
    pub(super) fn collections(&self) -> u64 {
        let per_collection = self.shape.points_per_batch() * self.hosts;
        self.points.div_ceil(per_collection).max(1)
    }
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

/// A producer into one topic, in one encoding.
pub(super) struct Loader<'a> {
    producer: Producer,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    topic: &'a str,
    encoding: &'a dyn Encoder,
    header: String,
    bytes: Vec<u8>,
    sent: Sent,
    acknowledged: u64,
}

impl<'a> Loader<'a> {
    /// Makes the topic.
    pub(super) fn new(
        brokers: &str,
        topic: &'a str,
        partitions: i32,
        encoding: &'a dyn Encoder,
    ) -> anyhow::Result<Self> {
        let of_client = |name: &str| (name.to_owned(), LARGEST_MESSAGE.to_string());
        let settings = KafkaSettings {
            brokers: vec![brokers.to_owned()],
            client_id: "tidegauge-bench".to_owned(),
            properties: [of_client("message.max.bytes")].into(),
            ..KafkaSettings::default()
        };
        let plan = TopicPlan {
            name: topic.to_owned(),
            partitions,
            replication: 1,
            config: [of_client("max.message.bytes")].into(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(Admin::new(&settings)?.ensure_topic(&plan, Duration::from_secs(30)))?;
        let (sender, deliveries) = mpsc::unbounded_channel();
        Ok(Self {
            producer: Producer::new(&settings, &ProducerOptions::default(), sender)?,
            deliveries,
            topic,
            encoding,
            header: header_value(encoding),
            bytes: Vec::new(),
            sent: Sent::default(),
            acknowledged: 0,
        })
    }

    /// Hands a batch to the producer, waiting while its queue is full.
    pub(super) fn send(&mut self, host: u64, batch: &Batch) -> anyhow::Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.encoding.encode(batch, &mut bytes);
        self.send_bytes(host, &bytes)?;
        self.sent.points += batch.points.len() as u64;
        self.sent.values += values(batch);
        self.bytes = bytes;
        Ok(())
    }

    /// Hands any bytes to the producer, as the encoding's, waiting while its queue is full.
    pub(super) fn send_bytes(&mut self, host: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let agent = agent(host);
        loop {
            let outgoing = Outgoing {
                topic: self.topic,
                key: agent.as_bytes(),
                headers: &[(HEADER, self.header.as_bytes())],
                payload: bytes,
                token: 0,
            };
            match self.producer.send(outgoing) {
                Ok(()) => break,
                Err(SendError::Full) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(error).context("fill the topic"),
            }
        }
        self.sent.messages += 1;
        self.sent.bytes += bytes.len() as u64;
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.acknowledge(delivery)?;
        }
        Ok(())
    }

    /// Every message is acknowledged when this returns.
    pub(super) fn finish(mut self) -> anyhow::Result<Sent> {
        self.producer
            .flush(Duration::from_secs(120))
            .context("fill the topic")?;
        while self.acknowledged < self.sent.messages {
            let delivery = self.deliveries.blocking_recv();
            self.acknowledge(delivery.context("an acknowledgement is missing")?)?;
        }
        Ok(self.sent)
    }

    fn acknowledge(&mut self, delivery: Delivery) -> anyhow::Result<()> {
        delivery.result.context("a message was not taken")?;
        self.acknowledged += 1;
        Ok(())
    }
}

/// Makes the topic and fills it with a fleet's history.
pub(super) fn fill(
    brokers: &str,
    topic: &str,
    partitions: i32,
    encoding: &dyn Encoder,
    fleet: Fleet,
) -> anyhow::Result<Sent> {
    let mut loader = Loader::new(brokers, topic, partitions, encoding)?;
    let mut numbers = Numbers::default();
    let collections = fleet.collections();
    for collection in 0..collections {
        let back = i64::try_from(collections - 1 - collection)?;
        let time_us = fleet.until_us - fleet.interval_us * back;
        for host in 0..fleet.hosts {
            let batch = fleet.shape.batch(host, collection, time_us, &mut numbers)?;
            loader.send(host, &batch)?;
        }
    }
    loader.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_collects_until_there_are_enough_points() {
        let mut fleet = Fleet {
            shape: Shape::Narrow,
            hosts: 10,
            points: 401,
            interval_us: 1,
            until_us: 0,
        };
        assert_eq!(fleet.collections(), 3);
        fleet.points = 1;
        assert_eq!(fleet.collections(), 1);
    }
}
