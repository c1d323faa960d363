//! PgBouncer between us and the server: in session mode all goes on, in transaction mode it is
//! refused at the start.

use super::outages::OtherUrl;
use super::{DEADLINE, PostgresDatabase, chain, store_at};
use crate::conformance::Subject;
use crate::conformance::building::{Writer, as_rows, committed, point, stored};
use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use testkit::servers::free_port;
use tidegauge_store::{ErrorClass, StoreUrl};
use tidegauge_testkit as testkit;

/// A PgBouncer of its own, before the server of a database.
struct PgBouncer {
    process: Child,
    port: u16,
    /// Its settings, which go with it.
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    /// `None` when there is no such program here, after the skip was recorded.
    fn start(test: &str, database: &PostgresDatabase, pool_mode: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| fs::exists(path).is_ok_and(|there| there));
        let Some(program) = program else {
            testkit::skip(test, "there is no pgbouncer: install it");
            return None;
        };
        let (host, server_port) = database.address().split_once(':').expect("an address");
        let (_, rest) = database.database.url.split_once("://").expect("a URL");
        let (user, _) = rest.split_once('@').expect("a user");
        let user = match user.split_once(':') {
            Some((name, password)) => format!("user={name} password={password}"),
            None => format!("user={user}"),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let settings = format!(
            "[databases]\n* = host={host} port={server_port} {user}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {pool_mode}\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings).expect("written");
        let mut command = Command::new(program);
        // It refuses to run as root.
        if fs::metadata(folder.path()).expect("a folder").uid() == 0 {
            fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("set");
            command.args(["-u", "nobody"]);
        }
        let process = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let bouncer = Self {
            process,
            port,
            _folder: folder,
        };
        testkit::eventually(DEADLINE, "pgbouncer listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(bouncer)
    }

    fn url(&self, database: &PostgresDatabase) -> StoreUrl {
        database.url_at(&format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_is_refused_at_the_start() {
    let test = "store: postgres: pooler in transaction mode";
    let Some(database) = PostgresDatabase::start("pooler in transaction mode").await else {
        return;
    };
    let Some(bouncer) = PgBouncer::start(test, &database, "transaction") else {
        return;
    };
    let error = store_at(&bouncer.url(&database)).migrate().await;
    let error = error.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Usage, "{}", chain(&error));
    assert!(
        chain(&error).contains("pool_mode = session"),
        "{}",
        chain(&error)
    );
    let tables = database.value("select count(*) from pg_tables where schemaname = 'public'");
    assert_eq!(tables, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_is_as_good_as_none() {
    let test = "store: postgres: pooler in session mode";
    let Some(database) = PostgresDatabase::start("pooler in session mode").await else {
        return;
    };
    let Some(bouncer) = PgBouncer::start(test, &database, "session") else {
        return;
    };
    let pooled = OtherUrl(bouncer.url(&database));
    let mut writer = Writer::open(&pooled).await;
    // Through COPY, and what is repeated through a temporary table.
    let points = [point("load", 0).field("load1", 1.0).keyed()];
    writer.commit(0..1, &points).await;
    let repeated = writer.apply(1..2, &points).await.expect("applied");
    assert_eq!(repeated, committed(0, 1));
    writer.store.housekeep().await.expect("housekeeping");
    assert_eq!(stored(&pooled.reader(), "load").await, as_rows(&points));
}
