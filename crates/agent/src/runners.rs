//! The threads of the collectors: one for all of them, and more only while a collector hangs.
//!
//! A collection hands every collector that is idle to the thread `collect`, which runs them one
//! after the other: forty collectors are one wake-up and one answer. Reading a host may block, so
//! a collector that takes longer than its share of the deadline keeps the thread that it is on,
//! and a fresh thread goes on with the others; the old one ends when its collector comes back. A
//! collector that is not done by the end of the deadline has failed with `deadline`, and one that
//! is still at it when the next collection comes is passed over with `busy`: a hanging mount holds
//! up nobody else. What a late run found is true for the time of its reads, so it goes with the
//! collection after its end; no sample is thrown away.
//!
//! A collector whose sources are not there at its first run is not available on this host: that
//! is said once and is no failure. It is run again every [`TRY_AGAIN`], for hardware that is
//! plugged in and modules that are loaded.
//!
//! Every failure is a point of `collector`, and so is the first success, the one after a failure, and one in
//! [`TELL_SUCCESS`]: told each time, they would be two fifths of what a host has to store.

mod worker;

use crate::AgentError;
use crate::collectors::{Collector, CollectorContext, OwnCollector};
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, Point, name};
use tokio::time::Instant;
use worker::{Job, Outcome, Report, Work};

/// How long a collector that is not available is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// How often collectors that succeed say so; a little less than a minute, as ticks are not exact.
const TELL_SUCCESS: Duration = Duration::from_millis(59_500);
/// The share of the deadline after which a collector no longer holds up the others.
const PATIENCE_SHARE: u32 = 8;
/// The longest that a collector holds up the others.
const LONGEST_PATIENCE: Duration = Duration::from_millis(500);

/// Why a run of a collector did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorFailure {
    /// The name of the collector.
    pub collector: &'static str,
    /// `failed`, `deadline`, `busy` or `panicked`.
    pub reason: &'static str,
    /// What went wrong, for a person.
    pub detail: Option<String>,
}

/// What one collection did beside its points.
#[derive(Debug, Default)]
pub(crate) struct CollectionReport {
    /// Runs that did not succeed.
    pub(crate) failures: Vec<CollectorFailure>,
    /// Collectors that were passed over because their last run had not ended.
    pub(crate) busy: u64,
    /// Collectors that were run and found not available on this host, and why.
    pub(crate) unavailable: Vec<(&'static str, String)>,
}

/// All collectors of an agent. Dropping it ends the threads, after the run that they are in.
pub(crate) struct Runners {
    clock: Arc<dyn Clock>,
    runners: Vec<Runner>,
    work: Work,
    run: u64,
    /// Kept between collections.
    reports: Vec<Report>,
    jobs: Vec<Job>,
}

struct Runner {
    name: &'static str,
    /// `None` while it runs.
    idle: Option<Box<dyn Collector>>,
    /// The run that it has not reported yet.
    running: Option<u64>,
    /// Whether its last run was not done in time; then the others go first.
    slow: bool,
    /// Whether a run ever found its sources.
    works_here: bool,
    /// When it is run next, if it is not available.
    again_at: Option<Instant>,
    /// The reason of the last failure that was logged.
    failing: Option<&'static str>,
    /// When a point said that it succeeds, if none has said the opposite since.
    success_told: Option<Instant>,
}

impl Runners {
    /// Makes the collectors and starts their thread.
    pub(crate) fn start(
        collectors: Vec<OwnCollector>,
        context: &CollectorContext,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, AgentError> {
        let runners: Vec<_> = collectors
            .iter()
            .map(|collector| Runner {
                name: collector.name(),
                idle: Some(collector.make(context)),
                running: None,
                slow: false,
                works_here: false,
                again_at: None,
                failing: None,
                success_told: None,
            })
            .collect();
        Ok(Self {
            clock: Arc::clone(clock),
            work: Work::start(collectors, context.clone(), Arc::clone(clock))?,
            reports: Vec::with_capacity(runners.len()),
            jobs: Vec::with_capacity(runners.len()),
            runners,
            run: 0,
        })
    }

    /// Runs every collector that is idle and available once, and adds to `points` what they found,
    /// with a point of `collector` for each of which there is something to tell. Takes at most `deadline`.
    pub(crate) async fn collect(
        &mut self,
        deadline: Duration,
        points: &mut Vec<Point>,
    ) -> CollectionReport {
        let began = Instant::now();
        let due = began + deadline;
        let patience = (deadline / PATIENCE_SHARE).min(LONGEST_PATIENCE);
        let mut outcome = CollectionReport::default();
        self.run += 1;
        self.take_reports(points, &mut outcome);
        let mut waiting = self.hand_out(began, points, &mut outcome);
        while waiting > 0 {
            let look_again = (Instant::now() + self.work.pass_the_slow(patience)).min(due);
            let in_time = tokio::time::timeout_at(look_again, self.work.wait()).await;
            waiting = waiting.saturating_sub(self.take_reports(points, &mut outcome));
            if in_time.is_err() && look_again >= due {
                break;
            }
        }
        // Nobody runs what was not begun: it is idle again for the collection after.
        for job in self.work.take_back() {
            self.runners[job.runner].idle = Some(job.collector);
        }
        for at in 0..self.runners.len() {
            let runner = &mut self.runners[at];
            if runner.running == Some(self.run) {
                let detail = if runner.idle.is_some() {
                    runner.running = None;
                    format!("not begun after {deadline:?}, others were slow")
                } else {
                    runner.slow = true;
                    format!("not done after {deadline:?}")
                };
                self.failed(at, "deadline", Some(detail), None, points, &mut outcome);
            }
        }
        self.tell_unavailable(&outcome);
        outcome
    }

    /// Hands the idle collectors to the thread, and tells how many.
    fn hand_out(
        &mut self,
        now: Instant,
        points: &mut Vec<Point>,
        outcome: &mut CollectionReport,
    ) -> usize {
        for slow in [false, true] {
            for at in 0..self.runners.len() {
                let runner = &mut self.runners[at];
                if runner.slow != slow || runner.again_at.is_some_and(|again| now < again) {
                    continue;
                }
                match runner.idle.take() {
                    Some(collector) => {
                        runner.running = Some(self.run);
                        self.jobs.push(Job {
                            runner: at,
                            run: self.run,
                            collector,
                        });
                    }
                    None => {
                        outcome.busy += 1;
                        self.failed(at, "busy", None, None, points, outcome);
                    }
                }
            }
        }
        self.work.hand_out(&mut self.jobs)
    }

    /// Takes what was reported since, and tells how many reports are of this run.
    fn take_reports(&mut self, points: &mut Vec<Point>, outcome: &mut CollectionReport) -> usize {
        let mut reports = std::mem::take(&mut self.reports);
        self.work.take_reports(&mut reports, points);
        let mut current = 0;
        for report in reports.drain(..) {
            current += usize::from(report.run == self.run);
            self.take(report, points, outcome);
        }
        self.reports = reports;
        current
    }

    fn take(&mut self, report: Report, points: &mut Vec<Point>, outcome: &mut CollectionReport) {
        let Report {
            runner: at,
            run,
            collector,
            duration,
            outcome: ended,
        } = report;
        let runner = &mut self.runners[at];
        runner.idle = Some(collector);
        runner.running = None;
        if matches!(ended, Outcome::Done) {
            runner.works_here = true;
        }
        if run != self.run {
            // Its failure was told when its deadline passed.
            tracing::info!(
                collector = runner.name,
                ?duration,
                "a late collector is done"
            );
            return;
        }
        runner.slow = false;
        match ended {
            Outcome::Unavailable(detail) if !runner.works_here => {
                runner.again_at = Some(Instant::now() + TRY_AGAIN);
                outcome.unavailable.push((runner.name, detail));
            }
            Outcome::Unavailable(detail) | Outcome::Failed(detail) => {
                runner.again_at = None;
                let detail = Some(detail);
                self.failed(at, "failed", detail, Some(duration), points, outcome);
            }
            Outcome::Panicked => {
                self.failed(at, "panicked", None, Some(duration), points, outcome);
            }
            Outcome::Done => {
                let was_away = runner.again_at.take().is_some();
                if runner.failing.take().is_some() || was_away {
                    tracing::info!(collector = runner.name, "the collector works again");
                }
                if runner
                    .success_told
                    .is_some_and(|at| at.elapsed() < TELL_SUCCESS)
                {
                    return;
                }
                runner.success_told = Some(Instant::now());
                let point = Point::new(name!("collector"), self.clock.now_us())
                    .tag(name!("collector"), runner.name)
                    .field(name!("duration_seconds"), duration_seconds(duration))
                    .field(name!("success"), true);
                points.push(point);
            }
        }
    }

    fn failed(
        &mut self,
        at: usize,
        reason: &'static str,
        detail: Option<String>,
        duration: Option<Duration>,
        points: &mut Vec<Point>,
        outcome: &mut CollectionReport,
    ) {
        let runner = &mut self.runners[at];
        runner.success_told = None;
        if runner.failing.replace(reason) != Some(reason) {
            let detail = detail.as_deref().unwrap_or_default();
            tracing::warn!(collector = runner.name, reason, detail, "a collector fails");
        }
        let point = Point::new(name!("collector"), self.clock.now_us())
            .tag(name!("collector"), runner.name)
            .field_if(name!("duration_seconds"), duration.map(duration_seconds))
            .field(name!("success"), false)
            .field(name!("reason"), reason)
            .field_if(name!("detail"), detail.clone());
        points.push(point);
        outcome.failures.push(CollectorFailure {
            collector: runner.name,
            reason,
            detail,
        });
    }

    /// Says once what this host does not have; later only to those who want to know.
    fn tell_unavailable(&self, outcome: &CollectionReport) {
        if outcome.unavailable.is_empty() {
            return;
        }
        let names: Vec<_> = outcome.unavailable.iter().map(|(name, _)| *name).collect();
        let collectors = names.join(", ");
        if self.run == 1 {
            tracing::info!(
                collectors,
                "not available on this host; `tidegauge collect --list` says why"
            );
        } else {
            tracing::debug!(collectors, "still not available on this host");
        }
    }
}

fn duration_seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests;
