//! The views `losses` and `freshness`, and the positions, for people.

use super::connect::{Session, value};
use super::errors;
use super::values::time_us;
use crate::{HostFreshness, Loss, PartitionProgress, StoreError};
use mysql_async::{Row, Value};

/// All that was not stored.
pub(super) async fn losses(session: &mut Session) -> Result<Vec<Loss>, StoreError> {
    let doing = "reading the losses";
    let sql = "select `what`, `source`, `epoch`, `topic`, `partition`, `reason`, `count`,
               `first_time`, `last_time` from `losses`
               order by `what`, `topic`, `source`, `epoch`, `partition`, `reason`";
    let rows = session.query(doing, sql).await?;
    let loss = |row: &Row| {
        Ok(Loss {
            what: value(doing, row, 0)?,
            source: value(doing, row, 1)?,
            epoch: value(doing, row, 2)?,
            topic: value(doing, row, 3)?,
            partition: value(doing, row, 4)?,
            reason: value(doing, row, 5)?,
            count: value(doing, row, 6)?,
            first_us: time(doing, row, 7)?,
            last_us: time(doing, row, 8)?,
        })
    };
    rows.iter().map(loss).collect()
}

/// How fresh each host is.
pub(super) async fn freshness(session: &mut Session) -> Result<Vec<HostFreshness>, StoreError> {
    let doing = "reading the freshness";
    let sql = "select `identity`, `name`, `last_sample`, `age_seconds` from `freshness`
               order by `name`, `host_id`";
    let rows = session.query(doing, sql).await?;
    let host = |row: &Row| {
        Ok(HostFreshness {
            identity: value(doing, row, 0)?,
            name: value(doing, row, 1)?,
            last_sample_us: time(doing, row, 2)?,
            age_seconds: value(doing, row, 3)?,
        })
    };
    rows.iter().map(host).collect()
}

/// How far each partition was read.
pub(super) async fn progress(session: &mut Session) -> Result<Vec<PartitionProgress>, StoreError> {
    let doing = "reading the positions";
    let sql = "select `source`, `topic`, `partition`, `next_offset`, `messages`, `points`,
               `duplicate_points`, `dead_letters`, `left_out_values`, `updated`
               from `position` order by `topic`, `source`, `partition`";
    let rows = session.query(doing, sql).await?;
    let partition = |row: &Row| {
        let updated = time(doing, row, 9)?;
        Ok(PartitionProgress {
            source: value(doing, row, 0)?,
            topic: value(doing, row, 1)?,
            partition: value(doing, row, 2)?,
            next_offset: value(doing, row, 3)?,
            messages: value(doing, row, 4)?,
            points: value(doing, row, 5)?,
            duplicate_points: value(doing, row, 6)?,
            dead_letters: value(doing, row, 7)?,
            left_out_values: value(doing, row, 8)?,
            updated_us: updated.unwrap_or_default(),
        })
    };
    rows.iter().map(partition).collect()
}

/// A time of a row, or none.
fn time(doing: &str, row: &Row, column: usize) -> Result<Option<i64>, StoreError> {
    let odd = || errors::unexpected(doing, format!("column {column} is not a time"));
    match row.as_ref(column) {
        Some(Value::NULL) => Ok(None),
        Some(value) => time_us(value).map(Some).ok_or_else(odd),
        None => Err(odd()),
    }
}
