//! Bringing the bookkeeping tables to this program's version, under a lock, forward only (S8).
//!
//! MySQL commits with every DDL statement, so a migration is one statement that may be run again:
//! what a crash leaves half-way is the last one, made but not noted.

use super::connect::{LOCK_WAIT, Session, value};
use super::values::text;
use crate::error::{name_is_kept, schema_lacks};
use crate::{ErrorClass, StoreError};
use sha2::{Digest, Sha256};
use tidegauge_model::catalog;

/// The migrations; the first one has version 1. Those that were released never change.
pub(super) const MIGRATIONS: &[(&str, &str)] = &[
    ("host", include_str!("../../migrations/mysql/V01__host.sql")),
    (
        "measurement",
        include_str!("../../migrations/mysql/V02__measurement.sql"),
    ),
    (
        "field",
        include_str!("../../migrations/mysql/V03__field.sql"),
    ),
    ("tag", include_str!("../../migrations/mysql/V04__tag.sql")),
    (
        "series",
        include_str!("../../migrations/mysql/V05__series.sql"),
    ),
    (
        "position",
        include_str!("../../migrations/mysql/V06__position.sql"),
    ),
    (
        "ledger",
        include_str!("../../migrations/mysql/V07__ledger.sql"),
    ),
    (
        "dead_letter",
        include_str!("../../migrations/mysql/V08__dead_letter.sql"),
    ),
    ("gap", include_str!("../../migrations/mysql/V09__gap.sql")),
    (
        "dead_letter_removed",
        include_str!("../../migrations/mysql/V10__dead_letter_removed.sql"),
    ),
    (
        "position_left_out",
        include_str!("../../migrations/mysql/V11__position_left_out.sql"),
    ),
    (
        "host_last_time",
        include_str!("../../migrations/mysql/V12__host_last_time.sql"),
    ),
    (
        "ledger_last_sequence",
        include_str!("../../migrations/mysql/V13__ledger_last_sequence.sql"),
    ),
    (
        "freshness",
        include_str!("../../migrations/mysql/V14__freshness.sql"),
    ),
    (
        "losses",
        include_str!("../../migrations/mysql/V15__losses.sql"),
    ),
    (
        "tidegauge_view",
        include_str!("../../migrations/mysql/V16__tidegauge_view.sql"),
    ),
];

/// The column is there already: the migration was made, but not noted.
const DUPLICATE_COLUMN: &str = "1060";

/// Where it is kept what was applied.
pub(super) const HISTORY: &str = "create table if not exists `tidegauge_migration` (
    `version` int not null primary key,
    `name` varchar(255) not null,
    `checksum` char(64) not null,
    `applied` datetime(6) not null default (utc_timestamp(6))
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin";

/// How long another program's migrations are waited for, in seconds.
const MIGRATION_WAIT_SECONDS: u64 = 60;

/// How long a schema change waits for the tables that it alters, in seconds (D9).
const SCHEMA_WAIT_SECONDS: u64 = 3;

/// The lock of all schema changes in this database, as an SQL expression: names of locks belong to
/// the whole server. Steps never take it.
const SCHEMA_LOCK: &str = "concat('tidegauge.', md5(database()))";

/// Creates what is missing; refuses a database that is newer than this program.
pub(super) async fn migrate(session: &mut Session) -> Result<(), StoreError> {
    let doing = "migrating the tables";
    let applied = applied_version(session).await?;
    if applied == MIGRATIONS.len() {
        return Ok(());
    }
    if !session.manages_schema {
        return Err(schema_lacks(doing, applied as u32, MIGRATIONS.len() as u32));
    }
    take_lock(
        session,
        doing,
        MIGRATION_WAIT_SECONDS.min(session.deadline.as_secs()),
    )
    .await?;
    // Another program may have been first.
    session.execute(doing, HISTORY).await?;
    let applied = applied_version(session).await?;
    if applied > 1 {
        check_names(session, doing).await?;
    }
    for (version, (name, sql)) in (1..).zip(MIGRATIONS).skip(applied) {
        match session.execute(doing, sql).await {
            Err(error) if error.code() == Some(DUPLICATE_COLUMN) => {}
            made => drop(made?),
        }
        let note = format!(
            "insert into `tidegauge_migration` (`version`, `name`, `checksum`)
             values ({version}, {}, {})",
            text(name),
            text(&checksum(sql))
        );
        session.execute(doing, &note).await?;
        tracing::info!(version, name, "brought the schema up to date");
    }
    release_lock(session, doing).await
}

/// Refuses to bring a database up to date that has a measurement of a name that is kept now.
async fn check_names(session: &mut Session, doing: &str) -> Result<(), StoreError> {
    let names = "select `name` from `measurement` order by `name`";
    for row in session.query(doing, names).await? {
        let name: String = value(doing, &row, 0)?;
        if catalog::is_reserved_measurement(&name) {
            return Err(name_is_kept(doing, &name));
        }
    }
    Ok(())
}

pub(super) fn checksum(sql: &str) -> String {
    let digest = Sha256::digest(sql.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many migrations were applied; an error when the database is newer than this program, or was
/// made by migrations with other texts.
pub(super) async fn applied_version(session: &mut Session) -> Result<usize, StoreError> {
    let doing = "reading the version of the tables";
    let refused = |why: String| StoreError::new(doing, ErrorClass::Usage).caused_by(why);
    let present = "select count(*) from information_schema.tables
                   where table_schema = database() and table_name = 'tidegauge_migration'";
    if session.query_value::<i64>(doing, present).await? == 0 {
        return Ok(0);
    }
    let sql = "select `version`, `checksum` from `tidegauge_migration` order by `version`";
    let mut applied = 0;
    for row in session.query(doing, sql).await? {
        let (version, found): (usize, String) = (value(doing, &row, 0)?, value(doing, &row, 1)?);
        let Some((name, sql)) = MIGRATIONS.get(version.wrapping_sub(1)) else {
            let known = MIGRATIONS.len();
            return Err(refused(format!(
                "the database has version {version}, this program knows up to {known}: use a \
                 newer program"
            )));
        };
        if found != checksum(sql) {
            return Err(refused(format!(
                "version {version} ({name}) was made by another text than this program's"
            )));
        }
        applied = version;
    }
    Ok(applied)
}

/// Begins schema changes: one owner at a time, short waits for tables (D9). After an error the
/// connection is thrown away, and the lock with it.
pub(super) async fn begin_schema_change(
    session: &mut Session,
    doing: &str,
) -> Result<(), StoreError> {
    let wait = LOCK_WAIT.min(session.deadline).as_secs();
    take_lock(session, doing, wait).await?;
    let waits = format!("set session lock_wait_timeout = {SCHEMA_WAIT_SECONDS}");
    session.execute(doing, &waits).await.map(|_| ())
}

/// Ends schema changes.
pub(super) async fn end_schema_change(
    session: &mut Session,
    doing: &str,
) -> Result<(), StoreError> {
    let wait = LOCK_WAIT.min(session.deadline).as_secs().max(1);
    let waits = format!("set session lock_wait_timeout = {wait}");
    session.execute(doing, &waits).await?;
    release_lock(session, doing).await
}

async fn take_lock(session: &mut Session, doing: &str, seconds: u64) -> Result<(), StoreError> {
    // One second less than our own deadline, so that the server's answer is the one that is seen.
    let seconds = seconds
        .min(session.deadline.as_secs().saturating_sub(1))
        .max(1);
    let sql = format!("select get_lock({SCHEMA_LOCK}, {seconds})");
    match session.query_value::<Option<i64>>(doing, &sql).await? {
        Some(1) => Ok(()),
        _ => Err(StoreError::new(doing, ErrorClass::Outage)
            .caused_by("another program changes the schema")
            .rolled_back()),
    }
}

async fn release_lock(session: &mut Session, doing: &str) -> Result<(), StoreError> {
    let sql = format!("select release_lock({SCHEMA_LOCK})");
    session
        .query_value::<Option<i64>>(doing, &sql)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_one_statement_that_may_be_run_again() {
        for (name, sql) in MIGRATIONS {
            let made = [
                format!("create table if not exists `{name}` ("),
                format!("create or replace view `{name}` as\n"),
            ];
            match made.iter().any(|made| sql.starts_with(made)) {
                true => assert!(catalog::is_reserved_measurement(name), "{name}"),
                // Repeated, it fails with an error of its own, which is known.
                false => {
                    let (alter, _) = sql.split_once(" add column ").expect("an added column");
                    assert!(alter.starts_with("alter table `"), "{name}");
                    assert_eq!(sql.matches(" add column ").count(), 1, "{name}");
                }
            }
            assert!(!sql.contains(';'), "{name}");
        }
    }
}
