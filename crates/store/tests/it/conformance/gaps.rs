//! What is missing of a log is noted with the move that goes past it (D3, D5).

use super::Subject;
use super::building::{Writer, committed, moved, point};
use tidegauge_store::{Applied, Gap, GapReason, Loss, Step};

fn step(from: i64, to: i64, gap: (i64, i64), reason: GapReason) -> Step {
    let gap = Gap {
        slot: 0,
        from: gap.0,
        to: gap.1,
        reason,
    };
    let mut step = Step {
        moves: vec![moved(from..from)],
        gaps: vec![gap],
        ..Step::default()
    };
    step.moves[0].to = to;
    step.moves[0].messages = 0;
    step
}

/// Reason and count of what the view tells of gaps.
async fn told(subject: &impl Subject) -> Vec<(String, u64)> {
    let losses = subject.reader().losses().await.expect("losses");
    let gaps = losses
        .into_iter()
        .filter(|loss: &Loss| loss.what == "unread_messages");
    gaps.map(|gap| (gap.reason, gap.count)).collect()
}

pub(crate) async fn a_gap_is_noted_with_the_move_past_it(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    writer
        .commit(0..10, &[point("load", 0).field("load1", 1.0)])
        .await;
    // Another sink was here: nothing is written.
    let stale = step(5, 50, (5, 50), GapReason::Retention);
    let applied = writer.store.apply(&stale).await.expect("answered");
    assert_eq!(applied, Applied::Fenced);
    assert_eq!(told(subject).await, []);
    let past = step(10, 50, (10, 50), GapReason::Retention);
    let applied = writer.store.apply(&past).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    assert_eq!(writer.position(0).await, Some(50));
    assert_eq!(told(subject).await, [("retention".to_owned(), 40)]);
    let applied = writer.store.apply(&past).await.expect("answered");
    assert_eq!(applied, Applied::Already, "an answer that was lost");
    assert_eq!(told(subject).await, [("retention".to_owned(), 40)]);
}

pub(crate) async fn a_log_that_was_cut_moves_its_position_back(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0).keyed()];
    writer.commit(0..10, &points).await;
    let back = step(10, 0, (7, 10), GapReason::Truncated);
    let applied = writer.store.apply(&back).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    assert_eq!(writer.position(0).await, Some(0));
    assert_eq!(told(subject).await, [("truncated".to_owned(), 3)]);
    let again = writer.apply(0..7, &points).await.expect("applied");
    assert_eq!(again, committed(0, 1), "what is read again makes no row");
}

pub(crate) async fn a_gap_that_is_noted_again_is_one_row(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    writer
        .commit(0..10, &[point("load", 0).field("load1", 1.0)])
        .await;
    for (from, to, gap, reason) in [
        (10, 20, (10, 20), GapReason::Retention),
        (20, 10, (15, 20), GapReason::Truncated),
        (10, 30, (10, 30), GapReason::Retention),
    ] {
        let step = step(from, to, gap, reason);
        let applied = writer.store.apply(&step).await.expect("applied");
        assert_eq!(applied, committed(0, 0));
    }
    let expected = [("retention".to_owned(), 20), ("truncated".to_owned(), 5)];
    assert_eq!(told(subject).await, expected);
}
