//! Errors that are provoked on the real server: whose fault they are and what they say (D8).

use super::{DEADLINE, Held, MysqlDatabase, User, chain, store_at, store_url};
use crate::conformance::Subject;
use crate::conformance::account::ledger_change;
use crate::conformance::building::{
    Writer, as_rows, committed, dead_letter, moved, point, source, stored,
};
use mysql_async::prelude::Queryable;
use std::time::Duration;
use testkit::proxy::Proxy;
use tidegauge_model::{Limits, Reason};
use tidegauge_store::{
    Applied, Catalog, ErrorClass, LedgerRow, OpenOptions, StoreError, StoreUrl, open_reader,
    open_store, schema_sql,
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

/// Select, insert and update are enough where somebody else made the tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_rights_on_the_schema_stores_into_tables_of_others() {
    let Some(database) = MysqlDatabase::start("rights").await else {
        return;
    };
    database.query(&schema_sql(&database.url()).expect("a script"));
    let user = User::create(&database, "select, insert, update");
    let options = OpenOptions {
        manage_schema: false,
        ..OpenOptions::default()
    };
    let mut store = open_store(&user.url(), &options).expect("opened");
    store.migrate().await.expect("nothing is missing");
    let begun = store.positions(&source(), &[(0, 0)]).await;
    begun.expect("positions");
    let mut writer = Writer {
        store,
        catalog: Catalog::new(Limits::default()),
    };
    let points = [point("load", 0)
        .field("load1", 1.0)
        .tag("new", "tag")
        .keyed()];
    let mut step = writer.step(vec![moved(0..1)], &points).await;
    step.dead_letters = vec![dead_letter(0, None, Reason::Syntax)];
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(1, 0));
    let again = writer.apply(1..2, &points).await.expect("applied");
    assert_eq!(again, committed(0, 1));
    writer.store.housekeep().await.expect("housekeeping");
    assert_eq!(stored(&database.reader(), "load").await, as_rows(&points));

    let other = [point("other", 0).field("x", 1.0)];
    writer.ensure(&other).await;
    let refused = writer.catalog.measurement("other").expect("learned");
    assert_eq!(refused, &Err(Reason::NotInSchema));
    // One that may make no tables, but is told to.
    let mut managing = store_at(&user.url());
    let needs = crate::conformance::building::requirements(&other);
    let mut catalog = Catalog::new(Limits::default());
    let error = managing.ensure(&needs, &mut catalog).await;
    assert_outage(
        &error.expect_err("no right"),
        "1142",
        "CREATE command denied",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_victim_of_a_deadlock_and_one_connection_too_many_try_again() {
    let Some(database) = MysqlDatabase::start("deadlock").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let mut first = writer.step(vec![moved(0..1)], &[]).await;
    let agents = (0..40).map(|n| format!("agent-{n:02}"));
    first.ledger = agents
        .map(|agent| ledger_change(&agent, 7, LedgerRow::default()))
        .collect();
    let applied = writer.store.apply(&first).await.expect("applied");
    assert_eq!(applied, committed(0, 0));
    let mut step = writer.step(vec![moved(1..2)], &[]).await;
    step.ledger = vec![first.ledger[0].clone()];
    step.ledger[0].expected_version = 1;
    step.ledger[0].row.version = 2;
    // The step has its position and waits for the ledger row; we changed that and many others, so
    // that undoing the step is less work, and want the position.
    let change = "update ledger set conflicts = conflicts + 1";
    let (mut connection, url) = (connect(&database).await, database.url());
    let mut store = store_at(&url);
    for sql in ["start transaction", change] {
        connection.query_drop(sql).await.expect("changed");
    }
    let both = async {
        database.connection_at("update `ledger`").await;
        let want = "select * from position for update";
        connection
            .query_drop(want)
            .await
            .expect("the step gave way");
    };
    let (applied, ()) = tokio::join!(store.apply(&step), both);
    let error = applied.expect_err("the victim");
    assert_outage(&error, "1213", "eadlock");
    assert!(error.is_certainly_rolled_back());
    connection
        .query_drop("rollback")
        .await
        .expect("rolled back");
    connection.disconnect().await.expect("disconnected");
    let applied = store.apply(&step).await.expect("applied");
    assert_eq!(applied, committed(0, 0));

    let user = User::create(&database, "select");
    database.query(&format!(
        "grant usage on *.* to {}@'%' with max_user_connections 1",
        user.name
    ));
    let mut one = store_at(&user.url());
    one.known_positions(&source()).await.expect("the first");
    assert_outage(&refusal(&user.url()).await, "1226", "max_user_connections");
}

async fn connect(database: &MysqlDatabase) -> mysql_async::Conn {
    let options = mysql_async::Opts::from_url(&database.database.url).expect("a URL");
    let options = mysql_async::OptsBuilder::from_opts(options).prefer_socket(false);
    let connected = mysql_async::Conn::new(options).await;
    connected.expect("connected")
}
