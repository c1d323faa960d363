//! The conformance suite on MariaDB or MySQL, and what only a server can do.

mod large_letters;
mod loading;
mod outages;
mod provoked;
mod tables;
mod tls;

use crate::conformance::building::{Writer, moved, point};
use crate::conformance::{Subject, conformance};
use std::error::Error;
use std::time::Duration;
use testkit::mysql_query;
use testkit::servers::{Distribution, MariadbOptions, MariadbServer};
use tidegauge_store::{
    Applied, ErrorClass, OpenOptions, Step, Store, StoreError, StoreUrl, open_store,
};
use tidegauge_testkit as testkit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long anything may take here.
const DEADLINE: Duration = Duration::from_secs(30);

/// A scratch database on the server of `TEST_MYSQL`, whose stores load from so many rows on.
pub(crate) struct Scratch<const LOADED_FROM: usize> {
    database: testkit::MysqlDatabase,
}

/// One whose stores insert few rows, as they do by default.
pub(crate) type MysqlDatabase = Scratch<100>;

impl<const LOADED_FROM: usize> Scratch<LOADED_FROM> {
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

    fn store_at(&self, url: &StoreUrl) -> Box<dyn Store> {
        let options = OpenOptions {
            bulk_load_rows: LOADED_FROM,
            ..OpenOptions::default()
        };
        open_store(url, &options).expect("the URL is right")
    }

    /// The connection that is at a statement which begins with `begin`, once there is one.
    async fn connection_at(&self, begin: &str) -> String {
        let sql = format!(
            "select id from information_schema.processlist
             where db = database() and info like '{begin}%'"
        );
        let found = async || self.query(&sql).first()?.first()?.clone();
        testkit::eventually_async(DEADLINE, "a connection is at the statement", found).await
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

/// A transaction that holds locks on a thread of its own until this is dropped.
struct Held {
    release: Option<tokio::sync::oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
}

impl Held {
    async fn begin(url: &str, sql: &str) -> Self {
        use mysql_async::prelude::Queryable;
        let options = mysql_async::Opts::from_url(url).expect("a URL");
        let options = mysql_async::OptsBuilder::from_opts(options).prefer_socket(false);
        let mut connection = mysql_async::Conn::new(options).await.expect("connected");
        connection
            .query_drop("start transaction")
            .await
            .expect("begun");
        connection.query_drop(sql).await.expect("locked");
        let (release, released) = tokio::sync::oneshot::channel();
        let done = tokio::spawn(async move {
            released.await.ok();
            connection
                .query_drop("rollback")
                .await
                .expect("rolled back");
            connection.disconnect().await.expect("disconnected");
        });
        Self {
            release: Some(release),
            done: Some(done),
        }
    }

    async fn release(mut self) {
        drop(self.release.take());
        if let Some(done) = self.done.take() {
            done.await.expect("released");
        }
    }
}

/// Forwards one connection until the client sends COMMIT: that goes through, its answer does not,
/// and the connection ends. Answers the address.
async fn cut_the_answer_to_commit(server: &str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = server.to_owned();
    let forwarding = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut server = TcpStream::connect(server).await.expect("the server");
        // COM_QUERY (0x03) and the text.
        let is_commit = |bytes: &[u8]| bytes.ends_with(b"\x03commit");
        let commit = forward_until(&mut client, &mut server, is_commit).await;
        server.write_all(&commit).await.expect("forwarded");
        let answered = read_some(&mut server, &mut [0; 65_536]).await;
        assert!(answered > 0, "the server committed");
    });
    (address, forwarding)
}

/// Forwards both ways until the client sends what is wanted; that is answered and goes no further.
async fn forward_until(
    client: &mut TcpStream,
    server: &mut TcpStream,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = read_some(client, &mut from_client) => {
                let bytes = &from_client[..read];
                if is_wanted(bytes) {
                    return bytes.to_vec();
                }
                server.write_all(bytes).await.expect("forwarded");
            }
            read = read_some(server, &mut from_server) => {
                client.write_all(&from_server[..read]).await.expect("forwarded");
            }
        }
    }
}

async fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    stream.read(buffer).await.expect("read")
}

#[async_trait::async_trait]
impl<const LOADED_FROM: usize> Subject for Scratch<LOADED_FROM> {
    async fn start(test: &str) -> Option<Self> {
        let database = testkit::mysql_database(&format!("store: mysql: {test}"))?;
        Some(Self { database })
    }

    fn url(&self) -> StoreUrl {
        store_url(&self.database.url)
    }

    fn store(&self) -> Box<dyn Store> {
        self.store_at(&self.url())
    }

    async fn execute(&self, sql: &str) {
        self.query(sql);
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.query(sql)
    }

    fn poison_sql(&self, measurement: &str, field: &str, number: f64) -> String {
        format!("alter table `m_{measurement}` add constraint poison check (`{field}` <> {number})")
    }

    fn newer_schema_sql(&self) -> String {
        "insert into tidegauge_migration (version, name, checksum)
         values (1000, 'from_the_future', '0')"
            .to_owned()
    }

    fn other_schema_sql(&self) -> String {
        "update tidegauge_migration set checksum = 'another' where version = 1".to_owned()
    }

    fn first_schema_sql(&self) -> Vec<String> {
        let statements = [
            "drop view losses, freshness, uptime, outages, certificates",
            "drop table tidegauge_view",
            "drop table gap, dead_letter_removed",
            "alter table ledger drop column last_sequence",
            "alter table host drop column last_time",
            // Left there: as if the program had ended before it noted that the column is made.
            "delete from tidegauge_migration where version > 8",
        ];
        statements.map(str::to_owned).to_vec()
    }

    fn quoted(&self, name: &str) -> String {
        format!("`{name}`")
    }

    /// The step waits for the lock of its position when its connection is ended.
    async fn apply_cut_before_commit(&self, step: &Step) -> Result<Applied, StoreError> {
        let lock = "select * from position for update";
        let held = Held::begin(&self.database.url, lock).await;
        let mut store = self.store();
        let end = async {
            let id = self.connection_at("update `position`").await;
            self.query(&format!("kill {id}"));
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

    async fn apply_cut_after_commit(&self, step: &Step) {
        let (address, forwarding) = cut_the_answer_to_commit(self.address()).await;
        let mut store = self.store_at(&self.url_at(&address));
        let error = store.apply(step).await.expect_err("the answer was lost");
        assert_eq!(error.class(), ErrorClass::Outage, "{}", chain(&error));
        assert!(!error.is_certainly_rolled_back());
        forwarding.await.expect("the server committed");
    }
}

conformance!(MysqlDatabase);

/// The connection of a call that is given up half-way is not used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_leaves_no_transaction_behind() {
    let Some(database) = MysqlDatabase::start("given up").await else {
        return;
    };
    let mut writer = Writer::open(&database).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let lock = "select * from position for update";
    let held = Held::begin(&database.database.url, lock).await;
    tokio::select! {
        applied = writer.store.apply(&step) => panic!("{applied:?}"),
        _ = database.connection_at("update `position`") => {}
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

/// A server of the test's own, with settings that the shared one cannot have, and a database on it,
/// which goes first.
struct OwnServer {
    database: MysqlDatabase,
    server: MariadbServer,
}

impl OwnServer {
    /// `None` where no server can be started, after the skip was recorded.
    fn start(test: &str, settings: &[&str]) -> Option<Self> {
        let distribution = Distribution::of_environment(test)?;
        let options = MariadbOptions {
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            ..MariadbOptions::default()
        };
        let server = MariadbServer::start(&distribution, &options).expect("started")?;
        let database = testkit::MysqlDatabase::create(&server.url()).expect("a database");
        let database = MysqlDatabase { database };
        Some(Self { database, server })
    }
}

/// What a test needs to act as another user: `mysql://user:password@…` of the same database.
fn as_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, rest) = rest.split_once('@').expect("a user");
    format!("{scheme}://{user}@{rest}")
}

/// A user of this server that goes away with the test.
struct User {
    url: String,
    name: String,
}

impl User {
    fn create(database: &MysqlDatabase, grant: &str) -> Self {
        let name = format!("tg_{}", testkit::random_hex(8));
        let url = database.database.url.clone();
        database.query(&format!(
            "create user {name}@'%' identified by 's3cret';
             grant {grant} on {}.* to {name}@'%'",
            database.database.name
        ));
        Self { url, name }
    }

    fn url(&self) -> StoreUrl {
        store_url(&as_user(&self.url, &format!("{}:s3cret", self.name)))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let sql = format!("drop user if exists {}@'%'", self.name);
        mysql_query(&self.url, &sql).expect("dropped");
    }
}
