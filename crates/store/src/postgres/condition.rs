//! What the server says of itself, of the tables and of this role.

use super::connect::Session;
use super::migrate::{applied_version, newest};
use super::read::BOOKKEEPING;
use super::values::unsigned;
use crate::{StoreCondition, StoreError};

/// What a sink does with its tables.
const RIGHTS: &[&str] = &["SELECT", "INSERT", "UPDATE"];

pub(super) async fn condition(session: &mut Session) -> Result<StoreCondition, StoreError> {
    let doing = "asking how the database stands";
    let sql = "select 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1),
                      (extract(epoch from clock_timestamp()) * 1000000)::bigint,
                      pg_is_in_recovery(),
                      has_schema_privilege(current_schema(), 'CREATE')";
    let row = session.query_one(doing, sql, &[]).await?;
    let mut condition = StoreCondition {
        version: row.get(0),
        clock_us: Some(row.get(1)),
        is_read_only: row.get(2),
        may_create: row.get(3),
        schema: u32::try_from(applied_version(session).await?).unwrap_or(0),
        schema_needed: u32::try_from(newest()).unwrap_or(0),
        standbys: standbys(session).await?,
        idle_slots: idle_slots(session).await?,
        ..StoreCondition::default()
    };
    if condition.schema > 0 {
        condition.missing_rights = Some(missing_rights(session).await?);
        condition.ahead_us = ahead(session).await?;
    }
    Ok(condition)
}

async fn missing_rights(session: &mut Session) -> Result<Vec<String>, StoreError> {
    let sql = "select r || ' on ' || t from unnest($1::text[]) as t, unnest($2::text[]) as r
               where to_regclass(quote_ident(t)) is not null
               and not has_table_privilege(quote_ident(t), r) order by t, r";
    let doing = "asking which rights are missing";
    let rows = session.query(doing, sql, &[&BOOKKEEPING, &RIGHTS]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// When the first measurement that is still written runs out of partitions.
async fn ahead(session: &mut Session) -> Result<Option<i64>, StoreError> {
    let sql = "select (extract(epoch from min(last)) * 1000000)::bigint from
                   (select max(to_time) as last from partition group by measurement_id
                    having max(to_time) > now() - interval '1 day') as of_measurement";
    let doing = "asking until when there are partitions";
    Ok(session.query_one(doing, sql, &[]).await?.get(0))
}

/// Those that read its log; how far behind is told to roles with `pg_monitor` alone.
async fn standbys(session: &mut Session) -> Result<Vec<(String, Option<u64>)>, StoreError> {
    let sql =
        "select coalesce(application_name, '?'), (extract(epoch from replay_lag) * 1000)::bigint
               from pg_stat_replication order by 1";
    let rows = session.query("asking for standbys", sql, &[]).await?;
    let standby =
        |row: &tokio_postgres::Row| (row.get(0), row.get::<_, Option<i64>>(1).map(unsigned));
    Ok(rows.iter().map(standby).collect())
}

/// What was followed once and may be no more: until the slot is dropped no log that it has not read is thrown
/// away. A standby has no end of the log of its own to count from.
async fn idle_slots(session: &mut Session) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "select slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint
               from pg_replication_slots
               where not active and restart_lsn is not null and not pg_is_in_recovery() order by 1";
    let rows = session
        .query("asking for replication slots", sql, &[])
        .await?;
    let slot = |row: &tokio_postgres::Row| (row.get(0), unsigned(row.get(1)));
    Ok(rows.iter().map(slot).collect())
}
