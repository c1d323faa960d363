//! Ranges: rows or buckets, gaps, rates, one axis.

use crate::{BEGIN, Fixture, SECOND};
use tidegauge_query::{Counters, Frame, QueryError, RangeRequest};

fn request(fields: &[&str], seconds: i64, max_points: u32) -> RangeRequest {
    RangeRequest {
        measurement: "m".to_owned(),
        host: None,
        tags: Vec::new(),
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
        range_us: BEGIN..BEGIN + seconds * SECOND,
        max_points,
        counters: Counters::Rates,
    }
}

fn seconds(frame: &Frame) -> Vec<f64> {
    let since = |time: &i64| (time - BEGIN) as f64 / SECOND as f64;
    frame.times_us.iter().map(since).collect()
}

#[tokio::test]
async fn rows_are_answered_as_they_are_when_they_fit() {
    let fixture = Fixture::new();
    for second in 0..4 {
        fixture.sample("a", f64::from(second), f64::from(second) * 2.0, 0.0);
    }
    let frame = fixture
        .query
        .range(&request(&["level"], 10, 4))
        .await
        .expect("answered");
    assert_eq!((frame.bucket_us, frame.step_us), (None, Some(SECOND)));
    assert_eq!(seconds(&frame), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(frame.columns[0].values, [0.0, 2.0, 4.0, 6.0].map(Some));
    assert_eq!(frame.columns[0].envelope, None);
    assert_eq!(frame.last_us(), Some(BEGIN + 3 * SECOND));
    assert_eq!(fixture.reader.take_asked(), ["rows"]);
}

#[tokio::test]
async fn more_rows_than_points_become_buckets_that_keep_min_and_max() {
    let fixture = Fixture::new();
    for second in 0..60 {
        let spike = if second == 33 {
            1_000.0
        } else {
            f64::from(second)
        };
        fixture.sample("a", f64::from(second), spike, f64::from(second) * 10.0);
    }
    let frame = fixture
        .query
        .range(&request(&["level", "bytes_total"], 60, 7))
        .await
        .expect("answered");
    assert_eq!(fixture.reader.take_asked(), ["rows", "buckets"]);
    assert_eq!(frame.bucket_us, Some(10 * SECOND));
    assert_eq!(
        seconds(&frame),
        [5.0, 15.0, 25.0, 35.0, 45.0, 55.0],
        "the middles"
    );
    let level = &frame.columns[0];
    assert_eq!(level.values[0], Some(4.5));
    assert_eq!(level.values[3], Some((345.0 - 33.0 + 1_000.0) / 10.0));
    let envelope = level.envelope.as_ref().expect("buckets have one");
    assert_eq!(envelope.min, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0].map(Some));
    assert_eq!(
        envelope.max,
        [9.0, 19.0, 29.0, 1_000.0, 49.0, 59.0].map(Some)
    );
    let rate = &frame.columns[1];
    assert!(rate.per_second && rate.envelope.is_none());
    assert_eq!(rate.values[0], None, "nothing was stored before");
    assert_eq!(
        rate.values[1..],
        [Some(10.0); 5],
        "from the buckets' last values"
    );
}

#[tokio::test]
async fn the_first_bucket_has_a_rate_when_something_was_stored_before() {
    let fixture = Fixture::new();
    for second in -30..60 {
        fixture.sample("a", f64::from(second), 0.0, f64::from(second + 30) * 3.0);
    }
    let frame = fixture
        .query
        .range(&request(&["bytes_total"], 60, 7))
        .await
        .expect("answered");
    assert_eq!(seconds(&frame)[0], 5.0, "the bucket before is not shown");
    assert_eq!(frame.columns[0].values, [Some(3.0); 6]);
}

#[tokio::test]
async fn rates_of_buckets_are_right_whatever_the_phase_of_the_samples() {
    let fixture = Fixture::new();
    // Every 10 s in buckets of 15 s: two samples, one, two, one; and the newest is not full.
    for sample in 0..39 {
        let second = f64::from(sample) * 10.0;
        fixture.sample("a", second, 0.0, second * 8.0);
    }
    let request = request(&["bytes_total"], 420, 29);
    let frame = fixture.query.range(&request).await.expect("answered");
    assert_eq!(frame.bucket_us, Some(15 * SECOND));
    let values = &frame.columns[0].values;
    assert_eq!(values.len(), 26);
    assert_eq!(values[1..], [Some(8.0); 25]);
}

#[tokio::test]
async fn a_silence_of_more_than_two_and_a_half_steps_is_a_gap() {
    let fixture = Fixture::new();
    for second in [0.0, 1.0, 2.0, 4.5, 5.5, 8.1, 9.1] {
        fixture.sample("a", second, 1.0, 0.0);
    }
    let frame = fixture
        .query
        .range(&request(&["level"], 20, 100))
        .await
        .expect("answered");
    assert_eq!(seconds(&frame), [0.0, 1.0, 2.0, 4.5, 5.5, 6.5, 8.1, 9.1]);
    let missing = frame.columns[0].values.iter().position(Option::is_none);
    assert_eq!(missing, Some(5), "2.5 steps are none, 2.6 are one");
}

#[tokio::test]
async fn a_gap_is_visible_in_buckets_too() {
    let fixture = Fixture::new();
    for second in (0..20).chain(60..80) {
        fixture.sample("a", f64::from(second), 1.0, f64::from(second));
    }
    let fields = ["level", "bytes_total"];
    let frame = fixture
        .query
        .range(&request(&fields, 80, 17))
        .await
        .expect("answered");
    assert_eq!(frame.bucket_us, Some(5 * SECOND));
    assert_eq!(seconds(&frame)[3..6], [17.5, 22.5, 62.5]);
    assert_eq!(frame.columns[0].values[3..6], [Some(1.0), None, Some(1.0)]);
    assert_eq!(
        frame.columns[1].values[3..6],
        [Some(1.0), None, None],
        "no rate over the silence"
    );
}

#[tokio::test]
async fn samples_of_one_collection_share_a_time() {
    let fixture = Fixture::new();
    for second in 0..3 {
        fixture.sample("a", f64::from(second), 1.0, 0.0);
        fixture.sample("b", f64::from(second) + 0.000_2, 2.0, 0.0);
    }
    fixture.sample("b", 3.0, 3.0, 0.0);
    let frame = fixture
        .query
        .range(&request(&["level"], 10, 100))
        .await
        .expect("answered");
    assert_eq!(seconds(&frame), [0.0, 1.0, 2.0, 3.0]);
    let tags: Vec<_> = frame
        .columns
        .iter()
        .map(|column| column.tags[0].1.as_str())
        .collect();
    assert_eq!(tags, ["a", "b"]);
    assert_eq!(
        frame.columns[0].values,
        [Some(1.0), Some(1.0), Some(1.0), None]
    );
    assert_eq!(
        frame.columns[1].values,
        [Some(2.0), Some(2.0), Some(2.0), Some(3.0)]
    );
}

#[tokio::test]
async fn series_may_have_an_axis_each() {
    let fixture = Fixture::new();
    for second in 0..3 {
        fixture.sample("a", f64::from(second), 1.0, 0.0);
        fixture.sample("b", f64::from(second * 10) + 0.4, 2.0, 0.0);
    }
    let measurement = fixture.query.measurement("m").await.expect("there");
    let request = request(&["level"], 60, 100);
    let frames = fixture
        .query
        .range_by_series(&measurement, &request)
        .await
        .expect("answered");
    let axes: Vec<_> = frames.iter().map(seconds).collect();
    assert_eq!(
        axes,
        [[0.0, 1.0, 2.0], [0.4, 10.4, 20.4]],
        "and their own step"
    );
    assert_eq!(frames[1].columns[0].values, [Some(2.0); 3]);
}

#[tokio::test]
async fn a_counter_that_was_reset_never_has_a_negative_rate() {
    let fixture = Fixture::new();
    for (second, total) in [500.0, 600.0, 20.0, 50.0].into_iter().enumerate() {
        fixture.sample("a", second as f64, 0.0, total);
    }
    let rates = fixture
        .query
        .range(&request(&["bytes_total"], 10, 100))
        .await
        .expect("answered");
    assert_eq!(
        rates.columns[0].values,
        [None, Some(100.0), None, Some(30.0)]
    );
    let totals = RangeRequest {
        counters: Counters::Totals,
        ..request(&["bytes_total"], 10, 100)
    };
    let totals = fixture.query.range(&totals).await.expect("answered");
    assert_eq!(
        totals.columns[0].values,
        [500.0, 600.0, 20.0, 50.0].map(Some)
    );
}

#[tokio::test]
async fn only_what_is_after_a_time_is_kept() {
    let fixture = Fixture::new();
    for second in 0..3 {
        fixture.sample("a", f64::from(second), f64::from(second), f64::from(second));
    }
    fixture.sample("old", 0.0, 1.0, 1.0);
    let fields = ["level", "bytes_total"];
    let mut frame = fixture
        .query
        .range(&request(&fields, 10, 100))
        .await
        .expect("answered");
    frame.keep_after(BEGIN + SECOND);
    assert_eq!(seconds(&frame), [2.0]);
    let values: Vec<_> = frame
        .columns
        .iter()
        .map(|column| column.values.clone())
        .collect();
    assert_eq!(values, [[Some(2.0)], [Some(1.0)]]);
}

#[tokio::test]
async fn a_wrong_question_says_what_is_wrong() {
    let fixture = Fixture::new();
    fixture.sample("a", 0.0, 1.0, 1.0);
    let ask =
        async |request: RangeRequest| fixture.query.range(&request).await.expect_err("refused");
    let unknown = ask(request(&["nope"], 1, 1)).await;
    assert!(unknown.is_not_found(), "{unknown}");
    let text = ask(request(&["word"], 1, 1)).await;
    assert!(
        matches!(&text, QueryError::TextField { field, .. } if field == "word"),
        "{text}"
    );
    let empty = ask(request(&["level"], 0, 1)).await;
    assert!(matches!(&empty, QueryError::EmptyRange { .. }), "{empty}");
    let measurement = RangeRequest {
        measurement: "nope".to_owned(),
        ..request(&["level"], 1, 1)
    };
    assert!(ask(measurement).await.is_not_found());
    let host = fixture.query.host("nope").await.expect_err("refused");
    assert_eq!(
        host.to_string(),
        "no host has the identity or name \"nope\""
    );
    assert!(host.is_usage() && !host.is_retryable());
    assert_eq!(
        fixture.query.host("web-1").await.expect("there").identity,
        "agent:web-1"
    );
    assert_eq!(
        fixture.query.host("agent:web-1").await.expect("there").name,
        "web-1"
    );
}
