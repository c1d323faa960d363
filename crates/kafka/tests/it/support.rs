//! A topic of its own for each test, with a producer and consumers on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidegauge_kafka::{
    Admin, Consumer, ConsumerOptions, Delivery, Event, KafkaSettings, Message, Outgoing, Positions,
    PositionsError, Producer, ProducerOptions, TopicIdentity, TopicInfo, TopicPlan,
};
use tokio::sync::mpsc;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) settings: KafkaSettings,
    pub(crate) admin: Admin,
    other: AdminClient<DefaultClientContext>,
}

impl Topic {
    /// A name that nothing else uses; the topic itself is not made.
    pub(crate) fn named(brokers: &str, prefix: &str) -> Self {
        let settings = KafkaSettings {
            brokers: vec![brokers.to_owned()],
            client_id: "test".into(),
            properties: BTreeMap::default(),
            ..KafkaSettings::default()
        };
        let admin = Admin::new(&settings).expect("an admin client");
        let other = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create();
        let other = other.expect("an admin client");
        Self {
            name: tidegauge_testkit::random_topic(prefix),
            settings,
            admin,
            other,
        }
    }

    pub(crate) async fn make(&self, partitions: i32) -> TopicInfo {
        let plan = TopicPlan {
            name: self.name.clone(),
            partitions,
            replication: 1,
            config: [("retention.ms".to_owned(), "3600000".to_owned())].into(),
        };
        self.admin
            .ensure_topic(&plan, DEADLINE)
            .await
            .expect("a topic")
    }

    pub(crate) async fn delete(&self) {
        let deleted = self
            .other
            .delete_topics(&[&self.name], &AdminOptions::new())
            .await;
        deleted.expect("answered").remove(0).expect("deleted");
    }

    pub(crate) async fn grow(&self, partitions: usize) {
        let grown = NewPartitions::new(&self.name, partitions);
        let grown = self
            .other
            .create_partitions(&[grown], &AdminOptions::new())
            .await;
        grown.expect("answered").remove(0).expect("grown");
    }

    /// Deletes what is before `offset` in partition 0.
    pub(crate) async fn delete_before(&self, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, 0, Offset::Offset(offset))
            .expect("plain");
        let deleted = self.other.delete_records(&list, &AdminOptions::new()).await;
        deleted.expect("answered").elements()[0]
            .error()
            .expect("deleted");
    }

    /// Stores messages with these numbers as keys and payloads.
    pub(crate) async fn fill(&self, numbers: std::ops::Range<usize>) {
        let (producer, mut deliveries) = self.producer();
        for number in numbers.clone() {
            send(&producer, &self.name, &number.to_string(), 0);
        }
        for _ in numbers {
            stored(&mut deliveries).await;
        }
    }

    pub(crate) fn producer(&self) -> (Producer, mpsc::UnboundedReceiver<Delivery>) {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let options = ProducerOptions::default();
        (
            Producer::new(&self.settings, &options, sender).expect("a producer"),
            deliveries,
        )
    }

    /// A member of the group that is named like the topic.
    pub(crate) fn consumer(&self, stored: &Stored) -> (Consumer, mpsc::Receiver<Event>) {
        let options = ConsumerOptions {
            session_timeout: Duration::from_secs(6),
            ..ConsumerOptions::new(&self.name, &self.name)
        };
        let (sender, events) = mpsc::channel(8);
        let positions = Box::new(stored.clone());
        let consumer = Consumer::start(&self.settings, &options, positions, sender);
        (consumer.expect("a consumer"), events)
    }
}

pub(crate) fn send(producer: &Producer, topic: &str, text: &str, token: i64) {
    let headers: &[(&str, &[u8])] = &[("tidegauge-encoding", b"json/1")];
    let (key, payload) = (text.as_bytes(), text.as_bytes());
    producer
        .send(Outgoing {
            topic,
            key,
            headers,
            payload,
            token,
        })
        .expect("room");
}

pub(crate) async fn next_delivery(deliveries: &mut mpsc::UnboundedReceiver<Delivery>) -> Delivery {
    let delivery = tokio::time::timeout(DEADLINE, deliveries.recv()).await;
    delivery
        .expect("a delivery within the deadline")
        .expect("the producer lives")
}

pub(crate) async fn stored(deliveries: &mut mpsc::UnboundedReceiver<Delivery>) {
    let delivery = next_delivery(deliveries).await;
    assert!(delivery.result.is_ok(), "{delivery:?}");
}

/// Positions as a database keeps them: by topic identity and partition.
#[derive(Clone, Default)]
pub(crate) struct Stored(Arc<Mutex<BTreeMap<(String, i32), i64>>>);

impl Stored {
    /// What a sink does with a message; `false` for one that is not to be applied any more.
    pub(crate) fn apply(&self, consumer: &Consumer, message: &Message) -> bool {
        let Message {
            topic,
            partition,
            generation,
            ..
        } = message;
        let current = consumer.is_current(&topic.name, *partition, *generation);
        if current {
            self.set(&topic.id, *partition, message.offset + 1);
        }
        current
    }

    pub(crate) fn set(&self, topic_id: &str, partition: i32, next: i64) {
        let mut stored = self.0.lock().expect("not poisoned");
        stored.insert((topic_id.to_owned(), partition), next);
    }
}

impl Positions for Stored {
    fn assigned(
        &mut self,
        topic: &TopicIdentity,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64)>, PositionsError> {
        let stored = self.0.lock().expect("not poisoned");
        let of = |at: i32, low: i64| *stored.get(&(topic.id.clone(), at)).unwrap_or(&low);
        Ok(partitions
            .iter()
            .map(|&(at, low)| (at, of(at, low)))
            .collect())
    }
}

pub(crate) async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    let event = tokio::time::timeout(DEADLINE, events.recv()).await;
    event
        .expect("an event within the deadline")
        .expect("the consumer lives")
}

/// Events up to the one that `wanted` takes.
pub(crate) async fn next_of<T>(
    events: &mut mpsc::Receiver<Event>,
    mut wanted: impl FnMut(Event) -> Option<T>,
) -> T {
    loop {
        if let Some(found) = wanted(next(events).await) {
            return found;
        }
    }
}

pub(crate) fn assigned(event: Event) -> Option<Vec<(i32, i64)>> {
    match event {
        Event::Assigned { partitions, .. } => Some(partitions),
        _ => None,
    }
}

pub(crate) fn messages(event: Event) -> Option<Vec<Message>> {
    match event {
        Event::Messages(messages) => Some(messages),
        _ => None,
    }
}
