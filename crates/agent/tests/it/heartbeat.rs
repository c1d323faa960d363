//! The listener `heartbeat`: calls of jobs through a real socket into a spool, and the lack of them.

use crate::listeners::{Running, any_port, door};
use crate::writes::send;
use hyper::Method;
use std::time::Duration;
use tidegauge_agent::listeners::ListenerSettings;
use tidegauge_agent::listeners::heartbeat::{HeartbeatSettings, JobSettings};
use tidegauge_model::{Point, Value, name};

fn job(name: &str, period: u64) -> JobSettings {
    JobSettings {
        name: name.to_owned(),
        period: Duration::from_secs(period),
        grace: Duration::from_millis(200),
        labels: vec![(name!("place"), "cellar".into())],
    }
}

fn settings(token: Option<&str>, jobs: Vec<JobSettings>) -> ListenerSettings {
    ListenerSettings {
        heartbeat: Some(HeartbeatSettings {
            address: any_port(),
            door: door(token),
            jobs,
        }),
        ..ListenerSettings::default()
    }
}

/// The reasons of a measurement's points about a job.
fn reasons(points: &[Point], measurement: &str, job: &str) -> Vec<String> {
    let about = points.iter().filter(|point| {
        point.measurement().as_str() == measurement && point.tag_text("target") == Some(job)
    });
    let reason = |point: &Point| match point.value("reason") {
        Some(Value::Text(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    about.map(reason).collect()
}

#[tokio::test]
async fn calls_are_stored_before_they_are_answered_and_need_the_token() {
    let mut running = Running::start(settings(Some("s3cret"), vec![job("backup", 3_600)])).await;
    let address = running.address("http");
    let bearer = [("authorization", "Bearer s3cret")];
    let wrong = [("authorization", "Bearer s3cre")];
    let of_a_page = [
        ("authorization", "Bearer s3cret"),
        ("origin", "http://evil.example"),
    ];
    for (method, path, headers, status) in [
        (Method::GET, "/heartbeat/backup", &bearer[..], 204),
        (Method::POST, "/heartbeat/backup/", &bearer, 204),
        (Method::HEAD, "/heartbeat/backup/s3cret", &[], 204),
        (Method::GET, "/heartbeat/backup", &[], 401),
        (Method::GET, "/heartbeat/backup", &wrong, 401),
        (Method::GET, "/heartbeat/backup/s3cre", &[], 401),
        (Method::GET, "/heartbeat/backup", &of_a_page, 403),
        (Method::DELETE, "/heartbeat/backup", &bearer, 405),
        (Method::GET, "/heartbeat/other", &bearer, 404),
        (Method::GET, "/heartbeat/", &bearer, 404),
        (Method::GET, "/backup", &bearer, 404),
    ] {
        let before = reasons(&running.points(), "heartbeat_check", "backup").len();
        let answer = send(&address, false, method.clone(), path, headers, b"").await;
        assert_eq!(
            answer.status,
            status,
            "{method} {path} {headers:?}: {}",
            answer.text()
        );
        let after = reasons(&running.points(), "heartbeat_check", "backup").len();
        assert_eq!(
            after - before,
            usize::from(status == 204),
            "{method} {path}"
        );
        assert!(!answer.text().contains("s3cret"));
    }
    let points = running.points();
    assert_eq!(reasons(&points, "check_state", "backup"), ["ok"]);
    let last = points
        .iter()
        .rfind(|point| point.measurement().as_str() == "heartbeat_check");
    let last = last.expect("there are some");
    assert_eq!(last.tag_text("place"), Some("cellar"));
    assert!(matches!(last.value("since_last_seconds"), Some(Value::Float(since)) if *since < 30.0));
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_stops_to_call_is_down_until_it_calls_again() {
    let jobs = vec![job("late", 1), job("never", 1), job("rare", 3_600)];
    let mut running = Running::start(settings(None, jobs)).await;
    let address = running.address("http");
    let call = async || {
        let answer = send(&address, false, Method::GET, "/heartbeat/late", &[], b"").await;
        assert_eq!(answer.status, 204);
    };
    let states = |job: &str| reasons(&running.points(), "check_state", job);
    call().await;
    running
        .until("it is missing", || states("late") == ["ok", "missing"])
        .await;
    running
        .until("it is told again", || {
            let found = reasons(&running.points(), "heartbeat_check", "late");
            found.iter().filter(|reason| *reason == "missing").count() >= 2
        })
        .await;
    call().await;
    running
        .until("it is back", || {
            states("late")[..3] == ["ok", "missing", "ok"]
        })
        .await;
    running
        .until("one that never called is down", || {
            states("never") == ["missing"]
        })
        .await;
    assert!(reasons(&running.points(), "heartbeat_check", "rare").is_empty());
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_an_error_of_the_start() {
    let open = "0.0.0.0:0".parse().expect("an address");
    let other = |change: fn(&mut HeartbeatSettings)| {
        let mut changed = settings(None, vec![job("a", 1)]);
        change(changed.heartbeat.as_mut().expect("is there"));
        changed
    };
    let mut exposed = other(|_| ());
    exposed.heartbeat.as_mut().expect("is there").address = open;
    for (settings, expected) in [
        (exposed, "can be reached from other hosts"),
        (other(|one| one.jobs.clear()), "[[heartbeat.jobs]]"),
        (other(|one| one.jobs.push(job("a", 2))), "two have the name"),
        (other(|one| one.jobs.push(job("a/b", 2))), "part of a path"),
    ] {
        let error = crate::listeners::refused(settings).await;
        assert!(error.contains(expected), "{error}");
    }
}
