//! The consumer on a mock broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::*;
use crate::testing::{Broker, DEADLINE, next};

/// Stored positions that a test can change, fail and count.
#[derive(Clone, Default)]
struct Stored {
    next: Arc<Mutex<BTreeMap<i32, i64>>>,
    failures: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Positions for Stored {
    fn assigned(
        &mut self,
        topic: &TopicIdentity,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64)>, PositionsError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!((topic.name.as_str(), topic.id.len()), ("t", 22));
        let failing = |left: usize| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, failing)
            .is_ok()
        {
            return Err("the database is away".into());
        }
        let stored = self.next.lock().expect("not poisoned");
        Ok(partitions
            .iter()
            .map(|(at, low)| (*at, *stored.get(at).unwrap_or(low)))
            .collect())
    }
}

impl Stored {
    fn at(positions: &[(i32, i64)]) -> Self {
        let stored = Self::default();
        stored
            .next
            .lock()
            .expect("not poisoned")
            .extend(positions.iter().copied());
        stored
    }

    /// What a sink does with a message: counts it and advances, if it is still current.
    fn apply(&self, consumer: &Consumer, message: &Message) -> bool {
        let current = consumer.is_current("t", message.partition, message.generation);
        if current {
            let mut stored = self.next.lock().expect("not poisoned");
            stored.insert(message.partition, message.offset + 1);
        }
        current
    }
}

fn options() -> ConsumerOptions {
    ConsumerOptions {
        session_timeout: Duration::from_secs(6),
        ..ConsumerOptions::new("g", "t")
    }
}

fn start(
    broker: &Broker,
    options: &ConsumerOptions,
    stored: &Stored,
    room: usize,
) -> (Consumer, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(room);
    let positions = Box::new(stored.clone());
    let consumer = Consumer::start(&broker.settings(), options, positions, sender);
    (consumer.expect("a consumer"), events)
}

async fn next_messages(events: &mut mpsc::Receiver<Event>) -> Vec<Message> {
    loop {
        if let Event::Messages(messages) = next(events).await {
            return messages;
        }
    }
}

/// Offsets of the first `count` messages of partition 0.
async fn offsets(events: &mut mpsc::Receiver<Event>, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        offsets.extend(
            next_messages(events)
                .await
                .iter()
                .map(|message| message.offset),
        );
    }
    offsets
}

async fn next_assigned(events: &mut mpsc::Receiver<Event>) -> (Vec<(i32, i64)>, u64) {
    loop {
        if let Event::Assigned {
            partitions,
            generation,
            ..
        } = next(events).await
        {
            return (partitions, generation);
        }
    }
}

#[tokio::test]
async fn reading_begins_exactly_where_the_owner_says_d4() {
    let broker = Broker::start(1);
    broker.fill(0, 10).await;
    let stored = Stored::at(&[(0, 4)]);
    let (mut consumer, mut events) = start(&broker, &options(), &stored, 8);
    let (partitions, generation) = next_assigned(&mut events).await;
    assert_eq!(partitions, [(0, 4)]);
    let first = next_messages(&mut events).await.remove(0);
    assert_eq!(
        (first.partition, first.offset, first.payload.as_slice()),
        (0, 4, &b"4"[..])
    );
    assert_eq!(first.encoding.as_deref(), Some(&b"json/1"[..]));
    assert_eq!(
        (first.key.as_deref(), first.generation),
        (Some(&b"4"[..]), generation)
    );
    assert!(first.timestamp_ms.is_some());
    assert!(consumer.is_current("t", 0, generation));
    assert!(!consumer.is_current("t", 0, generation + 1));
    assert_eq!(*consumer.broker_state().borrow(), BrokerState::Up);
    consumer.commit_for_lag_tools(vec![("t".into(), 0, 10)]);
    consumer.close(DEADLINE).await.expect("left the group");
}

#[tokio::test]
async fn a_database_that_is_away_is_asked_again_and_nothing_is_read_meanwhile_d8() {
    let broker = Broker::start(1);
    broker.fill(0, 5).await;
    let stored = Stored::at(&[(0, 3)]);
    stored.failures.store(3, Ordering::Relaxed);
    let (_consumer, mut events) = start(&broker, &options(), &stored, 8);
    let Event::Problem(problem) = next(&mut events).await else {
        panic!("nothing else may come")
    };
    assert!(
        matches!(&problem, KafkaError::Positions { topic, .. } if topic == "t"),
        "{problem:?}"
    );
    assert!(problem.is_retryable());
    assert!(
        matches!(next(&mut events).await, Event::Assigned { .. }),
        "the problem is told once"
    );
    assert_eq!(offsets(&mut events, 2).await, [3, 4]);
    assert_eq!(stored.asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_position_outside_of_the_log_waits_for_the_owner() {
    let broker = Broker::start(1);
    broker.fill(0, 5).await;
    let (consumer, mut events) = start(&broker, &options(), &Stored::at(&[(0, 100)]), 8);
    let Event::OutOfRange {
        partition,
        requested,
        low,
        high,
        ..
    } = next(&mut events).await
    else {
        panic!("nothing may be read");
    };
    assert_eq!((partition, requested, low, high), (0, 100, 0, 5));
    consumer.seek("t", 0, 2);
    let (partitions, generation) = next_assigned(&mut events).await;
    assert_eq!(partitions, [(0, 2)]);
    assert_eq!(offsets(&mut events, 3).await, [2, 3, 4]);

    // A seek out of the log while reading: librdkafka meets it and does not say where.
    consumer.seek("t", 0, 77);
    assert!(
        !consumer.is_current("t", 0, generation),
        "the old generation ends with the call"
    );
    loop {
        if let Event::OutOfRange {
            requested,
            low,
            high,
            ..
        } = next(&mut events).await
        {
            assert_eq!((requested, low, high), (77, 0, 5));
            break;
        }
    }
    consumer.seek("t", 0, 4);
    assert_eq!(offsets(&mut events, 1).await, [4]);
}

#[tokio::test]
async fn a_seek_goes_back_and_begins_a_generation() {
    let broker = Broker::start(1);
    broker.fill(0, 6).await;
    let (consumer, mut events) = start(&broker, &options(), &Stored::default(), 8);
    let (_, before) = next_assigned(&mut events).await;
    assert_eq!(offsets(&mut events, 6).await, [0, 1, 2, 3, 4, 5]);
    consumer.seek("t", 0, 1);
    let (partitions, after) = next_assigned(&mut events).await;
    assert_eq!((partitions, after > before), (vec![(0, 1)], true));
    assert!(consumer.is_current("t", 0, after) && !consumer.is_current("t", 0, before));
    assert_eq!(offsets(&mut events, 5).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_reader_that_sleeps_loses_and_repeats_nothing_d11() {
    let broker = Broker::start(1);
    broker.fill(0, 300).await;
    let options = ConsumerOptions {
        max_batch_messages: 10,
        ..options()
    };
    let (_consumer, mut events) = start(&broker, &options, &Stored::default(), 1);
    let mut seen = Vec::new();
    while seen.len() < 500 {
        seen.extend(
            next_messages(&mut events)
                .await
                .iter()
                .map(|message| message.offset),
        );
        if seen.len() == 50 {
            // Long enough for the thread to pause everything and throw away what it had fetched.
            broker.fill(300, 400).await;
            let longer_than_patience = Instant::now() + Duration::from_millis(2_500);
            let mut filled = 400;
            while Instant::now() < longer_than_patience {
                broker.fill(filled, filled + 1).await;
                filled += 1;
            }
            broker.fill(filled, 600).await;
        }
    }
    let expected: Vec<i64> = (0..).take(seen.len()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_paused_partition_stands_still_and_goes_on_where_it_was() {
    let broker = Broker::start(1);
    broker.fill(0, 3).await;
    let (consumer, mut events) = start(&broker, &options(), &Stored::default(), 8);
    assert_eq!(offsets(&mut events, 3).await, [0, 1, 2]);
    consumer.pause(&[("t", 0)]);
    // The pause is followed within a turn of the loop.
    let until = tokio::time::Instant::now() + Duration::from_millis(500);
    assert!(tokio::time::timeout_at(until, events.recv()).await.is_err());
    broker.fill(3, 6).await;
    let until = tokio::time::Instant::now() + Duration::from_millis(1_000);
    assert!(
        tokio::time::timeout_at(until, events.recv()).await.is_err(),
        "paused"
    );
    consumer.resume(&[("t", 0)]);
    assert_eq!(offsets(&mut events, 3).await, [3, 4, 5]);
}

#[tokio::test]
async fn two_members_share_and_hand_over_without_loss_or_repeat_d5() {
    let broker = Broker::start(4);
    let stored = Stored::default();
    let (mut first, mut first_events) = start(&broker, &options(), &stored, 8);
    next_assigned(&mut first_events).await;
    let (second, mut second_events) = start(&broker, &options(), &stored, 8);
    let (mut sent, mut applied) = (0, BTreeSet::new());
    let (mut by_second, mut revoked) = (0, BTreeSet::new());
    let end = Instant::now() + DEADLINE;
    // Messages flow until the second member has applied some, and then until the first has left and
    // everything has arrived at the second.
    let mut first_alive = true;
    while first_alive || applied.len() < sent {
        assert!(
            Instant::now() < end,
            "{} of {sent}, second {by_second}",
            applied.len()
        );
        if first_alive {
            let sent_now = i64::try_from(sent).expect("few");
            broker.fill(sent_now, sent_now + 20).await;
            sent += 20;
        }
        let until = tokio::time::Instant::now() + Duration::from_millis(100);
        loop {
            let event = tokio::select! {
                event = first_events.recv(), if first_alive => event.map(|event| (&first, event)),
                event = second_events.recv() => event.map(|event| (&second, event)),
                () = tokio::time::sleep_until(until) => None,
            };
            match event {
                None => break,
                Some((consumer, Event::Messages(messages))) => {
                    for message in messages {
                        if stored.apply(consumer, &message) {
                            assert!(applied.insert(message.payload.clone()), "applied twice");
                            by_second += usize::from(std::ptr::eq(consumer, &raw const second));
                        }
                    }
                }
                Some((_, Event::Revoked { partitions, .. })) => revoked.extend(partitions),
                Some((_, Event::Problem(problem))) => panic!("{problem:?}"),
                Some(_) => {}
            }
        }
        if first_alive && by_second > 0 {
            first.close(DEADLINE).await.expect("left the group");
            first_alive = false;
        }
    }
    assert_eq!(applied.len(), sent);
    assert!(
        !revoked.is_empty(),
        "the first member was told what it lost"
    );
}

#[tokio::test]
async fn closing_without_a_broker_keeps_the_deadline_and_dropping_does_not_wait() {
    let broker = Broker::start(1);
    let (mut consumer, mut events) = start(&broker, &options(), &Stored::default(), 8);
    next_assigned(&mut events).await;
    broker.cluster.broker_down(-1).expect("down");
    let begin = Instant::now();
    let closed = consumer.close(Duration::from_millis(500)).await;
    assert!(
        matches!(closed, Err(KafkaError::Timeout { .. })),
        "{closed:?}"
    );
    drop(consumer);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let gone = tokio::time::timeout(DEADLINE, async { while events.recv().await.is_some() {} });
    gone.await.expect("the thread lets go of the channel");
}

#[tokio::test]
async fn settings_are_checked_before_a_thread_is_started() {
    let broker = Broker::start(1);
    let bad = ConsumerOptions::new("g", "a b");
    let (sender, _events) = mpsc::channel(1);
    let positions = Box::new(Stored::default());
    let refused = Consumer::start(&broker.settings(), &bad, positions, sender).err();
    assert!(
        matches!(refused, Some(KafkaError::TopicName { .. })),
        "{refused:?}"
    );
}

/// Positions that are answered when the test says so.
struct Late {
    asked: mpsc::UnboundedSender<()>,
    answer: std::sync::mpsc::Receiver<Vec<(i32, i64)>>,
}

impl Positions for Late {
    fn assigned(
        &mut self,
        _: &TopicIdentity,
        _: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64)>, PositionsError> {
        self.asked.send(())?;
        Ok(self.answer.recv_timeout(DEADLINE)?)
    }
}

/// Another member may be applying messages while this one is being assigned, and this one may be
/// asleep between its questions (SIGSTOP, a busy machine).
#[tokio::test]
async fn a_position_that_moves_while_it_is_asked_for_is_not_outside_of_the_log() {
    let broker = Broker::start(1);
    let (asked, mut is_asked) = mpsc::unbounded_channel();
    let (answer, answers) = std::sync::mpsc::channel();
    let (sender, mut events) = mpsc::channel(16);
    let positions = Box::new(Late {
        asked,
        answer: answers,
    });
    let _consumer =
        Consumer::start(&broker.settings(), &options(), positions, sender).expect("a consumer");
    let asked = tokio::time::timeout(DEADLINE, is_asked.recv()).await;
    assert_eq!(asked.expect("in time"), Some(()));
    broker.fill(0, 5).await;
    answer.send(vec![(0, 5)]).expect("the consumer asks");
    match next(&mut events).await {
        Event::Assigned { partitions, .. } => assert_eq!(partitions, [(0, 5)]),
        other => panic!("{other:?}"),
    }
    broker.fill(5, 6).await;
    assert_eq!(offsets(&mut events, 1).await, [5]);
}
