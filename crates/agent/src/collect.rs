//! Collecting: collectors and checks on their intervals, their points as batches in the spool.
//!
//! ```text
//! collection task ─┐ Gathered
//! check tasks ─────┼──────────> run ──> Writer (blocking) ──> spool, notify
//! listeners ───────┘ Handed
//! ```
//! One collection is one batch, with the results of checks and the points of listeners that came
//! since the batch before. These wait at most [`GATHER`] for others, and no longer than
//! [`GATHER_AWAITED`] where an application waits for its answer. It never publishes and never reads the
//! spool.

mod changes;
mod checks;
mod listening;
mod services;
mod writing;

pub use changes::{ChangeHandle, Changed, ChangesAsked, Wanted, changeable};
pub use checks::ChecksChanged;
pub use listening::ListenersWanted;

use crate::collectors::{CollectorContext, CollectorEntry};
use crate::listeners::{Handed, ListenerFiguresOfAll};
use crate::runners::{CollectorFailure, Runners};
use crate::schedule::{ClockWatch, Ticks, phase};
use crate::status::AgentStatus;
use crate::writer::Writer;
use crate::{AgentError, CollectSettings};
use changes::Changeable;
use checks::RunningChecks;
use listening::RunningListeners;
use services::Services;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, Point};
use tidegauge_spool::Spool;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use writing::WriterThread;

/// How long the result of a check waits for others before it goes into the spool: each write is
/// a wait for the disk, and costs more than the results in it.
const GATHER: Duration = Duration::from_millis(250);
/// The same for points whose sender waits until they are stored.
const GATHER_AWAITED: Duration = Duration::from_millis(10);
/// A batch is written early when it has so many points.
const MAX_POINTS_GATHERED: usize = 10_000;
/// How long a stop waits for the tasks of collectors and checks, and for listeners.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

enum Gathered {
    Collection(Vec<Point>),
    Check(Point),
}

/// Collects and checks until `cancel`, or until as many collections are made as the settings say.
/// What was gathered by then is in the spool when it returns; `appended` is notified after every
/// write.
///
/// # Errors
/// When the settings cannot be used, a thread cannot be started, or the spool refuses the first
/// epoch. Later failures of the spool are counted, and collecting goes on.
pub async fn run(
    settings: CollectSettings,
    spool: Spool,
    clock: Arc<dyn Clock>,
    appended: Arc<Notify>,
    status: AgentStatus,
    cancel: CancellationToken,
) -> Result<(), AgentError> {
    run_with(settings, None, spool, clock, appended, status, cancel).await
}

/// The same, with checks and listeners that can be changed meanwhile through the handle of `asked`; it then goes
/// on until `cancel` or the last collection, also when there is nothing to check.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    mut settings: CollectSettings,
    asked: Option<ChangesAsked>,
    spool: Spool,
    clock: Arc<dyn Clock>,
    appended: Arc<Notify>,
    status: AgentStatus,
    cancel: CancellationToken,
) -> Result<(), AgentError> {
    settings.validate()?;
    let mut checks = RunningChecks::new(&settings);
    let mut services = Services::new(&settings);
    let wanted = std::mem::take(&mut settings.checks);
    services.keep(Services::of(&wanted));
    let first = checks.made(services.expanded(wanted))?;
    let (mut listeners, handed) = RunningListeners::new(Arc::clone(&clock));
    let opened = listeners.open(&settings.listeners, |_| true)?;
    let runners = Runners::start(settings.all_collectors(), &settings.context, &clock)?;
    let writer = Writer::new(&settings, spool, Arc::clone(&clock), status.clone());
    let writer = WriterThread::start(writer)?;
    writer.run(Writer::begin_epoch).await??;

    // When it is full, collectors and checks wait, and the ticks that they miss are counted.
    let (sender, gathered) = mpsc::channel(1_024);
    let tasks = Tasks {
        start: Instant::now(),
        clock: Arc::clone(&clock),
        status,
        sender,
        stop: cancel.child_token(),
        cancel,
    };
    let tracker = TaskTracker::new();
    checks.begin(first, &tasks, &tracker);
    listeners.begin(opened, &settings.listeners, &tasks, &tracker);
    let figures = listeners.figures();
    if asked.is_some() || !services.is_empty() {
        let running = Changeable {
            checks,
            listeners,
            services,
        };
        tracker.spawn(running.change_when(asked, tasks.clone(), tracker.clone()));
    } else {
        drop(listeners);
    }
    let stop = tasks.stop.clone();
    if !settings.collectors.is_empty() || !settings.own_collectors.is_empty() {
        tracker.spawn(tasks.collect(runners, settings));
    } else {
        drop(tasks);
    }
    tracker.close();
    let sources = Sources {
        gathered,
        handed,
        listeners: figures,
    };
    let written = write_gathered(sources, &writer, &*clock, &appended).await;
    stop.cancel();
    if tokio::time::timeout(STOP_DEADLINE, tracker.wait())
        .await
        .is_err()
    {
        tracing::warn!("collectors or checks did not stop in time");
    }
    written
}

/// Writes what is gathered, until all tasks have ended.
async fn write_gathered(
    mut sources: Sources,
    writer: &WriterThread,
    clock: &dyn Clock,
    appended: &Notify,
) -> Result<(), AgentError> {
    let mut watch = ClockWatch::new(clock);
    let mut points = Vec::new();
    let mut awaited = Awaited::default();
    let mut due: Option<Instant> = None;
    loop {
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let mut patience = GATHER;
        let (ended, collection) = tokio::select! {
            biased;
            () = wait => (false, false),
            next = sources.next() => match next {
                Some(Next::Gathered(Gathered::Collection(found))) => {
                    points.extend(found);
                    let now_us = clock.now_us();
                    points.extend(sources.listeners.points(now_us));
                    (false, true)
                }
                Some(next) => {
                    match next {
                        Next::Gathered(Gathered::Collection(_)) => {}
                        Next::Gathered(Gathered::Check(point)) => points.push(point),
                        Next::Handed(handed) => {
                            if handed.stored.is_some() {
                                patience = GATHER_AWAITED;
                            }
                            points.extend(awaited.take(handed));
                        }
                    }
                    let latest = Instant::now() + patience;
                    due = Some(due.map_or(latest, |due| due.min(latest)));
                    if points.len() < MAX_POINTS_GATHERED {
                        continue;
                    }
                    (false, false)
                }
                None => (true, false),
            },
        };
        due = None;
        let awaited = std::mem::take(&mut awaited);
        if !points.is_empty() {
            let jump_us = watch.jump_us(clock);
            if let Some(jump_us) = jump_us {
                metrics::counter!("tidegauge_agent_clock_jumps_total").increment(1);
                tracing::warn!(jump_us, "the clock was set: a new epoch begins");
            }
            let points = std::mem::take(&mut points);
            let write = move |writer: &mut Writer| {
                writer.epoch_due |= jump_us.is_some();
                awaited.tell(writer.write(points, collection));
            };
            writer.run(write).await?;
            appended.notify_one();
        }
        if ended {
            return Ok(());
        }
    }
}

/// Where points come from.
struct Sources {
    gathered: mpsc::Receiver<Gathered>,
    handed: mpsc::Receiver<Handed>,
    /// What the listeners say of themselves, with every collection.
    listeners: ListenerFiguresOfAll,
}

enum Next {
    Gathered(Gathered),
    Handed(Handed),
}

impl Sources {
    /// What comes next; `None` when all tasks have ended.
    async fn next(&mut self) -> Option<Next> {
        tokio::select! {
            Some(next) = self.gathered.recv() => Some(Next::Gathered(next)),
            Some(next) = self.handed.recv() => Some(Next::Handed(next)),
            else => None,
        }
    }
}

/// What to do when the points of listeners are in the spool: make room, tell who waits.
#[derive(Default)]
struct Awaited {
    waiting: Vec<OwnedSemaphorePermit>,
    stored: Vec<oneshot::Sender<bool>>,
}

impl Awaited {
    fn take(&mut self, handed: Handed) -> Vec<Point> {
        self.waiting.push(handed.waiting);
        self.stored.extend(handed.stored);
        handed.points
    }

    fn tell(self, stored: bool) {
        for waits in self.stored {
            // Who waited may have gone.
            waits.send(stored).ok();
        }
    }
}

/// What the tasks share.
#[derive(Clone)]
struct Tasks {
    start: Instant,
    clock: Arc<dyn Clock>,
    status: AgentStatus,
    sender: mpsc::Sender<Gathered>,
    /// Ends at once.
    cancel: CancellationToken,
    /// Ends when the work that is under way is done.
    stop: CancellationToken,
}

impl Tasks {
    /// Runs the collectors on their interval.
    async fn collect(self, mut runners: Runners, settings: CollectSettings) {
        let phase = match settings.first_at_once {
            true => Duration::ZERO,
            false => phase(settings.agent.as_str(), settings.interval),
        };
        let ticks = Ticks::new(self.start, phase, settings.interval);
        let mut ticks = ticks.waking_only_for_ticks();
        let mut cycles = 0;
        while settings
            .cycles
            .is_none_or(|cycles_wanted| cycles < cycles_wanted)
        {
            let missed = tokio::select! {
                () = self.cancel.cancelled() => return,
                missed = ticks.tick() => missed,
            };
            let began = Instant::now();
            let mut points = Vec::with_capacity(128);
            let report = tokio::select! {
                () = self.cancel.cancelled() => return,
                report = runners.collect(settings.collection_deadline(), &mut points) => report,
            };
            cycles += 1;
            for failure in &report.failures {
                let (collector, reason) = (failure.collector, failure.reason);
                metrics::counter!("tidegauge_agent_collector_failures_total", "collector" => collector, "reason" => reason).increment(1);
            }
            metrics::counter!("tidegauge_agent_collections_total").increment(1);
            metrics::histogram!("tidegauge_agent_collection_duration_seconds")
                .record(began.elapsed());
            self.count_missed(missed + report.busy);
            let now_us = self.clock.now_us();
            self.status.update(|figures| {
                figures.collections += 1;
                figures.last_collection_us = Some(now_us);
            });
            if !self.send(Gathered::Collection(points)).await {
                return;
            }
        }
        self.stop.cancel();
    }

    async fn send(&self, gathered: Gathered) -> bool {
        tokio::select! {
            sent = self.sender.send(gathered) => sent.is_ok(),
            () = self.cancel.cancelled() => false,
        }
    }

    fn count_missed(&self, missed: u64) {
        if missed > 0 {
            metrics::counter!("tidegauge_agent_missed_ticks_total").increment(missed);
            self.status.update(|figures| figures.missed_ticks += missed);
        }
    }
}

/// What one look at the host found.
#[derive(Debug)]
pub struct Collected {
    /// The points of the collectors.
    pub points: Vec<Point>,
    /// Collectors that failed.
    pub failures: Vec<CollectorFailure>,
    /// Collectors whose sources this host does not have, and what is missing.
    pub unavailable: Vec<(&'static str, String)>,
}

/// Runs collectors twice, `pause` apart, and returns what the second reading found: values of an
/// interval, such as the use of the CPU, need two. Of a measurement that is told only now and then,
/// it is the first reading. For the command line; it keeps nothing.
///
/// # Errors
/// When a thread cannot be started. A collector that fails is in the result.
pub async fn collect_once(
    collectors: &[&CollectorEntry],
    context: &CollectorContext,
    clock: Arc<dyn Clock>,
    pause: Duration,
) -> Result<Collected, AgentError> {
    const DEADLINE: Duration = Duration::from_secs(10);
    let collectors = collectors.iter().map(|entry| (*entry).into()).collect();
    let mut runners = Runners::start(collectors, context, &clock)?;
    let mut first = Vec::new();
    let unavailable = runners.collect(DEADLINE, &mut first).await.unavailable;
    tokio::time::sleep(pause).await;
    let mut points = Vec::new();
    let report = runners.collect(DEADLINE, &mut points).await;
    let told: BTreeSet<_> = points
        .iter()
        .map(|point| point.measurement().clone())
        .collect();
    first.retain(|point| !told.contains(point.measurement()));
    points.extend(first);
    points.retain(|point| point.measurement().as_str() != "collector");
    Ok(Collected {
        points,
        failures: report.failures,
        unavailable,
    })
}
