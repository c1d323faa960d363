//! Cases of D6: ledger rows, their versions, and what a moved version does to a step.

use super::Subject;
use super::building::{Writer, committed, moved, point, stored};
use tidegauge_model::{AgentId, DropReason, SequenceRanges};
use tidegauge_store::{Applied, LedgerChange, LedgerKey, LedgerRow, Step, ToldDrop};

pub(crate) fn key(agent: &str, epoch: i64) -> LedgerKey {
    let agent = AgentId::new(agent).expect("valid");
    LedgerKey { agent, epoch }
}

pub(crate) fn change(key: &LedgerKey, expected_version: i64, next_sequence: u64) -> LedgerChange {
    let dropped = vec![ToldDrop {
        first: 3,
        last: 4,
        reason: DropReason::SpoolAge,
    }];
    LedgerChange {
        key: key.clone(),
        expected_version,
        row: LedgerRow {
            version: expected_version + 1,
            next_sequence,
            missing: SequenceRanges::parse("0-1,7").expect("ranges"),
            dropped,
            last_time_us: 1_795_183_200_123_456,
            batches: next_sequence,
            points: 90,
            duplicate_batches: 2,
            conflicts: 1,
        },
    }
}

fn step(range: std::ops::Range<i64>, ledger: Vec<LedgerChange>) -> Step {
    Step {
        moves: vec![moved(range)],
        ledger,
        ..Step::default()
    }
}

pub(crate) async fn rows_come_back_as_they_were_written(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let (ours, theirs) = (key("agent-1", 1_795_183_100_000_000), key("a:b.c", 0));
    let changes = vec![change(&ours, 0, 9), change(&theirs, 0, (1 << 63) - 1)];
    let applied = writer.store.apply(&step(0..1, changes.clone())).await;
    assert_eq!(applied.expect("applied"), committed(0, 0));
    let updated = change(&ours, 1, 10);
    let applied = writer.store.apply(&step(1..2, vec![updated.clone()])).await;
    assert_eq!(applied.expect("applied"), committed(0, 0));

    let keys = [ours.clone(), theirs.clone(), key("nobody", 1)];
    let rows = writer.store.ledger(&keys).await.expect("read");
    assert_eq!(rows.len(), 2, "what is not there is left out");
    assert_eq!(rows[&ours], updated.row);
    assert_eq!(rows[&theirs], changes[1].row);
    assert!(writer.store.ledger(&[]).await.expect("read").is_empty());
}

pub(crate) async fn a_version_that_moved_refuses_the_whole_step(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let ours = key("agent-1", 1);
    let first = step(0..1, vec![change(&ours, 0, 1)]);
    let applied = writer.store.apply(&first).await.expect("applied");
    assert_eq!(applied, committed(0, 0));

    let points = [point("load", 0).field("load1", 1.0)];
    for expected_version in [0, 2, 7] {
        let mut step = writer.step(vec![moved(1..2)], &points).await;
        step.ledger = vec![
            change(&key("agent-2", 1), 0, 1),
            change(&ours, expected_version, 5),
        ];
        let applied = writer.store.apply(&step).await.expect("answered");
        assert_eq!(applied, Applied::LedgerMoved, "{expected_version}");
    }
    let mut step = writer.step(vec![moved(1..2)], &points).await;
    step.ledger = vec![change(&key("agent-3", 1), 4, 5)];
    let applied = writer.store.apply(&step).await.expect("answered");
    assert_eq!(applied, Applied::LedgerMoved, "a row that is not there");

    assert_eq!(writer.position(0).await, Some(1), "nothing is written");
    assert!(stored(&subject.reader(), "load").await.is_empty());
    assert_eq!(writer.store.ledger_rows().await.expect("listed").len(), 1);
    step.ledger = vec![change(&ours, 1, 5)];
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0), "built again, it goes");
}

pub(crate) async fn all_rows_are_listed_newest_epoch_first(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let keys = [("b", 1), ("a", 1), ("a", 3), ("a", 2)].map(|(agent, epoch)| key(agent, epoch));
    let changes = keys.iter().map(|key| change(key, 0, 1)).collect();
    let applied = writer.store.apply(&step(0..1, changes)).await;
    assert_eq!(applied.expect("applied"), committed(0, 0));
    let rows = writer.store.ledger_rows().await.expect("listed");
    let order: Vec<_> = rows
        .iter()
        .map(|(key, row)| (key.agent.as_str(), key.epoch, row.version))
        .collect();
    assert_eq!(order, [("a", 3, 1), ("a", 2, 1), ("a", 1, 1), ("b", 1, 1)]);
}
