//! Scenario 1: host metrics, end to end, in either start order and either encoding, on a topic that
//! did not exist.

use crate::program::{PATIENCE, Program, command, number, sink_to_the_end, start_sink, text};
use std::sync::atomic::{AtomicBool, Ordering};
use tidegauge_testkit::{eventually, kafka, postgres_database, random_topic};

#[test]
fn agent_first_then_sink() {
    end_to_end("host_metrics::agent_first_then_sink", true, "json");
}

#[test]
fn sink_first_then_agent() {
    end_to_end("host_metrics::sink_first_then_agent", false, "compact");
}

/// A given number of collections on a topic that does not exist yet: all of them arrive.
#[test]
fn cycles_and_end() {
    const TEST: &str = "host_metrics::cycles_and_end";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("cycles");
    let state = tempfile::tempdir().unwrap();
    let kafka = ["--brokers", &brokers, "--topic", &topic];
    let agent = command(&["agent", "--interval", "200ms", "--cycles", "3"])
        .args(kafka)
        .args(["--state-dir", text(state.path())])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&agent.stderr).into_owned();
    assert!(
        agent.status.success() && said.contains("waiting=0"),
        "{said}"
    );
    sink_to_the_end(&brokers, &topic, &database.url);
    assert_eq!(number(&database, "select count(*) from load"), Some(3));
}

fn end_to_end(test: &str, agent_first: bool, encoding: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some(database) = postgres_database(test) else {
        return;
    };
    let topic = random_topic("host-metrics");
    let state = tempfile::tempdir().unwrap();
    let begin_us = crate::produce::now_us();
    let agent = || {
        Program::start(&[
            "agent",
            "--brokers",
            &brokers,
            "--topic",
            &topic,
            "--encoding",
            encoding,
            "--interval",
            "1s",
            "--state-dir",
            text(state.path()),
        ])
    };
    let sink = || start_sink(&brokers, &topic, &database.url);
    let (agent, sink) = if agent_first {
        let agent = agent();
        (agent, sink())
    } else {
        let sink = sink();
        (agent(), sink)
    };
    let samples = |least: i64| {
        let sql = "select count(distinct time) from cpu where cpu = 'total'";
        eventually(PATIENCE, "samples arrive", || {
            number(&database, sql).filter(|count| *count >= least)
        })
    };
    samples(4);
    // A load on all cores shows: idle falls by at least half.
    let idle = |since: &str| {
        let sql = format!(
            "select coalesce(min(idle_percent), 100)::bigint from cpu where cpu = 'total' and time > '{since}'"
        );
        number(&database, &sql).unwrap()
    };
    let before = idle("1970-01-01");
    let loaded = with_load(|| {
        let since = database.query("select max(time)::text from cpu").unwrap()[0][0]
            .clone()
            .unwrap();
        eventually(PATIENCE, "the load shows", || {
            Some(idle(&since)).filter(|now| *now * 2 <= before.max(2))
        })
    });
    assert!(
        loaded * 2 <= before.max(2),
        "idle went from {before} to {loaded}"
    );
    agent.terminate();
    sink.terminate();

    for (measurement, columns) in [
        (
            "cpu",
            "user_percent, system_percent, idle_percent, iowait_percent, steal_percent",
        ),
        ("memory", "total_bytes, available_bytes, used_bytes"),
        ("swap", "total_bytes, used_bytes"),
        ("network", "received_bytes, transmitted_bytes"),
        ("filesystem", "total_bytes, available_bytes, inodes"),
        ("load", "load1, load5, load15"),
        ("system", "uptime_seconds, boot_time_seconds"),
    ] {
        let sql = format!("select {columns} from {measurement} order by time desc limit 1");
        let rows = database.query(&sql).unwrap();
        assert!(
            rows[0].iter().all(Option::is_some),
            "{measurement}: {rows:?}"
        );
    }
    let mounts =
        "select count(distinct mount) from filesystem where fstype not in ('proc', 'sysfs')";
    assert!(number(&database, mounts) >= Some(1));
    // Times lie within the run, and are the same instant whatever the session's time zone.
    let end_us = crate::produce::now_us();
    let bounds = |zone: &str| {
        let sql = "select (extract(epoch from min(time)) * 1000000)::bigint, (extract(epoch from max(time)) * 1000000)::bigint from cpu";
        let url = format!(
            "{}{}options=-c%20timezone%3D{zone}",
            database.url,
            if database.url.contains('?') { '&' } else { '?' }
        );
        tidegauge_testkit::postgres_query(&url, sql).unwrap()
    };
    assert_eq!(bounds("UTC"), bounds("Asia%2FTokyo"));
    let times: Vec<i64> = bounds("UTC")[0]
        .iter()
        .flatten()
        .map(|text| text.parse().unwrap())
        .collect();
    assert!(
        begin_us <= times[0] && times[1] <= end_us,
        "{begin_us} {times:?} {end_us}"
    );
    // Nothing is missing and nothing is there twice.
    assert_eq!(
        number(
            &database,
            "select coalesce(sum(missing_batches + dropped_batches + duplicate_batches), 0)::bigint from ledger"
        ),
        Some(0)
    );
    assert_eq!(
        number(
            &database,
            "select count(*) - count(distinct (host, cpu, time)) from cpu"
        ),
        Some(0)
    );
}

/// Runs something while all cores are busy.
fn with_load<T>(run: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = run();
        stop.store(true, Ordering::Relaxed);
        result
    })
}
