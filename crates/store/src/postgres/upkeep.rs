//! Upkeep: what settling and retention share, and retention by dropping partitions.
//!
//! One program at a time, by a session's advisory lock that the steps never take. Both need a
//! parent table for themselves for milliseconds: they wait for it shortly, because others wait
//! behind them, and try again later.

use super::connect::Session;
use super::errors;
use super::migrate::SCHEMA_LOCK;
use super::values::{Time, data_table, quoted, unsigned};
use crate::{RemovedRows, RetentionReport, RetentionRequest, StoreError};
use std::time::Duration;

/// The advisory lock of settling and retention in the current schema, as an SQL expression.
const UPKEEP_LOCK: &str = "hashtextextended('tidegauge upkeep ' || current_schema(), 0)";

/// The longest that one statement of an upkeep may take: sorting a large partition.
const DEADLINE: Duration = Duration::from_secs(2 * 3_600);

/// The first, and the longest, wait for a table that others use.
const LOCK_WAIT: Duration = Duration::from_millis(250);
const LONGEST_LOCK_WAIT: Duration = Duration::from_secs(2);

/// Between two such waits, the first time; doubled each time up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often such a table is tried to be had: some three minutes.
const LOCK_TRIES: u32 = 12;

/// Whether a row `l` of `pg_locks` is that lock, as an SQL expression (PostgreSQL manual, "pg_locks":
/// a key of 64 bits is in classid and objid).
pub(super) fn is_upkeep_lock() -> String {
    format!(
        "l.locktype = 'advisory' and l.objsubid = 1
         and l.database = (select oid from pg_database where datname = current_database())
         and ((l.classid::bigint << 32) | l.objid::bigint) = {UPKEEP_LOCK}"
    )
}

/// Takes the lock of upkeep and sets up the session for long work. False when another program
/// has it.
pub(super) async fn begin(session: &mut Session) -> Result<bool, StoreError> {
    let doing = "beginning the upkeep of the partitions";
    let lock = format!("select pg_try_advisory_lock({UPKEEP_LOCK})");
    if !session
        .query_one(doing, &lock, &[])
        .await?
        .get::<_, bool>(0)
    {
        return Ok(false);
    }
    session.deadline = DEADLINE;
    let settings = format!(
        "set statement_timeout = {0}; set idle_in_transaction_session_timeout = {0};
         set work_mem = '64MB'; set maintenance_work_mem = '256MB'",
        DEADLINE.as_millis()
    );
    session.batch(doing, &settings).await?;
    // So that the server stops what a program began that is gone; not every platform has it.
    let watch = "set client_connection_check_interval = '5s'";
    if let Err(error) = session.batch(doing, watch).await {
        tracing::debug!(%error, "the server does not look whether we are still there");
    }
    Ok(true)
}

/// Gives the lock back at once, where the end of the connection would do so a little later.
pub(super) async fn end(session: &mut Session) -> Result<(), StoreError> {
    let unlock = format!("select pg_advisory_unlock({UPKEEP_LOCK})");
    let doing = "ending the upkeep of the partitions";
    session.query_once(doing, &unlock, &[]).await?;
    Ok(())
}

/// Transactions that wait shortly for locks, tried again until one has them.
pub(super) struct ShortWaits {
    wait: Duration,
    pause: Duration,
    tries: u32,
}

impl ShortWaits {
    pub(super) const fn new() -> Self {
        Self {
            wait: LOCK_WAIT,
            pause: PAUSE,
            tries: 0,
        }
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self, session: &Session) -> Result<(), StoreError> {
        self.tries += 1;
        let wait_ms = self.wait.as_millis();
        let begin = format!("begin; set local lock_timeout = {wait_ms}");
        session.batch("beginning a short transaction", &begin).await
    }

    /// After an error of the transaction: rolls back and waits, if that can help.
    pub(super) async fn pause(
        &mut self,
        session: &Session,
        error: StoreError,
    ) -> Result<(), StoreError> {
        // 55P03: a lock was not had in time; 40P01: a deadlock with somebody's else order.
        if !matches!(error.code(), Some("55P03" | "40P01")) || self.tries >= LOCK_TRIES {
            return Err(error);
        }
        session.rollback().await?;
        tokio::time::sleep(self.pause).await;
        self.wait = (self.wait * 2).min(LONGEST_LOCK_WAIT);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Drops the partitions whose rows are all older than they are to be kept.
pub(super) async fn retain(
    session: &mut Session,
    request: &RetentionRequest,
) -> Result<RetentionReport, StoreError> {
    let mut report = RetentionReport::default();
    if !request.dry_run && !begin(session).await? {
        report.is_busy = true;
        return Ok(report);
    }
    let doing = "looking for partitions that are too old";
    let sql = "select m.id, m.name, p.name, p.from_time, p.to_time,
               coalesce((select greatest(c.reltuples, 0)::bigint from pg_class c
                         where c.relname = p.name
                         and c.relnamespace = current_schema()::regnamespace), 0)
               from partition p join measurement m on m.id = p.measurement_id
               order by m.name, p.from_time";
    for row in session.query(doing, sql, &[]).await? {
        let (measurement, name): (&str, &str) = (row.get(1), row.get(2));
        let (id, from, to): (i32, Time, Time) = (row.get(0), row.get(3), row.get(4));
        let is_old = |before_us| to.0 <= before_us;
        if !request.before_us(measurement).is_some_and(is_old) {
            continue;
        }
        if !request.dry_run {
            drop_partition(session, (id, measurement), from, name).await?;
        }
        report.removed.push(RemovedRows {
            measurement: measurement.to_owned(),
            partition: Some(name.to_owned()),
            before_us: to.0,
            rows: unsigned(row.get(5)),
        });
    }
    if !request.dry_run {
        end(session).await?;
    }
    Ok(report)
}

/// The bookkeeping row and the table go together.
async fn drop_partition(
    session: &mut Session,
    measurement: (i32, &str),
    from: Time,
    name: &str,
) -> Result<(), StoreError> {
    let mut waits = ShortWaits::new();
    loop {
        waits.begin(session).await?;
        match drop_at_once(session, measurement, from, name).await {
            Ok(()) => return Ok(()),
            Err(error) => waits.pause(session, error).await?,
        }
    }
}

/// Locks are taken in the order of all others.
async fn drop_at_once(
    session: &mut Session,
    (id, measurement): (i32, &str),
    from: Time,
    name: &str,
) -> Result<(), StoreError> {
    let doing = format!("dropping {name}");
    let lock = format!(
        "select pg_advisory_xact_lock({SCHEMA_LOCK}); lock table only {} in access exclusive mode",
        data_table(measurement)
    );
    session.batch(&doing, &lock).await?;
    let delete = "delete from partition where measurement_id = $1 and from_time = $2 and name = $3";
    if session
        .execute(&doing, delete, &[&id, &from, &name])
        .await?
        != 1
    {
        return Err(errors::unexpected(doing, "its bookkeeping row is gone"));
    }
    let drop = format!("drop table if exists {}", quoted(name));
    session.batch(&doing, &drop).await?;
    session.commit().await
}
