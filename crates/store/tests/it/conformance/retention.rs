//! Cases of upkeep: old rows go, and settling changes none.

use super::Subject;
use super::building::{BEGIN_US, TestPoint, Writer, as_rows, committed, point, stored};
use tidegauge_store::{RetentionReport, RetentionRequest, SettleRequest};

const DAY_SECONDS: i64 = 86_400;
const DAY_US: i64 = DAY_SECONDS * 1_000_000;

/// A point so many days after the begin.
fn at_day(measurement: &str, day: i64) -> TestPoint {
    let point = point(measurement, day * DAY_SECONDS).tag("zone", &format!("z{}", day % 3));
    point.field("value", day as f64)
}

fn keep_days(days: i64) -> RetentionRequest {
    RetentionRequest {
        now_us: BEGIN_US + 20 * DAY_US,
        keep_us: Some(days * DAY_US),
        ..RetentionRequest::default()
    }
}

pub(crate) async fn old_rows_go_and_young_ones_stay(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points: Vec<TestPoint> = (0..20).map(|day| at_day("load", day)).collect();
    writer.commit(0..1, &points).await;
    let reader = subject.reader();
    let none = writer.store.retain(&RetentionRequest::default()).await;
    assert_eq!(none.expect("no limit"), RetentionReport::default());
    let dry = RetentionRequest {
        dry_run: true,
        ..keep_days(10)
    };
    for _ in 0..2 {
        let would = writer.store.retain(&dry).await.expect("answered");
        assert!(!would.removed.is_empty());
        assert_eq!(stored(&reader, "load").await, as_rows(&points), "dry");
    }
    let report = writer.store.retain(&keep_days(10)).await.expect("removed");
    let limit_us = BEGIN_US + 10 * DAY_US;
    assert!(!report.removed.is_empty() && !report.is_busy);
    for removed in &report.removed {
        assert!(
            removed.measurement == "load" && removed.before_us <= limit_us,
            "{removed:?}"
        );
    }
    let left = stored(&reader, "load").await;
    // Where whole partitions go, rows of the limit's own day stay.
    let certainly = &points[10..];
    assert!(as_rows(certainly).iter().all(|row| left.contains(row)));
    assert!(left.iter().all(|row| row.2 >= limit_us - DAY_US));
    let again = writer.store.retain(&keep_days(10)).await.expect("again");
    assert_eq!(again, RetentionReport::default());
    // A late one is stored all the same: what is too old to arrive is a limit of its own.
    writer.commit(1..2, &points[..1]).await;
    assert_eq!(stored(&reader, "load").await.len(), left.len() + 1);
}

pub(crate) async fn a_measurements_own_limit_comes_first(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points: Vec<TestPoint> = ["cpu", "http_check", "load"]
        .iter()
        .flat_map(|name| [at_day(name, 0), at_day(name, 15)])
        .collect();
    writer.commit(0..1, &points).await;
    let mut request = keep_days(10);
    request
        .keep_of_us
        .insert("http_check".to_owned(), 100 * DAY_US);
    request.keep_of_us.insert("load".to_owned(), 2 * DAY_US);
    writer.store.retain(&request).await.expect("removed");
    let reader = subject.reader();
    for (name, rows) in [("cpu", 1), ("http_check", 2), ("load", 0)] {
        assert_eq!(stored(&reader, name).await.len(), rows, "{name}");
    }
}

/// More than one transaction of a database that deletes in pieces, over several series.
pub(crate) async fn many_old_rows_go_at_once(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points: Vec<TestPoint> = (0..25_000)
        .map(|n| {
            let point = point("load", n).tag("zone", &format!("z{}", n % 3));
            point.field("value", 1.0)
        })
        .collect();
    writer.commit(0..1, &points).await;
    let young = at_day("load", 18);
    writer.commit(1..2, std::slice::from_ref(&young)).await;
    writer.store.retain(&keep_days(5)).await.expect("removed");
    let left = stored(&subject.reader(), "load").await;
    assert_eq!(left, as_rows(&[young]));
}

pub(crate) async fn settling_changes_no_row(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points: Vec<TestPoint> = (0..20).map(|n| at_day("load", n / 4 + n % 4)).collect();
    let days: Vec<TestPoint> = (0..8).map(|day| at_day("load", day)).collect();
    writer.commit(0..1, &days).await;
    let request = SettleRequest {
        now_us: BEGIN_US + 20 * DAY_US,
        grace_us: 3_600_000_000,
        at_most: 3,
        postponed_too: false,
    };
    loop {
        let report = writer.store.settle(&request).await.expect("settled");
        assert!(report.postponed.is_empty() && !report.is_busy, "{report:?}");
        assert_eq!(stored(&subject.reader(), "load").await, as_rows(&days));
        if report.remaining == 0 {
            break;
        }
    }
    // Keyed rows are repeats after it as before it.
    let keyed: Vec<TestPoint> = points.into_iter().map(TestPoint::keyed).collect();
    let applied = writer.apply(1..2, &keyed).await.expect("applied");
    assert_eq!(applied, committed(0, 20));
    assert_eq!(stored(&subject.reader(), "load").await, as_rows(&days));
}
