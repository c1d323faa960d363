//! The thread that runs collectors, and what it shares with the collections.
//!
//! Not a decision about failures: it runs what it is given and reports. One thread is in charge
//! at a time, known by its number; a thread that was overtaken finishes the run it is in, reports
//! it and ends. A collection is woken once, when nothing is left to do, or by its own clock.

use crate::AgentError;
use crate::collectors::{Collector, CollectorContext, OwnCollector};
use crate::probes::MAX_DETAIL_CHARS;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, Point, chain};
use tokio::sync::Notify;

/// Bytes of stack of a thread: collectors keep their buffers elsewhere.
const STACK_BYTES: usize = 512 * 1024;

/// A collector that is to run.
pub(super) struct Job {
    pub(super) runner: usize,
    pub(super) run: u64,
    pub(super) collector: Box<dyn Collector>,
}

/// A collector that ran.
pub(super) struct Report {
    pub(super) runner: usize,
    pub(super) run: u64,
    pub(super) collector: Box<dyn Collector>,
    pub(super) duration: Duration,
    pub(super) outcome: Outcome,
}

/// How a run ended.
pub(super) enum Outcome {
    Done,
    /// The host does not have the sources.
    Unavailable(String),
    Failed(String),
    Panicked,
}

/// The jobs, the reports and the thread between them.
pub(super) struct Work {
    shared: Arc<Shared>,
}

struct Shared {
    context: CollectorContext,
    clock: Arc<dyn Clock>,
    remake: Vec<OwnCollector>,
    state: Mutex<State>,
    /// Wakes the thread in charge.
    work: Condvar,
    /// Wakes the collection: nothing is left to do, or a thread that was overtaken is done.
    done: Notify,
}

#[derive(Default)]
struct State {
    /// As many as there are collectors at most: each is in one place only.
    jobs: VecDeque<Job>,
    /// The same bound.
    reports: Vec<Report>,
    points: Vec<Point>,
    /// The number of the thread in charge.
    in_charge: u64,
    /// Since when that one runs a collector.
    running_since: Option<Instant>,
    closed: bool,
}

impl Work {
    pub(super) fn start(
        remake: Vec<OwnCollector>,
        context: CollectorContext,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AgentError> {
        let shared = Arc::new(Shared {
            context,
            clock,
            remake,
            state: Mutex::default(),
            work: Condvar::new(),
            done: Notify::new(),
        });
        start_thread(&shared, 0)?;
        Ok(Self { shared })
    }

    /// Gives the jobs to the thread in charge, and tells how many.
    pub(super) fn hand_out(&self, jobs: &mut Vec<Job>) -> usize {
        let count = jobs.len();
        if count > 0 {
            self.shared.lock().jobs.extend(jobs.drain(..));
            self.shared.work.notify_one();
        }
        count
    }

    /// Takes the jobs that nobody has begun.
    pub(super) fn take_back(&self) -> VecDeque<Job> {
        std::mem::take(&mut self.shared.lock().jobs)
    }

    /// Adds the reports that are there, and the points of those runs.
    pub(super) fn take_reports(&self, reports: &mut Vec<Report>, points: &mut Vec<Point>) {
        let mut state = self.shared.lock();
        reports.append(&mut state.reports);
        points.append(&mut state.points);
    }

    /// Waits until there may be reports.
    pub(super) async fn wait(&self) {
        self.shared.done.notified().await;
    }

    /// Puts a fresh thread in charge if the collector that runs has done so for longer than
    /// `patience` and others wait. Returns after which time to look again.
    pub(super) fn pass_the_slow(&self, patience: Duration) -> Duration {
        let mut state = self.shared.lock();
        let runs_for = state
            .running_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        if state.jobs.is_empty() {
            return patience;
        }
        if runs_for < patience {
            return patience - runs_for;
        }
        let next = state.in_charge + 1;
        match start_thread(&self.shared, next) {
            Ok(()) => {
                state.in_charge = next;
                state.running_since = None;
            }
            // The others wait for the slow one, and for their deadline at most.
            Err(error) => tracing::warn!(error = chain(&error), "collectors are held up"),
        }
        patience
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// The state is whole at every point where a thread could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn serve(&self, number: u64) {
        // Kept between runs.
        let mut points = Vec::new();
        let mut state = self.lock();
        loop {
            if state.closed || state.in_charge != number {
                return;
            }
            let Some(job) = state.jobs.pop_front() else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.running_since = Some(Instant::now());
            drop(state);
            let report = self.run(job, &mut points);
            state = self.lock();
            state.reports.push(report);
            state.points.append(&mut points);
            let in_charge = state.in_charge == number;
            if in_charge {
                state.running_since = None;
            }
            if !in_charge || state.jobs.is_empty() {
                self.done.notify_one();
            }
        }
    }

    fn run(&self, job: Job, points: &mut Vec<Point>) -> Report {
        let Job {
            runner,
            run,
            mut collector,
        } = job;
        let began = Instant::now();
        let collected = catch_unwind(AssertUnwindSafe(|| collector.collect(&*self.clock, points)));
        let outcome = match collected {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => {
                let detail = chain(&error).chars().take(MAX_DETAIL_CHARS).collect();
                match error.is_unavailable() {
                    true => Outcome::Unavailable(detail),
                    false => Outcome::Failed(detail),
                }
            }
            Err(_) => {
                // Its state may be torn; a new one begins without.
                collector = self.remake[runner].make(&self.context);
                Outcome::Panicked
            }
        };
        Report {
            runner,
            run,
            collector,
            duration: began.elapsed(),
            outcome,
        }
    }
}

fn start_thread(shared: &Arc<Shared>, number: u64) -> Result<(), AgentError> {
    let thread = "collect".to_owned();
    let served = Arc::clone(shared);
    std::thread::Builder::new()
        .name(thread.clone())
        .stack_size(STACK_BYTES)
        .spawn(move || served.serve(number))
        .map(drop)
        .map_err(|source| AgentError::StartThread { thread, source })
}
