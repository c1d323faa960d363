//! Retention: old rows go in transactions of bounded size, so that steps come between them.
//!
//! The file does not become smaller; its free pages are used again.

use super::tables::table;
use rusqlite::{Connection, TransactionBehavior, params};

/// Rows that one transaction deletes at most.
pub(super) const MOST_ROWS: u64 = 10_000;

/// Numbers and names of all measurements.
pub(super) fn measurements(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    connection
        .prepare_cached("select id, name from measurement order by name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The rows of a measurement before a time.
pub(super) fn count_before(
    connection: &Connection,
    (id, name): (i64, &str),
    before_us: i64,
) -> rusqlite::Result<u64> {
    // By series, which is how the table is sorted.
    let sql = format!(
        "select count(*) from series s cross join {} d
         on d.series_id = s.id and d.\"time\" < ?2 where s.measurement_id = ?1",
        table(name)
    );
    let count = |row: &rusqlite::Row<'_>| row.get(0).map(i64::unsigned_abs);
    connection.query_row(&sql, params![id, before_us], count)
}

/// Deletes at most [`MOST_ROWS`] of them, a series' oldest first; answers how many.
pub(super) fn delete_before(
    connection: &mut Connection,
    (id, name): (i64, &str),
    before_us: i64,
) -> rusqlite::Result<u64> {
    let table = table(name);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old_series = format!(
        "select s.id from series s where s.measurement_id = ?1
         and exists (select 1 from {table} d where d.series_id = s.id and d.\"time\" < ?2)
         limit ?3"
    );
    let series: Vec<i64> = transaction
        .prepare(&old_series)?
        .query_map(params![id, before_us, MOST_ROWS as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    // Up to the row that is one too many, or up to the limit.
    let delete = format!(
        "delete from {table} where series_id = ?1 and \"time\" < coalesce(
             (select \"time\" from {table} where series_id = ?1 and \"time\" < ?2
              order by \"time\" limit 1 offset ?3), ?2)"
    );
    let mut deleted = 0;
    {
        let mut delete = transaction.prepare(&delete)?;
        for series in series {
            let left = MOST_ROWS - deleted;
            if left == 0 {
                break;
            }
            deleted += delete.execute(params![series, before_us, left as i64])? as u64;
        }
    }
    transaction.commit()?;
    Ok(deleted)
}
