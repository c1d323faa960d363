//! A host that was made up: all measurements of the page, moving, with an outage.

use crate::memory_reader::MemoryReader;
use std::f64::consts::TAU;
use tidegauge_model::{Point, name};

const SECOND: i64 = 1_000_000;
const GIB: f64 = 1_073_741_824.0;

/// Stores `seconds` seconds up to `now_us`.
pub(crate) fn fill(reader: &MemoryReader, now_us: i64, seconds: i64) {
    for second in 0..seconds {
        sample(reader, now_us - (seconds - 1 - second) * SECOND);
    }
}

/// Stores one collection.
pub(crate) fn sample(reader: &MemoryReader, time_us: i64) {
    for point in points(time_us) {
        reader.store("demo-1", &point);
    }
}

/// A wave between 0 and 1 with a little noise, the same for the same time.
fn wave(time_us: i64, period_seconds: f64, shift: f64) -> f64 {
    let second = time_us as f64 / SECOND as f64;
    let noise = ((time_us / SECOND * 7_919 + (shift * 1e3) as i64) % 97) as f64 / 97.0;
    let slow = (second / period_seconds * TAU + shift).sin() / 2.0 + 0.5;
    slow.mul_add(0.8, noise * 0.2)
}

/// A counter whose rate is a wave up to `most` per second.
fn total(time_us: i64, period_seconds: f64, shift: f64, most: f64) -> f64 {
    let second = (time_us / SECOND) as f64;
    let angle = second / period_seconds * TAU + shift;
    let grown = second - angle.cos() * period_seconds / TAU;
    (grown * most / 2.0).round()
}

fn points(time_us: i64) -> Vec<Point> {
    let user = wave(time_us, 240.0, 0.0) * 38.0;
    let system = wave(time_us, 90.0, 1.0) * 12.0;
    let iowait = wave(time_us, 400.0, 2.0).powi(4) * 9.0;
    let load = wave(time_us, 300.0, 0.5) * 2.4;
    let available = GIB * wave(time_us, 900.0, 4.0).mul_add(3.0, 9.0);
    let mut points = vec![
        Point::new(name!("cpu"), time_us)
            .tag(name!("cpu"), "total")
            .field(name!("user_percent"), user)
            .field(name!("system_percent"), system)
            .field(name!("iowait_percent"), iowait)
            .field(name!("steal_percent"), 0.2)
            .field(name!("softirq_percent"), wave(time_us, 50.0, 3.0))
            .field(name!("idle_percent"), 99.0 - user - system - iowait),
        Point::new(name!("load"), time_us)
            .field(name!("load1"), load)
            .field(name!("load5"), load.mul_add(0.6, 0.5))
            .field(name!("load15"), load.mul_add(0.2, 0.9)),
        Point::new(name!("memory"), time_us)
            .field(name!("total_bytes"), 16.0 * GIB)
            .field(name!("available_bytes"), available)
            .field(name!("free_bytes"), GIB * 4.0)
            .field(name!("used_bytes"), 16.0f64.mul_add(GIB, -available)),
    ];
    for (index, device) in ["nvme0n1", "sda"].into_iter().enumerate() {
        let shift = index as f64 * 2.0;
        let most = if index == 0 { 45e6 } else { 9e6 };
        let point = Point::new(name!("disk_io"), time_us)
            .tag(name!("device"), device)
            .field(name!("read_bytes"), total(time_us, 120.0, shift, most))
            .field(
                name!("written_bytes"),
                total(time_us, 70.0, shift, most * 0.6),
            );
        points.push(point);
    }
    for (index, interface) in ["eth0", "lo"].into_iter().enumerate() {
        let most = if index == 0 { 12e6 } else { 3e5 };
        let point = Point::new(name!("network"), time_us)
            .tag(name!("interface"), interface)
            .field(name!("received_bytes"), total(time_us, 150.0, 1.0, most))
            .field(
                name!("transmitted_bytes"),
                total(time_us, 60.0, 0.0, most * 0.3),
            );
        points.push(point);
    }
    let mounts = [
        ("/", "/dev/nvme0n1p2", 98.0, 41.0),
        ("/var/lib/data", "/dev/sda1", 931.0, 87.5),
    ];
    for (mount, device, size, used) in mounts {
        let point = Point::new(name!("filesystem"), time_us)
            .tag(name!("mount"), mount)
            .tag(name!("device"), device)
            .tag(name!("fstype"), "ext4")
            .field(name!("total_bytes"), size * GIB)
            .field(name!("available_bytes"), size * GIB * (1.0 - used / 100.0))
            .field(name!("used_percent"), used)
            .field(name!("responding"), true);
        points.push(point);
    }
    points.push(check(time_us, "https://example.org/", false));
    points.push(check(time_us, "https://shop.example.org/health", true));
    points
}

fn check(time_us: i64, target: &'static str, may_fail: bool) -> Point {
    // 150 ms after the collection, and down for 25 s in every five minutes.
    let time_us = time_us + 150_000;
    let point = Point::new(name!("http_check"), time_us).tag(name!("target"), target);
    if may_fail && (time_us / SECOND) % 300 < 25 {
        return point
            .field(name!("up"), false)
            .field(name!("reason"), "connect_refused")
            .field(name!("detail"), "192.0.2.7:443 refused the connection")
            .field(name!("total_seconds"), 0.004);
    }
    let phase = |shift: f64, most: f64| wave(time_us, 200.0, shift).mul_add(most * 0.5, most * 0.3);
    let phases = [
        phase(0.0, 0.008),
        phase(1.0, 0.02),
        phase(2.0, 0.04),
        phase(3.0, 0.11),
        phase(4.0, 0.01),
    ];
    point
        .field(name!("up"), true)
        .field(name!("reason"), "ok")
        .field(name!("status"), 200.0)
        .field(name!("resolve_seconds"), phases[0])
        .field(name!("connect_seconds"), phases[1])
        .field(name!("tls_seconds"), phases[2])
        .field(name!("first_byte_seconds"), phases[3])
        .field(name!("transfer_seconds"), phases[4])
        .field(name!("total_seconds"), phases.iter().sum::<f64>())
}
