//! A broker for unit tests: librdkafka's mock cluster, with real sockets on loopback.
//!
//! It has no admin requests and keeps nothing; what needs those is tested in `tests/it` on a real
//! broker. Classic groups start only after three seconds on it and each cooperative round takes about
//! five, so tests with groups have deadlines of a minute.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::mpsc;

use crate::{
    Delivery, KafkaSettings, Outgoing, Producer, ProducerOptions, SendError, consumer::Event,
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

type Feed = (Producer, mpsc::UnboundedReceiver<Delivery>);

pub(crate) struct Broker {
    // Before the cluster, so that it is dropped before it.
    feed: tokio::sync::Mutex<Option<Feed>>,
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Broker {
    /// One broker with one topic `t`.
    pub(crate) fn start(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("t", partitions, 1).expect("a topic");
        Self {
            feed: tokio::sync::Mutex::default(),
            cluster,
        }
    }

    pub(crate) fn settings(&self) -> KafkaSettings {
        KafkaSettings {
            brokers: vec![self.cluster.bootstrap_servers()],
            client_id: "test".into(),
            // Connections that the mock refuses are tried again soon.
            properties: [("reconnect.backoff.max.ms".to_owned(), "200".to_owned())].into(),
            ..KafkaSettings::default()
        }
    }

    pub(crate) fn producer(&self, options: &ProducerOptions) -> Feed {
        let (sender, deliveries) = mpsc::unbounded_channel();
        (
            Producer::new(&self.settings(), options, sender).expect("a producer"),
            deliveries,
        )
    }

    /// Stores messages `from..to`, each with its number as key and payload.
    pub(crate) async fn fill(&self, from: i64, to: i64) {
        let mut feed = self.feed.lock().await;
        let (producer, deliveries) =
            feed.get_or_insert_with(|| self.producer(&ProducerOptions::default()));
        for number in from..to {
            send(producer, &number.to_string(), number).expect("room");
        }
        for _ in from..to {
            let delivery = tokio::time::timeout(DEADLINE, deliveries.recv()).await;
            let delivery = delivery.expect("in time").expect("the producer lives");
            assert!(delivery.result.is_ok(), "{delivery:?}");
        }
    }
}

/// Sends a message whose key and payload are `text` to topic `t`.
pub(crate) fn send(producer: &Producer, text: &str, token: i64) -> Result<(), SendError> {
    let headers: &[(&str, &[u8])] = &[("tidegauge-encoding", b"json/1")];
    let (key, payload) = (text.as_bytes(), text.as_bytes());
    producer.send(Outgoing {
        topic: "t",
        key,
        headers,
        payload,
        token,
    })
}

/// The next event, or a panic at the deadline.
pub(crate) async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    let event = tokio::time::timeout(DEADLINE, events.recv()).await;
    event
        .expect("an event within the deadline")
        .expect("the consumer lives")
}
