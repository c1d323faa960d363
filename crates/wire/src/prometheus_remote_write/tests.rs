//! Requests as Prometheus sends them, and broken ones.

use super::message::{Histogram, Label, Sample, TimeSeries, WriteRequest};
use super::*;

fn series(labels: &[(&str, &str)], samples: &[(f64, i64)]) -> TimeSeries {
    let label = |&(name, value): &(&str, &str)| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let sample = |&(value, timestamp): &(f64, i64)| Sample { value, timestamp };
    TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
        histograms: Vec::new(),
    }
}

fn packed(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    let bytes = WriteRequest { timeseries }.encode_to_vec();
    snap::raw::Encoder::new()
        .compress_vec(&bytes)
        .expect("small")
}

/// What comes of a message: points as text, rejected points with their index, what was left out.
fn read(message: &[u8]) -> (Vec<String>, Vec<(u32, Reason)>, u64) {
    let mut batch = BatchRef::default();
    PrometheusRemoteWrite
        .decode(message, &mut batch)
        .expect("a request");
    let hosts: Vec<_> = batch.hosts().collect();
    let points = batch.points().map(|point| {
        let tags: Vec<String> = point
            .tags
            .iter()
            .map(|(name, text)| format!("{name}={text}"))
            .collect();
        format!(
            "{} {} {} [{}] {:?}",
            point.index,
            hosts[point.host as usize],
            point.measurement,
            tags.join(","),
            (&point.fields, point.time_us)
        )
    });
    let rejected = batch.rejected.iter().map(|r| (r.index, r.reason));
    (points.collect(), rejected.collect(), batch.left_out)
}

#[test]
fn a_sample_is_a_point_of_its_metric() {
    let message = packed(vec![
        series(
            &[
                ("__name__", "http_requests_total"),
                ("code", "200"),
                ("instance", "web-1:9100"),
                ("job", "node"),
            ],
            &[(7.0, 1_000), (9.0, 2_000)],
        ),
        series(
            &[("__name__", "job:errors:rate5m"), ("instance", "web-2")],
            &[(0.5, 3_000)],
        ),
    ]);
    let (points, rejected, left_out) = read(&message);
    assert_eq!(
        points,
        [
            r#"0 web-1 http_requests_total [code=200,job=node,instance=web-1:9100] ([("value", Float(7.0))], 1000000)"#,
            r#"1 web-1 http_requests_total [code=200,job=node,instance=web-1:9100] ([("value", Float(9.0))], 2000000)"#,
            r#"2 web-2 job_errors_rate5m [] ([("value", Float(0.5))], 3000000)"#,
        ]
    );
    assert_eq!((rejected, left_out), (vec![], 0));
}

#[test]
fn what_cannot_be_stored_fails_alone() {
    let good = [("__name__", "up"), ("instance", "h")];
    let mut with_histogram = series(&good, &[(1.0, 1)]);
    with_histogram.histograms.push(Histogram {});
    let message = packed(vec![
        series(&[("instance", "h")], &[(1.0, 1)]),
        series(&[("__name__", "up")], &[(1.0, 1)]),
        series(
            &good,
            &[(f64::from_bits(STALE), 1), (f64::NAN, 1), (1.0, 1)],
        ),
        series(&good, &[(1.0, i64::MAX)]),
        with_histogram,
        series(
            &[
                ("__name__", "up"),
                ("a", "1"),
                ("a", "2"),
                ("instance", "h"),
            ],
            &[(1.0, 1)],
        ),
    ]);
    let (points, rejected, left_out) = read(&message);
    let kept: Vec<&str> = points.iter().map(|point| &point[..1]).collect();
    assert_eq!(kept, ["4", "6"]);
    assert_eq!(
        rejected,
        [
            (0, Reason::MissingKey),
            (1, Reason::MissingKey),
            (5, Reason::BadTime),
            (7, Reason::WrongType),
            (8, Reason::DuplicateKey),
        ]
    );
    assert_eq!(left_out, 1);
}

#[test]
fn other_bytes_are_refused_as_a_whole() {
    let refused = |bytes: &[u8]| {
        let mut batch = BatchRef::default();
        let error = PrometheusRemoteWrite.decode(bytes, &mut batch);
        error.expect_err("no request").reason
    };
    assert_eq!(refused(b""), Reason::Empty);
    assert_eq!(refused(b"{\"v\":1}"), Reason::Syntax);
    // Protobuf that nobody has compressed.
    let bytes = WriteRequest {
        timeseries: vec![series(&[("__name__", "up")], &[(1.0, 1)])],
    };
    assert_eq!(refused(&bytes.encode_to_vec()), Reason::Syntax);
    // Snappy of something else.
    let other = snap::raw::Encoder::new().compress_vec(b"hello");
    assert_eq!(refused(&other.expect("small")), Reason::Syntax);
    // A length of 4 GiB in the head of the block.
    assert_eq!(
        refused(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]),
        Reason::MessageTooLarge
    );
    let whole = packed(vec![series(
        &[("__name__", "up"), ("instance", "h")],
        &[(1.0, 1)],
    )]);
    for cut in 1..whole.len() {
        assert_eq!(refused(&whole[..cut]), Reason::Syntax, "cut after {cut}");
    }
}
