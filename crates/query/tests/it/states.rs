//! States of checks: runs, reasons, silence, long ranges.

use crate::{BEGIN, Fixture, SECOND};
use tidegauge_model::{Point, name};
use tidegauge_query::{StateRun, StatesRequest};

fn check(fixture: &Fixture, second: i64, up: bool, reason: &'static str) {
    let point = Point::new(name!("http_check"), BEGIN + second * SECOND)
        .tag(name!("target"), "site")
        .field(name!("up"), up)
        .field(name!("reason"), reason)
        .field_if(name!("detail"), (!up).then(|| format!("detail {second}")));
    fixture.reader.store("web-1", &point);
}

fn request(seconds: i64, max_points: u32) -> StatesRequest {
    StatesRequest {
        measurement: "http_check".to_owned(),
        host: None,
        tags: Vec::new(),
        up_field: "up".to_owned(),
        reason_field: "reason".to_owned(),
        detail_field: Some("detail".to_owned()),
        range_us: BEGIN..BEGIN + seconds * SECOND,
        max_points,
    }
}

fn run(from: i64, to: i64, reason: Option<&str>, detail: Option<&str>, up: bool) -> StateRun {
    StateRun {
        from_us: BEGIN + from * SECOND,
        to_us: BEGIN + to * SECOND,
        up,
        reason: reason.map(str::to_owned),
        detail: detail.map(str::to_owned),
    }
}

#[tokio::test]
async fn neighbours_of_one_state_and_reason_are_one_run() {
    let fixture = Fixture::new();
    for second in 0..10 {
        let (up, reason) = match second {
            3..5 => (false, "timeout"),
            5 => (false, "refused"),
            _ => (true, "ok"),
        };
        check(&fixture, second, up, reason);
    }
    let states = fixture
        .query
        .states(&request(60, 100))
        .await
        .expect("answered");
    assert_eq!((states[0].samples, states[0].up_samples), (10, 7));
    let expected = [
        run(0, 3, Some("ok"), None, true),
        run(3, 5, Some("timeout"), Some("detail 3"), false),
        run(5, 6, Some("refused"), Some("detail 5"), false),
        run(6, 10, Some("ok"), None, true),
    ];
    assert_eq!(states[0].runs, expected);
}

#[tokio::test]
async fn silence_has_no_run_and_a_missed_check_is_none() {
    let fixture = Fixture::new();
    for second in [0, 1, 2, 4, 5, 6, 20, 21] {
        check(&fixture, second, true, "ok");
    }
    let states = fixture
        .query
        .states(&request(21, 100))
        .await
        .expect("answered");
    assert_eq!(
        states[0].runs,
        [
            run(0, 7, Some("ok"), None, true),
            run(20, 21, Some("ok"), None, true)
        ]
    );
}

#[tokio::test]
async fn a_short_outage_is_seen_in_a_long_range_with_its_reason() {
    let fixture = Fixture::new();
    for second in 0..12_000 {
        match second {
            6_001 => check(&fixture, second, false, "timeout"),
            _ => check(&fixture, second, true, "ok"),
        }
    }
    let states = fixture
        .query
        .states(&request(12_000, 21))
        .await
        .expect("answered");
    assert_eq!((states[0].samples, states[0].up_samples), (12_000, 11_999));
    let expected = [
        run(0, 6_000, None, None, true),
        run(6_000, 6_600, Some("timeout"), Some("detail 6001"), false),
        run(6_600, 12_000, None, None, true),
    ];
    assert_eq!(states[0].runs, expected);
}

#[tokio::test]
async fn more_runs_than_points_are_summed_up() {
    let fixture = Fixture::new();
    for second in 0..100 {
        check(
            &fixture,
            second,
            second % 2 == 0,
            if second % 2 == 0 { "ok" } else { "timeout" },
        );
    }
    let states = fixture
        .query
        .states(&request(100, 11))
        .await
        .expect("answered");
    assert_eq!((states[0].samples, states[0].up_samples), (100, 50));
    assert_eq!(
        states[0].runs,
        [run(0, 100, Some("timeout"), Some("detail 1"), false)]
    );
}
