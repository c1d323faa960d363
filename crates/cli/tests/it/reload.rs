//! Reading targets and settings again while the program runs: SIGHUP, and a file of targets that changes.

use crate::program::{PATIENCE, Program, command, http_get, metric_with, text};
use crate::web_server;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
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

/// A line for the listener `influx`, with the token that is asked for; the status of the answer.
fn write_line(address: &str, token: &str, line: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (bytes, head) = (
        line.len(),
        "POST /write HTTP/1.1\r\nhost: localhost\r\nconnection: close",
    );
    let request =
        format!("{head}\r\nauthorization: Token {token}\r\ncontent-length: {bytes}\r\n\r\n{line}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.get(9..12)?.parse().ok()
}

#[test]
fn listeners_and_pages_that_differ_begin_anew_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let config = folder.path().join("tidegauge.toml");
    let server = web_server::start();
    let ports: Vec<_> = (0..4).map(|_| web_server::closed_port()).collect();
    let write = |listen: &str, token: &str, statsd: &str| {
        let text = format!(
            "[general]\nlisten = \"{listen}\"\n[influx]\nlisten = \"{}\"\ntoken = \"{token}\"\n\
             [statsd]\nlisten = \"{statsd}\"\ninterval = \"1h\"\n\
             [[agent.checks]]\nname = \"same\"\nurl = \"http://{server}/ok\"\ninterval = \"500ms\"\n",
            ports[1]
        );
        fs::write(&config, text).unwrap();
    };
    write(&ports[0], "one", &ports[2]);
    let arguments = ["up", "--config", text(&config), "--state-dir", text(&state)];
    let program = Program::start(&arguments);
    let wait_for_line = |token: &str, line: &str| {
        eventually(PATIENCE, line, || {
            (write_line(&ports[1], token, line)? == 204).then_some(())
        });
    };
    wait_for_line("one", "job rows=1i");
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    statsd.send_to(b"orders:5|c", &ports[2]).unwrap();
    let answers = |address: &str| http_get(address, "/api/hosts").is_some();
    eventually(PATIENCE, "the page is there", || {
        answers(&ports[0]).then_some(())
    });

    // Another token at the same address; nothing else differs.
    write(&ports[0], "two", &ports[2]);
    program.signal(Signal::HUP);
    program.wait_for_output("1 as before; begun anew: influx\n");
    assert_eq!(write_line(&ports[1], "one", "job rows=2i"), Some(401));
    wait_for_line("two", "job rows=3i");

    // An address that is taken changes nothing, also of what could be changed.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    write(&taken.local_addr().unwrap().to_string(), "three", &ports[3]);
    program.signal(Signal::HUP);
    program.wait_for_output("refused, nothing has changed: listening on");
    assert_eq!(write_line(&ports[1], "three", "job rows=4i"), Some(401));
    wait_for_line("two", "job rows=5i");
    assert!(answers(&ports[0]));

    // Other addresses: what was counted before is handed on.
    let elsewhere = web_server::closed_port();
    write(&elsewhere, "two", &ports[3]);
    program.signal(Signal::HUP);
    program.wait_for_output("begun anew: statsd; pages are served at http://");
    eventually(PATIENCE, "the page moved", || {
        (answers(&elsewhere) && !answers(&ports[0])).then_some(())
    });
    let sum = |sql: &str| {
        let path = state.join("tidegauge.db");
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let sum = database.query_row(sql, [], |row| row.get::<_, f64>(0));
        sum.ok()
    };
    eventually(PATIENCE, "all is stored once", || {
        let all = sum("select sum(rows) from job")? == 9.0
            && sum("select max(total) from orders")? == 5.0;
        all.then_some(())
    });
    let output = program.terminate();
    assert!(!output.contains("need a restart"), "{output}");
    let times: Vec<_> = results(&state, "same")
        .into_iter()
        .map(|(time, _)| time)
        .collect();
    for pair in times.windows(2) {
        let ticks = (pair[1] - pair[0]) as f64 / 500e3;
        assert!((0.4..1.6).contains(&ticks), "{ticks} intervals, {times:?}");
    }
}

/// What `tidegauge reload` answers: its exit status, and what it says.
fn reload(state: &Path) -> (Option<i32>, String) {
    let output = command(&["reload", "--state-dir", text(state)])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn the_command_reload_waits_for_the_outcome_and_prints_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let config = folder.path().join("tidegauge.toml");
    let closed = web_server::closed_port();
    let write = |interval: &str, more: &str| {
        let text =
            format!("[kafka]\nbrokers = \"{closed}\"\n[agent]\ninterval = \"{interval}\"\n{more}");
        fs::write(&config, text).unwrap();
    };
    let none = format!(
        "tidegauge: no `agent`, `up`, `sink` or `dashboard` runs with the state folder {}",
        text(&state)
    );
    let (code, said) = reload(&state);
    assert!(
        code == Some(2) && said.starts_with(&none),
        "{code:?}: {said}"
    );
    write("1s", "");
    let arguments = ["--config", text(&config), "--state-dir", text(&state)];
    let agent = Program::start(&[&["agent"], &arguments[..]].concat());
    agent.wait_for_output("agent is starting");

    write("2s", "[[agent.checks]]\nurl = \"http://127.0.0.1/\"\n");
    let expected = "1 checks added, 0 removed, 0 changed, 0 as before\n\
                    these settings differ from those that are in use, and need a restart: agent.interval\n";
    assert_eq!(reload(&state), (Some(0), expected.to_owned()));
    write("soon", "");
    let (code, said) = reload(&state);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("tidegauge: refused, nothing has changed: "),
        "{said}"
    );
    assert!(
        said.contains("tidegauge.toml:4: agent.interval: `soon`"),
        "{said}"
    );
    agent.terminate();
    assert_eq!(reload(&state).0, Some(2));
}

#[test]
fn the_command_reload_reaches_sink_and_dashboard_with_the_same_folder() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let config = folder.path().join("tidegauge.toml");
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let closed = web_server::closed_port();
    let write = |level: &str| {
        let text = format!(
            "[log]\nlevel = \"{level}\"\n[kafka]\nbrokers = \"{closed}\"\n[store]\nurl = \"{store}\"\n"
        );
        fs::write(&config, text).unwrap();
    };
    write("info");
    let arguments = ["--config", text(&config), "--state-dir", text(&state)];
    let migrated = command(&["store", "migrate", "--store", &store])
        .output()
        .unwrap();
    assert!(migrated.status.success());
    let sink = Program::start(&[&["sink"], &arguments[..]].concat());
    sink.wait_for_output("sink is starting");
    let dashboard =
        Program::start(&[&["dashboard", "--listen", "127.0.0.1:0"], &arguments[..]].concat());
    dashboard.wait_for_output("Tidegauge is live at");

    write("debug");
    let (code, said) = reload(&state);
    assert_eq!(code, Some(0), "{said}");
    let changed = "need a restart: log.level";
    for part in ["sink: ", "dashboard: "] {
        assert!(said.lines().any(|line| line.starts_with(part)), "{said}");
    }
    assert_eq!(said.matches(changed).count(), 2, "{said}");
    let one = command(&["reload", "sink", "--state-dir", text(&state)])
        .output()
        .unwrap();
    assert!(one.status.success(), "{one:?}");
    let none = command(&["reload", "agent", "--state-dir", text(&state)])
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    fs::write(&config, "[kafka]\nbroker = 1\n").unwrap();
    let (code, said) = reload(&state);
    assert_eq!(code, Some(1), "{said}");
    for part in ["sink", "dashboard"] {
        let refused = format!("tidegauge: {part}: refused, nothing has changed: ");
        assert!(said.contains(&refused), "{said}");
    }
    sink.terminate();
    dashboard.terminate();
}
