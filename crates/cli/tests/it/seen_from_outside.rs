//! What a running sink tells: /metrics after known traffic, /healthz while nothing is committed.

use crate::crashes::wait_for;
use crate::produce::{make_topic, numbered, send};
use crate::program::{PATIENCE, http_get, metric, metric_with};
use crate::several_sinks::{authority, start_with_pages, through};
use crate::stores::{Kind, Scratch};
use tidegauge_testkit::proxy::Proxy;
use tidegauge_testkit::{eventually, kafka, random_topic};

#[test]
fn d10_the_numbers_are_those_of_the_traffic() {
    const TEST: &str = "seen_from_outside::d10_the_numbers_are_those_of_the_traffic";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let topic = random_topic("numbers");
    make_topic(&brokers, &topic, 2);
    let all = numbered(0..40, 4);
    let (sink, pages) = start_with_pages(&brokers, &topic, &database.url(), &[]);
    send(&brokers, &topic, &all);
    wait_for(&database, 40);
    send(&brokers, &topic, &all[38..]);
    send(&brokers, &topic, &[("x".to_owned(), b"not json".to_vec())]);
    let number = |name: &str| metric(&pages, &format!("tidegauge_sink_{name}"));
    eventually(PATIENCE, "all messages are applied", || {
        number("messages_total").filter(|count| *count == 43.0)
    });
    let bytes: usize = all.iter().chain(&all[38..]).map(|(_, m)| m.len()).sum();
    for (name, expected) in [
        ("rows_total", 40.0),
        ("values_total", 40.0),
        ("bytes_total", (bytes + "not json".len()) as f64),
        ("duplicate_batches_total", 2.0),
        ("duplicate_points_total", 2.0),
        ("dead_letters_total", 1.0),
        ("partitions", 2.0),
    ] {
        assert_eq!(number(name), Some(expected), "{name}");
    }
    let with = |name: &str, label: &str| {
        let found = metric_with(&pages, &format!("tidegauge_sink_{name}"), label);
        found.unwrap_or_else(|| panic!("{name} {label}: {:?}", http_get(&pages, "/metrics")))
    };
    assert_eq!(with("dead_letters_total", r#"reason="syntax""#), 1.0);
    let steps = number("steps_total").unwrap();
    assert!(steps >= 3.0, "{steps}");
    for phase in ["fetch", "pack", "apply", "fence", "copy", "commit"] {
        let label = format!("phase=\"{phase}\"");
        assert!(with("phase_seconds_count", &label) >= 1.0, "{phase}");
    }
    assert_eq!(with("phase_seconds_count", r#"phase="apply""#), steps);
    for (what, expected) in [("hosts", 4.0), ("series", 4.0), ("ledger", 4.0)] {
        assert_eq!(with("cached", &format!("what=\"{what}\"")), expected);
    }
    eventually(PATIENCE, "the lag of both partitions is told", || {
        let lag = |partition: &str| metric_with(&pages, "tidegauge_sink_lag_messages", partition);
        (lag(r#"partition="0""#)? + lag(r#"partition="1""#)? == 0.0).then_some(())
    });
    let page = http_get(&pages, "/metrics").unwrap();
    for metric in tidegauge_sink::METRICS {
        let is_there = page.contains(&format!("# TYPE {} ", metric.name));
        let help = format!("# HELP {} {}", metric.name, metric.help);
        assert!(!is_there || page.contains(&help), "{}", metric.name);
    }
    // None that the table does not have.
    for line in page.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        let is_known = tidegauge_sink::METRICS.iter().any(|m| m.name == name);
        let is_of_programs = name == "tidegauge_build_info" || name.contains("_reload");
        assert!(is_known || is_of_programs, "{name}");
    }
    sink.terminate();
}

#[test]
fn d8_a_sink_that_commits_nothing_is_not_healthy() {
    const TEST: &str = "seen_from_outside::d8_a_sink_that_commits_nothing_is_not_healthy";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let topic = random_topic("unhealthy");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..40, 1);
    let proxy = Proxy::start(authority(&database.url()));
    let url = through(&proxy, &database.url());
    let more = [("TIDEGAUGE_SINK_UNHEALTHY_AFTER", "1s")];
    let (sink, pages) = start_with_pages(&brokers, &topic, &url, &more);
    send(&brokers, &topic, &all[..20]);
    wait_for(&database, 20);
    let wait_for_health = |status: &str, text: &str| {
        eventually(PATIENCE, &format!("{status} {text}"), || {
            let health = http_get(&pages, "/healthz")?;
            let is_so = health.starts_with(&format!("HTTP/1.1 {status}")) && health.contains(text);
            is_so.then_some(())
        });
    };
    wait_for_health("200", "20 rows stored");
    // The database takes nothing, and its connection does not break: no error, only silence.
    proxy.pause();
    send(&brokers, &topic, &all[20..]);
    wait_for_health("503", "nothing was committed for");
    proxy.resume();
    wait_for(&database, 40);
    wait_for_health("200", "40 rows stored");
    sink.terminate();
}
