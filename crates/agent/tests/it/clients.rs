//! Unmodified clients of others, writing to the listeners, and what is in the spool then.

use crate::listeners::{Running, any_port, door};
use std::time::Duration;
use tidegauge_agent::listeners::ListenerSettings;
use tidegauge_agent::listeners::influx::InfluxSettings;
use tidegauge_agent::listeners::otlp::OtlpSettings;
use tidegauge_agent::listeners::statsd::StatsdSettings;
use tidegauge_model::{Kind, Point, Value};
use tidegauge_testkit::Clients;

/// The last point of a measurement.
fn last<'p>(points: &'p [Point], measurement: &str) -> &'p Point {
    let of = |point: &&Point| point.measurement().as_str() == measurement;
    let found = points.iter().rev().find(of);
    found.unwrap_or_else(|| panic!("no {measurement} in {points:#?}"))
}

fn number(points: &[Point], measurement: &str, field: &str) -> f64 {
    match last(points, measurement).value(field) {
        Some(Value::Float(number)) => *number,
        other => panic!("{measurement}.{field} is {other:?}"),
    }
}

/// Runs a client beside the agent.
async fn write(
    clients: &Clients,
    client: &'static str,
    address: String,
    token: Option<&'static str>,
) {
    let clients = clients.clone();
    let written = tokio::task::spawn_blocking(move || clients.write(client, &address, token)).await;
    written.expect("the client is content");
}

#[tokio::test]
async fn clients_of_statsd_and_dogstatsd_are_understood() {
    const TEST: &str = "clients::clients_of_statsd_and_dogstatsd_are_understood";
    let Some(clients) = Clients::of_environment(TEST) else {
        return;
    };
    let mut running = Running::start(ListenerSettings {
        statsd: Some(StatsdSettings {
            udp: Some(any_port()),
            tcp: Some(any_port()),
            // One interval: all that was sent is flushed at the stop.
            interval: Duration::from_secs(3_600),
            ..StatsdSettings::default()
        }),
        ..ListenerSettings::default()
    })
    .await;
    write(&clients, "statsd", running.address("udp"), None).await;
    write(&clients, "datadog", running.address("udp"), None).await;
    write(&clients, "statsd_tcp", running.address("tcp"), None).await;
    running.stop().await;
    let points = running.points();
    for (measurement, field, expected) in [
        ("shop_orders", "total", 17.0),
        ("shop_queue", "value", 4.0),
        ("shop_depth", "value", 1.5),
        ("shop_users", "unique", 2.0),
        ("shop_answer", "count", 100.0),
        ("shop_answer", "sum", 5_050.0),
        ("shop_answer", "mean", 50.5),
        ("shop_answer", "p95", 95.0),
        ("tcp_orders", "total", 3.0),
        ("dog_orders", "total", 4.0),
        ("dog_sizes", "count", 2.0),
        ("dog_sizes", "max", 5.0),
        ("dog_depth", "value", 2.5),
    ] {
        let found = number(&points, measurement, field);
        assert_eq!(found, expected, "{measurement}.{field}");
    }
    let orders = last(&points, "dog_orders");
    assert_eq!(orders.tag_text("country"), Some("se"));
    assert_eq!(orders.tag_text("env"), Some("test"));
    assert_eq!(last(&points, "shop_orders").kind(), Kind::Counter);
    assert_eq!(last(&points, "shop_answer").kind(), Kind::Timer);
}

#[tokio::test]
async fn clients_of_influxdb_are_understood() {
    const TEST: &str = "clients::clients_of_influxdb_are_understood";
    let Some(clients) = Clients::of_environment(TEST) else {
        return;
    };
    let running = Running::start(ListenerSettings {
        influx: Some(InfluxSettings {
            address: any_port(),
            door: door(Some("right")),
            prefix: None,
        }),
        ..ListenerSettings::default()
    })
    .await;
    write(&clients, "influx1", running.address("http"), Some("right")).await;
    write(&clients, "influx2", running.address("http"), Some("right")).await;
    let points = running.points();
    assert_eq!(points.len(), 3, "{points:#?}");
    let first = last(&points, "influx1_orders");
    assert_eq!(first.time_us(), 1_795_183_200_000_000);
    assert_eq!(first.tag_text("country"), Some("se"));
    assert_eq!(first.value("count"), Some(&Value::Float(3.0)));
    assert_eq!(first.value("paid"), Some(&Value::Bool(true)));
    assert_eq!(first.value("note"), Some(&"a \"b\" c".into()));
    let counts = points[1..].iter().map(|point| point.value("count"));
    assert!(counts.eq([Some(&Value::Float(4.0)), Some(&Value::Float(5.0))]));
}

#[tokio::test]
async fn exporters_of_opentelemetry_are_understood() {
    const TEST: &str = "clients::exporters_of_opentelemetry_are_understood";
    let Some(clients) = Clients::of_environment(TEST) else {
        return;
    };
    let running = Running::start(ListenerSettings {
        otlp: Some(OtlpSettings {
            http: Some(any_port()),
            grpc: Some(any_port()),
            door: door(Some("right")),
            prefix: None,
        }),
        ..ListenerSettings::default()
    })
    .await;
    for (client, word) in [("otlp_http", "http"), ("otlp_grpc", "grpc")] {
        write(&clients, client, running.address(word), Some("right")).await;
        let points = running.points();
        let of = |name: &str| format!("{client}_{name}");
        assert_eq!(number(&points, &of("orders"), "value"), 5.0, "{client}");
        assert_eq!(number(&points, &of("open"), "value"), -2.0, "{client}");
        assert_eq!(number(&points, &of("answer"), "count"), 3.0, "{client}");
        assert_eq!(number(&points, &of("answer"), "sum"), 7.5, "{client}");
        let orders = last(&points, &of("orders"));
        assert_eq!(orders.kind(), Kind::Counter);
        assert_eq!(orders.tag_text("country"), Some("se"));
        assert_eq!(orders.tag_text("service_name"), Some("shop"));
        assert_eq!(last(&points, &of("open")).kind(), Kind::Gauge);
    }
}
