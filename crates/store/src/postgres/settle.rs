//! Settling (S3): a partition whose time is over becomes a table that is sorted by (series, time),
//! under a unique B-tree that was built in bulk.
//!
//! # How
//! `mark` makes an empty table beside the partition and says `settling`; `copy` fills it, one row
//! of each (series, time), and builds the index; `freeze` makes the rows visible to every
//! transaction; `swap` puts it in the partition's place and says `settled`. Each stage is one
//! transaction, apart from `freeze`, which may be repeated.
//!
//! # Invariants
//! 1. One upkeep at a time: all of it happens on one connection that holds the lock of
//!    [`upkeep::begin`].
//! 2. While a partition says `settling`, no row of it comes or goes: `mark` waits for the steps
//!    that hold its bookkeeping row (`for share`), a step that finds `settling` under that lock
//!    writes nothing, and a writer makes it `open` again ([`interrupt`]) before it writes or changes
//!    columns. So whatever `copy` sees later is all there is, as long as `swap` finds `settling`
//!    under a lock of that row: nobody but the holder of the lock of 1 ever says `settling`.
//!    Writers have precedence, and wait for short transactions only.
//! 3. A copy is attached in the very transaction that drops the old table, so that there is the
//!    old or the new. Until then it is a table named `…_new` that nothing refers to; one that was
//!    left behind is dropped by the next run, which begins that partition anew.
//! 4. A query sees every row once, whatever its isolation: a transaction that began before the copy
//!    was committed would not see its rows, so the swap waits until they are frozen, which is when
//!    no such transaction is left (`relfrozenxid` is younger than the copy).
//! 5. Locks are taken in the order of all others: schema lock, parent, bookkeeping row, partition.
//!    `swap` needs the parent for itself, for milliseconds; while it waits for a long query
//!    others wait behind it, so it waits shortly, and tries again later.

use super::connect::Session;
use super::errors;
use super::migrate::SCHEMA_LOCK;
use super::partitions::key_index_name;
use super::upkeep::{self, ShortWaits};
use super::values::{Time, data_table, quoted, signed, time_literal, unsigned};
use crate::{PostponedPartition, SettleReport, SettleRequest, SettledPartition, StoreError};
use std::error::Error;
use std::time::Duration;

/// How often rows are frozen before another transaction is waited for no longer; the pauses
/// between double from a quarter of a second on, which makes a minute.
const FREEZE_TRIES: u32 = 8;

/// How long a partition is left alone after its settling was put off, as SQL.
const POSTPONED_FOR: &str = "interval '10 minutes'";

/// Partitions that may be settled: `$1` is the time, `$2` whether those that were put off are
/// meant too.
const DUE: &str = "from partition p join measurement m on m.id = p.measurement_id
    where p.state <> 'settled' and p.to_time <= $1
    and ($2 or p.settle_after is null or p.settle_after <= now())";

/// A partition to be settled.
struct Due {
    measurement: i32,
    measurement_name: String,
    name: String,
    from: Time,
    to: Time,
}

/// What a copy has.
struct Copied {
    rows: u64,
    duplicates: u64,
    transaction: String,
}

impl Due {
    /// The name of the copy, not quoted.
    fn copy(&self) -> String {
        format!("{}_new", self.name)
    }
}

/// Settles partitions, oldest first. The session's settings are changed: it is not to be kept.
pub(super) async fn settle(
    session: &mut Session,
    request: &SettleRequest,
) -> Result<SettleReport, StoreError> {
    let mut report = SettleReport::default();
    if !upkeep::begin(session).await? {
        report.is_busy = true;
        return Ok(report);
    }
    drop_leftovers(session).await?;
    let over = Time(request.now_us.saturating_sub(request.grace_us));
    let doing = "looking for partitions to settle";
    let at_most = i64::try_from(request.at_most).unwrap_or(i64::MAX);
    let sql = format!(
        "select m.id, m.name, p.name, p.from_time, p.to_time, count(*) over () {DUE}
         order by p.to_time, m.id limit $3"
    );
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&over, &request.postponed_too, &at_most];
    for row in session.query(doing, &sql, &parameters).await? {
        let due = Due {
            measurement: row.get(0),
            measurement_name: row.get(1),
            name: row.get(2),
            from: row.get(3),
            to: row.get(4),
        };
        let waiting = unsigned(row.get(5));
        let done = report.settled.len() + report.postponed.len() + 1;
        report.remaining = waiting.saturating_sub(done as u64);
        match settle_one(session, &due).await {
            Ok(copied) => report.settled.push(SettledPartition {
                measurement: due.measurement_name,
                partition: due.name,
                rows: copied.rows,
                duplicates_removed: copied.duplicates,
            }),
            Err(error) if session.is_closed() => return Err(error),
            Err(error) => {
                postpone(session, &due).await?;
                report.postponed.push(PostponedPartition {
                    measurement: due.measurement_name,
                    partition: due.name,
                    why: with_causes(&error),
                });
            }
        }
    }
    upkeep::end(session).await?;
    Ok(report)
}

async fn settle_one(session: &mut Session, due: &Due) -> Result<Copied, StoreError> {
    mark(session, due).await?;
    let copied = copy(session, due).await?;
    freeze(session, due, &copied).await?;
    let mut waits = ShortWaits::new();
    loop {
        waits.begin(session).await?;
        match swap(session, due, &copied).await {
            Ok(()) => return Ok(copied),
            Err(error) => waits.pause(session, error).await?,
        }
    }
}

/// The empty table, and the word that nobody may write.
async fn mark(session: &mut Session, due: &Due) -> Result<(), StoreError> {
    let doing = format!("beginning to settle {}", due.name);
    let (parent, copy) = (data_table(&due.measurement_name), quoted(&due.copy()));
    // With the constraint, attaching need not look at the rows. Nothing but us is to freeze.
    let create = format!(
        "begin;
         create table {copy} (like {parent} including constraints,
             constraint {} check (time >= {} and time < {}))
         with (autovacuum_enabled = off)",
        range_constraint(),
        time_literal(due.from.0),
        time_literal(due.to.0)
    );
    session.batch(&doing, &create).await?;
    let update = "update partition set state = 'settling'
                  where measurement_id = $1 and from_time = $2 and name = $3";
    let marked = session
        .execute(&doing, update, &[&due.measurement, &due.from, &due.name])
        .await?;
    if marked != 1 {
        return Err(errors::unexpected(doing, "it is gone"));
    }
    session.commit().await
}

/// Fills the copy and builds its index.
async fn copy(session: &mut Session, due: &Due) -> Result<Copied, StoreError> {
    let doing = format!("sorting {}", due.name);
    let (table, copy) = (quoted(&due.name), quoted(&due.copy()));
    let columns = "select string_agg(quote_ident(attname), ', ' order by attnum)
                   from pg_attribute where attnum > 0 and not attisdropped
                   and attrelid = $1::text::regclass";
    let columns: String = session.query_one(&doing, columns, &[&copy]).await?.get(0);
    session.batch(&doing, "begin").await?;
    let count = format!("select count(*) from {table}");
    let count = session.query_once(&doing, &count, &[]).await?;
    let present = count.first().map_or(0, |row| unsigned(row.get(0)));
    // Of rows that repeat each other the one that was stored first stays.
    let insert = format!(
        "insert into {copy} ({columns}) select distinct on (series_id, time) {columns}
         from {table} order by series_id, time, ctid"
    );
    let insert = session.client().execute(&insert, &[]);
    let rows = session
        .within(&doing, errors::During::Statement, insert)
        .await?;
    let index = format!(
        "create unique index {} on {copy} (series_id, time)",
        quoted(&key_index_name(&due.copy()))
    );
    session.batch(&doing, &index).await?;
    let transaction = "select pg_current_xact_id()::text";
    let transaction: String = session.query_one(&doing, transaction, &[]).await?.get(0);
    session.commit().await?;
    Ok(Copied {
        rows,
        duplicates: present.saturating_sub(rows),
        transaction,
    })
}

/// Freezes the copy's rows, once no transaction is left that would not see them.
async fn freeze(session: &mut Session, due: &Due, copied: &Copied) -> Result<(), StoreError> {
    let doing = format!("freezing the sorted copy of {}", due.name);
    let copy = quoted(&due.copy());
    let is_frozen = "select age(relfrozenxid) < age($2::text::xid) from pg_class
                     where oid = $1::text::regclass";
    let mut pause = Duration::from_millis(250);
    for _ in 0..FREEZE_TRIES {
        let vacuum = format!("vacuum (freeze, analyze) {copy}");
        session.batch(&doing, &vacuum).await?;
        let frozen = session
            .query_one(&doing, is_frozen, &[&copy, &copied.transaction])
            .await?;
        if frozen.get(0) {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    let why = "a transaction that began before still runs, or a replication slot holds one back";
    Err(errors::unexpected(doing, why))
}

/// Puts the copy in the partition's place.
async fn swap(session: &mut Session, due: &Due, copied: &Copied) -> Result<(), StoreError> {
    let doing = format!("swapping {} for its sorted copy", due.name);
    let doing = doing.as_str();
    let parent = data_table(&due.measurement_name);
    let (table, copy) = (quoted(&due.name), quoted(&due.copy()));
    let lock = format!(
        "select pg_advisory_xact_lock({SCHEMA_LOCK}); lock table only {parent} in access exclusive mode"
    );
    session.batch(doing, &lock).await?;
    let state = "select state from partition
                 where measurement_id = $1 and from_time = $2 and name = $3 for update";
    let key: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&due.measurement, &due.from, &due.name];
    let state = session.query(doing, state, &key).await?;
    if state.first().map(|row| row.get(0)) != Some("settling") {
        return Err(errors::unexpected(doing, "rows came meanwhile"));
    }
    let swap = format!(
        "alter table {parent} detach partition {table};
         drop table {table};
         alter index {} rename to {};
         alter table {copy} rename to {table};
         alter table {parent} attach partition {table} for values from ({}) to ({});
         alter table {table} drop constraint {};
         alter table {table} reset (autovacuum_enabled)",
        quoted(&key_index_name(&due.copy())),
        quoted(&key_index_name(&due.name)),
        time_literal(due.from.0),
        time_literal(due.to.0),
        range_constraint(),
    );
    session.batch(doing, &swap).await?;
    let update = "update partition set state = 'settled', settle_after = null,
                  duplicates_removed = duplicates_removed + $4
                  where measurement_id = $1 and from_time = $2 and name = $3";
    let duplicates = signed(copied.duplicates);
    session
        .execute(doing, update, &[key[0], key[1], key[2], &duplicates])
        .await?;
    session.commit().await
}

/// Leaves a partition open for now. The connection is well.
async fn postpone(session: &mut Session, due: &Due) -> Result<(), StoreError> {
    session.rollback().await?;
    let doing = format!("putting off the settling of {}", due.name);
    let update = format!(
        "update partition set state = 'open', settle_after = now() + {POSTPONED_FOR}
         where measurement_id = $1 and from_time = $2 and name = $3 and state <> 'settled'"
    );
    session
        .execute(&doing, &update, &[&due.measurement, &due.from, &due.name])
        .await?;
    drop_leftovers(session).await
}

/// Drops copies that were never put in place. The upkeep lock is held, so nobody works at them.
async fn drop_leftovers(session: &mut Session) -> Result<(), StoreError> {
    let doing = "dropping copies that were left behind";
    let leftovers = "select relname::text from pg_class
                     where relnamespace = current_schema()::regnamespace and relkind = 'r'
                     and not relispartition and relname ~ '^p_[0-9]+_[0-9T-]+_new$'";
    for row in session.query(doing, leftovers, &[]).await? {
        let name: &str = row.get(0);
        let drop = format!("drop table {}", quoted(name));
        session.batch(doing, &drop).await?;
        tracing::debug!(table = name, "dropped a copy that was left behind");
    }
    Ok(())
}

/// Gives up the settling of a measurement's partitions, before rows or columns are added: marks
/// them open and stops the program that sorts them, if it is of our role. In a transaction of its
/// own, before any step or schema change begins.
pub(super) async fn interrupt(session: &mut Session, measurement: &str) -> Result<(), StoreError> {
    let doing = format!("giving up the settling of {measurement}");
    let sql = format!(
        "with stopped as (
             update partition set state = 'open', settle_after = now() + {POSTPONED_FOR}
             where state = 'settling'
             and measurement_id = (select id from measurement where name = $1) returning 1)
         select pg_cancel_backend(l.pid) from pg_locks l join pg_stat_activity a on a.pid = l.pid
         where exists (select from stopped) and a.usename = current_user and l.granted and {}",
        upkeep::is_upkeep_lock()
    );
    session.query(&doing, &sql, &[&measurement]).await?;
    Ok(())
}

/// An error with its causes on one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// The constraint by which attaching knows that all rows fit.
fn range_constraint() -> String {
    quoted("tidegauge_range")
}
