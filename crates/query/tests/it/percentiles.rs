//! Percentiles: exact, bounded, of rates for counters.

use crate::{BEGIN, Fixture, SECOND};
use tidegauge_query::{PercentilesRequest, QueryError};

fn request(field: &str, max_rows: u32) -> PercentilesRequest {
    PercentilesRequest {
        measurement: "m".to_owned(),
        host: None,
        tags: vec![("part".to_owned(), "a".to_owned())],
        field: field.to_owned(),
        range_us: BEGIN..BEGIN + 1_000 * SECOND,
        quantiles: vec![0.0, 0.5, 0.95, 1.0],
        max_rows,
    }
}

#[tokio::test]
async fn percentiles_are_exact_and_say_when_they_were_cut() {
    let fixture = Fixture::new();
    for second in 0..=100 {
        fixture.sample(
            "a",
            f64::from(second),
            f64::from(second),
            f64::from(second * 7),
        );
        fixture.sample("b", f64::from(second), 5.0, 0.0);
    }
    let all = fixture
        .query
        .percentiles(&request("level", 1_000))
        .await
        .expect("answered");
    assert_eq!(all.len(), 1, "only the series with the tag");
    assert_eq!((all[0].count, all[0].complete), (101, true));
    assert_eq!(all[0].values, [0.0, 50.0, 95.0, 100.0]);
    let cut = fixture
        .query
        .percentiles(&request("level", 11))
        .await
        .expect("answered");
    assert_eq!((cut[0].count, cut[0].complete), (11, false));
    assert_eq!(cut[0].values, [90.0, 95.0, 99.5, 100.0], "of the newest");
    let rates = fixture
        .query
        .percentiles(&request("bytes_total", 1_000))
        .await
        .expect("answered");
    assert_eq!(
        (rates[0].count, rates[0].values.clone()),
        (100, vec![7.0; 4])
    );
}

#[tokio::test]
async fn a_quantile_outside_of_0_to_1_is_refused() {
    let fixture = Fixture::new();
    fixture.sample("a", 0.0, 1.0, 1.0);
    let mut wrong = request("level", 10);
    wrong.quantiles.push(95.0);
    let error = fixture
        .query
        .percentiles(&wrong)
        .await
        .expect_err("refused");
    assert!(matches!(error, QueryError::Quantile { quantile } if quantile == 95.0));
}
