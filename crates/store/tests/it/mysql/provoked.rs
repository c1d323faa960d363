//! Errors of a server that is told to make them: full, without writes, without connections, going
//! down. Each is an outage, and nothing of the step is there (D8).

use super::{DEADLINE, OwnServer, User, chain, store_at};
use crate::conformance::Subject;
use crate::conformance::building::{TestPoint, Writer, as_rows, committed, moved, point, stored};
use tidegauge_store::{ErrorClass, Step, StoreError};
use tidegauge_testkit as testkit;

/// A server of the test's own whose tables lie in one file of at most 24 MiB.
fn small_server(test: &str) -> Option<OwnServer> {
    OwnServer::start(
        test,
        &[
            "--innodb-file-per-table=0",
            "--innodb-data-file-path=ibdata1:12M:autoextend:max:24M",
            "--max-connections=12",
        ],
    )
}

fn assert_rolled_back(error: &StoreError, code: &str) {
    assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(error));
    assert_eq!(error.code(), Some(code), "{}", chain(error));
    assert!(error.is_certainly_rolled_back(), "{}", chain(error));
}

/// A step of so many rows that it takes pages of its own.
async fn large_step(writer: &mut Writer) -> (Vec<TestPoint>, Step) {
    let points: Vec<TestPoint> = (0..20_000)
        .map(|seconds| point("load", seconds).field("load1", 1.0))
        .collect();
    let step = writer.step(vec![moved(0..1)], &points).await;
    (points, step)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out() {
    let Some(own) = small_server("store: mysql: a full disk") else {
        return;
    };
    let database = &own.database;
    let mut writer = Writer::open(database).await;
    let (points, step) = large_step(&mut writer).await;
    // Rows that lie within a page: undoing a larger one in a full file ends the server.
    database.query("create table filler (text varchar(3000)) engine = innodb");
    for rows in [300, 1] {
        let rows = vec!["(repeat('x', 3000))"; rows].join(", ");
        let fill = format!("insert into filler values {rows}");
        let full = loop {
            if let Err(error) = database.database.query(&fill) {
                break error;
            }
        };
        let root = full.root_cause().to_string();
        assert!(root.contains("is full"), "{full:#}");
    }
    for _ in 0..2 {
        let error = writer.store.apply(&step).await.expect_err("no space");
        assert_rolled_back(&error, "1114");
        assert!(chain(&error).contains("is full"), "{}", chain(&error));
    }
    assert_eq!(writer.position(0).await, Some(0));
    // The server frees the pages in the background.
    database.query("drop table filler");
    let applied = testkit::eventually_async(DEADLINE, "there is space", async || {
        match store_at(&database.url()).apply(&step).await {
            Ok(applied) => Some(applied),
            Err(error) => {
                assert_rolled_back(&error, "1114");
                None
            }
        }
    });
    let applied = applied.await;
    assert_eq!(applied, committed(points.len() as u64, 0));
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_writes_or_connections_is_waited_for() {
    let Some(own) = small_server("store: mysql: no writes, no connections") else {
        return;
    };
    let database = &own.database;
    let mut writer = Writer::open(database).await;
    let (points, step) = large_step(&mut writer).await;
    // Administrators may write to a server without writes, and have one connection more.
    let user = User::create(database, "all");
    let mut store = store_at(&user.url());
    database.query("set global read_only = 1");
    let error = store.apply(&step).await.expect_err("no writes");
    assert_rolled_back(&error, "1290");
    assert!(chain(&error).contains("a replica"), "{}", chain(&error));
    database.query("set global read_only = 0");
    drop((store, writer));

    let mut held = Vec::new();
    let full = loop {
        assert!(held.len() <= 12, "the server has no bound");
        let mut store = store_at(&user.url());
        match store.apply(&step).await {
            Ok(_) => held.push(store),
            Err(error) => break error,
        }
    };
    assert_rolled_back(&full, "1040");
    assert!(chain(&full).contains("max_connections"), "{}", chain(&full));
    drop(held);
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timeouts_and_shutdowns_are_waited_out() {
    let Some(mut own) = small_server("store: mysql: shutdowns") else {
        return;
    };
    let mut writer = Writer::open(&own.database).await;
    let (points, step) = large_step(&mut writer).await;
    own.database
        .query("create trigger slow before update on position for each row do sleep (60)");
    let asleep = "do sleep";
    own.database.query("set global max_statement_time = 1");
    let error = store_at(&own.database.url()).apply(&step).await;
    assert_rolled_back(&error.expect_err("too slow"), "1969");
    own.database.query("set global max_statement_time = 0");

    let mut store = store_at(&own.database.url());
    let end = async {
        let id = own.database.connection_at(asleep).await;
        own.database.query(&format!("kill query {id}"));
    };
    let (applied, ()) = tokio::join!(store.apply(&step), end);
    assert_rolled_back(&applied.expect_err("ended"), "1317");

    let url = own.database.url();
    let applying = tokio::spawn(async move {
        let mut store = store_at(&url);
        (store.apply(&step).await, store, step)
    });
    own.database.connection_at(asleep).await;
    own.server.stop().expect("stopped");
    let (applied, mut store, step) = applying.await.expect("no panic");
    let error = applied.expect_err("the server goes down");
    assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(&error));
    assert!(error.is_certainly_rolled_back(), "{}", chain(&error));
    own.server.start_again().expect("started");
    own.database.query("drop trigger slow");
    let applied = store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(points.len() as u64, 0));
}
