//! The sink, as a user runs it: to the end of a topic, or for as long as a bench wants it.

use super::process::{ProcessUse, Running};
use super::target::Target;
use crate::run::command;
use anyhow::Context;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the running process is looked at; its peak memory is kept by the kernel.
const LOOK: Duration = Duration::from_millis(20);

/// What one run was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    pub(super) rows: u64,
    steps: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) server_cpu_seconds: f64,
    pub(super) peak_rss_bytes: u64,
}

/// What a run reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) program: &'a Path,
    pub(super) brokers: &'a str,
    pub(super) topic: &'a str,
    /// Its consumer group: a new one for every run.
    pub(super) group: &'a str,
}

impl Ran {
    pub(super) fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.seconds
    }

    pub(super) fn rows_per_step(&self) -> f64 {
        self.rows as f64 / self.steps.max(1) as f64
    }
}

/// Starts it; it ends with the value.
pub(super) fn start(source: Source<'_>, target: &Target) -> anyhow::Result<Running> {
    let mut sink = sink(source, target);
    let sink = sink.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Running(sink.spawn().context("start the sink")?))
}

fn sink(source: Source<'_>, target: &Target) -> Command {
    let mut sink = command(source.program);
    sink.args(["sink", "--log-format", "json"])
        .args(["--brokers", source.brokers, "--topic", source.topic])
        .args(["--group", source.group, "--store", &target.url()]);
    sink
}

/// Runs it to the end of the topic; with `profile`, under the eyes of perf. Partitions are left
/// open.
pub(super) fn to_the_end(
    source: Source<'_>,
    target: &Target,
    profile: Option<&Path>,
) -> anyhow::Result<Ran> {
    let server_before = target.server_cpu_seconds()?;
    let begin = Instant::now();
    let mut child = sink(source, target)
        .arg("--until-end")
        .env("TIDEGAUGE_STORE_SETTLE_AFTER", "10000d")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the sink")?;
    let mut perf = profile
        .map(|file| watch_with_perf(child.id(), file))
        .transpose()?;
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
    if let Some(perf) = &mut perf {
        perf.wait().context("wait for perf")?;
    }
    let log = std::io::read_to_string(child.stderr.take().context("its log")?)?;
    anyhow::ensure!(status.success(), "the sink ended with {status}:\n{log}");
    Ok(Ran {
        rows: target.number("select sum(points) from position")?,
        steps: steps(&log).context("the sink's log tells its steps")?,
        seconds,
        cpu_seconds: used.cpu_seconds,
        server_cpu_seconds: target.server_cpu_seconds()? - server_before,
        peak_rss_bytes: used.peak_rss_bytes,
    })
}

/// Samples by the clock, which works on virtual machines without hardware counters too.
fn watch_with_perf(process: u32, file: &Path) -> anyhow::Result<Child> {
    command("perf")
        .args(["record", "--quiet", "-e", "cpu-clock", "-F", "499", "-g"])
        .arg("-o")
        .arg(file)
        .args(["-p", &process.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start perf, which --profile needs")
}

fn steps(log: &str) -> Option<u64> {
    let lines = log.lines().rev();
    let mut lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.find_map(|line| line["fields"]["steps"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_tells_steps_counts() {
        let log =
            "{\"fields\":{\"steps\":1}}\nnot JSON\n{\"fields\":{\"steps\":7}}\n{\"fields\":{}}\n";
        assert_eq!(steps(log), Some(7));
        assert_eq!(steps("nothing"), None);
    }
}
