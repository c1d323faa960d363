//! The conformance suite on SQLite, and what only a file can do.

use crate::conformance::{Subject, conformance};
use rusqlite::Connection;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tidegauge_store::{Applied, OpenOptions, Step, StoreError, StoreUrl, open_store};

/// A database file in a folder of its own.
struct SqliteFile {
    folder: TempDir,
}

impl SqliteFile {
    fn path(&self) -> PathBuf {
        self.folder.path().join("tidegauge.db")
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("opened");
        connection
            .busy_timeout(Duration::from_secs(5))
            .expect("busy timeout");
        connection
    }
}

#[async_trait::async_trait]
impl Subject for SqliteFile {
    async fn start(_test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        Some(Self { folder })
    }

    fn url(&self) -> StoreUrl {
        StoreUrl::parse(&format!("sqlite:{}", self.path().display())).expect("a URL")
    }

    async fn execute(&self, sql: &str) {
        self.connection().execute_batch(sql).expect("executed");
    }

    fn poison_sql(&self, measurement: &str, field: &str, number: f64) -> String {
        format!(
            "create trigger poison before insert on \"m_{measurement}\"
             when new.\"{field}\" = {number}
             begin select raise(abort, 'poison'); end"
        )
    }

    fn newer_schema_sql(&self) -> String {
        "pragma user_version = 1000".to_owned()
    }

    /// There is no connection to lose: the file is locked by somebody else, beyond the deadline.
    async fn apply_cut_before_commit(&self, step: &Step) -> Result<Applied, StoreError> {
        let other = self.connection();
        other.execute_batch("begin immediate").expect("locked");
        let options = OpenOptions {
            statement_deadline: Duration::from_millis(50),
            ..OpenOptions::default()
        };
        let mut store = open_store(&self.url(), &options).expect("opened");
        store.apply(step).await
    }

    async fn apply_cut_after_commit(&self, step: &Step) {
        let lost = self.store().apply(step).await;
        lost.expect("committed, though the caller never hears of it");
    }
}

conformance!(SqliteFile);
