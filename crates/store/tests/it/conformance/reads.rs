//! Cases of what queries ask.

use super::Subject;
use super::building::{
    ALL_TIMES_US, BEGIN_US, TestPoint, Writer, agent_host, dead_letter, moved, point,
};
use tidegauge_model::{Clock, Kind, Reason, SystemClock, Value, ValueType, catalog};
use tidegauge_store::{
    Bucket, BucketsRequest, ErrorClass, RowsRequest, SeriesFilter, SeriesId, StoreSummary,
};

const SECOND: i64 = 1_000_000;

pub(crate) async fn an_empty_store_answers(subject: &impl Subject) {
    let reader = subject.reader();
    let mut writer = Writer::open(subject).await;
    let summary = reader.summary().await.expect("summary");
    assert_eq!((summary.hosts, summary.points, summary.series), (0, 0, 0));
    assert!(reader.hosts().await.expect("hosts").is_empty());
    let measurements = reader.measurements().await.expect("measurements");
    assert!(measurements.is_empty());
    let series = reader.series(&SeriesFilter::default()).await;
    assert!(series.expect("series").is_empty());
    let all = writer.store.ledger_rows().await.expect("ledger");
    assert!(all.is_empty());
}

pub(crate) async fn measurements_tell_what_the_catalog_knows(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let mut points = vec![
        point("zeta", 0).field("x_bytes", 1.0).field("up", true),
        point("alpha", 0)
            .field("word", "a")
            .tag("b", "1")
            .tag("a", "2"),
    ];
    let built_in = catalog::measurements().next();
    points.extend(built_in.map(|entry| {
        let sample = |value_type| match value_type {
            ValueType::Float => Value::Float(1.0),
            ValueType::Bool => Value::Bool(true),
            ValueType::Text => Value::Text("x".into()),
        };
        let fields = entry.fields.iter();
        fields.fold(point(entry.name, 0), |point, field| {
            point.field(field.name, sample(field.value_type))
        })
    }));
    writer.ensure(&points).await;

    let found = subject.reader().measurements().await.expect("listed");
    assert!(found.is_sorted_by_key(|info| &info.name));
    let find = |name: &str| found.iter().find(|info| info.name == name).expect("there");
    let alpha = find("alpha");
    assert_eq!(alpha.tags, ["a", "b"]);
    assert_eq!((alpha.kind, alpha.description.as_str()), (Kind::Gauge, ""));
    assert_eq!(alpha.fields[0].value_type, ValueType::Text);
    let types: Vec<ValueType> = find("zeta").fields.iter().map(|f| f.value_type).collect();
    assert!(types.contains(&ValueType::Float) && types.contains(&ValueType::Bool));
    if let Some(entry) = built_in {
        let info = find(entry.name);
        assert_eq!(info.kind, entry.kind);
        assert_eq!(info.description, entry.description);
        assert_eq!(info.fields.len(), entry.fields.len());
        for field in &info.fields {
            let entry = entry.field(&field.name).expect("built in");
            assert_eq!((field.kind, field.unit.as_str()), (entry.kind, entry.unit));
            assert_eq!(field.description, entry.description);
            assert_eq!(field.value_type, entry.value_type);
        }
    }
}

pub(crate) async fn series_are_found_by_measurement_host_and_tags(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let other = agent_host("agent-2", "web-2");
    let cpu = |cpu: &str| point("cpu", 0).field("x", 1.0).tag("cpu", cpu);
    let points = [
        cpu("0").tag("mode", "it's"),
        cpu("1"),
        cpu("0").host(other.clone()),
        point("load", 0).field("load1", 1.0),
    ];
    writer.ensure(&points).await;
    let ids: Vec<SeriesId> = points.iter().map(|point| writer.series(point)).collect();
    let reader = subject.reader();
    let find = async |measurement: Option<&str>, host, tags: &[(&str, &str)]| {
        let filter = SeriesFilter {
            measurement: measurement.map(str::to_owned),
            host,
            tags: tags
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
        };
        let found = reader.series(&filter).await.expect("found");
        let mut found: Vec<SeriesId> = found.iter().map(|info| info.id).collect();
        found.sort_unstable();
        found
    };
    let expect = |wanted: &[usize]| {
        let mut wanted: Vec<SeriesId> = wanted.iter().map(|&at| ids[at]).collect();
        wanted.sort_unstable();
        wanted
    };
    let second = writer.catalog.host(&other.identity()).map(|host| host.id);
    assert_eq!(find(None, None, &[]).await, expect(&[0, 1, 2, 3]));
    assert_eq!(find(Some("cpu"), None, &[]).await, expect(&[0, 1, 2]));
    assert_eq!(find(Some("nothing"), None, &[]).await, expect(&[]));
    assert_eq!(find(None, second, &[]).await, expect(&[2]));
    let zero = [("cpu", "0")];
    assert_eq!(find(Some("cpu"), None, &zero).await, expect(&[0, 2]));
    assert_eq!(find(None, second, &zero).await, expect(&[2]));
    let both = [("mode", "it's"), ("cpu", "0")];
    assert_eq!(find(None, None, &both).await, expect(&[0]));
    assert_eq!(find(None, None, &[("cpu", "9")]).await, expect(&[]));

    let all = reader.series(&SeriesFilter::default()).await.expect("all");
    let first = all.iter().find(|info| info.id == ids[0]).expect("there");
    assert_eq!(first.measurement, "cpu");
    assert_eq!(first.tags, points[0].tags);
}

pub(crate) async fn the_newest_rows_of_a_range_are_read(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let one = |second: i32| {
        point("load", i64::from(second))
            .field("load1", f64::from(second))
            .tag("n", "1")
    };
    let mut points: Vec<TestPoint> = (0..10).map(one).collect();
    points.push(point("load", 4).field("load5", 44.0).tag("n", "2"));
    points.push(point("load", 99).field("load5", 99.0).tag("n", "3"));
    writer.commit(0..1, &points).await;
    let series = [0, 10, 11].map(|at: usize| writer.series(&points[at]));
    let mut request = RowsRequest {
        measurement: "load".to_owned(),
        series: series.to_vec(),
        fields: vec!["load5".to_owned(), "load1".to_owned()],
        range_us: BEGIN_US + 2 * SECOND..BEGIN_US + 8 * SECOND,
        limit_per_series: 3,
    };
    let reader = subject.reader();
    let mut rows = reader.rows(&request).await.expect("rows");
    rows.sort_by_key(|rows| rows.series != series[0]);
    assert_eq!(rows.len(), 2, "a series without rows is left out");
    let times: Vec<i64> = rows[0].times_us.iter().map(|t| t - BEGIN_US).collect();
    assert_eq!(times, [5 * SECOND, 6 * SECOND, 7 * SECOND]);
    let load1: Vec<_> = [5.0, 6.0, 7.0].map(|n| Some(Value::Float(n))).to_vec();
    assert_eq!(rows[0].columns, [vec![None; 3], load1]);
    assert_eq!(rows[1].series, series[1]);
    assert_eq!(
        rows[1].columns,
        [vec![Some(Value::Float(44.0))], vec![None]]
    );
    request.series.clear();
    assert!(reader.rows(&request).await.expect("none").is_empty());
}

pub(crate) async fn buckets_sum_up_a_range(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    // BEGIN_US is a multiple of ten seconds; the range below begins and ends inside of buckets.
    assert_eq!(BEGIN_US % (10 * SECOND), 0);
    let sample = |second: i32| {
        let point = point("work", i64::from(second)).field("load1", f64::from(second));
        match second {
            0..15 => point.field("up", second % 2 == 0),
            _ => point,
        }
    };
    let mut points: Vec<TestPoint> = (0..20).map(sample).collect();
    points.push(sample(45));
    points.push(sample(14).tag("other", "series"));
    writer.commit(0..1, &points).await;
    let series = [writer.series(&points[0]), writer.series(&points[21])];
    let request = BucketsRequest {
        measurement: "work".to_owned(),
        series: series.to_vec(),
        fields: vec!["load1".to_owned(), "up".to_owned()],
        range_us: BEGIN_US + 3 * SECOND..BEGIN_US + 46 * SECOND,
        bucket_us: 10 * SECOND,
    };
    let reader = subject.reader();
    let mut found = reader.buckets(&request).await.expect("buckets");
    found.sort_by_key(|buckets| buckets.series != series[0]);
    assert_eq!(found.len(), 2);
    let starts: Vec<i64> = found[0].starts_us.iter().map(|t| t - BEGIN_US).collect();
    assert_eq!(starts, [0, 10 * SECOND, 40 * SECOND], "empty ones left out");
    let bucket = |count, min, max, sum, last| {
        Some(Bucket {
            count,
            min,
            max,
            sum,
            last,
        })
    };
    let load1 = [
        bucket(7, 3.0, 9.0, 42.0, 9.0),
        bucket(10, 10.0, 19.0, 145.0, 19.0),
        bucket(1, 45.0, 45.0, 45.0, 45.0),
    ];
    let up = [
        bucket(7, 0.0, 1.0, 3.0, 0.0),
        bucket(5, 0.0, 1.0, 3.0, 1.0),
        None,
    ];
    assert_eq!(found[0].columns, [load1.to_vec(), up.to_vec()]);
    assert_eq!(found[1].starts_us, [BEGIN_US + 10 * SECOND]);
    assert_eq!(found[1].columns[0], [bucket(1, 14.0, 14.0, 14.0, 14.0)]);
}

pub(crate) async fn unknown_names_are_the_callers_fault(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0).field("note", "text")];
    writer.commit(0..1, &points).await;
    let series = vec![writer.series(&points[0])];
    let reader = subject.reader();
    for (measurement, field) in [("load", "nothing"), ("nothing", "load1"), ("series", "id")] {
        let request = RowsRequest {
            measurement: measurement.to_owned(),
            series: series.clone(),
            fields: vec![field.to_owned()],
            range_us: ALL_TIMES_US,
            limit_per_series: 1,
        };
        let error = reader.rows(&request).await.expect_err("unknown");
        assert_eq!(error.class(), ErrorClass::Usage, "{measurement}.{field}");
    }
    for (field, bucket_us) in [("nothing", 1), ("note", 1), ("load1", 0), ("load1", -5)] {
        let request = BucketsRequest {
            measurement: "load".to_owned(),
            series: series.clone(),
            fields: vec![field.to_owned()],
            range_us: ALL_TIMES_US,
            bucket_us,
        };
        let error = reader.buckets(&request).await.expect_err("refused");
        assert_eq!(error.class(), ErrorClass::Usage, "{field} by {bucket_us}");
    }
}

pub(crate) async fn the_summary_counts(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [
        point("load", 0).field("load1", 1.0),
        point("load", 1).field("load1", 1.0),
        point("cpu", 0).field("x", 1.0).tag("cpu", "0"),
        point("cpu", 0)
            .field("x", 1.0)
            .host(agent_host("b", "web-2")),
    ];
    let mut step = writer.step(vec![moved(0..9)], &points).await;
    step.moves[0].duplicate_points = 7;
    step.dead_letters = vec![dead_letter(1, None, Reason::Empty)];
    writer.store.apply(&step).await.expect("applied");
    let summary = subject.reader().summary().await.expect("summary");
    let expected = StoreSummary {
        hosts: 2,
        measurements: 2,
        series: 3,
        points: 4,
        dead_letters: 1,
        bytes: summary.bytes,
    };
    assert_eq!(summary, expected);
    assert!(summary.bytes > 0);
}

pub(crate) async fn the_condition_tells_version_clock_and_schema(subject: &impl Subject) {
    let mut writer = Writer::open(subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    writer.store.apply(&step).await.expect("applied");
    let before_us = SystemClock.now_us();
    let condition = subject.reader().condition().await.expect("an answer");
    let (name, number) = condition
        .version
        .split_once(' ')
        .expect("a name and a number");
    assert!(
        ["PostgreSQL", "MariaDB", "MySQL", "SQLite"].contains(&name),
        "{name}"
    );
    assert!(
        number.starts_with(|first: char| first.is_ascii_digit()),
        "{number}"
    );
    if let Some(clock_us) = condition.clock_us {
        let apart = clock_us.abs_diff(before_us);
        assert!(apart < 60_000_000, "it is a clock of this machine: {apart}");
    }
    assert!(condition.schema > 0);
    assert_eq!(condition.schema, condition.schema_needed);
    assert!(!condition.is_read_only && condition.may_create);
    assert_eq!(
        condition.missing_rights.unwrap_or_default(),
        Vec::<String>::new()
    );
    assert_eq!(condition.standbys, []);
}
