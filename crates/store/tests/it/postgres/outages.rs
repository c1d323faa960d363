//! Errors that are provoked on the real server: whose fault they are and what they say (D8).

use super::{DEADLINE, Held, PostgresDatabase, chain, store_at, store_url};
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
    let url = store_url(&format!("postgres://me:s3cret@{address}/nowhere"));
    let error = refusal(&url).await;
    assert_eq!(error.class(), ErrorClass::Outage);
    assert!(error.is_certainly_rolled_back());
    assert!(!format!("{error:?} {}", chain(&error)).contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_said() {
    let Some(database) = PostgresDatabase::start("what is missing").await else {
        return;
    };
    let missing_tables = database.reader().summary().await.expect_err("no tables");
    assert_outage(&missing_tables, "42P01", "tidegauge store migrate");

    let url = database
        .database
        .url
        .replace("tidegauge_test_", "tidegauge_not_");
    assert_outage(
        &refusal(&store_url(&url)).await,
        "3D000",
        "create the database",
    );

    let (scheme, rest) = database.database.url.split_once("://").expect("a URL");
    let (_, rest) = rest.split_once('@').expect("a user");
    let nobody = store_url(&format!("{scheme}://tidegauge_nobody:s3cret@{rest}"));
    let error = refusal(&nobody).await;
    assert_outage(&error, "28000", "pg_hba");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_owns_its_schema_is_enough_and_one_without_rights_waits() {
    let Some(database) = PostgresDatabase::start("an ordinary role").await else {
        return;
    };
    let role = format!("tidegauge_test_{}", testkit::random_hex(8));
    database.query(&format!(
        "create role {role} login; create schema {role} authorization {role}"
    ));
    let url = &database.database.url;
    let (_, rest) = url.split_once('@').expect("a user");
    let own = store_url(&format!(
        "postgres://{role}@{rest}?options=-csearch_path%3D{role}"
    ));
    let mut store = store_at(&own);
    store.migrate().await.expect("migrated");
    let subject = OtherUrl(own.clone());
    let mut writer = Writer::open(&subject).await;
    writer
        .commit(0..1, &[point("load", 0).field("load1", 1.0).keyed()])
        .await;
    let again = writer
        .apply(1..2, &[point("load", 0).field("load1", 1.0).keyed()])
        .await;
    let repeated = Applied::Committed {
        rows: 0,
        duplicates: 1,
    };
    assert_eq!(again.expect("applied"), repeated);
    writer.store.housekeep().await.expect("housekeeping");
    let count = database.value(&format!("select count(*) from {role}.load where load1 = 1"));
    assert_eq!(count, "1");

    let step = writer.step(vec![moved(2..3)], &[]).await;
    database.query(&format!(
        "alter table {role}.position owner to current_user"
    ));
    let error = writer.store.apply(&step).await.expect_err("no right");
    assert_outage(&error, "42501", "lacks a right");

    database.query(&format!("alter role {role} connection limit 0"));
    drop(writer);
    assert_outage(&refusal(&own).await, "53300", "connection");
    let server = database
        .database
        .url
        .replace(&database.database.name, "postgres");
    drop((store, database));
    testkit::postgres_query(&server, &format!("drop role {role}")).expect("dropped");
}

/// A subject that is only a URL, for a writer.
pub(super) struct OtherUrl(pub(super) StoreUrl);

#[async_trait::async_trait]
impl Subject for OtherUrl {
    async fn start(_: &str) -> Option<Self> {
        None
    }

    fn url(&self) -> StoreUrl {
        self.0.clone()
    }

    async fn execute(&self, _: &str) {}

    async fn rows(&self, _: &str) -> Vec<Vec<Option<String>>> {
        Vec::new()
    }

    fn poison_sql(&self, _: &str, _: &str, _: f64) -> String {
        String::new()
    }

    fn newer_schema_sql(&self) -> String {
        String::new()
    }

    fn other_schema_sql(&self) -> String {
        String::new()
    }

    fn first_schema_sql(&self) -> Vec<String> {
        Vec::new()
    }

    async fn apply_cut_before_commit(
        &self,
        step: &tidegauge_store::Step,
    ) -> Result<Applied, StoreError> {
        self.store().apply(step).await
    }

    async fn apply_cut_after_commit(&self, _: &tidegauge_store::Step) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_waited_for() {
    let Some(database) = PostgresDatabase::start("read-only").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let name = &database.database.name;
    database.query(&format!(
        "alter database {name} set default_transaction_read_only = on"
    ));
    let mut store = database.store();
    let error = store.apply(&step).await.expect_err("read-only");
    assert_outage(&error, "25006", "standby");
    assert!(error.is_certainly_rolled_back());
    database.query(&format!(
        "begin read write; alter database {name} reset default_transaction_read_only; commit"
    ));
    let applied = store.apply(&step).await.expect("applied");
    assert_eq!(
        applied,
        Applied::Committed {
            rows: 1,
            duplicates: 0
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_not_had_in_time_is_an_outage() {
    let Some(database) = PostgresDatabase::start("lock timeout").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let options = OpenOptions {
        statement_deadline: Duration::from_millis(200),
        ..OpenOptions::default()
    };
    let mut store = open_store(&database.url(), &options).expect("opened");
    store.known_positions(&source()).await.expect("connected");
    let held = Held::begin(&database.database.url, "select from position for update").await;
    let error = store.apply(&step).await.expect_err("locked");
    assert_eq!(error.class(), ErrorClass::Outage);
    assert!(
        matches!(error.code(), Some("55P03" | "57014")),
        "{}",
        chain(&error)
    );
    held.release().await;
    store.apply(&step).await.expect("applied");
}

/// COPY knows no timeout of the server's: ours ends the wait, and the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_given_up_at_the_deadline() {
    let Some(database) = PostgresDatabase::start("silence").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let proxy = Proxy::start(database.address());
    let options = OpenOptions {
        connect_deadline: Duration::from_millis(500),
        statement_deadline: Duration::from_millis(100),
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
    writer.store.apply(&step).await.expect("applied by another");
    let back = async {
        loop {
            if let Ok(applied) = store.apply(&step).await {
                break applied;
            }
        }
    };
    let applied = tokio::time::timeout(DEADLINE, back).await;
    assert_eq!(applied.expect("in time"), Applied::Already);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_cannot_write_and_survives_a_lost_connection() {
    let Some(database) = PostgresDatabase::start("reader").await else {
        return;
    };
    drop(Writer::open(&database).await);
    let proxy = Proxy::start(database.address());
    let url = database.url_at(&proxy.address());
    let reader = open_reader(&url, &OpenOptions::default()).expect("opened");
    reader.summary().await.expect("summary");
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity
               where application_name = 'tidegauge' and datname = current_database()";
    database.query(sql);
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
