//! Tests of hanging, failing and missing collectors.

use super::*;
use crate::collectors::{CollectError, Collector, CollectorEntry};
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
    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
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
    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
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

/// Says that it has no sources for its first runs.
struct Plugged {
    runs: usize,
}

impl Collector for Plugged {
    fn name(&self) -> &'static str {
        "plugged"
    }
    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        self.runs += 1;
        if !self.runs.is_multiple_of(3) {
            return Err(CollectError::Unavailable {
                path: "/sys/nothing".into(),
            });
        }
        points.push(Point::new(name!("plugged"), clock.now_us()).field(name!("value"), 1.0));
        Ok(())
    }
}

#[tokio::test]
async fn a_collector_without_sources_is_told_once_and_tried_again_later() {
    let collectors = [
        entry("quick", |_| Box::new(Quick)),
        entry("plugged", |_| Box::new(Plugged { runs: 0 })),
    ];
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(7));
    let entries = collectors.iter().map(OwnCollector::from).collect();
    let mut runners =
        Runners::start(entries, &CollectorContext::default(), &clock).expect("started");
    let deadline = Duration::from_secs(20);
    for round in 1..=3 {
        let mut points = Vec::new();
        let report = runners.collect(deadline, &mut points).await;
        // Of the other one, once.
        assert_eq!(count(&points, "collector"), usize::from(round == 1));
        assert_eq!((report.failures.len(), report.busy), (0, 0));
        let told: Vec<_> = report.unavailable.iter().map(|(name, _)| *name).collect();
        match round {
            1 => assert_eq!(told, ["plugged"]),
            _ => assert!(told.is_empty(), "{told:?}"),
        }
    }
    // It runs when its time has come, and from then on a missing source is a failure.
    for (round, reason) in [(4, None), (5, None), (6, Some("failed"))] {
        if round < 6 {
            runners.runners[1].again_at = Some(Instant::now());
        }
        let mut points = Vec::new();
        let report = runners.collect(deadline, &mut points).await;
        assert_eq!(report.unavailable.len(), usize::from(round == 4));
        assert_eq!(count(&points, "plugged"), usize::from(round == 5));
        let reasons: Vec<_> = report
            .failures
            .iter()
            .map(|failure| failure.reason)
            .collect();
        assert_eq!(reasons.first().copied(), reason, "round {round}");
        assert_eq!(count(&points, "collector"), usize::from(round > 4));
    }
}

/// Fails in its second run.
struct Stumbling {
    runs: usize,
}

impl Collector for Stumbling {
    fn name(&self) -> &'static str {
        "stumbling"
    }
    fn collect(&mut self, _: &dyn Clock, _: &mut Vec<Point>) -> Result<(), CollectError> {
        self.runs += 1;
        assert!(self.runs != 2, "a defect of this collector");
        Ok(())
    }
}

#[tokio::test]
async fn success_is_told_at_first_after_failures_and_once_a_minute() {
    static STUMBLED: Mutex<usize> = Mutex::new(0);
    let collectors = [entry("stumbling", |_| {
        // It is made anew after it panicked.
        let mut stumbled = STUMBLED.lock().expect("not poisoned");
        *stumbled += 1;
        let runs = if *stumbled == 1 { 0 } else { 2 };
        Box::new(Stumbling { runs })
    })];
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(7));
    let entries = collectors.iter().map(OwnCollector::from).collect();
    let mut runners =
        Runners::start(entries, &CollectorContext::default(), &clock).expect("started");
    let mut told = Vec::new();
    for round in 1..=6 {
        if round == 5 {
            let a_minute_ago = Instant::now().checked_sub(TELL_SUCCESS);
            runners.runners[0].success_told =
                Some(a_minute_ago.expect("the machine has run so long"));
        }
        let mut points = Vec::new();
        runners
            .collect(Duration::from_secs(3_600), &mut points)
            .await;
        told.push(points.first().map(|point| point.value("success").cloned()));
    }
    let [success, failure] = [true, false].map(|success| Some(Some(Value::Bool(success))));
    assert_eq!(
        told,
        [
            success.clone(),
            failure,
            success.clone(),
            None,
            success,
            None
        ]
    );
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
        .expect("it has a point")
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
    let entries = collectors.iter().map(OwnCollector::from).collect();
    let mut runners =
        Runners::start(entries, &CollectorContext::default(), &clock).expect("started");
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
    let mut late = 0;
    points.clear();
    while !succeeds(&points, "hanging") {
        points.clear();
        runners.collect(Duration::from_secs(5), &mut points).await;
        late += count(&points, "hanging");
    }
    assert!(late >= 1, "no sample is thrown away");
    assert!(!succeeds(&points, "quick"), "that is known");
}

fn succeeds(points: &[Point], collector: &str) -> bool {
    points.iter().any(|point| {
        point.tag_text("collector") == Some(collector)
            && point.value("success") == Some(&Value::Bool(true))
    })
}

/// Tells the thread that it runs on.
struct Telling;

impl Collector for Telling {
    fn name(&self) -> &'static str {
        "telling"
    }
    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let thread = format!("{:?}", std::thread::current().id());
        points.push(Point::new(name!("telling"), clock.now_us()).field(name!("thread"), thread));
        Ok(())
    }
}

#[tokio::test]
async fn collectors_that_are_quick_share_one_thread() {
    let collectors = [
        entry("telling", |_| Box::new(Telling)),
        entry("quick", |_| Box::new(Quick)),
        entry("again", |_| Box::new(Telling)),
    ];
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(7));
    let entries = collectors.iter().map(OwnCollector::from).collect();
    let mut runners =
        Runners::start(entries, &CollectorContext::default(), &clock).expect("started");
    let mut points = Vec::new();
    for _ in 0..3 {
        // So long that a slow machine is no slow collector.
        runners
            .collect(Duration::from_secs(3_600), &mut points)
            .await;
    }
    let threads: Vec<_> = points
        .iter()
        .filter_map(|point| point.value("thread"))
        .collect();
    assert_eq!(threads.len(), 6);
    assert!(threads.iter().all(|thread| *thread == threads[0]));
}
