//! The checks that an agent runs, each a task of its own, and how they change while it runs.
//!
//! What is wanted is compared with what runs, by name: a check whose settings are the same, and the
//! files that they name too, is not touched, so it keeps its moment in the interval, its state and
//! its connection to the turnstiles. One that differs ends with the attempt that is under way, and
//! the new one begins after it: there are never two checks of one name at once. Everything is made
//! before anything is stopped, so that checks of which one cannot be made change nothing.

use super::{Gathered, Tasks};
use crate::probes::{Check, CheckSettings, ProbeContext};
use crate::schedule::{Ticks, on_grid, phase};
use crate::settings::validate_checks;
use crate::turnstiles::{Turnstile, Turnstiles};
use crate::{AgentError, CheckState, CollectSettings};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{AgentId, FileStamp, Value, name};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a change came to: so many checks of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChecksChanged {
    /// That were not there before.
    pub added: usize,
    /// That are not there any more.
    pub removed: usize,
    /// That have other settings.
    pub changed: usize,
    /// That were not touched.
    pub unchanged: usize,
}

impl fmt::Display for ChecksChanged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} checks added, {} removed, {} changed, {} as before",
            self.added, self.removed, self.changed, self.unchanged
        )
    }
}

/// A file as it was; `None` while it cannot be seen.
type Seen = Option<FileStamp>;

/// A check that can run, and the files that it was made from.
pub(super) struct Made {
    check: Check,
    files: Vec<Seen>,
}

struct Running {
    settings: Arc<CheckSettings>,
    files: Vec<Seen>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// All checks of an agent, by name.
pub(super) struct RunningChecks {
    agent: AgentId,
    first_at_once: bool,
    context: ProbeContext,
    turnstiles: Turnstiles,
    running: HashMap<String, Running>,
    /// Those that were removed and have an attempt under way.
    ending: HashMap<String, Running>,
    /// Whether the first checks have begun.
    has_begun: bool,
}

impl RunningChecks {
    pub(super) fn new(settings: &CollectSettings) -> Self {
        Self {
            agent: settings.agent.clone(),
            first_at_once: settings.first_at_once,
            context: ProbeContext::new(),
            turnstiles: Turnstiles::new(settings.check_limits),
            running: HashMap::new(),
            ending: HashMap::new(),
            has_begun: false,
        }
    }

    /// Makes those that do not run as they are wanted.
    pub(super) fn made(&self, wanted: Vec<CheckSettings>) -> Result<Vec<Made>, AgentError> {
        let mut made = Vec::new();
        for settings in wanted {
            // Before they are read: a file that is written meanwhile is another one the next time.
            let files = seen(&settings);
            let running = self.running.get(settings.name());
            if running.is_none_or(|one| *one.settings != settings || one.files != files) {
                let check = Check::new(settings, &self.context)?;
                made.push(Made { check, files });
            }
        }
        Ok(made)
    }

    /// Begins checks, each after the one that it takes the place of.
    pub(super) fn begin(&mut self, made: Vec<Made>, tasks: &Tasks, tracker: &TaskTracker) {
        for Made { check, files } in made {
            let settings = Arc::clone(check.settings());
            let stop = tasks.stop.child_token();
            let own = Tasks {
                stop: stop.clone(),
                ..tasks.clone()
            };
            let ticks = self.ticks(&check, tasks.start);
            let turnstile = self.turnstiles.of(check.host());
            let before = self.running.remove(check.target());
            let before = before.or_else(|| self.ending.remove(check.target()));
            let task = tracker.spawn(async move {
                if let Some(before) = before {
                    before.stop.cancel();
                    // It is only awaited; if it died, there is nothing to wait for.
                    before.task.await.ok();
                }
                own.check(check, ticks, turnstile).await;
            });
            let running = Running {
                settings,
                files,
                stop,
                task,
            };
            let name = running.settings.name().to_owned();
            self.running.insert(name, running);
        }
        self.has_begun = true;
    }

    /// The ticks of a check: those that it would have had, had it been there from the start.
    fn ticks(&self, check: &Check, start: Instant) -> Ticks {
        let interval = check.interval();
        if self.first_at_once {
            let now = if self.has_begun {
                Instant::now()
            } else {
                start
            };
            return Ticks::new(now, Duration::ZERO, interval);
        }
        let phase = phase(&format!("{} {}", self.agent, check.target()), interval);
        let mut ticks = Ticks::new(start, on_grid(phase, interval), interval);
        if self.has_begun {
            ticks.pass();
        }
        ticks
    }

    /// Runs these and no others.
    ///
    /// # Errors
    /// When one of them cannot be made; then nothing has changed.
    pub(super) fn change(
        &mut self,
        wanted: Vec<CheckSettings>,
        tasks: &Tasks,
        tracker: &TaskTracker,
    ) -> Result<ChecksChanged, AgentError> {
        validate_checks(&wanted)?;
        let wanted_checks = wanted.len();
        let names: HashSet<&str> = wanted.iter().map(CheckSettings::name).collect();
        let running = self.running.keys();
        let gone = running.filter(|name| !names.contains(name.as_str()));
        let gone: Vec<String> = gone.cloned().collect();
        let made = self.made(wanted)?;
        let before = self.running.len();
        self.ending.retain(|_, one| !one.task.is_finished());
        for name in gone {
            if let Some(gone) = self.running.remove(&name) {
                gone.stop.cancel();
                self.ending.insert(name, gone);
            }
        }
        let kept = self.running.len();
        let begun = made.len();
        self.begin(made, tasks, tracker);
        self.turnstiles.forget_unused();
        let added = self.running.len() - kept;
        Ok(ChecksChanged {
            added,
            removed: before - kept,
            changed: begun - added,
            unchanged: wanted_checks - begun,
        })
    }
}

/// The files of a check as they are now.
fn seen(settings: &CheckSettings) -> Vec<Seen> {
    let seen = |path| Some(FileStamp::of(&std::fs::metadata(path).ok()?));
    settings.files().map(seen).collect()
}

impl Tasks {
    /// Runs one check at its ticks. While it waits it holds no more than it needs for that: what an
    /// attempt needs is taken from the heap when it is due, and thousands of targets mostly wait.
    async fn check(self, check: Check, mut ticks: Ticks, turnstile: Turnstile) {
        let mut state = check.state();
        loop {
            // The tick goes first: a check that is due is made, also when the last collection is.
            let missed = tokio::select! {
                biased;
                missed = ticks.tick() => missed,
                () = self.stop.cancelled() => return,
            };
            self.count_missed(missed);
            let attempts = Box::pin(self.attempts(&check, &ticks, &turnstile, &mut state));
            if !attempts.await || self.stop.is_cancelled() {
                return;
            }
        }
    }

    /// Tries until one attempt decides; whether the agent still goes on.
    async fn attempts(
        &self,
        check: &Check,
        ticks: &Ticks,
        turnstile: &Turnstile,
        state: &mut CheckState,
    ) -> bool {
        for attempt in 1..=check.attempts() {
            let checked = async {
                let _entered = turnstile.enter().await;
                let late_seconds = ticks.late().as_secs_f64();
                (late_seconds, check.run(&*self.clock).await)
            };
            let (late_seconds, result) = tokio::select! {
                () = self.cancel.cancelled() => return false,
                checked = checked => checked,
            };
            let reason = result.finding.reason.as_str();
            metrics::counter!("tidegauge_agent_checks_total", "reason" => reason).increment(1);
            self.status.update(|figures| figures.checks += 1);
            let decides = result.is_up() || attempt == check.attempts();
            let (mut point, change) = state.points(result, decides);
            // A further attempt begins when the one before has failed, not late.
            if attempt == 1 {
                metrics::histogram!("tidegauge_agent_check_start_delay_seconds")
                    .record(late_seconds);
                let late_seconds = (late_seconds * 1e6).round() / 1e6;
                point.set(name!("start_delay_seconds"), Value::Float(late_seconds));
            }
            for point in std::iter::once(point).chain(change) {
                if !self.send(Gathered::Check(point)).await {
                    return false;
                }
            }
            if decides {
                break;
            }
        }
        true
    }
}
