//! `bench spool` (P6): durable batches per second into the agent's spool, against appending the same
//! bytes to a file with fdatasync; and how fast an agent brings a day's batches to Kafka after an
//! outage.
//!
//! Spool and limit take turns, each into a new file of the same folder. The outage is a spool of
//! 8,640 batches (one in 10 s) that an agent finds at its start; its rate is taken from the first
//! look that sees a batch acknowledged to the one that sees all.

use super::figures::median;
use super::fleet::{Numbers, Shape};
use super::page;
use super::process::Running;
use crate::interrupt;
use crate::run::command;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_spool::{NewBatch, Spool, SpoolSettings};
use tidegauge_testkit::random_topic;
use tidegauge_testkit::servers::free_port;

/// Batches of one round.
const BATCHES: u64 = 2_000;
/// A day of batches every 10 s.
const DAY: u64 = 8_640;
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(10);

/// What was measured, medians of the rounds.
#[derive(Debug, Serialize)]
struct Report {
    batch_bytes: usize,
    limit_batches_per_second: f64,
    spool_batches_per_second: f64,
    ratio: f64,
    ratios: Vec<f64>,
    drained_batches: u64,
    drained_batches_per_second: f64,
}

/// What to measure.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) program: PathBuf,
    pub(super) rounds: usize,
    pub(super) json: bool,
}

pub(super) fn spool(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let (folder, servers) = super::servers(&[])?;
    let payload = payload()?;
    let (mut limits, mut spools) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        interrupt::check()?;
        let limit = append(&folder.path().join(format!("limit-{round}")), &payload)?;
        let spool = fill(
            &folder.path().join(format!("spool-{round}.db")),
            &payload,
            BATCHES,
        )?;
        eprintln!("=== round {round}: spool {spool:.0} batches/s, limit {limit:.0} batches/s");
        limits.push(limit);
        spools.push(spool);
    }
    let state = folder.path().join("outage");
    std::fs::create_dir(&state).context("make a state folder")?;
    fill(&state.join("spool.db"), &payload, DAY)?;
    let drained_batches_per_second = drain(
        &options.program,
        &servers.environment()["TEST_KAFKA"],
        &state,
    )?;
    let ratios: Vec<f64> = spools.iter().zip(&limits).map(|(s, l)| s / l).collect();
    let report = Report {
        batch_bytes: payload.len(),
        limit_batches_per_second: median(limits),
        spool_batches_per_second: median(spools),
        ratio: median(ratios.iter().copied()),
        ratios,
        drained_batches: DAY,
        drained_batches_per_second,
    };
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(true);
    }
    println!("batch                    {} bytes", report.batch_bytes);
    println!(
        "limit: fdatasync         {:.0} batches/s",
        report.limit_batches_per_second
    );
    println!(
        "spool                    {:.0} batches/s",
        report.spool_batches_per_second
    );
    println!(
        "ratio                    {:.2} (rounds: {:.2?})",
        report.ratio, report.ratios
    );
    println!(
        "after an outage          {} batches at {:.0} batches/s",
        report.drained_batches, report.drained_batches_per_second
    );
    Ok(true)
}

/// A collection of a small server.
fn payload() -> anyhow::Result<Vec<u8>> {
    let encoding = tidegauge_wire::by_name("json").and_then(|encoding| encoding.encoder());
    let encoding = encoding.context("agents send JSON")?;
    let now_us = SystemClock.now_us();
    let batch = Shape::Host.batch(0, 0, now_us, &mut Numbers::default())?;
    let mut payload = Vec::new();
    encoding.encode(&batch, &mut payload);
    Ok(payload)
}

/// The limit; batches per second.
fn append(path: &Path, payload: &[u8]) -> anyhow::Result<f64> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(path)
        .with_context(|| format!("make {}", path.display()))?;
    let begin = Instant::now();
    for _ in 0..BATCHES {
        file.write_all(payload).context("append")?;
        file.sync_data().context("fdatasync")?;
    }
    Ok(BATCHES as f64 / begin.elapsed().as_secs_f64())
}

/// Appends to a new spool; batches per second.
fn fill(path: &Path, payload: &[u8], batches: u64) -> anyhow::Result<f64> {
    let settings = SpoolSettings {
        max_bytes: 1 << 34,
        max_age_us: i64::MAX,
    };
    let (spool, _) = Spool::open(path, settings, SystemClock.now_us())?;
    spool.begin_epoch(SystemClock.now_us())?;
    let begin = Instant::now();
    for _ in 0..batches {
        let (epoch, sequence) = spool.next();
        spool.append(NewBatch {
            epoch,
            sequence,
            payload,
            tells_drops_through: None,
            now_us: SystemClock.now_us(),
        })?;
    }
    Ok(batches as f64 / begin.elapsed().as_secs_f64())
}

/// Has an agent publish what is in its spool; batches per second.
fn drain(program: &Path, brokers: &str, state: &Path) -> anyhow::Result<f64> {
    let (port, topic) = (free_port(), random_topic("bench-spool"));
    let agent = command(program)
        .args([
            "agent",
            "--brokers",
            brokers,
            "--topic",
            &topic,
            "--interval",
            "10s",
        ])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--state-dir"])
        .arg(state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start an agent")?;
    let _agent = Running(agent);
    let started = Instant::now();
    let mut first: Option<(Instant, u64)> = None;
    loop {
        interrupt::check()?;
        ensure!(
            started.elapsed() < DRAINED_WITHIN,
            "the spool is not drained in time"
        );
        let (published, now) = (published(port).unwrap_or(0), Instant::now());
        match first {
            None if published > 0 => first = Some((now, published)),
            Some((began, before)) if published >= DAY => {
                return Ok((published - before) as f64 / now.duration_since(began).as_secs_f64());
            }
            _ => std::thread::sleep(LOOK),
        }
    }
}

/// What the agent's page says of acknowledged batches.
fn published(port: u16) -> Option<u64> {
    let page = page::metrics(port).ok()?;
    number(&page, "tidegauge_agent_published_batches_total ")
}

fn number(page: &str, name: &str) -> Option<u64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_the_page_is_found() {
        let page = "# TYPE a counter\na_more 1\na 7\n";
        assert_eq!(number(page, "a "), Some(7));
        assert_eq!(number(page, "b "), None);
    }
}
