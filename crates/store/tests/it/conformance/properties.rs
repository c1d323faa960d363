//! Any sequence of steps, fresh, repeated and stale, against a simple model (D3, D5, D6).

use super::Subject;
use super::building::{Writer, as_rows, committed, moved_in, point, source, stored};
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use tidegauge_store::{Applied, Step};

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
    vec(action, 40..60)
}

pub(crate) async fn any_sequence_of_steps_equals_a_simple_model(subject: &impl Subject) {
    // A fresh seed each time; the actions are printed when an assertion fails.
    let tree = actions().new_tree(&mut TestRunner::default());
    let actions = tree.expect("no filters").current();
    eprintln!("actions: {actions:?}");

    let mut writer = open(subject).await;
    let mut positions: BTreeMap<i32, i64> = (0..3).map(|partition| (partition, 0)).collect();
    let mut rows = BTreeMap::new();
    let mut steps: Vec<Step> = Vec::new();
    for action in actions {
        match action {
            Action::Fresh { lengths, seconds } => {
                let moves = lengths.iter().map(|(&partition, &length)| {
                    let from = positions[&partition];
                    moved_in(&source(), partition, from..from + length)
                });
                let number = f64::from(u32::try_from(steps.len()).expect("few"));
                let points = seconds.iter().map(|&second| {
                    let slot = u32::try_from(second).expect("positive") % lengths.len() as u32;
                    let point = point("sales", second).field("sum", number);
                    point.keyed().slot(slot)
                });
                let points: Vec<_> = points.collect();
                let step = writer.step(moves.collect(), &points).await;
                let before = rows.len();
                for point in points {
                    rows.entry(point.time_us).or_insert(point);
                }
                let new = (rows.len() - before) as u64;
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
            Action::Reopen => writer = open(subject).await,
        }
    }
    let points: Vec<_> = rows.into_values().collect();
    assert_eq!(stored(&subject.reader(), "sales").await, as_rows(&points));
    for (partition, next_offset) in positions {
        assert_eq!(writer.position(partition).await, Some(next_offset));
    }
    let summary = subject.reader().summary().await.expect("summary");
    assert_eq!(summary.points, points.len() as u64);
}

async fn open(subject: &impl Subject) -> Writer {
    let mut writer = Writer::open(subject).await;
    let begun = writer.store.positions(&source(), &[(1, 0), (2, 0)]).await;
    begun.expect("begun");
    writer
}
