//! Any sequence of steps, fresh, repeated and stale, against a simple model (D3, D5, D6).

use super::Subject;
use super::building::{Writer, as_rows, committed, moved_in, point, stored};
use proptest::collection::vec;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use tidegauge_store::{Applied, SourceId, Step};

/// What to do next.
#[derive(Debug, Clone)]
enum Action {
    /// A fresh step over these partitions, each going on by so many offsets, with rows at these
    /// seconds.
    Fresh {
        lengths: BTreeMap<i32, i64>,
        seconds: Vec<i64>,
    },
    /// The step before the last `back` ones once more.
    Repeat { back: usize },
    /// Another writer takes over.
    Reopen,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let lengths = proptest::collection::btree_map(0..3_i32, 1..50_i64, 1..=3);
    let fresh = (lengths, vec(0..40_i64, 0..6))
        .prop_map(|(lengths, seconds)| Action::Fresh { lengths, seconds });
    let repeat = (0..5_usize).prop_map(|back| Action::Repeat { back });
    let action = proptest::prop_oneof![
        6 => fresh,
        3 => repeat,
        1 => proptest::strategy::Just(Action::Reopen),
    ];
    vec(action, 1..40)
}

pub(crate) async fn any_sequence_of_steps_equals_a_simple_model(subject: &impl Subject) {
    let config = Config {
        cases: 12,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Handle::current();
    // All cases share the database; each has a topic and a measurement of its own.
    let cases = AtomicU32::new(0);
    let outcome = tokio::task::block_in_place(|| {
        TestRunner::new(config).run(&actions(), |actions| {
            let case = cases.fetch_add(1, Ordering::Relaxed);
            runtime.block_on(play(subject, case, actions));
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

async fn play(subject: &impl Subject, case: u32, actions: Vec<Action>) {
    let (topic, sales) = (format!("topic-{case}"), format!("sales_{case}"));
    let source = SourceId::kafka(&topic, &topic);
    let mut writer = open(subject, &source).await;
    let before = subject.reader().summary().await.expect("summary").points;
    let mut positions: BTreeMap<i32, i64> = (0..3).map(|partition| (partition, 0)).collect();
    let mut rows = BTreeMap::new();
    let mut steps: Vec<Step> = Vec::new();
    for action in actions {
        match action {
            Action::Fresh { lengths, seconds } => {
                let moves = lengths.iter().map(|(&partition, &length)| {
                    let from = positions[&partition];
                    moved_in(&source, partition, from..from + length)
                });
                let (slots, number) = (lengths.len() as u32, steps.len() as f64);
                let points = (0..).zip(&seconds).map(|(index, &second)| {
                    let point = point(&sales, second).field("sum", number);
                    point.keyed().slot(index % slots)
                });
                let points: Vec<_> = points.collect();
                let step = writer.step(moves.collect(), &points).await;
                let known = rows.len();
                for point in points {
                    rows.entry(point.time_us).or_insert(point);
                }
                let new = (rows.len() - known) as u64;
                let applied = writer.store.apply(&step).await.expect("applied");
                assert_eq!(applied, committed(new, seconds.len() as u64 - new));
                for moved in &step.moves {
                    positions.insert(moved.partition, moved.to);
                }
                steps.push(step);
            }
            Action::Repeat { back } => {
                let Some(step) = steps.iter().rev().nth(back) else {
                    continue;
                };
                let all_there = step.moves.iter().all(|m| positions[&m.partition] == m.to);
                let expected = match all_there {
                    true => Applied::Already,
                    false => Applied::Fenced,
                };
                let applied = writer.store.apply(step).await.expect("answered");
                assert_eq!(applied, expected);
            }
            Action::Reopen => writer = open(subject, &source).await,
        }
    }
    let reader = subject.reader();
    let points: Vec<_> = rows.into_values().collect();
    assert_eq!(stored(&reader, &sales).await, as_rows(&points));
    let known = writer.store.known_positions(&source).await.expect("known");
    let known: BTreeMap<i32, i64> = known
        .iter()
        .map(|known| (known.partition, known.next_offset))
        .collect();
    assert_eq!(known, positions);
    let summary = reader.summary().await.expect("summary");
    assert_eq!(summary.points - before, points.len() as u64);
}

async fn open(subject: &impl Subject, source: &SourceId) -> Writer {
    let mut writer = Writer::open(subject).await;
    let begun = writer.store.positions(source, &[(0, 0), (1, 0), (2, 0)]);
    begun.await.expect("begun");
    writer
}
