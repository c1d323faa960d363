//! Cases of steps that are told before they are applied: a store may write their rows ahead, and nobody
//! can tell whether it did.

use super::Subject;
use super::building::{TestPoint, Writer, as_rows, committed, dead_letter, moved, point, stored};
use super::ledger::{change, key};
use std::sync::Arc;
use tidegauge_model::Reason;
use tidegauge_store::{Applied, Step};
use tokio::sync::oneshot;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Rows of one step.
const ROWS: i64 = 50;

/// The points of the step from this offset on.
fn points(offset: i64) -> Vec<TestPoint> {
    let seconds = offset..offset + ROWS;
    let of = |second| {
        [
            point("load", second).field("load1", second as f64),
            point("cpu", second)
                .tag("cpu", "0")
                .field("user_percent", 1.5),
        ]
    };
    seconds.flat_map(of).collect()
}

/// Steps of partition 0, one after the other, of 50 seconds each.
pub(crate) async fn chain(writer: &mut Writer, steps: i64) -> Vec<Arc<Step>> {
    let mut chain = Vec::new();
    for number in 0..steps {
        let from = number * ROWS;
        let moves = vec![moved(from..from + ROWS)];
        chain.push(Arc::new(writer.step(moves, &points(from)).await));
    }
    chain
}

/// Applies a step when the store was told the next one.
async fn apply_telling(writer: &mut Writer, step: &Step, next: &Arc<Step>) -> Applied {
    let (tell, told) = oneshot::channel();
    // A store that writes one step after the other does not listen.
    let _unheard = tell.send(next.clone());
    writer
        .store
        .apply_before(step, told)
        .await
        .expect("applied")
}

/// Applies the first steps of a chain, each telling the one behind it, so that a store knows its way.
pub(crate) async fn begin(writer: &mut Writer, chain: &[Arc<Step>]) {
    for pair in chain.windows(2) {
        let applied = apply_telling(writer, &pair[0], &pair[1]).await;
        assert_eq!(applied, committed(2 * ROWS as u64, 0));
    }
}

pub(crate) async fn a_chain_is_written_once_in_order(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let mut steps = chain(&mut writer, 6).await;
    // What no store writes ahead is told all the same: another day, keys, dead letters.
    let mut expected: Vec<TestPoint> = (0..6).flat_map(|number| points(number * ROWS)).collect();
    let others = [
        vec![point("load", 3 * DAY).field("load1", 3.0)],
        vec![point("sales", 7).field("sum", 1.0).keyed()],
        vec![point("sales", 7).field("sum", 2.0).keyed()],
        vec![point("load", 3 * DAY + 1).field("load1", 4.0)],
    ];
    for (number, points) in (0..).zip(&others) {
        let from = 6 * ROWS + number;
        let mut step = writer.step(vec![moved(from..from + 1)], points).await;
        let letter = dead_letter(0, None, Reason::Syntax);
        step.dead_letters.push(letter);
        steps.push(Arc::new(step));
    }
    let mut rows = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let applied = match steps.get(at + 1) {
            Some(next) => apply_telling(&mut writer, step, next).await,
            None => writer.store.apply(step).await.expect("applied"),
        };
        let Applied::Committed { rows: new, .. } = applied else {
            panic!("step {at} is {applied:?}");
        };
        rows.push(new);
    }
    assert_eq!(rows, [100, 100, 100, 100, 100, 100, 1, 1, 0, 1]);
    expected.extend(others.into_iter().flatten());
    let of = |name: &str| -> Vec<TestPoint> {
        let points = expected.iter().filter(|point| point.measurement == name);
        points.cloned().collect()
    };
    let reader = subject.reader();
    assert_eq!(stored(&reader, "load").await, as_rows(&of("load")));
    assert_eq!(stored(&reader, "cpu").await, as_rows(&of("cpu")));
    assert_eq!(stored(&reader, "sales").await, as_rows(&of("sales")[..1]));
    let summary = reader.summary().await.expect("summary");
    assert_eq!((summary.points, summary.dead_letters), (603, 4));
}

pub(crate) async fn what_is_never_applied_was_never_written(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let steps = chain(&mut writer, 4).await;
    begin(&mut writer, &steps).await;
    drop(writer);
    assert_eq!(stored(&subject.reader(), "load").await.len(), 150);
    let mut next = Writer::open(subject).await;
    assert_eq!(next.position(0).await, Some(150));
    let applied = next.store.apply(&steps[3]).await.expect("applied");
    assert_eq!(applied, committed(100, 0));
    assert_eq!(stored(&subject.reader(), "load").await.len(), 200);
}

pub(crate) async fn a_step_that_is_packed_anew_replaces_the_one_told(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let steps = chain(&mut writer, 4).await;
    let few = [point("load", 150).field("load1", 0.5)];
    let anew = writer.step(vec![moved(150..151)], &few).await;
    begin(&mut writer, &steps).await;
    let applied = writer.store.apply(&anew).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    let reader = subject.reader();
    assert_eq!(stored(&reader, "load").await.len(), 151);
    assert_eq!(stored(&reader, "cpu").await.len(), 150);
}

pub(crate) async fn what_is_written_ahead_is_fenced_all_the_same(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let mut steps = chain(&mut writer, 4).await;
    let last = Arc::make_mut(&mut steps[3]);
    last.ledger = vec![change(&key("agent-1", 1), 7, 5)];
    begin(&mut writer, &steps).await;
    // Its ledger row has not the version that it was built from.
    let moved_on = writer.store.apply(&steps[3]).await.expect("answered");
    assert_eq!(moved_on, Applied::LedgerMoved);

    Arc::make_mut(&mut steps[3]).ledger.clear();
    let mut other = Writer::open(subject).await;
    let theirs = [point("load", 170).field("load1", 9.0)];
    other.commit(150..170, &theirs).await;
    let fenced = writer.store.apply(&steps[3]).await.expect("answered");
    assert_eq!(fenced, Applied::Fenced);
    assert_eq!(stored(&subject.reader(), "load").await.len(), 151);
    assert_eq!(writer.position(0).await, Some(170));
}
