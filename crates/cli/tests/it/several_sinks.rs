//! Several sinks of one group: shared work, zombies, hanging steps, and a COMMIT whose answer is lost.

use crate::crashes::{COUNT, DISTINCT, start_sink, wait_for};
use crate::produce::{make_topic, numbered, send};
use crate::program::{PATIENCE, Program, metric, start_sink_with};
use crate::stores::{Kind, Scratch};
use std::time::{Duration, Instant};
use tidegauge_testkit::proxy::Proxy;
use tidegauge_testkit::{eventually, kafka, random_topic};

/// Makes every COMMIT that moves a position wait for a lock.
const HOLD_COMMIT: &str = "
    create function hold() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock(7); return null; end $$;
    create constraint trigger hold after update on position
    deferrable initially deferred for each row execute function hold()";
const HELD: &str = "
    select count(*) from pg_locks l join pg_database d on d.oid = l.database
    where d.datname = current_database() and locktype = 'advisory' and not granted";

/// A sink that serves its pages; its address is in its log.
pub(crate) fn start_with_pages(
    brokers: &str,
    topic: &str,
    url: &str,
    more: &[(&str, &str)],
) -> (Program, String) {
    let mut environment = vec![
        ("TIDEGAUGE_SINK_STEP_POINTS", "20"),
        ("TIDEGAUGE_GENERAL_LISTEN", "127.0.0.1:0"),
        ("TIDEGAUGE_LOG_FORMAT", "json"),
    ];
    environment.extend(more);
    let sink = start_sink_with(brokers, topic, url, &environment);
    let address = sink.address();
    (sink, address)
}

/// Waits until the sink has exactly so many partitions.
fn wait_for_partitions(address: &str, count: f64, deadline: Duration) {
    let what = format!("the sink at {address} has {count} partitions");
    eventually(deadline, &what, || {
        metric(address, "tidegauge_sink_partitions").filter(|found| *found == count)
    });
}

/// The same URL, through a proxy.
pub(crate) fn through(proxy: &Proxy, url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let user = authority
        .rsplit_once('@')
        .map_or(String::new(), |(user, _)| format!("{user}@"));
    format!("{scheme}://{user}{}/{path}", proxy.address())
}

/// `host:port` of a URL.
pub(crate) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    rest.split('/').next().unwrap().rsplit('@').next().unwrap()
}

#[test]
fn sinks_that_come_and_go_under_load_share_eight_partitions_exactly() {
    const TEST: &str =
        "several_sinks::sinks_that_come_and_go_under_load_share_eight_partitions_exactly";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let url = database.url();
    let topic = random_topic("eight");
    make_topic(&brokers, &topic, 8);
    let all = numbered(0..3_000, 40);
    let mut sent = 0;
    let mut load = |to: usize| {
        send(&brokers, &topic, &all[sent..to]);
        sent = to;
    };
    let (first, first_pages) = start_with_pages(&brokers, &topic, &url, &[]);
    load(500);
    wait_for_partitions(&first_pages, 8.0, PATIENCE);
    let (second, second_pages) = start_with_pages(&brokers, &topic, &url, &[]);
    load(1_000);
    wait_for_partitions(&second_pages, 4.0, PATIENCE);
    let third = start_sink(&brokers, &topic, &url);
    load(1_500);
    wait_for(&database, 700);
    // One dies at once, one joins, one leaves, all while messages come.
    second.kill();
    load(2_000);
    let (fourth, fourth_pages) = start_with_pages(&brokers, &topic, &url, &[]);
    load(2_500);
    third.terminate();
    load(3_000);
    wait_for(&database, 3_000);
    wait_for_partitions(&fourth_pages, 4.0, PATIENCE);
    first.terminate();
    fourth.terminate();
    assert_eq!(database.number(COUNT), Some(3_000));
    assert_eq!(database.number(DISTINCT), Some(3_000));
    let all_read = database.number("select count(*) from position where messages > 0");
    assert_eq!(all_read, Some(8));
    let missing = database.number("select sum(missing_batches) from ledger");
    assert_eq!(missing, Some(0));
}

#[test]
fn d5_a_sink_that_slept_through_its_session_writes_nothing_twice_and_joins_again() {
    const TEST: &str = "several_sinks::d5_a_sink_that_slept_through_its_session_writes_nothing_twice_and_joins_again";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let url = database.url();
    let topic = random_topic("zombie");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..800, 2);
    // Wherever it falls asleep, in the middle of a COPY too, its positions are free again after this.
    let deadline = [("TIDEGAUGE_STORE_STATEMENT_DEADLINE", "5s")];
    let (mut zombie, zombie_pages) = start_with_pages(&brokers, &topic, &url, &deadline);
    send(&brokers, &topic, &all[..200]);
    wait_for(&database, 40);
    zombie.signal(rustix::process::Signal::STOP);
    let (other, _) = start_with_pages(&brokers, &topic, &url, &deadline);
    send(&brokers, &topic, &all[200..400]);
    wait_for(&database, 400);
    zombie.signal(rustix::process::Signal::CONT);
    send(&brokers, &topic, &all[400..600]);
    wait_for(&database, 600);
    // It notices that its partition went to another.
    wait_for_partitions(&zombie_pages, 0.0, PATIENCE);
    assert!(zombie.is_running(), "{}", zombie.output());
    // It is a member again: when the other leaves, it goes on.
    other.terminate();
    wait_for_partitions(&zombie_pages, 1.0, PATIENCE);
    send(&brokers, &topic, &all[600..]);
    wait_for(&database, 800);
    zombie.terminate();
    assert_eq!(database.number(COUNT), Some(800));
    assert_eq!(database.number(DISTINCT), Some(800));
}

#[test]
fn a_step_that_hangs_keeps_no_rebalance_waiting() {
    const TEST: &str = "several_sinks::a_step_that_hangs_keeps_no_rebalance_waiting";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let url = database.url();
    let topic = random_topic("hanging");
    make_topic(&brokers, &topic, 2);
    let all = numbered(0..400, 8);
    let proxy = Proxy::start(authority(&url));
    let (hanging, hanging_pages) = start_with_pages(&brokers, &topic, &through(&proxy, &url), &[]);
    send(&brokers, &topic, &all[..100]);
    wait_for(&database, 100);
    wait_for_partitions(&hanging_pages, 2.0, PATIENCE);
    // A step hangs within COMMIT, with the rows of its positions locked, and then nothing comes from
    // the database any more.
    database.query(HOLD_COMMIT).unwrap();
    let holder = Holder::take(&database);
    send(&brokers, &topic, &all[100..300]);
    eventually(PATIENCE, "a step is within COMMIT", || {
        database.number(HELD).filter(|count| *count > 0)
    });
    proxy.pause();
    let began = Instant::now();
    let (other, other_pages) = start_with_pages(&brokers, &topic, &url, &[]);
    wait_for_partitions(&other_pages, 1.0, PATIENCE);
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(20),
        "the rebalance took {took:?}"
    );
    drop(holder);
    proxy.resume();
    send(&brokers, &topic, &all[300..]);
    wait_for(&database, 400);
    hanging.terminate();
    other.terminate();
    assert_eq!(database.number(COUNT), Some(400));
    assert_eq!(database.number(DISTINCT), Some(400));
}

#[test]
fn a_lost_answer_to_commit_is_recognised() {
    const TEST: &str = "several_sinks::a_lost_answer_to_commit_is_recognised";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let url = database.url();
    let topic = random_topic("lost-answer");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..200, 1);
    let proxy = Proxy::start(authority(&url));
    let (sink, _) = start_with_pages(&brokers, &topic, &through(&proxy, &url), &[]);
    send(&brokers, &topic, &all[..50]);
    wait_for(&database, 50);
    database.query(HOLD_COMMIT).unwrap();
    // The server is in the middle of COMMIT when its answers are held back, and then cut off.
    let holder = Holder::take(&database);
    send(&brokers, &topic, &all[50..60]);
    eventually(PATIENCE, "a step is within COMMIT", || {
        database.number(HELD).filter(|count| *count > 0)
    });
    proxy.pause();
    drop(holder);
    wait_for(&database, 60);
    proxy.cut();
    proxy.resume();
    sink.wait_for_output("committed already, its answer was lost");
    send(&brokers, &topic, &all[60..]);
    wait_for(&database, 200);
    sink.terminate();
    assert_eq!(database.number(COUNT), Some(200));
    assert_eq!(database.number(DISTINCT), Some(200));
}

/// Holds the advisory lock that COMMIT waits for, on a connection of its own.
struct Holder(Option<(tokio::runtime::Runtime, tokio_postgres::Client)>);

impl Holder {
    fn take(database: &Scratch) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let url = database.url();
        let client = runtime.block_on(async move {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
                .await
                .unwrap();
            tokio::spawn(connection);
            let take = "select pg_advisory_lock(7)";
            client.batch_execute(take).await.unwrap();
            client
        });
        Self(Some((runtime, client)))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some((runtime, client)) = self.0.take() {
            let freed = runtime.block_on(client.batch_execute("select pg_advisory_unlock(7)"));
            drop(client);
            freed.unwrap();
        }
    }
}
