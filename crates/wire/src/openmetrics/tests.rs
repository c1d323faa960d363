//! Tests of whole pages.

use super::*;

const NOW_US: i64 = 1_795_183_200_000_000;

/// A point in one line: measurement, kind, time after `NOW_US`, tags, fields.
fn told(point: &Point) -> String {
    let tags: Vec<_> = (point.tags().iter())
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    let fields: Vec<_> = (point.fields().iter())
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    let after = point.time_us() - NOW_US;
    let (measurement, kind) = (point.measurement(), point.kind());
    format!(
        "{measurement} {kind} {after} [{}] {}",
        tags.join(","),
        fields.join(" ")
    )
    .replace("Float(", "")
    .replace(')', "")
}

fn points(page: &str, dialect: Dialect) -> Vec<String> {
    let page = read(page.as_bytes(), dialect, NOW_US);
    assert_eq!(page.rejected, [], "{page:?}");
    page.points.iter().map(told).collect()
}

fn refused(page: &str, dialect: Dialect) -> Vec<(u32, Reason)> {
    let page = read(page.as_bytes(), dialect, NOW_US);
    page.rejected.iter().map(|r| (r.index, r.reason)).collect()
}

#[test]
fn families_of_prometheus_are_points_of_their_kind() {
    let page = "\
# HELP http_requests_total The total.
# TYPE http_requests_total counter
http_requests_total{method=\"post\",code=\"200\"} 1027 1795183199500
http_requests_total{method=\"post\",code=\"400\"}    3
# TYPE queue_length gauge
queue_length 17
something_total 4
# TYPE strange_total gauge
strange_total 1
# TYPE latency_seconds histogram
latency_seconds_bucket{path=\"/\",le=\"0.05\"} 24054
latency_seconds_bucket{path=\"/\",le=\"1\"} 33444
latency_seconds_bucket{path=\"/\",le=\"+Inf\"} 144320
latency_seconds_bucket{path=\"/x\",le=\"0.05\"} 1
latency_seconds_bucket{path=\"/x\",le=\"+Inf\"} 2
latency_seconds_sum{path=\"/\"} 53423
latency_seconds_count{path=\"/\"} 144320
# TYPE rpc summary
rpc{quantile=\"0.5\"} 4773
rpc{quantile=\"0.999\"} NaN
rpc_sum 1.7560473e+07
rpc_count 2693
";
    assert_eq!(
        points(page, Dialect::Prometheus),
        [
            "http_requests_total counter -500000 [code=200,method=post] value=1027.0",
            "http_requests_total counter 0 [code=400,method=post] value=3.0",
            "queue_length gauge 0 [] value=17.0",
            "something_total counter 0 [] value=4.0",
            "strange_total gauge 0 [] value=1.0",
            "latency_seconds counter 0 [path=/] le_0_05=24054.0 le_1=33444.0 sum=53423.0 count=144320.0",
            "latency_seconds counter 0 [path=/x] le_0_05=1.0 count=2.0",
            "rpc gauge 0 [] p50=4773.0 sum=17560473.0 count=2693.0",
        ]
    );
}

#[test]
fn families_of_openmetrics_are_the_same_points() {
    let page = "\
# TYPE http_requests counter
# UNIT http_requests requests
http_requests_total{code=\"200\"} 1027 1795183199.5 # {trace_id=\"x\"} 1 1795183199
http_requests_created{code=\"200\"} 1795183100.1
# TYPE sizes gaugehistogram
sizes_bucket{le=\"8.0\"} 3
sizes_bucket{le=\"+Inf\"} 4
sizes_gcount 4
sizes_gsum 90
# TYPE build info
build_info{version=\"1.2\"} 1
# TYPE state stateset
state{state=\"on\"} 1
state{state=\"off\"} 0
# EOF
after_the_end 1
";
    assert_eq!(
        points(page, Dialect::OpenMetrics),
        [
            "http_requests_total counter -500000 [code=200] value=1027.0",
            "sizes gauge 0 [] le_8=3.0 count=4.0 sum=90.0",
            "build_info gauge 0 [version=1.2] value=1.0",
            "state gauge 0 [state=on] value=1.0",
            "state gauge 0 [state=off] value=0.0",
        ]
    );
}

#[test]
fn a_bad_line_fails_alone_and_is_named() {
    let page = "good 1\nbad\n# TYPE good counter\n# TYPE good gauge\ngood{a=\"1\"} 2\n\
                good{a=\"1\",b=\"\"} 3\nt 1 soon\nt 1 9999999999999999\nl{a-b=\"\"} 1\n\
                u{c_d=\"1\",c__d=\"2\"} 1\nz{x=\"\0\"} 1\n:: 1\nlast 5\n";
    let read = read(page.as_bytes(), Dialect::Prometheus, NOW_US);
    let told: Vec<_> = read.points.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "good gauge 0 [] value=1.0",
            "good gauge 0 [a=1] value=2.0",
            "u gauge 0 [c__d=2,c_d=1] value=1.0",
            "last gauge 0 [] value=5.0",
        ]
    );
    assert_eq!(
        refused(page, Dialect::Prometheus),
        [
            (2, Reason::Syntax),
            (4, Reason::TypeConflict),
            (6, Reason::DuplicateKey),
            (7, Reason::BadTime),
            (8, Reason::BadTime),
            (9, Reason::Syntax),
            (11, Reason::BadText),
            (12, Reason::BadName),
        ]
    );
    assert_eq!(
        read.rejected[0].detail,
        "at line 2: expected a number, found \"\""
    );
}

#[test]
fn names_that_are_not_ours_are_brought_into_the_pattern() {
    let page = "{\"my.Metric\",\"a.b\"=\"1\"} 2\njob:rate5m 3\n";
    assert_eq!(
        points(page, Dialect::Prometheus),
        [
            "my_metric gauge 0 [a_b=1] value=2.0",
            "job_rate5m gauge 0 [] value=3.0"
        ]
    );
    let page = "a{b_=\"1\",B=\"2\",b__=\"3\",c=\"4\",C=\"5\"} 1\n";
    assert_eq!(
        refused(page, Dialect::Prometheus),
        [(1, Reason::DuplicateKey)]
    );
}

#[test]
fn a_page_that_was_cut_off_is_noticed() {
    let whole = "a 1\nb 123\n";
    for cut in 5..whole.len() {
        let page = &whole[..cut];
        let read = read(page.as_bytes(), Dialect::Prometheus, NOW_US);
        assert_eq!(read.points.len(), 1, "{page:?}");
        assert_eq!(read.rejected[0].index, 2);
        assert_eq!(
            refused(page, Dialect::OpenMetrics).last(),
            Some(&(2, Reason::Syntax))
        );
    }
    assert_eq!(refused("", Dialect::Prometheus), []);
    assert_eq!(refused("", Dialect::OpenMetrics).len(), 1);
    let histogram = "# TYPE h histogram\nh_bucket{le=\"1\"} 2\n";
    assert_eq!(
        refused(histogram, Dialect::Prometheus),
        [(2, Reason::MissingKey)]
    );
    let with_end = read(b"a 1\r\n# EOF", Dialect::OpenMetrics, NOW_US);
    assert_eq!((with_end.points.len(), with_end.rejected.len()), (1, 0));
}

#[test]
fn a_number_that_is_not_finite_is_left_out() {
    let page = read(b"a NaN\nb +Inf\nc 1\n", Dialect::Prometheus, NOW_US);
    assert_eq!((page.points.len(), page.left_out), (1, 2));
}

#[test]
fn of_many_bad_lines_the_first_are_told_and_the_others_counted_d11() {
    let page = read(&b"\xff\n".repeat(1_000), Dialect::Prometheus, NOW_US);
    assert_eq!(page.rejected.len(), MOST_REJECTED);
    assert_eq!(page.further_rejected[&Reason::Syntax], 900);
}

#[test]
fn the_format_is_found_out() {
    let of = Dialect::of_content_type;
    assert_eq!(
        of("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        Dialect::OpenMetrics
    );
    assert_eq!(of("text/plain; version=0.0.4"), Dialect::Prometheus);
    assert_eq!(Dialect::of_page(b"a 1\n# EOF\n"), Dialect::OpenMetrics);
    assert_eq!(Dialect::of_page(b"a 1\n"), Dialect::Prometheus);
}
