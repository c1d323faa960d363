//! Checks that are added, removed and changed while the agent runs.

use crate::collect::{PATIENCE, batches, open, settings};
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::collect::{ChangeHandle, ChecksChanged, Wanted, changeable};
use tidegauge_agent::probes::CheckSettings;
use tidegauge_agent::{AgentError, AgentStatus, CollectSettings, collect};
use tidegauge_model::{Point, SystemClock, name};
use tidegauge_spool::Spool;
use tidegauge_testkit::eventually_async;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_millis(200);

/// A check of an address where nobody listens: it ends at once.
fn check(name: &str) -> CheckSettings {
    CheckSettings::new("tcp://127.0.0.1:1")
        .and_then(|check| check.with_interval(INTERVAL))
        .and_then(|check| check.with_name(name))
        .expect("valid")
}

fn labelled(name: &str, text: &'static str) -> CheckSettings {
    let labels = vec![(name!("place"), text.into())];
    check(name).with_labels(labels).expect("valid")
}

async fn change(
    handle: &ChangeHandle,
    checks: &[CheckSettings],
) -> Result<ChecksChanged, AgentError> {
    let wanted = Wanted {
        checks: checks.to_vec(),
        listeners: None,
    };
    let changed = handle.change(wanted).await.expect("the agent runs");
    changed.map(|changed| changed.checks)
}

/// The results of a check, in the order of time.
fn results(spool: &Spool, target: &str) -> Vec<Point> {
    let points = batches(spool).into_iter().flat_map(|batch| batch.points);
    let of_target = points.filter(|point| {
        point.measurement().as_str() == "tcp_check" && point.tag_text("target") == Some(target)
    });
    of_target.collect()
}

#[tokio::test]
async fn only_what_changed_begins_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path(), 1 << 30);
    let (handle, asked) = changeable();
    let (cancel, status) = (CancellationToken::new(), AgentStatus::new());
    let begun = CollectSettings {
        checks: vec![check("same"), check("gone"), labelled("other", "a")],
        first_at_once: false,
        ..settings(&[])
    };
    let running = tokio::spawn(collect::run_with(
        begun,
        Some(asked),
        spool.clone(),
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        status.clone(),
        cancel.clone(),
    ));
    let seen = |target: &'static str, count: usize| {
        let spool = &spool;
        eventually_async(PATIENCE, target, move || async move {
            (results(spool, target).len() >= count).then_some(())
        })
    };
    seen("other", 3).await;
    let wanted = [check("same"), labelled("other", "b"), check("new")];
    let changed = change(&handle, &wanted).await.expect("valid");
    let expected = ChecksChanged {
        added: 1,
        removed: 1,
        changed: 1,
        unchanged: 1,
    };
    assert_eq!(changed, expected);
    assert_eq!(
        changed.to_string(),
        "1 checks added, 1 removed, 1 changed, 1 as before"
    );
    let changed_at_us = tidegauge_model::Clock::now_us(&SystemClock);
    seen("new", 3).await;

    // What cannot be made, and two of one name, change nothing, however much else is new.
    let refused = check("x")
        .with("ca_file", "/nowhere/ca.pem")
        .expect("a path");
    let refused = refused.with("tls", true).expect("a flag");
    let error = change(&handle, &[check("y"), refused])
        .await
        .expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    let error = change(&handle, &[check("z"), check("z")])
        .await
        .expect_err("twice");
    assert!(error.to_string().contains("two checks"), "{error}");
    let nothing = change(&handle, &wanted).await.expect("valid");
    assert_eq!((nothing.unchanged, nothing.added + nothing.removed), (3, 0));
    let before = results(&spool, "same").len();
    seen("same", before + 3).await;
    cancel.cancel();
    running.await.expect("no panic").expect("no error");

    // No tick was left out or served twice, by those that went on and those that began again.
    assert_eq!(status.figures().missed_ticks, 0);
    let interval_us = INTERVAL.as_micros() as f64;
    for target in ["same", "other", "new"] {
        let times: Vec<_> = results(&spool, target).iter().map(Point::time_us).collect();
        for pair in times.windows(2) {
            let ticks = (pair[1] - pair[0]) as f64 / interval_us;
            assert!((0.5..1.5).contains(&ticks), "{target}: {times:?}");
        }
    }
    let gone = results(&spool, "gone");
    assert!(gone.len() >= 2 && gone.iter().all(|point| point.time_us() <= changed_at_us));
    let others = results(&spool, "other");
    let places: Vec<_> = others
        .iter()
        .filter_map(|point| point.tag_text("place"))
        .collect();
    let first_b = places
        .iter()
        .position(|place| *place == "b")
        .expect("was changed");
    assert!(places[..first_b].iter().all(|place| *place == "a"));
    assert!(places[first_b..].iter().all(|place| *place == "b"));
    assert!(results(&spool, "y").is_empty() && results(&spool, "z").is_empty());
    assert!(
        handle.change(Wanted::default()).await.is_none(),
        "the agent has ended"
    );
}

#[tokio::test]
async fn a_file_that_a_check_names_is_part_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path(), 1 << 30);
    let ca = folder.path().join("ca.pem");
    let write = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        std::fs::write(&ca, made.cert.pem()).expect("written");
    };
    write();
    let path = ca.to_str().expect("a text");
    let tls = check("tls")
        .with("tls", true)
        .and_then(|check| check.with("ca_file", path));
    let wanted = [check("plain"), tls.expect("valid")];
    let (handle, asked) = changeable();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(collect::run_with(
        CollectSettings {
            checks: wanted.to_vec(),
            ..settings(&[])
        },
        Some(asked),
        spool,
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        AgentStatus::new(),
        cancel.clone(),
    ));
    let changed = change(&handle, &wanted).await.expect("valid");
    assert_eq!((changed.changed, changed.unchanged), (0, 2));
    write();
    let changed = change(&handle, &wanted).await.expect("valid");
    assert_eq!((changed.changed, changed.unchanged), (1, 1));
    let none = change(&handle, &[]).await.expect("none are fine");
    assert_eq!(none.removed, 2);
    cancel.cancel();
    running.await.expect("no panic").expect("no error");
}
