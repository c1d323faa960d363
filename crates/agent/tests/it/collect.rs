//! Collecting from the live machine into a spool, and what is in it then.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::collectors::{COLLECTORS, CollectorEntry, availability};
use tidegauge_agent::probes::CheckSettings;
use tidegauge_agent::{AgentStatus, CollectSettings, HostRoots, collect};
use tidegauge_model::{
    AgentId, Batch, BatchRef, Clock, Host, ManualClock, SystemClock, Value, catalog, name,
};
use tidegauge_spool::{Spool, SpoolSettings};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn settings(collectors: &[&str]) -> CollectSettings {
    let agent = AgentId::new("agent-7").expect("valid");
    let host = Host::new("web-1").expect("valid");
    let wanted = |entry: &&CollectorEntry| collectors.contains(&entry.name);
    CollectSettings {
        labels: vec![(name!("env"), "test".into())],
        collectors: COLLECTORS.iter().filter(wanted).collect(),
        interval: Duration::from_millis(100),
        first_at_once: true,
        ..CollectSettings::new(agent, host, HostRoots::default())
    }
}

pub(crate) fn open(folder: &Path, max_bytes: u64) -> Spool {
    let bounds = SpoolSettings {
        max_bytes,
        max_age_us: i64::MAX,
    };
    Spool::open(&folder.join("spool.db"), bounds, 1)
        .expect("a spool")
        .0
}

pub(crate) fn batches(spool: &Spool) -> Vec<Batch> {
    let entries = spool.read(0, 10_000, usize::MAX).expect("readable").entries;
    let decode = |payload: &[u8]| {
        let mut batch = BatchRef::default();
        let encoding = tidegauge_wire::by_header(b"json/1").expect("known");
        encoding.decode(payload, &mut batch).expect("a message");
        assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
        batch.to_batch().expect("checked")
    };
    entries.iter().map(|entry| decode(&entry.payload)).collect()
}

fn count(batch: &Batch, measurement: &str) -> usize {
    batch
        .points
        .iter()
        .filter(|point| point.measurement().as_str() == measurement)
        .count()
}

#[tokio::test]
async fn a_collection_is_one_batch_with_everything_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path(), 1 << 30);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}/", closed.local_addr().expect("an address"));
    drop(closed);
    let check = CheckSettings::new(&url).and_then(|check| check.with_interval(PATIENCE));
    let names: Vec<_> = COLLECTORS.iter().map(|entry| entry.name).collect();
    let settings = CollectSettings {
        checks: vec![check.expect("valid")],
        cycles: Some(3),
        ..settings(&names)
    };
    let status = AgentStatus::new();
    let appended = Arc::new(Notify::new());
    let before_us = SystemClock.now_us();
    let ran = collect::run(
        settings,
        spool.clone(),
        Arc::new(SystemClock),
        Arc::clone(&appended),
        status.clone(),
        CancellationToken::new(),
    );
    tokio::time::timeout(PATIENCE, ran)
        .await
        .expect("ends by itself")
        .expect("no error");
    let after_us = SystemClock.now_us();
    tokio::time::timeout(PATIENCE, appended.notified())
        .await
        .expect("it was notified");

    let batches = batches(&spool);
    let collections: Vec<_> = batches
        .iter()
        .filter(|batch| count(batch, "agent") == 1)
        .collect();
    assert_eq!(collections.len(), 3);
    let outcomes: Vec<_> = availability(&HostRoots::default().into(), &SystemClock)
        .iter()
        .filter_map(|(_, outcome)| match outcome {
            Ok(_) => Some(true),
            Err(error) => (!error.is_unavailable()).then_some(false),
        })
        .collect();
    let failing = outcomes.iter().filter(|works| !**works).count();
    for (collection, batch) in collections.iter().enumerate() {
        // Those that succeed say so once a minute.
        let told = if collection == 0 {
            outcomes.len()
        } else {
            failing
        };
        assert_eq!(count(batch, "collector"), told);
        assert!(
            count(batch, "memory") == 1 && count(batch, "load") == 1,
            "{batch:?}"
        );
    }
    assert_eq!(
        count(collections[0], "cpu"),
        0,
        "use of the CPU needs two readings"
    );
    assert!(
        count(collections[1], "cpu") >= 2,
        "total and at least one core"
    );
    let checks: usize = batches.iter().map(|batch| count(batch, "http_check")).sum();
    assert_eq!(checks, 1);

    let mut points = 0;
    for (sequence, batch) in batches.iter().enumerate() {
        let origin = batch.origin.as_ref().expect("numbered");
        assert_eq!(origin.agent.as_str(), "agent-7");
        assert_eq!(origin.sequence, sequence as u64);
        assert!((before_us..=after_us).contains(&origin.epoch));
        assert_eq!(batch.host.as_str(), "web-1");
        assert_eq!(batch.labels, [(name!("env"), "test".into())]);
        for point in &batch.points {
            points += 1;
            assert!(
                (before_us..=after_us).contains(&point.time_us()),
                "{point:?}"
            );
            let known = catalog::measurement(point.measurement().as_str()).expect("known");
            for (field, _) in point.fields() {
                assert!(
                    known.field(field.as_str()).is_some(),
                    "{}.{field}",
                    known.name
                );
            }
        }
    }
    let figures = status.figures();
    assert_eq!((figures.collections, figures.checks), (3, 1));
    assert_eq!(
        (figures.points, figures.batches),
        (points, batches.len() as u64)
    );
}

#[tokio::test]
async fn a_jump_of_the_clock_begins_a_new_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path(), 1 << 30);
    let clock = ManualClock::at(1_795_183_200_000_000);
    let cancel = CancellationToken::new();
    let running = tokio::spawn(collect::run(
        settings(&["load"]),
        spool.clone(),
        Arc::new(clock.clone()),
        Arc::new(Notify::new()),
        AgentStatus::new(),
        cancel.clone(),
    ));
    let written = |batches: u64| {
        let spool = &spool;
        tidegauge_testkit::eventually_async(PATIENCE, "batches are written", move || async move {
            (spool.stats().expect("readable").entries >= batches).then_some(())
        })
    };
    written(2).await;
    clock.advance(-3_600_000_000);
    let before = spool.stats().expect("readable").entries;
    written(before + 3).await;
    cancel.cancel();
    running.await.expect("no panic").expect("no error");

    let origins: Vec<_> = batches(&spool)
        .into_iter()
        .map(|batch| batch.origin.expect("numbered"))
        .collect();
    let epochs: BTreeSet<_> = origins.iter().map(|origin| origin.epoch).collect();
    assert_eq!(epochs.len(), 2, "{epochs:?}");
    assert_eq!(epochs.first(), Some(&1_795_183_200_000_000));
    for epoch in epochs {
        let sequences = origins.iter().filter(|origin| origin.epoch == epoch);
        let sequences: Vec<_> = sequences.map(|origin| origin.sequence).collect();
        let expected: Vec<_> = (0..sequences.len() as u64).collect();
        assert_eq!(sequences, expected, "an epoch begins at 0");
    }
}

#[tokio::test]
async fn what_a_full_spool_gives_up_is_told_d2_d10() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path(), 6_000);
    let settings = CollectSettings {
        interval: Duration::from_millis(20),
        cycles: Some(40),
        ..settings(&["load"])
    };
    let status = AgentStatus::new();
    let ran = collect::run(
        settings,
        spool.clone(),
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        status.clone(),
        CancellationToken::new(),
    );
    tokio::time::timeout(PATIENCE, ran)
        .await
        .expect("ends by itself")
        .expect("no error");
    let batches = batches(&spool);
    let kept: BTreeSet<u64> = batches
        .iter()
        .map(|batch| batch.origin.as_ref().expect("numbered").sequence)
        .collect();
    assert!(kept.len() < 40, "some were given up");
    let mut given_up = BTreeSet::new();
    let told = batches.iter().flat_map(|batch| &batch.drops);
    for drop in told {
        assert_eq!(drop.reason.as_str(), "spool_full");
        given_up.extend(drop.first_sequence..=drop.last_sequence);
    }
    for drop in spool.drops().expect("readable") {
        given_up.extend(drop.first_sequence..=drop.last_sequence);
    }
    assert!(kept.is_disjoint(&given_up));
    let all: BTreeSet<u64> = kept.union(&given_up).copied().collect();
    assert_eq!(all, (0..40).collect(), "every batch is kept or told");
    assert_eq!(status.figures().dropped_batches, given_up.len() as u64);
    let last = batches.last().expect("some are kept");
    let own = last
        .points
        .iter()
        .find(|point| point.measurement().as_str() == "agent");
    assert!(
        matches!(own.expect("own figures").value("dropped_batches"), Some(Value::Float(n)) if *n > 0.0)
    );
}

#[tokio::test]
async fn one_look_has_values_of_an_interval_and_names_what_failed() {
    let all: Vec<_> = COLLECTORS.iter().collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let pause = Duration::from_millis(200);
    let context = HostRoots::default().into();
    let found = collect::collect_once(&all, &context, Arc::clone(&clock), pause).await;
    let found = found.expect("threads start");
    let cpu = found
        .points
        .iter()
        .filter(|point| point.measurement().as_str() == "cpu");
    assert!(cpu.count() >= 2, "{:?}", found.failures);

    let folder = tempfile::tempdir().expect("a folder");
    let nothing = HostRoots::new(folder.path(), folder.path(), folder.path()).into();
    let load: Vec<_> = COLLECTORS
        .iter()
        .filter(|entry| entry.name == "load")
        .collect();
    let found = collect::collect_once(&load, &nothing, clock, Duration::ZERO).await;
    let found = found.expect("threads start");
    assert!(found.points.is_empty());
    assert_eq!(
        found.failures,
        [],
        "what a host does not have is no failure"
    );
    let [("load", detail)] = found.unavailable.as_slice() else {
        panic!("{:?}", found.unavailable);
    };
    assert!(detail.contains("loadavg"), "{detail}");

    fs::write(folder.path().join("loadavg"), "garbage").expect("written");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let found = collect::collect_once(&load, &nothing, clock, Duration::ZERO).await;
    let found = found.expect("threads start");
    let [failure] = found.failures.as_slice() else {
        panic!("{:?}", found.failures);
    };
    assert_eq!((failure.collector, failure.reason), ("load", "failed"));
    let detail = failure.detail.as_deref().expect("says why");
    assert!(detail.contains("loadavg, line 1"), "{detail}");
}
