//! `bench checks` (P3): many HTTP checks with a fresh connection each, against nginx on loopback.
//!
//! The agent as a user runs it, with its spool and without a broker, checks all targets on their
//! interval. Counted are checks for each second of its CPU time, and how late they began. Beside it
//! in the same run: Debian's blackbox_exporter, asked for probes of the same page as often, and a
//! bare loop of connect, send, receive and close, which is what the kernel alone takes.
//!
//! Memory and open files are told at the beginning and at the end: with few seconds between checks and a
//! long watch it is the proof that nothing leaks (`--targets 5000 --interval 1 --seconds 200` are a million).

mod blackbox;
mod floor;
mod nginx;

use super::page;
use super::process::{ProcessUse, Running, open_files};
use crate::interrupt;
use crate::run::command;
use anyhow::Context;
use blackbox::Blackbox;
use nginx::Nginx;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tidegauge_testkit::eventually;
use tidegauge_testkit::servers::free_port;

/// How long a program may take until it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Probes are asked of blackbox_exporter no longer than this: its rate does not depend on it.
const BLACKBOX_AT_MOST: Duration = Duration::from_secs(30);
const DELAYS: &str = "tidegauge_agent_check_start_delay_seconds_bucket";
const CHECKS: &str = "tidegauge_agent_checks_total";

/// What is measured.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) program: PathBuf,
    pub(super) targets: u64,
    pub(super) interval: Duration,
    pub(super) watch: Duration,
    pub(super) json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    targets: u64,
    interval_seconds: f64,
    watched_seconds: f64,
    checks: u64,
    failed: u64,
    checks_per_cpu_second: f64,
    start_delay_p50_seconds: f64,
    start_delay_p99_seconds: f64,
    start_delay_max_seconds: f64,
    /// When the watch began; all targets were checked by then.
    rss_before_bytes: u64,
    rss_bytes: u64,
    peak_rss_bytes: u64,
    /// Files and sockets that were open when the watch began, and at its end: with checks under way, some.
    open_files_before: u64,
    open_files: u64,
    blackbox_checks_per_cpu_second: Option<f64>,
    blackbox_rss_bytes: Option<u64>,
    floor_checks_per_cpu_second: f64,
}

pub(super) fn checks(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let nginx = Nginx::start(folder.path())?;
    let report = measure(options, folder.path(), &nginx)?;
    report.print(options.json)?;
    Ok(true)
}

fn measure(options: &Options, folder: &Path, nginx: &Nginx) -> anyhow::Result<Report> {
    let floor_checks_per_cpu_second = floor::checks_per_cpu_second(nginx.port())?;
    let port = free_port();
    let agent = start(options, folder, nginx.port(), port)?;
    let id = agent.0.id();
    eventually(ANSWER_WITHIN, "the agent answers", || {
        page::metrics(port).ok()
    });
    eprintln!(
        "=== {} checks every {:?}: {:?}",
        options.targets, options.interval, options.watch
    );
    // Every target was checked once when the watch begins.
    rest(options.interval + Duration::from_secs(2))?;
    let open_files_before = open_files(id)?;
    let (before, used, began) = (page::metrics(port)?, ProcessUse::of(id)?, Instant::now());
    rest(options.watch)?;
    let (after, uses, watched) = (page::metrics(port)?, ProcessUse::of(id)?, began.elapsed());
    let open_files = open_files(id)?;
    drop(agent);
    let all = |text: &str| sum(text, CHECKS, "");
    let fine = |text: &str| sum(text, CHECKS, "reason=\"ok\"");
    let checks = all(&after) - all(&before);
    let delays = Delays::between(&before, &after);
    let per_second = options.targets as f64 / options.interval.as_secs_f64();
    let blackbox = Blackbox::start(folder)?
        .map(|blackbox| {
            let watch = options.watch.min(BLACKBOX_AT_MOST);
            blackbox.measure(nginx.port(), per_second, watch)
        })
        .transpose()?;
    Ok(Report {
        targets: options.targets,
        interval_seconds: options.interval.as_secs_f64(),
        watched_seconds: watched.as_secs_f64(),
        checks,
        failed: checks - (fine(&after) - fine(&before)),
        checks_per_cpu_second: checks as f64 / (uses.cpu_seconds - used.cpu_seconds),
        start_delay_p50_seconds: delays.percentile(50.0),
        start_delay_p99_seconds: delays.percentile(99.0),
        start_delay_max_seconds: delays.percentile(100.0),
        rss_before_bytes: used.rss_bytes,
        rss_bytes: uses.rss_bytes,
        peak_rss_bytes: uses.peak_rss_bytes,
        open_files_before,
        open_files,
        blackbox_checks_per_cpu_second: blackbox.as_ref().map(|b| b.checks_per_cpu_second),
        blackbox_rss_bytes: blackbox.as_ref().map(|b| b.rss_bytes),
        floor_checks_per_cpu_second,
    })
}

/// The agent with its targets; one collector, so that it is the checks that are measured.
fn start(options: &Options, folder: &Path, server: u16, listen: u16) -> anyhow::Result<Running> {
    let mut configuration = "[agent]\ncollectors = [\"load\"]\n".to_owned();
    for number in 0..options.targets {
        configuration.push_str(&format!(
            "[[agent.checks]]\nname = \"target {number}\"\nurl = \"http://127.0.0.1:{server}/{number}\"\n\
             interval = \"{}ms\"\n",
            options.interval.as_millis()
        ));
    }
    let file = folder.join("checks.toml");
    std::fs::write(&file, configuration).context("write the configuration")?;
    let child = command(&options.program)
        .args(["agent", "--brokers", "127.0.0.1:1", "--config"])
        .arg(&file)
        .arg("--state-dir")
        .arg(folder.join("state"))
        .args(["--listen", &format!("127.0.0.1:{listen}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = child.with_context(|| format!("start {}", options.program.display()))?;
    Ok(Running(child))
}

fn rest(time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100).min(end - Instant::now()));
        interrupt::check()?;
    }
    Ok(())
}

/// The sum of the samples of a metric whose labels hold a text.
fn sum(page: &str, metric: &str, label: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with(metric));
    lines
        .filter(|line| line.contains(label))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

/// How many began how late: the upper ends of buckets, and how many are not beyond them.
#[derive(Debug)]
struct Delays(Vec<(f64, u64)>);

impl Delays {
    fn between(before: &str, after: &str) -> Self {
        let buckets = |page: &str| -> Vec<(f64, u64)> {
            let lines = page.lines().filter(|line| line.starts_with(DELAYS));
            let bucket = |line: &str| {
                let (_, rest) = line.split_once("le=\"")?;
                let (end, rest) = rest.split_once('"')?;
                let end = end.replace("+Inf", "inf").parse().ok()?;
                Some((end, rest.rsplit_once(' ')?.1.parse().ok()?))
            };
            lines.filter_map(bucket).collect()
        };
        let earlier = buckets(before);
        let counted = buckets(after).into_iter().map(|(end, count)| {
            let was = earlier.iter().find(|(at, _)| at.total_cmp(&end).is_eq());
            (end, count - was.map_or(0, |(_, count)| *count))
        });
        Self(counted.collect())
    }

    /// The delay that so many percent do not exceed: within its bucket, evenly spread; for 100 the
    /// upper end of the last bucket that has any.
    fn percentile(&self, percent: f64) -> f64 {
        let all = self.0.last().map_or(0, |(_, count)| *count);
        let wanted = all as f64 * percent / 100.0;
        let (mut begin, mut below) = (0.0, 0);
        for &(end, count) in &self.0 {
            if count as f64 >= wanted && count > 0 {
                let inside = (count - below) as f64;
                return begin + (end - begin) * (wanted - below as f64) / inside;
            }
            (begin, below) = (end, count);
        }
        f64::NAN
    }
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!(
            "{} checks in {:.0} s, {} failed; {} targets, each every {} s",
            self.checks, self.watched_seconds, self.failed, self.targets, self.interval_seconds
        );
        println!(
            "checks per CPU second   {:.0} (bare loop: {:.0}, blackbox_exporter: {})",
            self.checks_per_cpu_second,
            self.floor_checks_per_cpu_second,
            self.blackbox_checks_per_cpu_second
                .map_or_else(|| "not installed".to_owned(), |rate| format!("{rate:.0}"))
        );
        println!(
            "start delay             p50 {:.2} ms, p99 {:.2} ms, all within {:.2} ms",
            self.start_delay_p50_seconds * 1e3,
            self.start_delay_p99_seconds * 1e3,
            self.start_delay_max_seconds * 1e3
        );
        println!(
            "RSS                     {:.1} MB, {:.1} MB before (peak {:.1} MB){}",
            self.rss_bytes as f64 / 1e6,
            self.rss_before_bytes as f64 / 1e6,
            self.peak_rss_bytes as f64 / 1e6,
            self.blackbox_rss_bytes.map_or_else(String::new, |bytes| {
                format!(", blackbox_exporter {:.1} MB", bytes as f64 / 1e6)
            })
        );
        println!(
            "open files              {}, {} before",
            self.open_files, self.open_files_before
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_what_was_added_to_the_buckets() {
        let page = |counts: [u64; 3]| {
            let [a, b, all] = counts;
            format!(
                "# TYPE x histogram\n{DELAYS}{{le=\"0.001\"}} {a}\n{DELAYS}{{le=\"0.01\"}} {b}\n\
                 {DELAYS}{{le=\"+Inf\"}} {all}\n"
            )
        };
        let delays = Delays::between(&page([5, 7, 9]), &page([55, 107, 109]));
        let near = |percent: f64, expected: f64| {
            let found = delays.percentile(percent);
            assert!((found - expected).abs() < 1e-9, "{percent}: {found}");
        };
        near(50.0, 0.001);
        near(75.0, 0.0055);
        near(100.0, 0.01);
        assert!(Delays::between("", "").percentile(50.0).is_nan());
    }

    #[test]
    fn samples_are_summed_by_their_labels() {
        let page =
            format!("{CHECKS}{{reason=\"ok\"}} 7\n{CHECKS}{{reason=\"status\"}} 2\nother 5\n");
        assert_eq!(sum(&page, CHECKS, ""), 9);
        assert_eq!(sum(&page, CHECKS, "reason=\"ok\""), 7);
    }
}
