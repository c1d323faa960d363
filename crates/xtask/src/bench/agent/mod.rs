//! `bench agent` (P2): what the agent costs the machine that it measures, with Kafka connected, and
//! beside it in the same run Debian's node_exporter, scraped as often.
//!
//! Each program settles first; then its CPU time over the watch is taken from /proc. System calls
//! are counted afterwards, as strace slows a program down. Two rows are without Kafka: an agent whose broker
//! is not there, and `up`, the whole thing with its database and its page.

mod batches;
mod exporter;

use super::process::{ProcessUse, Running};
use crate::interrupt;
use crate::run::command;
use anyhow::Context;
use batches::Sizes;
use exporter::Exporter;
use serde::Serialize;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tidegauge_testkit::random_topic;
use tidegauge_testkit::servers::free_port;

/// Before the watch begins: the first collection, the connection to Kafka, the new tables.
const WARM_UP: Duration = Duration::from_secs(15);
/// How long system calls are counted.
const TRACED: Duration = Duration::from_secs(20);
/// An agent that looks for its broker in vain.
const WITHOUT_KAFKA: &str = "agent 10s, broker away";

/// What was measured of one program.
#[derive(Debug, Serialize)]
struct Row {
    program: String,
    interval_seconds: f64,
    watched_seconds: f64,
    /// Of a collection or a scrape.
    cpu_ms_per_collection: f64,
    cpu_percent_of_one_core: f64,
    rss_bytes: u64,
    peak_rss_bytes: u64,
    /// Not counted where there is no strace.
    syscalls_per_collection: Option<f64>,
}

/// All of it: figures at 10 s, and the rows.
#[derive(Debug, Serialize)]
struct Report {
    cpu_ms_per_collection: f64,
    rss_bytes: u64,
    rss_bytes_without_kafka: u64,
    points: u64,
    values: u64,
    json_bytes_per_batch: u64,
    compact_bytes_per_batch: u64,
    node_exporter_values: Option<u64>,
    node_exporter_cpu_ms: Option<f64>,
    node_exporter_rss_bytes: Option<u64>,
    rows: Vec<Row>,
}

pub(super) fn agent(program: &Path, watch: Duration, json: bool) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let (folder, servers) = super::servers(&[])?;
    let kafka = servers.environment()["TEST_KAFKA"].clone();
    let sizes = batches::sizes(program, folder.path())?;
    let (mut rows, mut node_exporter) = (Vec::new(), Vec::new());
    for seconds in [1_u64, 10] {
        let interval = format!("{seconds}s");
        let watched = Watched {
            interval: Duration::from_secs(seconds),
            watch,
        };
        let topic = random_topic("bench-agent");
        let arguments = [
            "agent",
            "--brokers",
            &kafka,
            "--topic",
            &topic,
            "--interval",
            &interval,
        ];
        let child = start(program, folder.path(), &arguments)?;
        rows.push(watched.program(format!("agent --interval {interval}"), &child)?);
        drop(child);
        if let Some(exporter) = Exporter::start()? {
            rows.push(watched.exporter(format!("node_exporter every {interval}"), &exporter)?);
            node_exporter.push((exporter.scrape()?, rows.len() - 1));
        }
    }
    let away = format!("127.0.0.1:{}", free_port());
    let arguments = ["agent", "--brokers", &away, "--interval", "10s"];
    let child = start(program, folder.path(), &arguments)?;
    let watched = Watched {
        interval: Duration::from_secs(10),
        watch,
    };
    rows.push(watched.program(WITHOUT_KAFKA.to_owned(), &child)?);
    drop(child);
    let up = start(program, folder.path(), &["up", "--listen", "127.0.0.1:0"])?;
    let watched = Watched {
        interval: Duration::from_secs(1),
        watch,
    };
    rows.push(watched.program("up --interval 1s".to_owned(), &up)?);
    drop(up);
    let row = |program| {
        let row = rows.iter().find(|row| row.program == program);
        row.context("it was watched")
    };
    let at_10_s = row("agent --interval 10s")?;
    let without_kafka = row(WITHOUT_KAFKA)?;
    let exporter = node_exporter
        .last()
        .map(|&(samples, row)| (samples, &rows[row]));
    let report = Report {
        cpu_ms_per_collection: at_10_s.cpu_ms_per_collection,
        rss_bytes: at_10_s.rss_bytes,
        rss_bytes_without_kafka: without_kafka.rss_bytes,
        points: sizes.points,
        values: sizes.values,
        json_bytes_per_batch: sizes.json_bytes,
        compact_bytes_per_batch: sizes.compact_bytes,
        node_exporter_values: exporter.map(|(samples, _)| samples),
        node_exporter_cpu_ms: exporter.map(|(_, row)| row.cpu_ms_per_collection),
        node_exporter_rss_bytes: exporter.map(|(_, row)| row.rss_bytes),
        rows,
    };
    report.print(&sizes, json)?;
    Ok(true)
}

fn start(program: &Path, folder: &Path, arguments: &[&str]) -> anyhow::Result<Running> {
    let state = tempfile::Builder::new()
        .prefix(arguments[0])
        .tempdir_in(folder);
    let mut start = command(program);
    start
        .args(arguments)
        .arg("--state-dir")
        .arg(state.context("make a state folder")?.keep())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = start.spawn();
    Ok(Running(
        child.with_context(|| format!("start {}", program.display()))?,
    ))
}

/// How a program is watched.
#[derive(Debug, Clone, Copy)]
struct Watched {
    interval: Duration,
    watch: Duration,
}

impl Watched {
    /// One that works by itself.
    fn program(self, name: String, child: &Running) -> anyhow::Result<Row> {
        let rest = |time: Duration| {
            for _ in 0..time.as_secs() {
                std::thread::sleep(Duration::from_secs(1));
                interrupt::check()?;
            }
            anyhow::Ok(())
        };
        self.row(name, child.0.id(), rest)
    }

    /// One that works when it is asked.
    fn exporter(self, name: String, exporter: &Exporter) -> anyhow::Result<Row> {
        let scrape = |time: Duration| {
            let begin = Instant::now();
            for round in 1.. {
                exporter.scrape()?;
                let next = self.interval * round;
                if next > time {
                    break;
                }
                std::thread::sleep(next.saturating_sub(begin.elapsed()));
                interrupt::check()?;
            }
            anyhow::Ok(())
        };
        self.row(name, exporter.id(), scrape)
    }

    fn row(
        self,
        program: String,
        id: u32,
        pass: impl Fn(Duration) -> anyhow::Result<()>,
    ) -> anyhow::Result<Row> {
        eprintln!(
            "=== {program}: {} s",
            (WARM_UP + self.watch + TRACED).as_secs()
        );
        pass(WARM_UP)?;
        let (before, began) = (ProcessUse::of(id)?, Instant::now());
        pass(self.watch)?;
        let (after, watched_seconds) = (ProcessUse::of(id)?, began.elapsed().as_secs_f64());
        let cpu = after.cpu_seconds - before.cpu_seconds;
        let collections = watched_seconds / self.interval.as_secs_f64();
        let syscalls = syscalls(id, &pass)?;
        Ok(Row {
            program,
            interval_seconds: self.interval.as_secs_f64(),
            watched_seconds,
            cpu_ms_per_collection: cpu * 1e3 / collections,
            cpu_percent_of_one_core: cpu / watched_seconds * 100.0,
            rss_bytes: after.rss_bytes,
            peak_rss_bytes: after.peak_rss_bytes,
            syscalls_per_collection: syscalls
                .map(|calls| calls as f64 / (TRACED.as_secs_f64() / self.interval.as_secs_f64())),
        })
    }
}

/// System calls of a program over [`TRACED`]; `None` where there is no strace.
fn syscalls(id: u32, pass: impl Fn(Duration) -> anyhow::Result<()>) -> anyhow::Result<Option<u64>> {
    let file = tempfile::NamedTempFile::new().context("make a file")?;
    let strace = command("strace")
        .args(["-f", "-c", "-p", &id.to_string(), "-o"])
        .arg(file.path())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut strace) = strace else {
        return Ok(None);
    };
    let passed = pass(TRACED);
    let interrupted = rustix::process::Pid::from_child(&strace);
    rustix::process::kill_process(interrupted, rustix::process::Signal::INT)
        .context("end strace")?;
    strace.wait().context("wait for strace")?;
    passed?;
    let counts = std::fs::read_to_string(file.path()).context("read what strace counted")?;
    Ok(total_calls(&counts))
}

/// The calls of the line `total` of `strace -c`: `100.00  0.000000  0  2193  129 total`.
fn total_calls(counts: &str) -> Option<u64> {
    let total = counts.lines().rfind(|line| line.ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

impl Report {
    fn print(&self, sizes: &Sizes, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{:<26} {:>15} {:>12} {:>10} {:>10} {:>15}",
            "program", "CPU/collection", "of one core", "RSS", "peak RSS", "syscalls"
        );
        for row in &self.rows {
            let syscalls = row.syscalls_per_collection;
            println!(
                "{:<26} {:>12.2} ms {:>10.2} % {:>6.1} MB {:>7.1} MB {:>15}",
                row.program,
                row.cpu_ms_per_collection,
                row.cpu_percent_of_one_core,
                row.rss_bytes as f64 / 1e6,
                row.peak_rss_bytes as f64 / 1e6,
                syscalls.map_or_else(|| "no strace".to_owned(), |calls| format!("{calls:.0}")),
            );
        }
        println!(
            "a collection: {} points, {} values, {} bytes as JSON, {} as compact",
            sizes.points, sizes.values, sizes.json_bytes, sizes.compact_bytes
        );
        match (
            self.node_exporter_values,
            self.node_exporter_cpu_ms,
            self.node_exporter_rss_bytes,
        ) {
            (Some(samples), Some(cpu_ms), Some(rss_bytes)) => {
                let each = |whole: f64, values: u64| whole / values as f64;
                println!(
                    "a scrape of node_exporter: {samples} samples; for a value: agent {:.2} µs and {:.1} kB, \
                     node_exporter {:.2} µs and {:.1} kB",
                    each(self.cpu_ms_per_collection * 1e3, self.values),
                    each(self.rss_bytes as f64 / 1e3, self.values),
                    each(cpu_ms * 1e3, samples),
                    each(rss_bytes as f64 / 1e3, samples),
                );
            }
            _ => println!("node_exporter is not installed (Debian: prometheus-node-exporter)"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straces_sum_is_found() {
        let counts = "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             \x20 0.00    0.000000           0       509         3 read\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             100.00    0.000000           0      2193       129 total\n";
        assert_eq!(total_calls(counts), Some(2193));
        assert_eq!(total_calls("nothing"), None);
    }
}
