//! Publishing to a real Kafka.

use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::{AgentStatus, PublishSettings, PublishState, publish};
use tidegauge_kafka::{
    Consumer, ConsumerOptions, Event, KafkaSettings, Positions, PositionsError, TopicIdentity,
};
use tidegauge_model::{AgentId, SystemClock};
use tidegauge_spool::{NewBatch, Spool, SpoolSettings};
use tidegauge_testkit::proxy::Proxy;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// Reads every partition from its oldest message.
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

/// The batch of a number, with the first bytes of the encoding that every second one has.
fn batch(number: usize) -> (&'static str, String) {
    match number % 2 {
        0 => ("json/1", format!("{{\"v\":1,{number}")),
        _ => ("compact/1", format!("\u{8}\u{1}{number}")),
    }
}

fn append(spool: &Spool, number: usize) {
    let (epoch, sequence) = spool.next();
    let (_, payload) = batch(number);
    let payload = payload.as_bytes();
    let batch = NewBatch {
        epoch,
        sequence,
        payload,
        tells_drops_through: None,
        now_us: 1,
    };
    spool.append(batch).expect("appended");
}

/// The first `count` messages of a topic: partition, key, encoding, payload.
async fn messages(
    kafka: &KafkaSettings,
    topic: &str,
    count: usize,
) -> Vec<(i32, String, String, String)> {
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).expect("text");
    let (sender, mut events) = mpsc::channel(100);
    let options = ConsumerOptions::new(topic, topic);
    let mut consumer =
        Consumer::start(kafka, &options, Box::new(FromTheStart), sender).expect("a consumer");
    let mut found = Vec::new();
    while found.len() < count {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        if let Event::Messages(messages) = event.expect("messages in time").expect("it goes on") {
            found.extend(messages.into_iter().map(|message| {
                let payload = text(Some(message.payload));
                (
                    message.partition,
                    text(message.key),
                    text(message.encoding),
                    payload,
                )
            }));
        }
    }
    consumer
        .close(Duration::from_secs(10))
        .await
        .expect("closed");
    found
}

#[tokio::test]
async fn a_spool_reaches_a_topic_that_did_not_exist_and_a_broker_that_was_away() {
    let Some(bootstrap) = tidegauge_testkit::kafka("agent publish") else {
        return;
    };
    let topic = tidegauge_testkit::random_topic("agent-publish");
    let folder = tempfile::tempdir().expect("a folder");
    let bounds = SpoolSettings {
        max_bytes: 1 << 20,
        max_age_us: i64::MAX,
    };
    let (spool, _) = Spool::open(&folder.path().join("spool.db"), bounds, 1).expect("a spool");
    spool.begin_epoch(1).expect("an epoch");
    for number in 0..20 {
        append(&spool, number);
    }

    let proxy = Proxy::start(&bootstrap);
    proxy.refuse(true);
    let kafka = KafkaSettings {
        brokers: vec![proxy.address()],
        client_id: "agent-test".to_owned(),
        ..KafkaSettings::default()
    };
    let agent = AgentId::new("agent-7").expect("valid");
    let settings = PublishSettings {
        partitions: 3,
        ..PublishSettings::new(kafka, topic.as_str(), agent)
    };
    let appended = Arc::new(Notify::new());
    let (status, cancel) = (AgentStatus::new(), CancellationToken::new());
    let running = tokio::spawn(publish::run(
        settings,
        spool.clone(),
        Arc::new(SystemClock),
        Arc::clone(&appended),
        status.clone(),
        cancel.clone(),
    ));
    tidegauge_testkit::eventually_async(PATIENCE, "the broker is away", async || {
        matches!(status.figures().publish, PublishState::Away { .. }).then_some(())
    })
    .await;
    append(&spool, 20);
    appended.notify_one();
    proxy.refuse(false);
    let empty = async || (spool.stats().expect("readable").entries == 0).then_some(());
    tidegauge_testkit::eventually_async(PATIENCE, "all is acknowledged", empty).await;
    assert_eq!(status.figures().acknowledged_batches, 21);
    append(&spool, 21);
    appended.notify_one();
    tidegauge_testkit::eventually_async(PATIENCE, "the last is acknowledged", empty).await;
    cancel.cancel();
    running.await.expect("no panic").expect("no error");

    let direct = KafkaSettings {
        brokers: vec![bootstrap],
        client_id: "agent-test".to_owned(),
        ..KafkaSettings::default()
    };
    let found = messages(&direct, &topic, 22).await;
    for (number, (partition, key, encoding, payload)) in found.iter().enumerate() {
        let (named, sent) = batch(number);
        assert_eq!(payload, &sent, "in order");
        assert_eq!((key.as_str(), encoding.as_str()), ("agent-7", named));
        assert_eq!(*partition, found[0].0, "one agent, one partition");
    }
}
