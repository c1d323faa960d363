//! Checks counted by day, their error budget, and their phases.

use crate::{BEGIN, Fixture, SECOND};
use tidegauge_model::{Point, name};
use tidegauge_query::{CheckDay, ChecksRequest, QueryError};

const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

fn check(target: &'static str, time_us: i64, up: bool) -> Point {
    Point::new(name!("http_check"), time_us)
        .tag(name!("target"), target)
        .field(name!("up"), up)
}

fn request(days: i64) -> ChecksRequest {
    ChecksRequest {
        host: None,
        tags: Vec::new(),
        range_us: BEGIN..BEGIN + days * DAY,
    }
}

fn day(at: i64, checks: u64, failed: u64) -> CheckDay {
    CheckDay {
        from_us: BEGIN + at * DAY,
        checks,
        failed,
    }
}

#[tokio::test]
async fn checks_are_counted_by_day_and_repeated_attempts_are_none() {
    let fixture = Fixture::new();
    for hour in 0..48 {
        let up = ![23, 24, 25].contains(&hour);
        fixture
            .reader
            .store("web-1", &check("shop", BEGIN + hour * HOUR, up));
    }
    let attempt = check("shop", BEGIN + 5 * HOUR - 1, false).field(name!("repeated"), true);
    fixture.reader.store("web-1", &attempt);
    let heartbeat = Point::new(name!("heartbeat_check"), BEGIN + DAY)
        .tag(name!("target"), "backup")
        .field(name!("up"), false);
    fixture.reader.store("web-1", &heartbeat);
    let scrape = Point::new(name!("scrape"), BEGIN).field(name!("up"), false);
    fixture.reader.store("web-1", &scrape);

    let found = fixture.query.uptime(&request(3)).await.expect("answered");
    let days: Vec<_> = found
        .iter()
        .map(|check| (check.series.measurement.as_str(), check.days.clone()))
        .collect();
    assert_eq!(
        days,
        [
            ("heartbeat_check", vec![day(1, 1, 1)]),
            ("http_check", vec![day(0, 24, 1), day(1, 24, 2)]),
        ]
    );
    let total = found[1].total();
    assert_eq!(total, day(0, 48, 3));
    assert!((total.availability() - 0.9375).abs() < 1e-12);
    // Of 48 checks 4.8 may fail by 90 %, and 2.4 by 95 %: three did.
    assert!((total.allowed(0.9) - 4.8).abs() < 1e-9);
    assert!((total.budget_left(0.9) - 0.375).abs() < 1e-9);
    assert!((total.budget_left(0.95) + 0.25).abs() < 1e-9);

    let tagged = ChecksRequest {
        tags: vec![("target".to_owned(), "backup".to_owned())],
        ..request(3)
    };
    assert_eq!(
        fixture.query.uptime(&tagged).await.expect("answered").len(),
        1
    );
    let empty = fixture.query.uptime(&request(0)).await;
    assert!(
        matches!(empty, Err(QueryError::EmptyRange { .. })),
        "{empty:?}"
    );
}

#[tokio::test]
async fn the_slowest_phase_comes_first() {
    let fixture = Fixture::new();
    for (hour, connect, first_byte) in [(0, 0.25, 1.0), (1, 0.75, 2.0), (30, 0.5, 6.0)] {
        let point = check("shop", BEGIN + hour * HOUR, true)
            .field(name!("connect_seconds"), connect)
            .field(name!("first_byte_seconds"), first_byte)
            .field(name!("total_seconds"), 9.0);
        fixture.reader.store("web-1", &point);
    }
    fixture
        .reader
        .store("web-1", &check("shop", BEGIN + 2 * HOUR, false));
    let found = fixture.query.slowest_phases(&request(2)).await;
    let found: Vec<_> = found
        .expect("answered")
        .into_iter()
        .map(|phase| {
            (
                phase.phase,
                phase.count,
                phase.mean_seconds,
                phase.max_seconds,
            )
        })
        .collect();
    let expected = [("first_byte", 3, 3.0, 6.0), ("connect", 3, 0.5, 0.75)];
    let expected = expected.map(|(name, count, mean, max)| (name.to_owned(), count, mean, max));
    assert_eq!(found, expected);
}
