//! Groups, positions and topics that change under a running consumer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidegauge_kafka::Event;

use crate::support::{DEADLINE, Stored, Topic, assigned, messages, next_of};

#[tokio::test]
async fn a_topic_that_did_not_exist_delivers_within_30_s() {
    let Some(brokers) = tidegauge_testkit::kafka("a_topic_that_did_not_exist_delivers_within_30_s")
    else {
        return;
    };
    let topic = Topic::named(&brokers, "unborn");
    let (mut consumer, mut events) = topic.consumer(&Stored::default());
    let told = next_of(&mut events, |event| match event {
        Event::Problem(problem) => Some(problem.to_string()),
        _ => None,
    });
    assert_eq!(told.await, format!("topic {} does not exist", topic.name));
    topic.make(2).await;
    topic.fill(0..10).await;
    let begin = Instant::now();
    let mut seen = 0;
    while seen < 10 {
        seen += next_of(&mut events, messages).await.len();
    }
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(seen, 10);
    consumer.close(DEADLINE).await.expect("left the group");
}

#[tokio::test]
async fn members_share_and_hand_over_without_loss_or_repeat_d5() {
    let Some(brokers) =
        tidegauge_testkit::kafka("members_share_and_hand_over_without_loss_or_repeat_d5")
    else {
        return;
    };
    let topic = Topic::named(&brokers, "shared");
    topic.make(4).await;
    let stored = Stored::default();
    let (mut first, mut first_events) = topic.consumer(&stored);
    next_of(&mut first_events, assigned).await;
    let (second, mut second_events) = topic.consumer(&stored);
    let (mut sent, mut applied, mut by_second) = (0, BTreeSet::new(), 0);
    let mut first_alive = true;
    let end = Instant::now() + DEADLINE;
    while first_alive || applied.len() < sent {
        assert!(
            Instant::now() < end,
            "{} of {sent}, second {by_second}",
            applied.len()
        );
        if first_alive {
            topic.fill(sent..sent + 50).await;
            sent += 50;
        }
        let until = tokio::time::Instant::now() + Duration::from_millis(100);
        loop {
            let received = tokio::select! {
                event = first_events.recv(), if first_alive => event.map(|event| (true, event)),
                event = second_events.recv() => event.map(|event| (false, event)),
                () = tokio::time::sleep_until(until) => None,
            };
            let Some((of_first, event)) = received else {
                break;
            };
            let consumer = if of_first { &first } else { &second };
            for message in messages(event).unwrap_or_default() {
                if stored.apply(consumer, &message) {
                    assert!(applied.insert(message.payload.clone()), "applied twice");
                    by_second += usize::from(!of_first);
                }
            }
        }
        if first_alive && by_second > 100 {
            first.close(DEADLINE).await.expect("left the group");
            first_alive = false;
        }
    }
    assert_eq!(applied.len(), sent);
}

#[tokio::test]
async fn records_deleted_before_and_behind_the_position_are_told_not_skipped() {
    let test = "records_deleted_before_and_behind_the_position_are_told_not_skipped";
    let Some(brokers) = tidegauge_testkit::kafka(test) else {
        return;
    };
    let topic = Topic::named(&brokers, "deleted");
    let made = topic.make(1).await;
    topic.fill(0..10).await;
    topic.delete_before(4).await;
    let stored = Stored::default();
    stored.set(&made.id, 0, 1);
    let (consumer, mut events) = topic.consumer(&stored);
    let out_of_range = |event| match event {
        Event::OutOfRange {
            topic,
            partition,
            requested,
            low,
            high,
        } => Some((topic.id.clone(), partition, requested, low, high)),
        Event::Messages(messages) => panic!("read from nowhere: {messages:?}"),
        _ => None,
    };
    let told = next_of(&mut events, out_of_range).await;
    assert_eq!(told, (made.id.clone(), 0, 1, 4, 10));
    consumer.seek(&topic.name, 0, 4);
    let first = next_of(&mut events, messages).await;
    assert_eq!(first[0].offset, 4);

    // Now while the consumer is reading: it stands paused before what is deleted.
    consumer.seek(&topic.name, 0, 5);
    consumer.pause(&[(&topic.name, 0)]);
    topic.delete_before(8).await;
    consumer.seek(&topic.name, 0, 5);
    consumer.resume(&[(&topic.name, 0)]);
    let told = next_of(&mut events, |event| match event {
        Event::OutOfRange {
            requested,
            low,
            high,
            ..
        } => Some((requested, low, high)),
        _ => None,
    });
    assert_eq!(told.await, (5, 8, 10));
    consumer.seek(&topic.name, 0, 8);
    let partitions = next_of(&mut events, assigned).await;
    assert_eq!(partitions, [(0, 8)]);
    assert_eq!(next_of(&mut events, messages).await[0].offset, 8);
}

#[tokio::test]
async fn a_topic_made_again_is_read_as_a_new_one_d5() {
    let Some(brokers) = tidegauge_testkit::kafka("a_topic_made_again_is_read_as_a_new_one_d5")
    else {
        return;
    };
    let topic = Topic::named(&brokers, "reborn");
    let first = topic.make(1).await;
    topic.fill(0..5).await;
    let stored = Stored::default();
    let (consumer, mut events) = topic.consumer(&stored);
    let mut seen = 0;
    while seen < 5 {
        for message in next_of(&mut events, messages).await {
            assert_eq!(message.topic.id, first.id);
            assert!(stored.apply(&consumer, &message));
            seen += 1;
        }
    }
    topic.delete().await;
    let second =
        tidegauge_testkit::eventually_async(DEADLINE, "the topic is made again", || async {
            let made = topic.make(1).await;
            (made.id != first.id).then_some(made)
        })
        .await;
    // More than the first one had, so that going on at its position would find something.
    topic.fill(100..120).await;
    let mut offsets = Vec::new();
    while offsets.len() < 20 {
        for message in next_of(&mut events, messages).await {
            if message.topic.id == second.id && stored.apply(&consumer, &message) {
                offsets.push(message.offset);
            }
        }
    }
    assert_eq!(offsets, (0..20).collect::<Vec<i64>>());
}

#[tokio::test]
async fn new_partitions_are_picked_up() {
    let Some(brokers) = tidegauge_testkit::kafka("new_partitions_are_picked_up") else {
        return;
    };
    let topic = Topic::named(&brokers, "growing");
    topic.make(1).await;
    let stored = Stored::default();
    let (_consumer, mut events) = topic.consumer(&stored);
    let partitions = next_of(&mut events, assigned).await;
    assert_eq!(partitions, [(0, 0)]);
    topic.grow(3).await;
    let mut known = BTreeSet::from([0]);
    while known.len() < 3 {
        let partitions = next_of(&mut events, assigned).await;
        known.extend(partitions.into_iter().map(|(partition, _)| partition));
    }
    topic.fill(0..100).await;
    let (mut seen, mut used) = (0, BTreeSet::new());
    while seen < 100 {
        for message in next_of(&mut events, messages).await {
            used.insert(message.partition);
            seen += 1;
        }
    }
    assert_eq!((seen, used), (100, known));
}
