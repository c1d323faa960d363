//! The conformance suite on SQLite, and what only a file can do.

use crate::conformance::building::{BEGIN_US, Writer, moved, point, source, stored};
use crate::conformance::{Subject, conformance};
use rusqlite::Connection;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tidegauge_store::{Applied, ErrorClass, OpenOptions, Step, StoreError, StoreUrl, open_store};

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

    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql).expect("a query");
        let columns = statement.column_count();
        let value = |row: &rusqlite::Row<'_>, column| -> rusqlite::Result<Option<String>> {
            Ok(match row.get(column)? {
                rusqlite::types::Value::Null => None,
                rusqlite::types::Value::Integer(number) => Some(number.to_string()),
                rusqlite::types::Value::Real(number) => Some(number.to_string()),
                rusqlite::types::Value::Text(text) => Some(text),
                rusqlite::types::Value::Blob(bytes) => Some(format!("{bytes:?}")),
            })
        };
        let rows = statement
            .query_map([], |row| {
                (0..columns).map(|column| value(row, column)).collect()
            })
            .expect("rows");
        rows.collect::<rusqlite::Result<_>>().expect("rows")
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

    fn other_schema_sql(&self) -> String {
        "update tidegauge_migration set checksum = 'another' where version = 1".to_owned()
    }

    fn first_schema_sql(&self) -> Vec<String> {
        vec![
            "drop view losses; drop view freshness; drop view uptime; drop view outages;
             drop view certificates; drop table tidegauge_view; drop table gap; drop table dead_letter_removed;
             drop index dead_letter_message;
             alter table ledger drop column last_sequence; alter table host drop column last_time;
             alter table position drop column left_out_values; drop table tidegauge_migration;
             pragma user_version = 1"
                .to_owned(),
        ]
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

#[tokio::test]
async fn opening_touches_nothing_and_a_missing_file_is_told() {
    let subject = start().await;
    let (mut store, reader) = (subject.store(), subject.reader());
    assert!(!subject.path().exists(), "nothing was opened yet");
    for error in [
        reader.summary().await.expect_err("no file"),
        store.ledger_rows().await.expect_err("no file"),
    ] {
        assert_eq!(error.class(), ErrorClass::Outage);
        let text = error.to_string();
        assert!(
            text.contains("tidegauge.db") && text.contains("no database yet"),
            "{text}"
        );
    }
    assert!(!subject.path().exists(), "only migrating makes it");
    store.migrate().await.expect("migrated");
    reader
        .summary()
        .await
        .expect("the same reader finds it now");
    store.ledger_rows().await.expect("the same store too");
}

#[tokio::test]
async fn a_missing_folder_is_told() {
    let subject = start().await;
    let url = format!("sqlite:{}/no/such/x.db", subject.folder.path().display());
    let url = StoreUrl::parse(&url).expect("a URL");
    let mut store = open_store(&url, &OpenOptions::default()).expect("opened");
    let error = store.migrate().await.expect_err("no folder");
    assert_eq!(error.class(), ErrorClass::Usage);
    assert!(error.to_string().contains("no/such first"), "{error}");
}

#[tokio::test]
async fn a_file_of_another_program_stays_as_it_is() {
    let subject = start().await;
    subject
        .execute("create table theirs (x); insert into theirs values (1)")
        .await;
    let before = std::fs::read(subject.path()).expect("read");
    for error in [
        subject.store().migrate().await.expect_err("refused"),
        subject.reader().summary().await.expect_err("refused"),
    ] {
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.to_string().contains("another program"), "{error}");
    }
    assert_eq!(std::fs::read(subject.path()).expect("read"), before);

    std::fs::write(subject.path(), "not a database, ".repeat(100)).expect("written");
    let error = subject.store().migrate().await.expect_err("refused");
    assert!(error.to_string().contains("no SQLite database"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_damaged_later_is_an_outage_that_names_it() {
    let subject = start().await;
    let mut writer = Writer::open(&subject).await;
    writer
        .commit(0..1, &[point("load", 0).field("load1", 1.0)])
        .await;
    drop(writer);
    let mut bytes = std::fs::read(subject.path()).expect("read");
    bytes[4_096..].fill(0xa5);
    std::fs::write(subject.path(), bytes).expect("written");
    let mut store = subject.store();
    let error = store.known_positions(&source()).await.expect_err("damaged");
    assert_eq!(error.class(), ErrorClass::Outage);
    let text = error.to_string();
    assert!(
        text.contains("tidegauge.db") && text.contains("damaged"),
        "{text}"
    );
}

/// D2, D3: the spool forgets a batch after the commit, so the commit must outlive a power cut.
#[tokio::test]
async fn commits_are_durable_in_a_write_ahead_log() {
    let subject = start().await;
    drop(Writer::open(&subject).await);
    let connection = subject.connection();
    let mode: String = connection
        .query_row("pragma journal_mode", [], |row| row.get(0))
        .expect("asked");
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn the_views_are_what_people_ask() {
    let subject = start().await;
    let mut writer = Writer::open(&subject).await;
    let at = |microseconds| {
        let mut point = point("cpu", 0).tag("cpu", "it's").tag("busy", "tag");
        point.time_us += microseconds;
        point.field("user_percent", 3.5).field("busy", true)
    };
    writer.commit(0..1, &[at(123_456), at(5)]).await;
    let mut early = at(0);
    early.time_us = -1;
    writer.commit(1..2, &[early]).await;
    let connection = subject.connection();
    let mut select = connection
        .prepare("select host, time, time_us, cpu, tag_busy, busy, user_percent from cpu order by time_us")
        .expect("the view is there");
    let rows: Vec<(String, String, i64, String, String, i64, f64)> = select
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
            ))
        })
        .expect("asked")
        .collect::<Result<_, _>>()
        .expect("read");
    let times: Vec<&str> = rows.iter().map(|row| row.1.as_str()).collect();
    assert_eq!(
        times,
        [
            "1969-12-31T23:59:59.999999Z",
            "2026-11-20T14:00:00.000005Z",
            "2026-11-20T14:00:00.123456Z"
        ]
    );
    assert_eq!(rows[2].2, BEGIN_US + 123_456);
    assert_eq!((rows[0].0.as_str(), rows[0].3.as_str()), ("web-1", "it's"));
    assert_eq!((rows[0].4.as_str(), rows[0].5, rows[0].6), ("tag", 1, 3.5));
}

#[tokio::test]
async fn a_host_and_a_range_are_found_through_the_keys() {
    let subject = start().await;
    let mut writer = Writer::open(&subject).await;
    writer
        .commit(0..1, &[point("cpu", 0).field("user_percent", 1.0)])
        .await;
    let connection = subject.connection();
    let plan = |condition: &str| -> Vec<String> {
        let sql =
            format!("explain query plan select host, time, user_percent from cpu {condition}");
        let mut select = connection.prepare(&sql).expect("prepared");
        let rows = select.query_map([], |row| row.get(3)).expect("asked");
        rows.collect::<Result<_, _>>().expect("read")
    };
    let range = "d USING PRIMARY KEY (series_id=? AND time>? AND time<?)";
    let one = plan("where host = 'web-1' and time_us >= 5 and time_us < 9");
    assert!(
        one[..2].iter().all(|line| line.starts_with("SEARCH")),
        "{one:?}"
    );
    assert!(
        one[..2]
            .iter()
            .any(|line| line.contains("host_name (name=?")),
        "{one:?}"
    );
    assert!(one[2].ends_with(range), "{one:?}");
    let all = plan("where time_us >= 5 and time_us < 9");
    assert!(all.iter().any(|line| line.ends_with(range)), "{all:?}");
    let first = plan("limit 3");
    assert!(
        !first.iter().any(|line| line.contains("TEMP B-TREE")),
        "{first:?}"
    );
}

/// Readers see whole steps while the writer goes on, and never hold it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_hold_up_the_writer() {
    let subject = start().await;
    let mut writer = Writer::open(&subject).await;
    let points = |step: i64| [0, 1].map(|n| point("load", 2 * step + n).field("load1", 1.0));
    writer.commit(0..1, &points(0)).await;
    let other = subject.connection();
    other
        .execute_batch("begin; select * from \"m_load\"")
        .expect("a long read");
    let reader = subject.reader();
    for step in 1..20 {
        let step_points = points(step);
        let (_, rows) = tokio::join!(
            writer.commit(step..step + 1, &step_points),
            stored(&reader, "load")
        );
        assert!(rows.len() % 2 == 0, "half a step was read");
    }
    writer
        .store
        .housekeep()
        .await
        .expect("does not wait for the long read");
    assert_eq!(stored(&reader, "load").await.len(), 40);
}

#[tokio::test]
async fn a_table_that_somebody_dropped_is_an_outage() {
    let subject = start().await;
    let mut writer = Writer::open(&subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    subject.execute("drop view load; drop table m_load").await;
    let error = writer.store.apply(&step).await.expect_err("no table");
    assert_eq!(error.class(), ErrorClass::Outage);
    assert!(
        format!("{error:?}").contains("no such table: m_load"),
        "{error:?}"
    );
    assert!(error.is_certainly_rolled_back());
    assert_eq!(writer.position(0).await, Some(0));
}

/// Another one holds the lock, and then somebody takes the file away.
#[tokio::test]
async fn a_lock_is_waited_for_and_a_file_that_is_taken_away_is_told() {
    let subject = start().await;
    let mut writer = Writer::open(&subject).await;
    let points = [point("load", 0).field("load1", 1.0)];
    let step = writer.step(vec![moved(0..1)], &points).await;
    let other = subject.connection();
    other.execute_batch("begin immediate").expect("locked");
    let options = OpenOptions {
        statement_deadline: Duration::from_millis(50),
        ..OpenOptions::default()
    };
    let mut store = open_store(&subject.url(), &options).expect("opened");
    let error = store.apply(&step).await.expect_err("locked");
    assert_eq!(error.class(), ErrorClass::Outage, "{error:?}");
    assert_eq!(error.code(), Some("5"), "{error:?}");
    assert!(error.is_certainly_rolled_back());
    drop(other);

    let aside = subject.path().with_extension("aside");
    std::fs::rename(subject.path(), &aside).expect("moved");
    let error = store.apply(&step).await.expect_err("no file");
    assert_eq!(error.class(), ErrorClass::Outage, "{error:?}");
    assert!(error.to_string().contains("tidegauge.db"), "{error}");
    std::fs::rename(&aside, subject.path()).expect("put back");
    let applied = store.apply(&step).await.expect("applied");
    assert!(matches!(applied, Applied::Committed { rows: 1, .. }));
}

async fn start() -> SqliteFile {
    SqliteFile::start("").await.expect("a file is always there")
}
