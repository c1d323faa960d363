//! The processes of a run: agents with their spools, and sinks.

use super::oracle::Finding;
use super::plan::{AgentPlan, SESSION_MS};
use super::producer::{ProducerSettings, spool_settings};
use crate::interrupt;
use crate::run::command;
use anyhow::Context;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_spool::Spool;
use tidegauge_testkit::servers::Process;

/// A program that was asked to stop must have ended by then (D12).
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take until everything that was spooled is sent.
const DRAIN_WITHIN: Duration = Duration::from_secs(90);
/// What a sink logs if all of it is wanted.
const VERBOSE: &str = "info,tidegauge=debug,librdkafka=trace";
/// A file system for a spool: room for its log (8 MiB), and soon full.
const SMALL_DISK: &str = "size=24m";

/// What is run, and where it finds what.
pub(super) struct Place<'a> {
    pub(super) tidegauge: &'a Path,
    pub(super) xtask: &'a Path,
    pub(super) verbose: bool,
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) store: String,
    pub(super) step_points: u64,
    pub(super) folder: PathBuf,
}

impl Place<'_> {
    /// A command of the program under test, without the settings of whoever runs this.
    fn tidegauge(&self, name: &str) -> Command {
        let mut program = command(self.tidegauge);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("TIDEGAUGE_") {
                program.env_remove(variable);
            }
        }
        program.arg(name);
        program.args(["--brokers", &self.brokers, "--topic", &self.topic]);
        program
    }
}

/// One sink; empty while it is not there.
pub(super) struct Sink {
    name: String,
    process: Mutex<Option<Process>>,
}

impl Sink {
    pub(super) fn new(number: usize) -> Self {
        Self {
            name: format!("sink-{number}"),
            process: Mutex::new(None),
        }
    }

    /// Waits until no other fault works on this sink.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its place, if that is empty and no other fault works on it.
    pub(super) fn free(&self) -> Option<MutexGuard<'_, Option<Process>>> {
        self.process.try_lock().ok().filter(|place| place.is_none())
    }

    /// Starts it into its place.
    pub(super) fn start(&self, place: &Place<'_>) -> anyhow::Result<Process> {
        let mut program = place.tidegauge("sink");
        program
            .args(["--group", &place.topic, "--store", &place.store])
            .env("TIDEGAUGE_SINK_STEP_POINTS", place.step_points.to_string())
            .env("TIDEGAUGE_SINK_SESSION_TIMEOUT", format!("{SESSION_MS}ms"));
        if place.verbose {
            program.env("TIDEGAUGE_LOG_LEVEL", VERBOSE);
        }
        let log = place.folder.join(format!("{}.log", self.name));
        Process::run("a sink", &program, log)
    }

    /// SIGTERM; says what is wrong if it does not end as it must.
    pub(super) fn terminate(&self, process: &mut Process) -> anyhow::Result<Option<Finding>> {
        terminate(&self.name, process)
    }

    /// Whether it has ended by itself, which no sink ever does (D8).
    pub(super) fn ended(&self) -> anyhow::Result<Option<Finding>> {
        match self.lock().as_mut() {
            Some(process) => ended(&self.name, process),
            None => Ok(None),
        }
    }
}

/// One agent or producer of numbered samples.
pub(super) struct Agent {
    pub(super) plan: AgentPlan,
    state: PathBuf,
    mounted: bool,
    process: Mutex<AgentProcess>,
}

/// What changes in an agent's life.
#[derive(Default)]
pub(super) struct AgentProcess {
    running: Option<Process>,
    /// The numbers that the spool gave out, by epoch, as read from it between two lives.
    pub(super) numbered: BTreeMap<i64, u64>,
    pub(super) findings: Vec<Finding>,
}

/// What a spool still has.
struct Left {
    batches: u64,
    untold: usize,
}

impl Agent {
    /// Makes its folder, on a file system of its own if the plan says so and that is possible.
    pub(super) fn new(plan: AgentPlan, folder: &Path) -> anyhow::Result<Self> {
        let state = folder.join(&plan.name);
        std::fs::create_dir_all(&state).with_context(|| format!("make {}", state.display()))?;
        let mounted = plan.small_disk && rustix::process::geteuid().is_root() && {
            let mut mount = command("mount");
            mount
                .args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"])
                .arg(&state);
            // Not every root may mount: in a container for example.
            mount.output().is_ok_and(|output| output.status.success())
        };
        Ok(Self {
            plan,
            state,
            mounted,
            process: Mutex::default(),
        })
    }

    /// Whether its disk can be made full.
    pub(super) const fn has_small_disk(&self) -> bool {
        self.mounted
    }

    /// Where a file makes its disk full.
    pub(super) fn ballast(&self) -> PathBuf {
        self.state.join("ballast")
    }

    /// The journal of a producer. Not on the small disk.
    pub(super) fn journal(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.journal", self.plan.name))
    }

    /// Waits until no other fault works on this agent.
    pub(super) fn lock(&self) -> MutexGuard<'_, AgentProcess> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self, life: &mut AgentProcess, place: &Place<'_>) -> anyhow::Result<()> {
        let AgentPlan {
            name,
            encoding,
            interval_ms,
            spool_bytes,
            ..
        } = &self.plan;
        let program = if self.plan.numbered {
            let settings = ProducerSettings {
                name: name.clone(),
                brokers: place.brokers.clone(),
                topic: place.topic.clone(),
                encoding: (*encoding).to_owned(),
                interval_ms: *interval_ms,
                spool: self.spool(),
                spool_bytes: *spool_bytes,
                journal: self.journal(&place.folder),
            };
            let mut program = command(place.xtask);
            program.args(["faults-producer", &serde_json::to_string(&settings)?]);
            program
        } else {
            let mut program = place.tidegauge("agent");
            program
                .args(["--agent-id", name, "--host-name", name])
                .args(["--collectors", "load,memory"])
                .args(["--interval", &format!("{interval_ms}ms")])
                .args(["--encoding", encoding])
                .args(["--spool-bytes", &spool_bytes.to_string()])
                .arg("--state-dir")
                .arg(&self.state);
            program
        };
        let log = place.folder.join(format!("{name}.log"));
        life.running = Some(Process::run("an agent", &program, log)?);
        Ok(())
    }

    /// SIGKILL, and a look into the spool that is left.
    pub(super) fn kill(&self, life: &mut AgentProcess) -> anyhow::Result<()> {
        if let Some(mut process) = life.running.take() {
            life.findings.extend(ended(&self.plan.name, &mut process)?);
            process.end(Signal::KILL, STOP_WITHIN)?;
        }
        self.look(life).map(drop)
    }

    /// Stops it, and starts it again as long as its spool is not empty: what was spooled is sent,
    /// and what was given up is told.
    pub(super) fn drain(&self, place: &Place<'_>) -> anyhow::Result<()> {
        let since = Instant::now();
        let mut life = self.lock();
        loop {
            if let Some(mut process) = life.running.take() {
                life.findings
                    .extend(terminate(&self.plan.name, &mut process)?);
            }
            let left = self.look(&mut life)?;
            if left.batches == 0 && left.untold == 0 {
                return Ok(());
            }
            if since.elapsed() > DRAIN_WITHIN {
                let detail = format!(
                    "{}: {} batches and {} losses are in the spool after {DRAIN_WITHIN:?}",
                    self.plan.name, left.batches, left.untold
                );
                life.findings.push(Finding {
                    kind: "stuck",
                    detail,
                });
                return Ok(());
            }
            self.start(&mut life, place)?;
            rest(Duration::from_secs(1))?;
        }
    }

    /// Reads the numbers that the spool gave out. Nobody else may have it open.
    fn look(&self, life: &mut AgentProcess) -> anyhow::Result<Left> {
        let bounds = spool_settings(self.plan.spool_bytes);
        let (spool, opened) = Spool::open(&self.spool(), bounds, SystemClock.now_us())
            .with_context(|| format!("open the spool of {}", self.plan.name))?;
        let (epoch, next) = spool.next();
        if epoch > 0 {
            let known = life.numbered.entry(epoch).or_default();
            *known = next.max(*known);
        }
        if let Some(path) = opened.set_aside {
            life.findings.push(Finding {
                kind: "lost",
                detail: format!(
                    "{}: the spool was corrupt: {}",
                    self.plan.name,
                    path.display()
                ),
            });
        }
        Ok(Left {
            batches: opened.entries,
            untold: spool.drops().context("read the drops")?.len(),
        })
    }

    fn spool(&self) -> PathBuf {
        self.state.join("spool.db")
    }

    /// Copies the spool from the small disk, which goes, to the run's folder. That is for whoever
    /// looks into a run that failed: what cannot be copied is left.
    fn keep_spool(&self) {
        let kept = self.state.with_extension("spool");
        std::fs::create_dir_all(&kept).ok();
        for file in ["spool.db", "spool.db-wal"] {
            std::fs::copy(self.state.join(file), kept.join(file)).ok();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.lock().running = None;
        if self.mounted {
            self.keep_spool();
            // Lazily: a process that was just killed may hold it for a moment.
            let unmounted = command("umount").arg("--lazy").arg(&self.state).status();
            if !unmounted.is_ok_and(|status| status.success()) {
                eprintln!("{} stays mounted", self.state.display());
            }
        }
    }
}

fn terminate(name: &str, process: &mut Process) -> anyhow::Result<Option<Finding>> {
    if let Some(finding) = ended(name, process)? {
        return Ok(Some(finding));
    }
    let status = process.end(Signal::TERM, STOP_WITHIN)?;
    // A program that was started a moment ago, and stopped before it could watch for signals, is
    // ended by the kernel; it had begun nothing. One that is too slow is killed (SIGKILL).
    let in_order = status.success() || status.signal() == Some(Signal::TERM.as_raw());
    Ok((!in_order).then(|| Finding {
        kind: "slow_stop",
        detail: format!("{name} did not stop within {STOP_WITHIN:?} of SIGTERM: {status}"),
    }))
}

fn ended(name: &str, process: &mut Process) -> anyhow::Result<Option<Finding>> {
    Ok(process.ended()?.map(|status| Finding {
        kind: "ended",
        detail: format!("{name} ended by itself: {status}"),
    }))
}

/// Waits, but not longer than the user does.
pub(super) fn rest(time: Duration) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(50);
    let end = Instant::now() + time;
    loop {
        interrupt::check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// Whether something was printed that only a defect prints.
pub(super) fn panics(folder: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(folder).context("read the logs")? {
        let path = entry.context("read the logs")?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let log = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let log = String::from_utf8_lossy(&log);
        if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
            findings.push(Finding {
                kind: "panic",
                detail: format!("{}: {line}", path.display()),
            });
        }
    }
    Ok(findings)
}
