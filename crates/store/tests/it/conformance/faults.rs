//! Cases of D3 and D8: connections that are lost around COMMIT, writers that vanish, poison rows.

use super::Subject;
use super::building::{Writer, as_rows, committed, moved, point, stored};
use futures_util::FutureExt;
use tidegauge_store::{Applied, ErrorClass};

pub(crate) async fn a_connection_lost_before_commit_writes_nothing(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let error = subject.apply_cut_before_commit(&step).await;
    let error = error.expect_err("the connection was lost");
    assert_eq!(error.class(), ErrorClass::Outage, "{error:?}");
    assert!(error.is_retryable());

    assert_eq!(writer.position(0).await, Some(0));
    assert!(stored(&subject.reader(), "load").await.is_empty());
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

pub(crate) async fn an_answer_lost_after_commit_is_known_already(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    subject.apply_cut_after_commit(&step).await;

    let applied = writer.store.apply(&step).await.expect("answered");
    assert_eq!(applied, Applied::Already);
    assert_eq!(writer.position(0).await, Some(1));
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

/// A caller that is cancelled leaves the outcome open; the next writer finds out (D5).
pub(crate) async fn a_step_that_is_abandoned_is_written_once_by_the_next_writer(
    subject: &impl Subject,
) {
    let mut points = Vec::new();
    for begin in 0..8 {
        let mut writer = Writer::open(subject).await;
        assert_eq!(writer.position(0).await, Some(begin));
        points.push(point("load", begin).field("load1", 1.0));
        let latest = &points[points.len() - 1..];
        let step = writer.step(vec![moved(begin..begin + 1)], latest).await;
        let mut abandoned = writer.store.apply(&step);
        for _ in 0..begin {
            if (&mut abandoned).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(abandoned);
        drop(writer);

        let mut next = subject.store();
        let applied = next.apply(&step).await.expect("answered");
        let outcomes = [Applied::Already, committed(1, 0)];
        assert!(outcomes.contains(&applied), "{applied:?}");
    }
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&points));
}

pub(crate) async fn a_poison_row_is_refused_as_data_and_takes_its_step_back(
    subject: &impl Subject,
) {
    let mut writer = Writer::open(subject).await;
    let good = [
        point("load", 0).field("load1", 1.0),
        point("memory", 0).field("free_bytes", 5.0),
    ];
    writer.ensure(&good).await;
    let poison = subject.poison_sql("memory", "free_bytes", 666.0);
    subject.execute(&poison).await;

    let mut points = good.to_vec();
    points.push(point("memory", 1).field("free_bytes", 666.0));
    let error = writer.apply(0..3, &points).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Data, "{error:?}");
    assert!(error.is_certainly_rolled_back() && !error.is_retryable());
    assert!(error.code().is_some());
    assert_eq!(writer.position(0).await, Some(0));
    assert!(stored(&subject.reader(), "load").await.is_empty());

    writer.commit(0..3, &good).await;
    assert_eq!(stored(&subject.reader(), "memory").await.len(), 1);
}
