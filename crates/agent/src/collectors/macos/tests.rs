//! The collectors of macOS on the system that the tests run on, beside what that system says itself.

use super::COLLECTORS;
use crate::collectors::CollectorContext;
use std::collections::HashSet;
use tidegauge_model::{Clock, Point, SystemClock, Value, catalog};

fn points_of(name: &str) -> Vec<Point> {
    let entry = COLLECTORS.iter().find(|entry| entry.name == name);
    let mut collector = (entry.expect("is a collector").new)(&CollectorContext::default());
    let mut points = Vec::new();
    collector
        .collect(&SystemClock, &mut points)
        .expect("collects");
    points.clear();
    collector
        .collect(&SystemClock, &mut points)
        .expect("collects");
    points
}

fn number(point: &Point, field: &str) -> f64 {
    match point.value(field) {
        Some(Value::Float(number)) => *number,
        other => panic!("{field} is {other:?}"),
    }
}

#[test]
fn every_collector_tells_what_the_catalog_describes() {
    assert!(COLLECTORS.is_sorted_by_key(|entry| entry.name));
    let began_us = SystemClock.now_us();
    for entry in COLLECTORS {
        let points = points_of(entry.name);
        let [measurement] = entry.measurements else {
            panic!("{} has one measurement", entry.name);
        };
        let described = catalog::measurement(measurement).expect("in the catalog");
        let mut series = HashSet::new();
        for point in &points {
            assert_eq!(point.measurement().as_str(), *measurement);
            assert!(point.time_us() >= began_us, "{point:?}");
            for (field, _) in point.fields() {
                let known = described.field(field.as_str());
                assert!(known.is_some(), "{measurement}.{field} is in the catalog");
            }
            assert!(
                series.insert(format!("{:?}", point.tags())),
                "{point:?} is told once"
            );
        }
    }
}

#[test]
fn figures_are_those_of_the_system() {
    let cores = std::thread::available_parallelism().expect("knows").get();
    let cpu = points_of("cpu");
    assert_eq!(cpu.len(), 1 + cores, "all cores and each one");
    for point in &cpu {
        let idle = number(point, "idle_percent");
        assert!((0.0..=100.0).contains(&idle), "{idle}");
    }

    let [load] = &points_of("load")[..] else {
        panic!("one point of load");
    };
    assert!(number(load, "load1") >= 0.0);

    let [memory] = &points_of("memory")[..] else {
        panic!("one point of memory");
    };
    let total = number(memory, "total_bytes");
    assert!(total > 64.0 * 1024.0 * 1024.0, "{total}");
    assert_eq!(
        number(memory, "used_bytes") + number(memory, "available_bytes"),
        total
    );

    let [system] = &points_of("system")[..] else {
        panic!("one point of system");
    };
    let since = number(system, "boot_time_seconds") + number(system, "uptime_seconds");
    let now = SystemClock.now_us() as f64 / 1e6;
    assert!((since - now).abs() < 5.0, "{since} is {now}");

    let network = points_of("network");
    let loopback = network.iter().any(|point| {
        point
            .tag_text("interface")
            .is_some_and(|name| name.starts_with("lo"))
    });
    assert!(loopback, "{network:?}");
}
