//! Errors that are provoked on the real server: whose fault they are and what they say (D8).

use super::{DEADLINE, Held, MysqlDatabase, User, chain, store_at, store_url};
use crate::conformance::Subject;
use crate::conformance::building::{Writer, moved, point, source};
use std::time::Duration;
use testkit::proxy::Proxy;
use tidegauge_store::{
    Applied, ErrorClass, OpenOptions, StoreError, StoreUrl, open_reader, open_store,
};
use tidegauge_testkit as testkit;

/// What a first call on this URL is answered.
async fn refusal(url: &StoreUrl) -> StoreError {
    let answer = store_at(url).known_positions(&source()).await;
    answer.expect_err("refused")
}

fn assert_outage(error: &StoreError, code: &str, says: &str) {
    assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(error));
    assert_eq!(error.code(), Some(code), "{}", chain(error));
    assert!(chain(error).contains(says), "{}", chain(error));
}

#[tokio::test]
async fn opening_connects_to_nothing_and_the_first_call_says_what_is_wrong() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let url = store_url(&format!("mysql://me:s3cret@{address}/nowhere"));
    let error = refusal(&url).await;
    assert_eq!(error.class(), ErrorClass::Outage);
    assert!(error.is_certainly_rolled_back());
    assert!(!format!("{error:?} {}", chain(&error)).contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_said() {
    let Some(database) = MysqlDatabase::start("what is missing").await else {
        return;
    };
    let missing_tables = database.reader().summary().await.expect_err("no tables");
    assert_outage(&missing_tables, "1146", "tidegauge store migrate");

    let url = database
        .database
        .url
        .replace("tidegauge_test_", "tidegauge_not_");
    let missing_database = refusal(&store_url(&url)).await;
    assert_outage(&missing_database, "1049", "create the database");

    let wrong = User::create(&database, "select");
    let wrong_password = wrong.url().expose().replace("s3cret", "s3cret2");
    let error = refusal(&store_url(&wrong_password)).await;
    assert_outage(&error, "1045", "check user and password");
    assert!(!format!("{error:?} {}", chain(&error)).contains("s3cret"));

    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let only_reads = User::create(&database, "select");
    let error = store_at(&only_reads.url()).apply(&step).await;
    assert_outage(&error.expect_err("refused"), "1142", "lacks a right");
    let mut may_write = store_at(&User::create(&database, "select, insert, update").url());
    let none = may_write.known_positions(&source()).await;
    assert_eq!(
        none.expect_err("the user is gone").class(),
        ErrorClass::Outage
    );

    database.query("drop view `load`; drop table `m_load`");
    let error = writer.store.apply(&step).await.expect_err("no table");
    assert_outage(&error, "1146", "tables are missing");
    assert_eq!(writer.position(0).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_waited_for_and_then_it_is_an_outage() {
    let Some(database) = MysqlDatabase::start("locks").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let options = OpenOptions {
        statement_deadline: Duration::from_secs(2),
        ..OpenOptions::default()
    };
    let lock = "select * from position for update";
    let held = Held::begin(&database.database.url, lock).await;
    let mut store = open_store(&database.url(), &options).expect("opened");
    let error = store.apply(&step).await.expect_err("locked");
    assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(&error));
    assert!(error.is_certainly_rolled_back());
    held.release().await;
    let applied = store.apply(&step).await.expect("applied");
    assert!(matches!(applied, Applied::Committed { rows: 1, .. }));
}

/// A server that takes no writes: what a replica, or a primary in a failover, says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_cannot_write_and_survives_a_lost_connection() {
    let Some(database) = MysqlDatabase::start("reader").await else {
        return;
    };
    drop(Writer::open(&database).await);
    let proxy = Proxy::start(database.address());
    let url = database.url_at(&proxy.address());
    let reader = open_reader(&url, &OpenOptions::default()).expect("opened");
    reader.summary().await.expect("summary");
    proxy.cut();
    testkit::eventually_async(DEADLINE, "the reader is back", async || {
        reader.summary().await.ok()
    })
    .await;
    // Many at once share a few connections.
    let many = futures_util::future::join_all((0..32).map(|_| reader.hosts())).await;
    assert!(many.iter().all(Result::is_ok));
    assert!(proxy.accepted() <= 6, "{} connections", proxy.accepted());
}

/// Silence is noticed by our own deadline, and the next call has a new connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_an_outage_within_the_deadline() {
    let Some(database) = MysqlDatabase::start("silence").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let proxy = Proxy::start(database.address());
    let options = OpenOptions {
        connect_deadline: Duration::from_secs(2),
        statement_deadline: Duration::from_secs(1),
        ..OpenOptions::default()
    };
    let mut store = open_store(&database.url_at(&proxy.address()), &options).expect("opened");
    store.known_positions(&source()).await.expect("connected");
    proxy.pause();
    for _ in 0..2 {
        let error = tokio::time::timeout(DEADLINE, store.apply(&step)).await;
        let error = error.expect("in time").expect_err("silence");
        assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(&error));
    }
    proxy.resume();
    let back = async {
        loop {
            if let Ok(applied) = store.apply(&step).await {
                break applied;
            }
        }
    };
    let applied = tokio::time::timeout(DEADLINE, back).await.expect("in time");
    let outcomes = [
        Applied::Already,
        Applied::Committed {
            rows: 1,
            duplicates: 0,
        },
    ];
    assert!(outcomes.contains(&applied), "{applied:?}");
}
