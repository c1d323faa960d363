//! The producer and topics that come and go.

use tidegauge_kafka::{Producer, ProducerOptions};
use tokio::sync::mpsc;

use crate::support::{Topic, next_delivery, send, stored};

#[tokio::test]
async fn a_missing_topic_is_told_and_the_same_producer_delivers_once_it_is_made() {
    let test = "a_missing_topic_is_told_and_the_same_producer_delivers_once_it_is_made";
    let Some(brokers) = tidegauge_testkit::kafka(test) else {
        return;
    };
    let topic = Topic::named(&brokers, "late");
    let mut settings = topic.settings.clone();
    // Instead of half a minute.
    settings
        .properties
        .insert("topic.metadata.propagation.max.ms".into(), "500".into());
    let (sender, mut deliveries) = mpsc::unbounded_channel();
    let producer = Producer::new(&settings, &ProducerOptions::default(), sender);
    let producer = producer.expect("a producer");
    send(&producer, &topic.name, "early", 1);
    let error = next_delivery(&mut deliveries)
        .await
        .result
        .expect_err("no topic");
    assert!(
        error.unknown_topic && !error.refused && !error.fatal,
        "{error:?}"
    );

    topic.make(1).await;
    send(&producer, &topic.name, "late", 2);
    loop {
        match next_delivery(&mut deliveries).await.result {
            Ok((partition, offset)) => {
                assert_eq!((partition, offset), (0, 0));
                break;
            }
            Err(error) => {
                assert!(error.unknown_topic, "{error:?}");
                send(&producer, &topic.name, "late", 2);
            }
        }
    }
    send(&producer, &topic.name, "later", 3);
    stored(&mut deliveries).await;
}
