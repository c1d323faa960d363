//! The producer on a mock broker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::{Broker, DEADLINE, send};

type Deliveries = tokio::sync::mpsc::UnboundedReceiver<Delivery>;

async fn next(deliveries: &mut Deliveries) -> Delivery {
    let delivery = tokio::time::timeout(DEADLINE, deliveries.recv()).await;
    delivery
        .expect("a delivery within the deadline")
        .expect("the producer lives")
}

async fn wait_for(producer: &Producer, wanted: impl FnMut(&BrokerState) -> bool) {
    let mut state = producer.broker_state();
    let reached = tokio::time::timeout(DEADLINE, state.wait_for(wanted)).await;
    reached
        .expect("the state within the deadline")
        .expect("the producer lives");
}

#[tokio::test]
async fn every_message_is_acknowledged_by_its_token_d2() {
    let broker = Broker::start(3);
    let (producer, mut deliveries) = broker.producer(&ProducerOptions::default());
    for token in [i64::MIN, -1, 0, 7, i64::MAX] {
        send(&producer, "agent", token).expect("room");
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        let delivery = next(&mut deliveries).await;
        seen.push((delivery.result.expect("stored"), delivery.token));
    }
    assert!(
        seen.iter()
            .all(|((partition, _), _)| *partition == seen[0].0.0),
        "one key: {seen:?}"
    );
    let in_order: Vec<(i64, i64)> = seen
        .iter()
        .map(|((_, offset), token)| (*offset, *token))
        .collect();
    assert_eq!(
        in_order,
        [(0, i64::MIN), (1, -1), (2, 0), (3, 7), (4, i64::MAX)]
    );
    assert_eq!(*producer.broker_state().borrow(), BrokerState::Up);
    assert_eq!(producer.in_flight(), 0);
}

#[tokio::test]
async fn an_outage_fills_the_queue_and_loses_and_reorders_nothing_d8() {
    let broker = Broker::start(1);
    let options = ProducerOptions {
        max_in_flight_messages: 10,
        ..ProducerOptions::default()
    };
    let (producer, mut deliveries) = broker.producer(&options);
    send(&producer, "agent", 0).expect("room");
    assert_eq!(next(&mut deliveries).await.result.expect("stored"), (0, 0));
    broker.cluster.broker_down(-1).expect("down");
    // librdkafka counts its own errors among the messages, so there may be room for fewer than ten.
    let sent = (1..=11)
        .take_while(|token| match send(&producer, "agent", *token) {
            Ok(()) => true,
            Err(SendError::Full) => false,
            Err(other) => panic!("{other}"),
        })
        .last()
        .expect("room for one");
    assert!((5..=10).contains(&sent), "{sent}");
    wait_for(&producer, |state| matches!(state, BrokerState::Down { .. })).await;
    assert_eq!(producer.in_flight(), usize::try_from(sent).expect("few"));
    assert!(matches!(
        producer.flush(Duration::from_millis(1)),
        Err(KafkaError::Timeout { .. })
    ));
    assert!(deliveries.try_recv().is_err(), "nothing expires");

    broker.cluster.broker_up(-1).expect("up");
    for token in 1..=sent {
        let delivery = next(&mut deliveries).await;
        assert_eq!(
            (delivery.token, delivery.result.expect("stored")),
            (token, (0, token))
        );
    }
    wait_for(&producer, |state| *state == BrokerState::Up).await;
}

#[tokio::test]
async fn what_is_not_acceptable_comes_back_refused_and_its_neighbours_are_stored() {
    let broker = Broker::start(1);
    let (producer, mut deliveries) = broker.producer(&ProducerOptions::default());
    send(&producer, "before", 1).expect("room");
    send(&producer, &"x".repeat(2_000_000), 2).expect("reported as a delivery");
    send(&producer, "after", 3).expect("room");
    let mut stored = BTreeSet::new();
    for _ in 0..3 {
        let Delivery { token, result } = next(&mut deliveries).await;
        match result {
            Ok(_) => assert!(stored.insert(token)),
            Err(error) => {
                assert_eq!(token, 2);
                assert!(
                    error.refused && !error.fatal && !error.unknown_topic,
                    "{error:?}"
                );
            }
        }
    }
    assert_eq!(stored, BTreeSet::from([1, 3]));
    let bad = Outgoing {
        topic: "a b",
        key: b"",
        headers: &[],
        payload: b"",
        token: 4,
    };
    assert!(matches!(
        producer.send(bad),
        Err(SendError::Fatal(KafkaError::TopicName { .. }))
    ));
}

#[tokio::test]
async fn dropping_a_producer_without_a_broker_is_quick_and_reports_everything() {
    let broker = Broker::start(1);
    broker.cluster.broker_down(-1).expect("down");
    let (producer, mut deliveries) = broker.producer(&ProducerOptions::default());
    for token in 0..5 {
        send(&producer, "agent", token).expect("room");
    }
    let begin = Instant::now();
    drop(producer);
    assert!(
        begin.elapsed() < DROP_DEADLINE + Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    for _ in 0..5 {
        let error = next(&mut deliveries).await.result.expect_err("purged");
        assert!(
            !error.refused && !error.fatal,
            "to be sent again: {error:?}"
        );
    }
}
