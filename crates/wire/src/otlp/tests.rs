//! Requests as collectors send them, in both forms, and broken ones.

use super::*;
use std::fs;
use std::path::Path;

const REQUEST: &str = include_str!("../../golden/otlp/v1/metrics.json");

/// Points as text, rejected points with their index, and what was left out.
fn read(message: &[u8]) -> (Vec<String>, Vec<(u32, Reason)>, u64) {
    let mut batch = BatchRef::default();
    Otlp.decode(message, &mut batch).expect("a request");
    let hosts: Vec<_> = batch.hosts().collect();
    let points = batch.points().map(|point| {
        let host = hosts[point.host as usize];
        let tags = point
            .tags
            .iter()
            .map(|(name, text)| format!("{name}={text}"));
        let tags: Vec<String> = tags.collect();
        let fields = point
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"));
        let fields: Vec<String> = fields.collect();
        let (tags, fields) = (tags.join(","), fields.join(" "));
        format!(
            "{} {host} {} [{tags}] {fields} {}",
            point.index, point.measurement, point.time_us
        )
    });
    let rejected = batch.rejected.iter().map(|r| (r.index, r.reason));
    (points.collect(), rejected.collect(), batch.left_out)
}

#[test]
fn every_kind_is_read_alike_from_json_and_protobuf() {
    let tags = "service_name=shop,process_pid=17,otel_scope_name=io.shop";
    let expected = [
        format!("0 web-1 queue_length [{tags},queue=mail] value=Float(7.0) 1795183200000000"),
        "1 web-1 queue_length [process_pid=17,otel_scope_name=io.shop,service_name=own] value=Float(2.5) 1795183200000000".to_owned(),
        format!("2 web-1 requests [{tags},temporality=delta] value=Float(3.0) 1795183200000000"),
        format!("3 web-1 duration [{tags}] count=Float(6.0) sum=Float(3.5) max=Float(2.0) le_0_1=Float(1.0) le_0_5=Float(3.0) 1795183200000000"),
        format!("4 web-1 sizes [{tags}] count=Float(2.0) sum=Float(4.0) 1795183200000000"),
        format!("5 web-1 gc [{tags}] count=Float(2.0) sum=Float(0.5) p50=Float(0.1) p99_9=Float(0.4) 1795183200000000"),
    ];
    let from_json = read(REQUEST.as_bytes());
    assert_eq!(from_json, (expected.to_vec(), vec![], 0));
    let request: MetricsData = serde_json::from_str(REQUEST).expect("a request");
    let kinds = |message: &[u8]| {
        let mut batch = BatchRef::default();
        Otlp.decode(message, &mut batch).expect("a request");
        let kinds = batch.kinds.iter();
        let kinds: Vec<_> = kinds.map(|(name, kind)| format!("{name} {kind}")).collect();
        kinds.join(", ")
    };
    let told = "duration counter, sizes counter, gc counter";
    assert_eq!(kinds(REQUEST.as_bytes()), told);
    let mut request = request;
    assert_eq!(kinds(&request.encode_to_vec()), told);
    // The file is older than this field.
    for sum in request
        .resource_metrics
        .iter_mut()
        .flat_map(|of| &mut of.scope_metrics)
        .flat_map(|of| &mut of.metrics)
        .filter_map(|metric| metric.sum.as_mut())
    {
        sum.is_monotonic = false;
    }
    let bytes = request.encode_to_vec();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/otlp/v1/metrics.bin");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &bytes).expect("written");
    }
    assert_eq!(fs::read(&golden).expect("a file"), bytes);
    assert_eq!(read(&bytes), from_json);
}

#[test]
fn what_cannot_be_stored_fails_alone() {
    let point = |rest: &str| format!(r#"{{"timeUnixNano":"1795183200000000000",{rest}}}"#);
    let metric = |kind: &str, points: &[String]| {
        let points = points.join(",");
        format!(r#"{{"name":"m","{kind}":{{"dataPoints":[{points}]}}}}"#)
    };
    let metrics = [
        metric(
            "gauge",
            &[
                point(r#""asDouble":1"#),
                point(r#""flags":1"#),
                point(r#""flags":0"#),
                point(r#""asDouble":"NaN""#),
                r#"{"asDouble":1}"#.to_owned(),
                r#"{"asDouble":1,"timeUnixNano":"18446744073709551615"}"#.to_owned(),
            ],
        ),
        metric(
            "histogram",
            &[point(
                r#""count":"1","bucketCounts":["1"],"explicitBounds":[1,2]"#,
            )],
        ),
        r#"{"name":"","gauge":{"dataPoints":[{"timeUnixNano":"1","asInt":"1"}]}}"#.to_owned(),
    ]
    .join(",");
    let with = |attributes: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{attributes}]}},"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#
        )
    };
    let message = with(r#"{"key":"service.instance.id","value":{"stringValue":"i-1"}}"#);
    let (points, rejected, left_out) = read(message.as_bytes());
    assert_eq!(points, ["0 i-1 m [] value=Float(1.0) 1795183200000000"]);
    assert_eq!(
        rejected,
        [
            (2, Reason::NoFields),
            (3, Reason::NoFields),
            (4, Reason::BadTime),
            (5, Reason::BadTime),
            (6, Reason::WrongType),
            (7, Reason::BadName),
        ]
    );
    assert_eq!(left_out, 0);
    let (points, rejected, _) = read(with("").as_bytes());
    assert!(points.is_empty());
    assert_eq!(rejected[0], (0, Reason::MissingKey), "no host");
}

#[test]
fn other_bytes_are_refused_as_a_whole() {
    let refused = |bytes: &[u8]| {
        let mut batch = BatchRef::default();
        let error = Otlp.decode(bytes, &mut batch);
        error.expect_err("no request").reason
    };
    assert_eq!(refused(b""), Reason::Empty);
    assert_eq!(refused(b"[]"), Reason::Syntax);
    assert_eq!(refused(b"{\"resourceMetrics\":1}"), Reason::Syntax);
    assert_eq!(refused(b"cpu,host=a usage=1 1"), Reason::Syntax);
    let request: MetricsData = serde_json::from_str(REQUEST).expect("a request");
    let whole = request.encode_to_vec();
    for cut in 1..whole.len() {
        assert_eq!(refused(&whole[..cut]), Reason::Syntax, "cut after {cut}");
    }
}

#[test]
fn an_error_quotes_little_of_the_message() {
    let long = "ä".repeat(100_000);
    let message = format!(r#"{{"resourceMetrics":"{long}"}}"#);
    let mut batch = BatchRef::default();
    let error = Otlp.decode(message.as_bytes(), &mut batch);
    let text = error.expect_err("no list").to_string();
    assert!(text.contains("invalid type: string"), "{text}");
    assert!(text.chars().count() < 300, "{} bytes", text.len());
}
