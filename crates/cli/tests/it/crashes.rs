//! Scenario 5: the database restarts, sinks are killed, messages come twice; counts stay exact.

use crate::produce::{make_topic, numbered, send};
use crate::program::{PATIENCE, Program, number, start_sink_with};
use std::time::Duration;
use tidegauge_testkit::servers::{Distribution, PostgresOptions, PostgresServer};
use tidegauge_testkit::{Database, eventually, kafka, postgres_database, random_topic};

const COUNT: &str = "select count(*) from numbered";
const DISTINCT: &str = "select count(distinct n) from numbered";

fn start_sink(brokers: &str, topic: &str, url: &str) -> Program {
    // Small steps, so that there is always one under way.
    start_sink_with(brokers, topic, url, &[("TIDEGAUGE_SINK_STEP_POINTS", "20")])
}

fn wait_for(database: &Database, least: i64) {
    let what = format!("{least} samples are stored");
    eventually(PATIENCE * 2, &what, || {
        number(database, COUNT).filter(|count| *count >= least)
    });
}

#[test]
fn d3_killed_sinks_and_a_crashed_database_lose_and_double_nothing() {
    const TEST: &str = "crashes::d3_killed_sinks_and_a_crashed_database_lose_and_double_nothing";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(distribution) = Distribution::of_environment(TEST) else {
        return;
    };
    let mut server = PostgresServer::start(&distribution, &PostgresOptions::default()).unwrap();
    let database = Database::create(server.url()).unwrap();
    let topic = random_topic("crashes");
    make_topic(&brokers, &topic, 2);
    let all = numbered(0..1_000, 4);
    // Some are sent before the first sink starts; some are sent twice.
    send(&brokers, &topic, &all[..200]);
    let mut sink = start_sink(&brokers, &topic, &database.url);
    for kill in 1..=3_usize {
        wait_for(&database, 150 * kill as i64);
        send(&brokers, &topic, &all[200 * kill - 50..200 * (kill + 1)]);
        sink.kill();
        sink = start_sink(&brokers, &topic, &database.url);
    }
    wait_for(&database, 500);
    send(&brokers, &topic, &all[800..900]);
    server.restart_immediately().unwrap();
    send(&brokers, &topic, &all[850..]);
    wait_for(&database, 1_000);
    let said = sink.terminate();
    assert_eq!(number(&database, COUNT), Some(1_000), "{said}");
    assert_eq!(number(&database, DISTINCT), Some(1_000), "{said}");
    assert_eq!(
        number(&database, "select sum(missing_batches)::bigint from ledger"),
        Some(0)
    );
    assert_eq!(
        number(&database, "select sum(batches)::bigint from ledger"),
        Some(1_000)
    );
    assert_eq!(
        number(
            &database,
            "select sum(duplicate_batches)::bigint from ledger"
        ),
        Some(200)
    );
}

#[test]
fn two_sinks_share_two_partitions_with_the_same_totals() {
    const TEST: &str = "crashes::two_sinks_share_two_partitions_with_the_same_totals";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("two-sinks");
    make_topic(&brokers, &topic, 2);
    let all = numbered(0..1_000, 8);
    let first = start_sink(&brokers, &topic, &database.url);
    send(&brokers, &topic, &all[..400]);
    wait_for(&database, 100);
    let second = start_sink(&brokers, &topic, &database.url);
    send(&brokers, &topic, &all[400..700]);
    wait_for(&database, 700);
    // One is stopped in an orderly way; the other takes over.
    first.terminate();
    send(&brokers, &topic, &all[700..]);
    wait_for(&database, 1_000);
    second.terminate();
    assert_eq!(number(&database, COUNT), Some(1_000));
    assert_eq!(number(&database, DISTINCT), Some(1_000));
    let both = number(
        &database,
        "select count(*) from position where messages > 0",
    );
    assert_eq!(both, Some(2), "both partitions were read");
}

#[test]
fn d5_a_sink_that_slept_through_its_session_writes_nothing_twice() {
    const TEST: &str = "crashes::d5_a_sink_that_slept_through_its_session_writes_nothing_twice";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("zombie");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..600, 2);
    let mut zombie = start_sink(&brokers, &topic, &database.url);
    send(&brokers, &topic, &all[..200]);
    wait_for(&database, 40);
    zombie.signal(rustix::process::Signal::STOP);
    let other = start_sink(&brokers, &topic, &database.url);
    send(&brokers, &topic, &all[200..400]);
    wait_for(&database, 400);
    zombie.signal(rustix::process::Signal::CONT);
    send(&brokers, &topic, &all[400..]);
    wait_for(&database, 600);
    assert!(zombie.is_running(), "{}", zombie.output());
    other.terminate();
    zombie.signal(rustix::process::Signal::TERM);
    assert!(zombie.wait(Duration::from_secs(10)).success());
    assert_eq!(number(&database, COUNT), Some(600));
    assert_eq!(number(&database, DISTINCT), Some(600));
}
