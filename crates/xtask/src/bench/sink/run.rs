//! One run of the sink, as a user runs it.

use crate::bench::process::{ProcessUse, tree_cpu_seconds};
use crate::run::command;
use anyhow::Context;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tidegauge_testkit::{Database, postgres_query};

/// How often the running process is looked at; its peak memory is kept by the kernel.
const LOOK: Duration = Duration::from_millis(20);

/// What one run was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    pub(super) rows: u64,
    steps: u64,
    seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) server_cpu_seconds: f64,
    pub(super) peak_rss_bytes: u64,
}

impl Ran {
    pub(super) fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.seconds
    }

    pub(super) fn rows_per_step(&self) -> f64 {
        self.rows as f64 / self.steps.max(1) as f64
    }
}

pub(super) fn sink(
    program: &Path,
    brokers: &str,
    topic: &str,
    database: &Database,
    server: u32,
) -> anyhow::Result<Ran> {
    let server_before = tree_cpu_seconds(server)?;
    let begin = Instant::now();
    let mut child = command(program)
        .args([
            "sink",
            "--until-end",
            "--brokers",
            brokers,
            "--topic",
            topic,
            "--group",
            &database.name,
        ])
        .args(["--store", &database.url, "--log-format", "json"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the sink")?;
    let mut used = ProcessUse {
        cpu_seconds: 0.0,
        rss_bytes: 0,
        peak_rss_bytes: 0,
    };
    let status = loop {
        if let Ok(now) = ProcessUse::of(child.id()) {
            used = now;
        }
        if let Some(status) = child.try_wait().context("wait for the sink")? {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    let seconds = begin.elapsed().as_secs_f64();
    let log = std::io::read_to_string(child.stderr.take().context("its log")?)?;
    anyhow::ensure!(status.success(), "the sink ended with {status}:\n{log}");
    let number = |sql: &str| -> anyhow::Result<u64> {
        let rows = postgres_query(&database.url, sql)?;
        rows[0][0]
            .as_deref()
            .unwrap_or_default()
            .parse()
            .with_context(|| format!("read {sql}"))
    };
    Ok(Ran {
        rows: number("select sum(points)::bigint from position")?,
        steps: steps(&log).context("the sink's log tells its steps")?,
        seconds,
        cpu_seconds: used.cpu_seconds,
        server_cpu_seconds: tree_cpu_seconds(server)? - server_before,
        peak_rss_bytes: used.peak_rss_bytes,
    })
}

fn steps(log: &str) -> Option<u64> {
    let last = log
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())?;
    last["fields"]["steps"].as_u64()
}
