//! What the program costs the machine that it measures: `agent` at 10 s with Kafka connected, and
//! `up` at 1 s with its database and its page.

use super::process::{ProcessUse, Running};
use crate::interrupt;
use crate::run::command;
use anyhow::Context;
use serde::Serialize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tidegauge_testkit::random_topic;

/// Before the watch begins: the first collection, the connection to Kafka, the new tables.
const WARM_UP: Duration = Duration::from_secs(15);

/// What was measured of one program.
#[derive(Debug, Serialize)]
struct Row {
    program: &'static str,
    interval_seconds: f64,
    watched_seconds: f64,
    cpu_ms_per_collection: f64,
    cpu_percent_of_one_core: f64,
    rss_bytes: u64,
    peak_rss_bytes: u64,
}

pub(super) fn footprint(program: &Path, watch: Duration, json: bool) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let (folder, servers) = super::servers(&[])?;
    let kafka = servers.environment()["TEST_KAFKA"].clone();
    let topic = random_topic("footprint");
    let agent: &[&str] = &[
        "agent",
        "--brokers",
        &kafka,
        "--topic",
        &topic,
        "--interval",
        "10s",
    ];
    let rows = vec![
        watched(
            "agent --interval 10s",
            10.0,
            program,
            folder.path(),
            agent,
            watch,
        )?,
        watched(
            "up --interval 1s",
            1.0,
            program,
            folder.path(),
            &["up", "--listen", "127.0.0.1:0"],
            watch,
        )?,
    ];
    if json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(true);
    }
    println!(
        "{:<22} {:>16} {:>12} {:>10} {:>10}",
        "program", "CPU/collection", "of one core", "RSS", "peak RSS"
    );
    for row in &rows {
        println!(
            "{:<22} {:>13.2} ms {:>10.2} % {:>6.1} MiB {:>6.1} MiB",
            row.program,
            row.cpu_ms_per_collection,
            row.cpu_percent_of_one_core,
            mib(row.rss_bytes),
            mib(row.peak_rss_bytes),
        );
    }
    Ok(true)
}

/// Starts a program, lets it settle, and takes the difference of two looks.
fn watched(
    name: &'static str,
    interval_seconds: f64,
    program: &Path,
    folder: &Path,
    arguments: &[&str],
    watch: Duration,
) -> anyhow::Result<Row> {
    eprintln!("=== {name}: {} s", (WARM_UP + watch).as_secs());
    let state = folder.join(arguments[0]);
    let mut start = command(program);
    start
        .args(arguments)
        .arg("--state-dir")
        .arg(&state)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = Running(
        start
            .spawn()
            .with_context(|| format!("start {}", program.display()))?,
    );
    rest(WARM_UP)?;
    let before = ProcessUse::of(child.0.id())?;
    rest(watch)?;
    let after = ProcessUse::of(child.0.id())?;
    let (cpu, watched_seconds) = (after.cpu_seconds - before.cpu_seconds, watch.as_secs_f64());
    Ok(Row {
        program: name,
        interval_seconds,
        watched_seconds,
        cpu_ms_per_collection: cpu * 1e3 / (watched_seconds / interval_seconds),
        cpu_percent_of_one_core: cpu / watched_seconds * 100.0,
        rss_bytes: after.rss_bytes,
        peak_rss_bytes: after.peak_rss_bytes,
    })
}

/// Waits, but not longer than the user does.
fn rest(time: Duration) -> anyhow::Result<()> {
    for _ in 0..time.as_secs() {
        std::thread::sleep(Duration::from_secs(1));
        interrupt::check()?;
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
