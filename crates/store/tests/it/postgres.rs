//! The conformance suite on PostgreSQL, and what only a server can do.

mod libpq_files;
mod outages;
mod pooler;
mod provoked;
mod rights;
mod settling;
mod tables;
mod tls;
mod written_ahead;

use crate::conformance::building::{Writer, moved, point};
use crate::conformance::{Subject, conformance};
use std::error::Error;
use std::time::Duration;
use testkit::proxy::Proxy;
use tidegauge_store::{
    Applied, ErrorClass, OpenOptions, Step, Store, StoreError, StoreUrl, open_store,
};
use tidegauge_testkit as testkit;

/// How long anything may take here.
const DEADLINE: Duration = Duration::from_secs(30);

/// A scratch database on the server of `TEST_POSTGRES`.
pub(crate) struct PostgresDatabase {
    database: testkit::Database,
}

impl PostgresDatabase {
    /// Runs SQL beside the store; all values as text.
    fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.database.query(sql).expect("answered")
    }

    /// The one value that a query answers.
    fn value(&self, sql: &str) -> String {
        let rows = self.query(sql);
        let value = rows.first().and_then(|row| row.first()).cloned();
        value.flatten().expect("one value")
    }

    /// Its `host:port`.
    fn address(&self) -> &str {
        let (_, rest) = self.database.url.split_once("://").expect("a URL");
        let (authority, _) = rest.split_once('/').expect("a URL with a database");
        authority.rsplit('@').next().expect("a host")
    }

    /// A URL of the same database at another address.
    fn url_at(&self, address: &str) -> StoreUrl {
        store_url(&self.database.url.replace(self.address(), address))
    }

    /// A URL that names its program, so that its connection can be told from others.
    fn url_of(&self, application: &str) -> StoreUrl {
        let url = &self.database.url;
        let mark = if url.contains('?') { '&' } else { '?' };
        store_url(&format!("{url}{mark}application_name={application}"))
    }

    /// Waits until a connection of `application` waits for a lock.
    async fn waits_for_a_lock(&self, application: &str) {
        let sql = format!(
            "select pid from pg_stat_activity where application_name = '{application}'
             and wait_event_type = 'Lock' and datname = current_database()"
        );
        let waiting = async || self.query(&sql).first().map(|_| ());
        testkit::eventually_async(DEADLINE, "a connection waits for a lock", waiting).await;
    }
}

fn store_url(text: &str) -> StoreUrl {
    StoreUrl::parse(text).expect("a URL")
}

fn store_at(url: &StoreUrl) -> Box<dyn Store> {
    open_store(url, &OpenOptions::default()).expect("the URL is right")
}

/// An error with its causes, as a person sees it.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A lock that a connection of its own holds until this is dropped.
struct Held {
    client: tokio_postgres::Client,
}

impl Held {
    async fn begin(url: &str, sql: &str) -> Self {
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("connected");
        tokio::spawn(connection);
        client.batch_execute("begin").await.expect("begun");
        client.batch_execute(sql).await.expect("locked");
        Self { client }
    }

    async fn release(self) {
        self.client
            .batch_execute("rollback")
            .await
            .expect("rolled back");
    }
}

#[async_trait::async_trait]
impl Subject for PostgresDatabase {
    async fn start(test: &str) -> Option<Self> {
        let database = testkit::postgres_database(&format!("store: postgres: {test}"))?;
        Some(Self { database })
    }

    fn url(&self) -> StoreUrl {
        store_url(&self.database.url)
    }

    async fn execute(&self, sql: &str) {
        self.query(sql);
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.query(sql)
    }

    fn poison_sql(&self, measurement: &str, field: &str, number: f64) -> String {
        format!(
            "alter table \"m_{measurement}\" add constraint poison check (\"{field}\" <> {number})"
        )
    }

    fn newer_schema_sql(&self) -> String {
        "insert into refinery_schema_history (version, name, applied_on, checksum)
         values (1000, 'from_the_future', '2026-01-01T00:00:00Z', '0')"
            .to_owned()
    }

    fn other_schema_sql(&self) -> String {
        "update refinery_schema_history set checksum = '1' where version = 1".to_owned()
    }

    fn first_schema_sql(&self) -> Vec<String> {
        let statements = [
            "drop view losses, freshness, uptime, outages, certificates",
            "drop table tidegauge_view",
            "drop table gap, dead_letter_removed; drop index dead_letter_message",
            "alter table ledger drop column last_sequence",
            "alter table host drop column last_time",
            "alter table position drop column left_out_values",
            "delete from refinery_schema_history where version > 1",
        ];
        statements.map(str::to_owned).to_vec()
    }

    fn partitions_sql(&self) -> Option<String> {
        Some("select tidegauge_make_partitions('2026-11-20', '2026-11-20')".to_owned())
    }

    /// The step waits for the lock of its position when the server ends its connection.
    async fn apply_cut_before_commit(&self, step: &Step) -> Result<Applied, StoreError> {
        let held = Held::begin(&self.database.url, "select from position for update").await;
        let mut store = store_at(&self.url_of("cut"));
        let end = async {
            self.waits_for_a_lock("cut").await;
            self.query(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where application_name = 'cut' and datname = current_database()",
            );
        };
        let (applied, ()) = tokio::join!(store.apply(step), end);
        held.release().await;
        assert!(
            applied
                .as_ref()
                .is_err_and(StoreError::is_certainly_rolled_back)
        );
        applied
    }

    /// COMMIT waits for a lock when the connection is cut, and goes on afterwards.
    async fn apply_cut_after_commit(&self, step: &Step) {
        self.query(
            "create function wait() returns trigger language plpgsql as
             $$ begin perform pg_advisory_xact_lock(42); return null; end $$;
             create constraint trigger wait after update on position
             deferrable initially deferred for each row execute function wait()",
        );
        let held = Held::begin(&self.database.url, "select pg_advisory_xact_lock(42)").await;
        let proxy = Proxy::start(self.address());
        let mut store = store_at(&self.url_at(&proxy.address()));
        let cut = async {
            self.waits_for_a_lock("tidegauge").await;
            proxy.cut();
        };
        let (applied, ()) = tokio::join!(store.apply(step), cut);
        let error = applied.expect_err("the answer was lost");
        assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(&error));
        assert!(!error.is_certainly_rolled_back());
        held.release().await;
        self.query("drop trigger wait on position");
    }
}

conformance!(PostgresDatabase);

/// The connection of a call that is given up half-way is not used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_leaves_no_transaction_behind() {
    let Some(database) = PostgresDatabase::start("given up").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let held = Held::begin(&database.database.url, "select from position for update").await;
    tokio::select! {
        applied = writer.store.apply(&step) => panic!("{applied:?}"),
        () = database.waits_for_a_lock("tidegauge") => {}
    }
    held.release().await;
    let applied = writer.store.apply(&step).await.expect("applied");
    assert_eq!(
        applied,
        Applied::Committed {
            rows: 1,
            duplicates: 0
        }
    );
}
