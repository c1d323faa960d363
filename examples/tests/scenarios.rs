//! Runs the examples as programs, and looks at what they stored.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;
use tidegauge_model::{Kind, Value};
use tidegauge_query::{Counters, Query, RangeRequest};
use tidegauge_store::{OpenOptions, RowsRequest, SeriesFilter, StoreUrl, open_reader};

const ALL_TIMES_US: std::ops::Range<i64> = 0..253_402_300_800_000_000;

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    output
}

fn own_metrics(folder: &Path, cycles: &str, agent: &[&str]) -> Output {
    let folder = folder.to_str().expect("a plain path");
    let arguments = [&[folder, cycles], agent].concat();
    run(env!("CARGO_BIN_EXE_own_metrics"), &arguments)
}

struct Place {
    folder: TempDir,
    url: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("metrics.db").display());
        Self { folder, url }
    }

    fn store(&self, spools: &[&str]) -> String {
        let folder = |name: &&str| self.folder.path().join(name).display().to_string();
        let folders: Vec<String> = spools.iter().map(folder).collect();
        let mut arguments = vec![self.url.as_str()];
        arguments.extend(folders.iter().map(String::as_str));
        let output = run(env!("CARGO_BIN_EXE_embedded_sink"), &arguments);
        String::from_utf8(output.stdout).expect("a text")
    }

    fn query(&self) -> Query {
        let url = StoreUrl::parse(&self.url).expect("a URL");
        Query::new(open_reader(&url, &OpenOptions::default()).expect("a reader"))
    }
}

/// All values of a field by time, of the host's only series.
async fn values(place: &Place, measurement: &str, field: &str, host: usize) -> Vec<Option<Value>> {
    let url = StoreUrl::parse(&place.url).expect("a URL");
    let reader = open_reader(&url, &OpenOptions::default()).expect("a reader");
    let hosts = reader.hosts().await.expect("hosts");
    let filter = SeriesFilter {
        measurement: Some(measurement.to_owned()),
        host: Some(hosts[host].id),
        ..SeriesFilter::default()
    };
    let series = reader.series(&filter).await.expect("series");
    let request = RowsRequest {
        measurement: measurement.to_owned(),
        series: series.iter().map(|series| series.id).collect(),
        fields: vec![field.to_owned()],
        range_us: ALL_TIMES_US,
        limit_per_series: 100_000,
    };
    let rows = reader.rows(&request).await.expect("rows");
    rows.into_iter()
        .flat_map(|rows| rows.columns.into_iter().flatten())
        .collect()
}

#[tokio::test]
async fn scenario_9_own_metrics_are_stored_with_their_kind_and_hosts_keep_their_identity() {
    let place = Place::new();
    let home = place.folder.path();
    // A host that is started twice, and another host of the same name.
    let first = own_metrics(&home.join("one"), "8", &["host-one"]);
    own_metrics(&home.join("one"), "8", &["host-one"]);
    own_metrics(&home.join("two"), "4", &["host-two"]);
    assert_ne!(place.store(&["one", "two"]), "0 rows\n");
    assert_eq!(
        place.store(&["one", "two"]),
        "0 rows\n",
        "nothing is stored twice"
    );

    // All kinds are stored with their kind.
    let query = place.query();
    for (name, kind, field) in [
        ("jobs_waiting", Kind::Gauge, "value"),
        ("jobs_done", Kind::Counter, "value"),
        ("job_seconds", Kind::Timer, "p99"),
    ] {
        let known = query.measurement(name).await.expect(name);
        assert_eq!(known.kind, kind, "{name}");
        let field = known
            .fields
            .iter()
            .find(|known| known.name == field)
            .expect(name);
        assert_eq!(field.kind, kind, "{name}");
        assert!(
            !values(&place, name, &field.name, 0).await.is_empty(),
            "{name}"
        );
    }

    // The counter began again at the second start, and its rate is never below 0.
    let done: Vec<f64> = (values(&place, "jobs_done", "value", 0).await.into_iter())
        .filter_map(|value| match value {
            Some(Value::Float(number)) => Some(number),
            _ => None,
        })
        .collect();
    assert_eq!(done.len(), 16);
    assert!(
        done.windows(2).any(|pair| pair[1] < pair[0]),
        "no reset: {done:?}"
    );
    let request = RangeRequest {
        measurement: "jobs_done".to_owned(),
        host: None,
        tags: Vec::new(),
        fields: vec!["value".to_owned()],
        range_us: ALL_TIMES_US,
        max_points: 10_000,
        counters: Counters::Rates,
    };
    let frame = query.range(&request).await.expect("rates");
    let rates: Vec<f64> = (frame.columns.iter())
        .flat_map(|column| column.values.iter().copied().flatten())
        .collect();
    assert!(rates.iter().any(|rate| *rate > 0.0), "{rates:?}");
    assert!(rates.iter().all(|rate| *rate >= 0.0), "{rates:?}");

    // The collector that fails is logged once, counted, and stops nothing.
    let log = String::from_utf8_lossy(&first.stderr);
    assert_eq!(log.matches("the coffee machine").count(), 1, "{log}");
    let page = String::from_utf8_lossy(&first.stdout);
    let counted =
        "tidegauge_agent_collector_failures_total{collector=\"coffee\",reason=\"failed\"} 8";
    assert!(page.contains(counted), "{page}");
    let succeeded = values(&place, "collector", "success", 0).await;
    let failures = succeeded
        .iter()
        .filter(|value| **value == Some(Value::Bool(false)));
    assert_eq!(failures.count(), 16);

    // Two hosts of one name stay distinct; one host is one over restarts.
    let hosts = query.hosts().await.expect("hosts");
    let told: Vec<(&str, &str)> = (hosts.iter())
        .map(|host| (host.identity.as_str(), host.name.as_str()))
        .collect();
    assert_eq!(
        told,
        [("agent:host-one", "web-1"), ("agent:host-two", "web-1")]
    );
    assert_eq!(values(&place, "jobs_done", "value", 1).await.len(), 4);
}

#[tokio::test]
async fn a_host_that_is_told_no_id_keeps_its_own_over_restarts() {
    let place = Place::new();
    own_metrics(&place.folder.path().join("one"), "1", &[]);
    place.store(&["one"]);
    own_metrics(&place.folder.path().join("one"), "1", &[]);
    place.store(&["one"]);
    let hosts = place.query().hosts().await.expect("hosts");
    assert_eq!(hosts.len(), 1, "{hosts:?}");
    assert_eq!(values(&place, "jobs_done", "value", 0).await.len(), 2);
}

#[tokio::test]
async fn an_encoding_of_another_crate_is_written_and_read() {
    let place = Place::new();
    let folder = place.folder.path().join("one");
    let folder = folder.to_str().expect("a plain path");
    let output = run(env!("CARGO_BIN_EXE_own_encoding"), &[folder, &place.url]);
    let said = String::from_utf8(output.stdout).expect("a text");
    assert!(said.ends_with(" rows\n") && said != "0 rows\n", "{said}");
    let url = StoreUrl::parse(&place.url).expect("a URL");
    let reader: Arc<_> = open_reader(&url, &OpenOptions::default()).expect("a reader");
    assert_eq!(reader.losses().await.expect("losses"), []);
    assert_eq!(values(&place, "load", "load1", 0).await.len(), 3);
}
