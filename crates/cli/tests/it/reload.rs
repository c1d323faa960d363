//! Reading targets and settings again while the program runs: SIGHUP, and a file of targets that changes.

use crate::program::{PATIENCE, Program, http_get, metric_with, text};
use crate::web_server;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use tidegauge_testkit::eventually;

/// What a check found: when, microseconds since 1970, and its label `place`.
fn results(state: &Path, target: &str) -> Vec<(i64, Option<String>)> {
    let rows = || {
        let path = state.join("tidegauge.db");
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sql = "select time_us, place from http_check where target = ? order by time_us";
        let mut statement = database.prepare(sql)?;
        let rows = statement.query_map([target], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    rows().unwrap_or_default()
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn a_file_of_targets_is_taken_when_it_changes_and_nothing_else_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let targets = state.join("targets.json");
    let server = web_server::start();
    let target = |name: &str, place: &str| {
        format!(
            r#"{{"name": "{name}", "url": "http://{server}/ok", "interval": "500ms", "labels": {{"place": "{place}"}}}}"#
        )
    };
    let write = |all: &[String]| fs::write(&targets, format!("[\n{}\n]", all.join(",\n"))).unwrap();
    let arguments = [
        "up",
        "--listen",
        "127.0.0.1:0",
        "--state-dir",
        text(state),
        "--targets",
    ];
    let seen = |name: &str, more_than: usize| {
        eventually(PATIENCE, name, || {
            (results(state, name).len() > more_than).then_some(())
        });
    };

    write(&[
        target("same", "a"),
        target("gone", "a"),
        target("other", "a"),
    ]);
    let program = Program::start(&[&arguments[..], &[text(&targets)]].concat());
    seen("other", 2);
    write(&[
        target("new", "a"),
        target("other", "b"),
        target("same", "a"),
    ]);
    program
        .wait_for_output("the file of targets: 1 checks added, 1 removed, 1 changed, 1 as before");
    let gone = results(state, "gone").len();
    seen("new", 2);

    // A file that cannot be used changes nothing, and says so once.
    let broken = format!("[\n{},\n{{\"urll\": 1}}\n]", target("never", "a"));
    fs::write(&targets, broken).unwrap();
    program.wait_for_output("refused, nothing has changed");
    seen("same", results(state, "same").len() + 12);
    let output = program.output();
    assert_eq!(
        count(&output, "refused, nothing has changed"),
        1,
        "{output}"
    );
    for expected in [
        "targets.json:3: unknown key `urll` of a check",
        "targets.json:3: a check needs a `url`",
    ] {
        assert!(output.contains(expected), "{expected} is not in\n{output}");
    }
    write(&[
        target("same", "a"),
        target("other", "b"),
        target("new", "a"),
    ]);
    program
        .wait_for_output("the file of targets: 0 checks added, 0 removed, 0 changed, 3 as before");
    program.terminate();

    assert!(results(state, "never").is_empty());
    assert!(
        results(state, "gone").len() <= gone + 1,
        "what was under way may come"
    );
    for name in ["same", "other", "new"] {
        let results = results(state, name);
        let times: Vec<_> = results.iter().map(|(time_us, _)| *time_us).collect();
        for pair in times.windows(2) {
            let ticks = (pair[1] - pair[0]) as f64 / 500e3;
            // The one that was changed may begin anew at any moment of its interval.
            let usual = if name == "other" { 0.0..2.0 } else { 0.4..1.6 };
            assert!(
                usual.contains(&ticks),
                "{name}: {ticks} intervals, {times:?}"
            );
        }
    }
    let places: Vec<_> = results(state, "other")
        .into_iter()
        .filter_map(|(_, place)| place)
        .collect();
    let first = places.iter().position(|place| place == "b").unwrap();
    assert!(
        first >= 2 && places[first..].iter().all(|place| place == "b"),
        "{places:?}"
    );
}

#[test]
fn sighup_reads_the_configuration_again_and_says_what_waits_for_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tidegauge.toml");
    let (server, closed) = (web_server::start(), web_server::closed_port());
    let write = |interval: &str, more: &str| {
        let text = format!(
            "[kafka]\nbrokers = \"{closed}\"\n[agent]\ninterval = \"{interval}\"\n\
             [[agent.checks]]\nname = \"first\"\nurl = \"http://{server}/ok\"\ninterval = \"200ms\"\n{more}"
        );
        fs::write(&config, text).unwrap();
    };
    write("1s", "");
    let mut agent = Program::start(&[
        "agent",
        "--config",
        text(&config),
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--state-dir",
        text(folder.path()),
    ]);
    let address = agent.address();
    let reloads = |result: &str| metric_with(&address, "tidegauge_reloads_total", result);
    let last_good = || metric_with(&address, "tidegauge_last_good_reload_seconds", "");
    eventually(PATIENCE, "the pages are served", || {
        (reloads("ok") == Some(0.0)).then_some(())
    });
    let began = last_good().unwrap();
    assert!(began > 1.7e9, "{began}");

    write(
        "2s",
        &format!(
            "[[agent.checks]]\nname = \"second\"\nurl = \"http://{server}/missing\"\ninterval = \"200ms\"\n"
        ),
    );
    agent.signal(Signal::HUP);
    eventually(PATIENCE, "it was taken", || {
        (reloads("ok") == Some(1.0)).then_some(())
    });
    assert!(last_good().unwrap() > began);
    agent.wait_for_output("SIGHUP: 1 checks added, 0 removed, 0 changed, 1 as before");
    agent.wait_for_output("need a restart: agent.interval\"");
    eventually(PATIENCE, "the new check runs", || {
        (metric_with(&address, "tidegauge_agent_checks_total", "status")? > 0.0).then_some(())
    });

    write("soon", "");
    agent.signal(Signal::HUP);
    eventually(PATIENCE, "it was refused", || {
        (reloads("refused") == Some(1.0)).then_some(())
    });
    agent.wait_for_output("tidegauge.toml:4: agent.interval: `soon`: expected a duration");
    let health = http_get(&address, "/healthz").unwrap();
    assert!(
        health.contains("new settings were refused") && health.contains("tidegauge.toml:4: "),
        "{health}"
    );
    let failed = || metric_with(&address, "tidegauge_agent_checks_total", "status").unwrap();
    let before = failed();
    eventually(PATIENCE, "the check goes on", || {
        (failed() > before).then_some(())
    });
    write("1s", "");
    agent.signal(Signal::HUP);
    agent.wait_for_output("SIGHUP: 0 checks added, 1 removed, 0 changed, 1 as before");
    let health = http_get(&address, "/healthz").unwrap();
    assert!(!health.contains("refused"), "{health}");
    assert!(agent.is_running());
    agent.terminate();
}

#[test]
fn sighup_does_not_end_sink_and_dashboard() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tidegauge.toml");
    let store = format!("sqlite:{}", text(&folder.path().join("t.db")));
    let closed = web_server::closed_port();
    let write = |topic: &str| {
        let text = format!(
            "[kafka]\nbrokers = \"{closed}\"\ntopic = \"{topic}\"\n[store]\nurl = \"{store}\"\n"
        );
        fs::write(&config, text).unwrap();
    };
    write("a");
    let arguments = ["--config", text(&config), "--listen", "127.0.0.1:0"];
    let sink = Program::start(&[&["sink", "--log-format", "json"], &arguments[..]].concat());
    let address = sink.address();
    eventually(PATIENCE, "the schema is there", || {
        http_get(&address, "/healthz")?
            .contains("kafka cannot be reached")
            .then_some(())
    });
    let dashboard = Program::start(&[&["dashboard"], &arguments[..]].concat());
    dashboard.wait_for_output("Tidegauge is live at ");
    write("b");
    sink.signal(Signal::HUP);
    sink.wait_for_output("need a restart: kafka.topic\"");
    sink.wait_for_output("SIGHUP: the configuration was read again");
    assert_eq!(
        metric_with(&address, "tidegauge_reloads_total", "ok"),
        Some(1.0)
    );
    dashboard.signal(Signal::HUP);
    dashboard.wait_for_output("SIGHUP: the configuration was read again");
    let output = dashboard.terminate();
    assert!(
        !output.contains("need a restart"),
        "the dashboard has no topic:\n{output}"
    );
    sink.terminate();
}
