//! A foreign producer: messages made by hand, acknowledged by the broker.

use std::time::Duration;
use tidegauge_kafka::{
    Admin, KafkaSettings, Outgoing, Producer, ProducerOptions, TopicLook, TopicPlan, Watermark,
};
use tidegauge_testkit::eventually_async;

pub(crate) fn settings(brokers: &str) -> KafkaSettings {
    KafkaSettings {
        brokers: vec![brokers.to_owned()],
        client_id: "test".to_owned(),
        properties: std::collections::BTreeMap::new(),
        ..KafkaSettings::default()
    }
}

pub(crate) fn make_topic(brokers: &str, topic: &str, partitions: i32) {
    make_topic_with(brokers, topic, partitions, &[]);
}

/// One with these settings.
pub(crate) fn make_topic_with(
    brokers: &str,
    topic: &str,
    partitions: i32,
    config: &[(&str, &str)],
) {
    let plan = TopicPlan {
        name: topic.to_owned(),
        partitions,
        replication: 1,
        config: config
            .iter()
            .map(|&(name, text)| (name.into(), text.into()))
            .collect(),
    };
    runtime().block_on(async {
        let admin = Admin::new(&settings(brokers)).unwrap();
        admin
            .ensure_topic(&plan, Duration::from_secs(30))
            .await
            .unwrap();
    });
}

/// A topic as the brokers tell of it, with where its partitions begin and end.
pub(crate) fn look(brokers: &str, topic: &str) -> Option<(TopicLook, Vec<Watermark>)> {
    let deadline = Duration::from_secs(30);
    runtime().block_on(async {
        let admin = Admin::new(&settings(brokers)).unwrap();
        let look = admin.look(topic, deadline).await.unwrap()?;
        Some((look, admin.watermarks(topic, deadline).await.unwrap()))
    })
}

/// Removes what is before an offset of a partition, as retention does.
pub(crate) fn delete_before(brokers: &str, topic: &str, partition: i32, offset: i64) {
    runtime().block_on(async {
        let admin = Admin::new(&settings(brokers)).unwrap();
        let deleted = admin.delete_before(topic, partition, offset, Duration::from_secs(30));
        deleted.await.unwrap();
    });
}

/// Deletes a topic and makes it again.
pub(crate) fn make_topic_again(brokers: &str, topic: &str, partitions: i32) {
    runtime().block_on(async {
        let admin = Admin::new(&settings(brokers)).unwrap();
        let deadline = Duration::from_secs(30);
        admin.delete_topic(topic, deadline).await.unwrap();
        let gone = || async { admin.topic(topic, deadline).await.unwrap().is_none() };
        eventually_async(deadline, "the topic is gone", || async {
            gone().await.then_some(())
        })
        .await;
    });
    make_topic(brokers, topic, partitions);
}

/// Sends messages with their keys and waits for all acknowledgements.
pub(crate) fn send(brokers: &str, topic: &str, messages: &[(String, Vec<u8>)]) {
    let (sender, mut deliveries) = tokio::sync::mpsc::unbounded_channel();
    let producer = Producer::new(&settings(brokers), &ProducerOptions::default(), sender).unwrap();
    for (token, (key, payload)) in messages.iter().enumerate() {
        let outgoing = Outgoing {
            topic,
            key: key.as_bytes(),
            headers: &[],
            payload,
            token: token as i64,
        };
        producer.send(outgoing).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    for _ in messages {
        let delivery = deliveries.blocking_recv().unwrap();
        assert!(delivery.result.is_ok(), "{:?}", delivery.result);
    }
}

/// Numbered samples, one a message, spread over agents, so that they spread over partitions.
pub(crate) fn numbered(numbers: std::ops::Range<u64>, agents: u64) -> Vec<(String, Vec<u8>)> {
    numbers
        .map(|n| {
            let (agent, sequence) = (format!("agent-{}", n % agents), n / agents);
            let time_us = now_us() + n as i64;
            let message = format!(
                r#"{{"v":1,"agent":"{agent}","epoch":1,"sequence":{sequence},"host":"h","points":[{{"measurement":"numbered","time_us":{time_us},"fields":{{"n":{n}}}}}]}}"#
            );
            (agent, message.into_bytes())
        })
        .collect()
}

pub(crate) fn now_us() -> i64 {
    tidegauge_model::Clock::now_us(&tidegauge_model::SystemClock)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
