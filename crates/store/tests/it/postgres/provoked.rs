//! More errors that are provoked on the real server (see `outages`): each is an outage, and nothing
//! of the step is there.

use super::outages::OtherUrl;
use super::{DEADLINE, Held, PostgresDatabase, chain, store_at, store_url};
use crate::conformance::Subject;
use crate::conformance::account::ledger_change;
use crate::conformance::building::{Writer, committed, moved, point};
use std::path::Path;
use std::time::Duration;
use testkit::servers::{Distribution, PostgresOptions, PostgresServer};
use tidegauge_store::{ErrorClass, LedgerRow, OpenOptions, Step, StoreError, open_store};
use tidegauge_testkit as testkit;

/// A writer, and a step that it has not applied: a row and a change of the ledger row.
async fn with_step(database: &PostgresDatabase) -> (Writer, Step) {
    let mut writer = Writer::open(database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let mut first = writer.step(vec![moved(0..1)], &[]).await;
    first.ledger = vec![ledger_change("agent-1", 7, LedgerRow::default())];
    let applied = writer.store.apply(&first).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    let mut step = writer.step(vec![moved(1..2)], &points).await;
    step.ledger = first.ledger;
    step.ledger[0].expected_version = 1;
    step.ledger[0].row.version = 2;
    (writer, step)
}

fn assert_rolled_back(error: &StoreError, code: &str) {
    assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(error));
    assert_eq!(error.code(), Some(code), "{}", chain(error));
    assert!(error.is_certainly_rolled_back(), "{}", chain(error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_victim_of_a_deadlock_tries_again() {
    let Some(database) = PostgresDatabase::start("deadlock").await else {
        return;
    };
    let (_, step) = with_step(&database).await;
    // The step has its position and waits for the ledger row; we have that and want the position.
    // Of both it is the step that looks for deadlocks first.
    let url = database.url_of("victim");
    let mut store = store_at(&url);
    let lock = "set deadlock_timeout = '60s'; select from ledger for update";
    let held = Held::begin(&database.database.url, lock).await;
    let both = async {
        database.waits_for_a_lock("victim").await;
        let want = "select from position for update";
        held.client
            .batch_execute(want)
            .await
            .expect("the step gave way");
    };
    let (applied, ()) = tokio::join!(store.apply(&step), both);
    assert_rolled_back(&applied.expect_err("the victim"), "40P01");
    held.release().await;
    let applied = store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serialization_timeouts_and_shutdowns_are_waited_out() {
    let Some(database) = PostgresDatabase::start("waited out").await else {
        return;
    };
    let (mut writer, step) = with_step(&database).await;
    // As a server with another isolation, or a proxy before several servers, says it.
    database.query(
        "create function fail() returns trigger language plpgsql as
         $$ begin raise exception 'could not serialize' using errcode = '40001'; end $$;
         create trigger fail before update on position for each row execute function fail()",
    );
    let error = writer.store.apply(&step).await.expect_err("refused");
    assert_rolled_back(&error, "40001");

    database.query(
        "create or replace function fail() returns trigger language plpgsql as
         $$ begin perform pg_sleep_for('1 minute'); return new; end $$",
    );
    let options = OpenOptions {
        statement_deadline: Duration::from_secs(1),
        ..OpenOptions::default()
    };
    let mut hasty = open_store(&database.url(), &options).expect("opened");
    let error = hasty.apply(&step).await.expect_err("too slow");
    assert_rolled_back(&error, "57014");

    let mut store = store_at(&database.url_of("asleep"));
    let end = async {
        let ended = "select pg_terminate_backend(pid) from pg_stat_activity
                     where application_name = 'asleep' and wait_event = 'PgSleep'
                     and datname = current_database()";
        let ended = async || database.query(ended).first().map(|_| ());
        testkit::eventually_async(DEADLINE, "a step sleeps", ended).await;
    };
    let (applied, ()) = tokio::join!(store.apply(&step), end);
    assert_rolled_back(&applied.expect_err("ended"), "57P01");
    database.query("drop trigger fail on position");
    let applied = store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_dropped_is_named() {
    let Some(database) = PostgresDatabase::start("dropped").await else {
        return;
    };
    let (mut writer, step) = with_step(&database).await;
    database.query("drop table m_load cascade");
    let error = writer.store.apply(&step).await.expect_err("no table");
    assert_rolled_back(&error, "42P01");
    assert!(
        chain(&error).contains("\"m_load\" does not exist"),
        "{}",
        chain(&error)
    );
    assert!(
        chain(&error).contains("tidegauge store migrate"),
        "{}",
        chain(&error)
    );
    assert_eq!(writer.position(0).await, Some(1));
}

/// The file of the table is one that takes nothing, as on a full disk, until it is put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out() {
    let Some(distribution) = Distribution::of_environment("store: postgres: a full disk") else {
        return;
    };
    let server = PostgresServer::start(&distribution, &PostgresOptions::default());
    let server = server.expect("started");
    let url = store_url(server.url());
    let mut writer = Writer::open(&OtherUrl(url.clone())).await;
    let points = [point("load", 0).field("load1", 1.0)];
    writer.commit(0..1, &points).await;
    let value = |sql: &str| {
        let rows = testkit::postgres_query(server.url(), sql).expect("answered");
        let first = rows.first().and_then(|row| row.first()).cloned();
        first.flatten().expect("one value")
    };
    let folder = value("show data_directory");
    testkit::postgres_query(server.url(), "truncate m_load").expect("emptied");
    let leaf = "select pg_relation_filepath(inhrelid) from pg_inherits
                where inhparent = 'm_load'::regclass";
    let file = Path::new(&folder).join(value(leaf));
    let aside = file.with_extension("aside");
    assert_eq!(std::fs::metadata(&file).expect("the table's file").len(), 0);
    std::fs::rename(&file, &aside).expect("moved aside");
    std::os::unix::fs::symlink("/dev/full", &file).expect("linked");
    let step = writer.step(vec![moved(1..2)], &points).await;
    // Over a connection of its own, whose server process has not opened the file yet.
    let mut store = store_at(&url);
    for _ in 0..2 {
        let error = store.apply(&step).await.expect_err("no space");
        assert_rolled_back(&error, "53100");
        assert!(chain(&error).contains("disk is full"), "{}", chain(&error));
    }
    assert_eq!(writer.position(0).await, Some(1));
    std::fs::rename(&aside, &file).expect("put back");
    let applied = store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    assert_eq!(value("select count(*) from load"), "1");
}
