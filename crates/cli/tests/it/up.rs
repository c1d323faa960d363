//! `tidegauge up`: everything in one process, without a broker and without a server.

use crate::program::{PATIENCE, Program, http_get, text};
use crate::web_server;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use tidegauge_testkit::eventually;

fn start(state: &Path, more: &[&str]) -> (Program, String) {
    let mut arguments = vec!["up", "--listen", "127.0.0.1:0", "--state-dir", text(state)];
    arguments.extend_from_slice(more);
    let program = Program::start(&arguments);
    program.wait_for_output("Tidegauge is live at http://");
    let address = program.page_address();
    (program, address)
}

fn ask(state: &Path, sql: &str) -> Option<String> {
    let path = state.join("tidegauge.db");
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    connection
        .query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
        .ok()
        .map(|value| match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Real(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            _ => String::new(),
        })
}

fn count(state: &Path, sql: &str) -> i64 {
    ask(state, sql)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[test]
fn measures_checks_stores_serves_and_goes_on_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let server = web_server::start();
    let url = format!("http://{server}/ok");
    let (program, address) = start(state, &["--check", &url, "--check-interval", "1s"]);
    let page = eventually(PATIENCE, "the page is served", || http_get(&address, "/"));
    assert!(
        page.starts_with("HTTP/1.1 200")
            && page
                .to_lowercase()
                .contains("content-security-policy: default-src 'self'"),
        "{page}"
    );
    let samples = "select count(*) from cpu where cpu = 'total'";
    eventually(PATIENCE, "samples are stored", || {
        (count(state, samples) >= 3).then_some(())
    });
    eventually(PATIENCE, "checks are stored", || {
        (count(
            state,
            "select count(*) from http_check where up = 1 and reason = 'ok'",
        ) >= 2)
            .then_some(())
    });
    let row = ask(
        state,
        "select host || ' ' || time || ' ' || user_percent from cpu limit 3",
    )
    .unwrap();
    assert!(row.contains("T") && row.contains("Z "), "{row}");
    let hosts = http_get(&address, "/api/hosts").unwrap();
    assert!(hosts.contains("\"name\""), "{hosts}");
    program.terminate();
    let stored = count(state, samples);
    // Everything that was collected was stored before the end.
    assert_eq!(
        count(
            state,
            "select coalesce(sum(missing_batches), -1) from ledger"
        ),
        0
    );

    let (program, _) = start(state, &[]);
    eventually(PATIENCE, "it goes on", || {
        (count(state, samples) > stored + 1).then_some(())
    });
    program.kill();
    // After a crash nothing is doubled, and the host is the same.
    let (program, _) = start(state, &[]);
    let now = count(state, samples);
    eventually(PATIENCE, "it goes on", || {
        (count(state, samples) > now + 1).then_some(())
    });
    program.terminate();
    assert_eq!(count(state, "select count(*) from host"), 1);
    assert_eq!(
        count(state, "select count(*) from ledger"),
        3,
        "an epoch for each start"
    );
    assert_eq!(count(state, "select sum(missing_batches) from ledger"), 0);
    assert_eq!(
        count(
            state,
            "select sum(batches) - (select sum(messages) - sum(0) from position) from ledger"
        ),
        0
    );
}

#[test]
fn d2_a_full_spool_is_told_in_sql() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    // A spool that cannot hold more than a few batches, and no broker to take them.
    let closed = web_server::closed_port();
    let agent = Program::start(&[
        "agent",
        "--brokers",
        &closed,
        "--interval",
        "100ms",
        "--state-dir",
        text(state),
        "--spool-bytes",
        "100KiB",
        "--duration",
        "5s",
    ]);
    let mut agent = agent;
    assert!(agent.wait(PATIENCE).success(), "{}", agent.output());
    let (program, _) = start(state, &[]);
    let dropped = "select sum(dropped_batches) from ledger";
    eventually(PATIENCE, "the drops are told", || {
        (count(state, dropped) > 0).then_some(())
    });
    program.terminate();
    assert_eq!(count(state, "select sum(missing_batches) from ledger"), 0);
    let text = ask(state, "select group_concat(dropped) from ledger").unwrap();
    assert!(text.contains(":spool_full"), "{text}");
}

#[test]
fn a_job_that_calls_no_more_is_told_in_sql() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let address = format!("127.0.0.1:{}", tidegauge_testkit::servers::free_port());
    let (config, token) = (state.join("t.toml"), state.join("token"));
    std::fs::write(&token, "s3cret\n").unwrap();
    let text_of_config = format!(
        "[heartbeat]\nlisten = \"{address}\"\ntoken_file = \"{}\"\n\
         [[heartbeat.jobs]]\nname = \"backup\"\nperiod = \"1s\"\ngrace = \"500ms\"\n",
        text(&token)
    );
    std::fs::write(&config, text_of_config).unwrap();
    let (program, _) = start(state, &["--config", text(&config)]);
    let call = |path: &str| {
        let answer = eventually(PATIENCE, "an answer", || http_get(&address, path));
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(call("/heartbeat/backup"), "401");
    assert_eq!(call("/heartbeat/backup/s3cret"), "204");
    eventually(PATIENCE, "it is missing", || {
        let missing = "select count(*) from heartbeat_check where target = 'backup' and not up and reason = 'missing'";
        (count(state, missing) >= 2).then_some(())
    });
    assert_eq!(call("/heartbeat/backup/s3cret"), "204");
    let states = "select group_concat(reason) from (select reason from check_state where target = 'backup' order by time_us limit 3)";
    eventually(PATIENCE, "it is back", || {
        (ask(state, states).as_deref() == Some("ok,missing,ok")).then_some(())
    });
    let output = program.terminate();
    assert!(!output.contains("s3cret"), "{output}");
}
