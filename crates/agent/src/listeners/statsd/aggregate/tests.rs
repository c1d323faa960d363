//! Lines put together, interval by interval.

use super::*;
use proptest::prelude::*;
use tidegauge_model::Value;
use tidegauge_wire::statsd::parse;

const SECOND: i64 = 1_000_000;

fn aggregate() -> Aggregate {
    Aggregate::new(5, 10, 60 * SECOND, 0)
}

fn add(aggregate: &mut Aggregate, line: &str, now_us: i64) -> &'static str {
    let line = parse(line.as_bytes()).map_err(refused);
    let taken = line.and_then(|line| aggregate.add(&line, now_us));
    taken.map_or_else(|(refusal, _)| refusal.as_str(), |()| "")
}

/// The points of an interval as text, in order.
fn flushed(aggregate: &mut Aggregate, now_us: i64) -> Vec<String> {
    let told = aggregate.flush(now_us).into_iter().map(|point| {
        let tags = point
            .tags()
            .iter()
            .map(|(name, text)| format!(",{name}={text}"));
        let tags: String = tags.collect();
        let fields = point.fields().iter().map(|(name, value)| match value {
            Value::Float(number) => format!(" {name}={number}"),
            other => format!(" {name}={other:?}"),
        });
        let fields: String = fields.collect();
        let seconds = point.time_us() / SECOND;
        format!(
            "{}{tags}{fields} {} @{seconds}",
            point.measurement(),
            point.kind()
        )
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

#[test]
fn each_type_is_told_in_its_own_way() {
    let mut aggregate = aggregate();
    for line in [
        "page.views:1|c|#site:a",
        "page.views:2|c|@0.1|#site:a",
        "users.online:7|g",
        "users.online:+3|g",
        "users.online:-1|g",
        "latency:4:2|ms",
        "latency:3|h",
        "visitors:ann|s",
        "visitors:bob|s",
        "visitors:ann|s",
    ] {
        assert_eq!(add(&mut aggregate, line, SECOND), "", "{line}");
    }
    let timer = "latency count=3 sum=9 min=2 max=4 mean=3 p50=3 p90=4 p95=4 p99=4 timer @10";
    assert_eq!(
        flushed(&mut aggregate, 10 * SECOND),
        [
            timer,
            "page_views,site=a total=0 counter @0",
            "page_views,site=a total=21 counter @10",
            "users_online value=9 gauge @10",
            "visitors unique=2 gauge @10",
        ]
    );
    add(&mut aggregate, "page.views:1|c|#site:a", 11 * SECOND);
    assert_eq!(
        flushed(&mut aggregate, 20 * SECOND),
        [
            "page_views,site=a total=22 counter @20",
            "users_online value=9 gauge @20",
        ]
    );
}

#[test]
fn a_counter_that_was_idle_begins_again_at_0() {
    let mut aggregate = aggregate();
    add(&mut aggregate, "a:5|c", 0);
    assert_eq!(flushed(&mut aggregate, 59 * SECOND).len(), 2);
    assert!(flushed(&mut aggregate, 60 * SECOND).is_empty());
    add(&mut aggregate, "a:1|c", 61 * SECOND);
    assert_eq!(
        flushed(&mut aggregate, 70 * SECOND),
        ["a total=0 counter @60", "a total=1 counter @70"]
    );
}

#[test]
fn what_cannot_be_told_is_refused_and_makes_no_series_d14() {
    let mut aggregate = aggregate();
    for (line, word) in [
        ("a:-1|c", "wrong_type"),
        ("a:x|g", "wrong_type"),
        ("a:inf|ms", "wrong_type"),
        ("%:1|c", "bad_name"),
        ("a:1|c|#%:x", "bad_name"),
        ("a:1|c|#t:12345678901", "tag_too_long"),
        ("a:1|c|#t:\0", "bad_text"),
    ] {
        assert_eq!(add(&mut aggregate, line, 0), word, "{line}");
    }
    assert!(flushed(&mut aggregate, SECOND).is_empty());
    for number in 0..5 {
        assert_eq!(add(&mut aggregate, &format!("a{number}:1|g"), 0), "");
    }
    assert_eq!(add(&mut aggregate, "a5:1|g", 0), "too_many_series");
    assert_eq!(add(&mut aggregate, "a4:1|g", 0), "");
    // A value behind a good one is refused alone.
    assert_eq!(add(&mut aggregate, "a4:2:x|g", 0), "wrong_type");
    assert!(flushed(&mut aggregate, SECOND).contains(&"a4 value=2 gauge @1".to_owned()));
}

#[test]
fn texts_of_sets_are_bounded_d11() {
    let mut aggregate = aggregate();
    aggregate.room = 2;
    for (line, word) in [
        ("a:1|s", ""),
        ("a:2|s", ""),
        ("a:3|s", "too_many_series"),
        ("a:2|s", ""),
    ] {
        assert_eq!(add(&mut aggregate, line, 0), word, "{line}");
    }
    assert_eq!(flushed(&mut aggregate, SECOND), ["a unique=2 gauge @1"]);
    assert_eq!(aggregate.room, MOST_KEPT);
}

proptest! {
    /// However increments are spread over intervals, the last total is their sum, and totals only grow.
    #[test]
    fn totals_are_sums(intervals in proptest::collection::vec(proptest::collection::vec(0_u32..1_000, 0..20), 1..10)) {
        let mut aggregate = aggregate();
        let (mut sum, mut last, mut now_us) = (0_u32, 0.0, 0);
        for increments in intervals {
            for increment in increments {
                add(&mut aggregate, &format!("a:{increment}|c"), now_us);
                sum += increment;
            }
            now_us += SECOND;
            for point in aggregate.flush(now_us) {
                let Some(Value::Float(total)) = point.value("total") else { panic!("{point:?}") };
                prop_assert!(*total >= last);
                last = *total;
            }
        }
        prop_assert_eq!(last, f64::from(sum));
    }

    /// The order of tags does not matter.
    #[test]
    fn tags_in_any_order_are_one_series(tags in proptest::collection::vec(("[a-c]", "[x-z]"), 1..5)) {
        let mut aggregate = aggregate();
        let told: Vec<String> = tags.iter().map(|(name, text)| format!("{name}:{text}")).collect();
        let turned: Vec<String> = told.iter().rev().cloned().collect();
        for tags in [told, turned] {
            let line = format!("a:1|c|#{}", tags.join(","));
            prop_assert_eq!(add(&mut aggregate, &line, 0), "");
        }
        prop_assert_eq!(aggregate.series.len(), 1);
    }
}
