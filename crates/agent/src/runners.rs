//! The threads of the collectors: one named thread each, because reading a host blocks, and a
//! collector keeps what it needs between collections.
//!
//! A collection asks every collector that is idle and waits for their reports up to its deadline.
//! A collector that is not done by then has failed with `deadline`, and one that is still at it
//! when the next collection comes is passed over with `busy`: a hanging mount holds up nobody
//! else. What a late run found is true for the time of its reads, so it goes with the collection
//! after its end; no sample is thrown away.

use crate::AgentError;
use crate::collectors::{CollectorContext, CollectorEntry};
use crate::error::chain;
use crate::probes::MAX_DETAIL_CHARS;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, Point, name};
use tokio::sync::mpsc;

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
}

/// All collectors of an agent, each on its thread. Dropping it ends the threads, after the run that
/// they are in.
pub(crate) struct Runners {
    clock: Arc<dyn Clock>,
    runners: Vec<Runner>,
    reports: mpsc::Receiver<Report>,
    run: u64,
}

struct Runner {
    name: &'static str,
    requests: std::sync::mpsc::SyncSender<u64>,
    /// The run that has not reported yet.
    running: Option<u64>,
    /// The reason of the last failure that was logged.
    failing: Option<&'static str>,
}

struct Report {
    runner: usize,
    run: u64,
    points: Vec<Point>,
    duration: Duration,
    failure: Option<(&'static str, Option<String>)>,
}

impl Runners {
    /// Starts a thread for every collector.
    pub(crate) fn start(
        collectors: &[&CollectorEntry],
        context: &CollectorContext,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, AgentError> {
        // A collector has at most one report under way, so this is never full.
        let (sender, reports) = mpsc::channel(collectors.len().max(1));
        let mut runners = Vec::with_capacity(collectors.len());
        for (runner, &&entry) in collectors.iter().enumerate() {
            // One request at most: a collector is asked only when it has reported.
            let (requests, asked) = std::sync::mpsc::sync_channel(1);
            let thread = format!("collect-{}", entry.name);
            let (context, clock, sender) = (context.clone(), Arc::clone(clock), sender.clone());
            std::thread::Builder::new()
                .name(thread.clone())
                .stack_size(512 * 1024)
                .spawn(move || serve(runner, entry, &context, &*clock, &asked, &sender))
                .map_err(|source| AgentError::StartThread { thread, source })?;
            runners.push(Runner {
                name: entry.name,
                requests,
                running: None,
                failing: None,
            });
        }
        Ok(Self {
            clock: Arc::clone(clock),
            runners,
            reports,
            run: 0,
        })
    }

    /// Runs every collector that is idle once, and adds to `points` what they found, with one point
    /// of `collector` for each. Takes at most `deadline`.
    pub(crate) async fn collect(
        &mut self,
        deadline: Duration,
        points: &mut Vec<Point>,
    ) -> CollectionReport {
        let due = tokio::time::Instant::now() + deadline;
        let mut outcome = CollectionReport::default();
        while let Ok(late) = self.reports.try_recv() {
            self.take(late, points, &mut outcome);
        }
        self.run += 1;
        let mut waiting = 0;
        for at in 0..self.runners.len() {
            let runner = &mut self.runners[at];
            if runner.running.is_some() {
                outcome.busy += 1;
                self.failed(at, "busy", None, None, points, &mut outcome);
            } else if runner.requests.try_send(self.run).is_ok() {
                runner.running = Some(self.run);
                waiting += 1;
            } else {
                let detail = Some("its thread has ended".to_owned());
                self.failed(at, "panicked", detail, None, points, &mut outcome);
            }
        }
        while waiting > 0 {
            let Ok(Some(report)) = tokio::time::timeout_at(due, self.reports.recv()).await else {
                break;
            };
            waiting -= usize::from(report.run == self.run);
            self.take(report, points, &mut outcome);
        }
        for at in 0..self.runners.len() {
            if self.runners[at].running == Some(self.run) {
                let detail = Some(format!("not done after {deadline:?}"));
                self.failed(at, "deadline", detail, None, points, &mut outcome);
            }
        }
        outcome
    }

    fn take(&mut self, report: Report, points: &mut Vec<Point>, outcome: &mut CollectionReport) {
        let Report {
            runner: at,
            run,
            points: found,
            duration,
            failure,
        } = report;
        points.extend(found);
        let runner = &mut self.runners[at];
        runner.running = None;
        if run != self.run {
            // Its failure was told when its deadline passed.
            tracing::info!(
                collector = runner.name,
                ?duration,
                "a late collector is done"
            );
            return;
        }
        match failure {
            Some((reason, detail)) => {
                self.failed(at, reason, detail, Some(duration), points, outcome);
            }
            None => {
                if runner.failing.take().is_some() {
                    tracing::info!(collector = runner.name, "the collector works again");
                }
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
}

fn duration_seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

/// The life of a collector's thread.
fn serve(
    runner: usize,
    entry: CollectorEntry,
    context: &CollectorContext,
    clock: &dyn Clock,
    asked: &std::sync::mpsc::Receiver<u64>,
    reports: &mpsc::Sender<Report>,
) {
    let mut collector = (entry.new)(context);
    while let Ok(run) = asked.recv() {
        let began = Instant::now();
        let mut points = Vec::new();
        let collected = catch_unwind(AssertUnwindSafe(|| collector.collect(clock, &mut points)));
        let failure = match collected {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((
                "failed",
                Some(chain(&error).chars().take(MAX_DETAIL_CHARS).collect()),
            )),
            Err(_) => {
                // Its state may be torn; a new one begins without.
                collector = (entry.new)(context);
                Some(("panicked", None))
            }
        };
        let report = Report {
            runner,
            run,
            points,
            duration: began.elapsed(),
            failure,
        };
        if reports.blocking_send(report).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::{CollectError, Collector};
    use std::sync::Mutex;
    use tidegauge_model::{ManualClock, Value};

    struct Quick;
    struct Failing;
    struct Hanging;

    /// What `Hanging` waits for; one test uses it.
    static RELEASE: Mutex<Option<std::sync::mpsc::Receiver<()>>> = Mutex::new(None);

    impl Collector for Quick {
        fn name(&self) -> &'static str {
            "quick"
        }
        fn collect(
            &mut self,
            clock: &dyn Clock,
            points: &mut Vec<Point>,
        ) -> Result<(), CollectError> {
            points.push(Point::new(name!("quick"), clock.now_us()).field(name!("value"), 1.0));
            Ok(())
        }
    }

    impl Collector for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }
        fn collect(&mut self, _: &dyn Clock, _: &mut Vec<Point>) -> Result<(), CollectError> {
            panic!("a defect of this collector")
        }
    }

    impl Collector for Hanging {
        fn name(&self) -> &'static str {
            "hanging"
        }
        fn collect(
            &mut self,
            clock: &dyn Clock,
            points: &mut Vec<Point>,
        ) -> Result<(), CollectError> {
            let time_us = clock.now_us();
            let release = RELEASE.lock().expect("not poisoned").take();
            if let Some(release) = release {
                release.recv().expect("the test lets it go");
            }
            points.push(Point::new(name!("hanging"), time_us).field(name!("value"), 1.0));
            Ok(())
        }
    }

    const fn entry(
        name: &'static str,
        new: fn(&CollectorContext) -> Box<dyn Collector>,
    ) -> CollectorEntry {
        CollectorEntry {
            name,
            description: "",
            new,
            default_on: true,
            measurements: &[],
        }
    }

    fn count(points: &[Point], measurement: &str) -> usize {
        points
            .iter()
            .filter(|point| point.measurement().as_str() == measurement)
            .count()
    }

    fn reason_of<'a>(points: &'a [Point], collector: &str) -> Option<&'a Value> {
        let own = |point: &&Point| point.tag_text("collector") == Some(collector);
        points
            .iter()
            .find(own)
            .expect("every collector has its point")
            .value("reason")
    }

    #[tokio::test]
    async fn a_hanging_collector_holds_up_nobody_and_its_samples_come_later() {
        let collectors = [
            entry("quick", |_| Box::new(Quick)),
            entry("hanging", |_| Box::new(Hanging)),
            entry("failing", |_| Box::new(Failing)),
        ];
        let (let_go, release) = std::sync::mpsc::channel();
        *RELEASE.lock().expect("not poisoned") = Some(release);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(7));
        let entries: Vec<_> = collectors.iter().collect();
        let mut runners =
            Runners::start(&entries, &CollectorContext::default(), &clock).expect("started");
        let deadline = Duration::from_secs(2);

        let mut points = Vec::new();
        let report = runners.collect(deadline, &mut points).await;
        assert_eq!(
            (count(&points, "quick"), count(&points, "collector")),
            (1, 3)
        );
        assert_eq!(reason_of(&points, "quick"), None);
        assert_eq!(
            reason_of(&points, "hanging"),
            Some(&Value::from("deadline"))
        );
        assert_eq!(
            reason_of(&points, "failing"),
            Some(&Value::from("panicked"))
        );
        assert_eq!((report.failures.len(), report.busy), (2, 0));

        points.clear();
        let report = runners.collect(deadline, &mut points).await;
        assert_eq!((count(&points, "quick"), count(&points, "hanging")), (1, 0));
        assert_eq!(reason_of(&points, "hanging"), Some(&Value::from("busy")));
        assert_eq!(
            reason_of(&points, "failing"),
            Some(&Value::from("panicked")),
            "it goes on"
        );
        assert_eq!(report.busy, 1);

        let_go.send(()).expect("it waits");
        points.clear();
        while count(&points, "hanging") == 0 {
            points.clear();
            runners.collect(Duration::from_secs(5), &mut points).await;
        }
        assert_eq!(reason_of(&points, "quick"), None);
        let mut points = Vec::new();
        runners.collect(Duration::from_secs(5), &mut points).await;
        assert_eq!(reason_of(&points, "hanging"), None);
    }
}
