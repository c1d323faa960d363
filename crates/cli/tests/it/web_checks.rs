//! Scenario 2: website checks, end to end.

use crate::program::{PATIENCE, Program, command, start_sink, text};
use crate::web_server;
use std::collections::BTreeMap;
use tidegauge_testkit::{eventually, kafka, postgres_database, random_topic};

#[test]
fn every_outcome_has_its_reason() {
    const TEST: &str = "web_checks::every_outcome_has_its_reason";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let (server, closed) = (web_server::start(), web_server::closed_port());
    let topic = random_topic("web-checks");
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("tidegauge.toml");
    let check = |name: &str, url: &str, more: &str| {
        format!(
            "[[agent.checks]]\nname = \"{name}\"\nurl = \"{url}\"\ninterval = \"1s\"\ndeadline = \"700ms\"\n{more}\n"
        )
    };
    let checks = [
        check(
            "ok",
            &format!("http://{server}/ok"),
            "body_regexp = \"^foobar here\"",
        ),
        check("plain", &format!("http://{server}/ok"), ""),
        check(
            "mismatch",
            &format!("http://{server}/ok"),
            "body_regexp = \"nothing\"",
        ),
        check("missing", &format!("http://{server}/missing"), ""),
        check("broken", &format!("http://{server}/broken"), ""),
        check("hang", &format!("http://{server}/hang"), ""),
        check("closed", &format!("http://{closed}/"), ""),
    ];
    std::fs::write(&config, checks.concat()).unwrap();
    let agent = Program::start(&[
        "agent",
        "--config",
        text(&config),
        "--brokers",
        &brokers,
        "--topic",
        &topic,
        "--interval",
        "1s",
        "--label",
        "location=here",
        "--state-dir",
        text(state.path()),
    ]);
    let sink = start_sink(&brokers, &topic, &database.url);
    let sql = "select distinct on (target) target, up, reason, status, body_matched, \
               (connect_seconds is not null and first_byte_seconds is not null and transfer_seconds is not null) \
               from http_check order by target, time desc";
    let rows = eventually(PATIENCE, "all checks are stored", || {
        database
            .query(sql)
            .ok()
            .filter(|rows| rows.len() == checks.len())
    });
    // The views tell the same: 404 and 500 are as down as what does not answer.
    let up = |target: &str| ["ok", "plain"].contains(&target);
    let sql = "select target, sum(checks) > 1, bool_and(failed = 0), bool_and(failed = checks), \
               bool_and(location = 'here' and probe = 'http') from uptime group by target";
    let days = eventually(PATIENCE, "each was checked twice", || {
        let rows = database.query(sql).ok()?;
        let twice = |row: &Vec<Option<String>>| row[1].as_deref() == Some("t");
        (rows.len() == checks.len() && rows.iter().all(twice)).then_some(rows)
    });
    for row in &days {
        let target = row[0].as_deref().unwrap();
        let (good, bad) = if up(target) { ("t", "f") } else { ("f", "t") };
        let told: Vec<&str> = row[2..].iter().flatten().map(String::as_str).collect();
        assert_eq!(told, [good, bad, "t"], "{target}");
    }
    let sql = "select target, reason, to_time is null and duration_seconds > 0 and location = 'here' \
               from outages order by target";
    let outages = eventually(PATIENCE, "all that is down has an outage", || {
        let rows = database.query(sql).ok()?;
        (rows.len() == 5).then_some(rows)
    });
    agent.terminate();
    sink.terminate();
    let output = command(&[
        "query",
        "uptime",
        "--store",
        &database.url,
        "--objective",
        "50",
    ])
    .args(["--format", "json", "--tag", "target=closed"])
    .output()
    .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["availability_percent"].as_f64(), Some(0.0), "{said}");
    assert_eq!(told["budget_left_percent"].as_f64(), Some(-100.0), "{said}");
    assert_eq!(told["location"].as_str(), Some("here"), "{said}");
    let output = command(&[
        "query",
        "phases",
        "--store",
        &database.url,
        "--format",
        "csv",
    ])
    .output()
    .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(",http,,first_byte,"), "{said}");
    let outages: Vec<Vec<&str>> = outages
        .iter()
        .map(|row| row.iter().flatten().map(String::as_str).collect())
        .collect();
    assert_eq!(
        outages,
        [
            ["broken", "status", "t"],
            ["closed", "connect_refused", "t"],
            ["hang", "deadline", "t"],
            ["mismatch", "body_mismatch", "t"],
            ["missing", "status", "t"],
        ]
    );

    let found: BTreeMap<&str, Vec<&str>> = rows
        .iter()
        .map(|row| {
            let texts: Vec<&str> = row
                .iter()
                .map(|value| value.as_deref().unwrap_or("-"))
                .collect();
            (texts[0], texts[1..].to_vec())
        })
        .collect();
    // target: up, reason, status, body_matched, phases
    let expected = BTreeMap::from([
        ("ok", vec!["t", "ok", "200", "t", "t"]),
        ("plain", vec!["t", "ok", "200", "-", "t"]),
        ("mismatch", vec!["f", "body_mismatch", "200", "f", "t"]),
        ("missing", vec!["f", "status", "404", "-", "t"]),
        ("broken", vec!["f", "status", "500", "-", "t"]),
        ("hang", vec!["f", "deadline", "-", "-", "f"]),
        ("closed", vec!["f", "connect_refused", "-", "-", "f"]),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn check_command_tells_by_its_exit_status() {
    let (server, closed) = (web_server::start(), web_server::closed_port());
    let ok = format!("http://{server}/ok");
    let output = command(&["check", &ok, "--body-regexp", "^foobar"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success()
            && said.contains("up (ok), status 200")
            && said.contains("first byte"),
        "{said}"
    );
    let refused = format!("http://{closed}/");
    let output = command(&["check", &ok, &refused, "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stdout).unwrap();
    let down: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(
        (down["up"].as_bool(), down["reason"].as_str()),
        (Some(false), Some("connect_refused"))
    );
    assert!(down.get("status").is_none());
}

#[test]
fn check_command_takes_credentials_and_refuses_files_that_are_not_there() {
    let server = web_server::start();
    let ok = format!("http://{server}/ok");
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    for (arguments, status, said) in [
        (
            ["--username", "u", "--password-file", text(&password)].as_slice(),
            0,
            "up (ok), status 200",
        ),
        (&["--username", "u"], 2, "username"),
        (&["--password-file", "/nowhere"], 2, "/nowhere"),
        (&["--ca-file", "/nowhere.pem"], 2, "/nowhere.pem"),
    ] {
        let url = match arguments[0] {
            "--ca-file" => ok.replace("http:", "https:"),
            _ => ok.clone(),
        };
        let output = command(&["check", &url]).args(arguments).output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8(all).unwrap();
        assert_eq!(output.status.code(), Some(status), "{all}");
        assert!(all.contains(said) && !all.contains("s3cret"), "{all}");
    }
}

#[test]
fn check_command_ends_quietly_when_nobody_reads_on() {
    let server = web_server::start();
    let ok = format!("http://{server}/ok");
    let mut check = command(&["check", &ok, "--repeat", "1000000", "--interval", "1ms"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(check.stdout.take());
    let output = check.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn check_command_repeats_and_sums_up() {
    let server = web_server::start();
    let (ok, moved) = (
        format!("http://{server}/ok"),
        format!("http://{server}/moved"),
    );
    let more = ["--repeat", "3", "--interval", "1ms", "--follow-redirects"];
    let output = command(&["check", &ok, &moved])
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 8, "{said}");
    assert!(
        lines[1].contains("redirects 1") && lines[1].ends_with("/ok"),
        "{said}"
    );
    assert!(
        lines[6].starts_with(&format!("{ok}: 3 checks, 0 failed, p50 ")),
        "{said}"
    );
    let missing = format!("http://{server}/missing");
    let output = command(&["check", &missing, "--format", "json", "--method", "HEAD"])
        .args([
            "--header",
            "accept=text/html",
            "--repeat",
            "2",
            "--interval",
            "1ms",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let sum: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (sum["checks"].as_u64(), sum["failed"].as_u64()),
        (Some(2), Some(2))
    );
}
