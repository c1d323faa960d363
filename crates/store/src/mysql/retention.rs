//! Retention: old rows go in transactions of bounded size, so that steps come between them.
//!
//! The tables do not become smaller; InnoDB uses their free pages again.

use super::connect::{Session, value};
use super::values::{data_table, time_condition};
use crate::{RemovedRows, RetentionReport, RetentionRequest, StoreError};

/// Rows that one transaction deletes at most.
const MOST_ROWS: u64 = 10_000;

/// Series that one statement looks at.
const SERIES_AT_ONCE: usize = 200;

/// Of all programs one does it at a time; steps never take this lock.
const LOCK: &str = "concat('tidegauge.retain.', md5(database()))";

const DOING: &str = "removing old rows";

/// Removes the rows that are older than they are to be kept, or counts them.
pub(super) async fn retain(
    session: &mut Session,
    request: &RetentionRequest,
) -> Result<RetentionReport, StoreError> {
    let mut report = RetentionReport::default();
    if !request.has_limits() {
        return Ok(report);
    }
    let lock = format!("select get_lock({LOCK}, 0)");
    if session.query_value::<Option<i64>>(DOING, &lock).await? != Some(1) {
        report.is_busy = true;
        return Ok(report);
    }
    let sql = "select `id`, `name` from `measurement` order by `name`";
    for row in session.query(DOING, sql).await? {
        let (id, measurement): (i32, String) = (value(DOING, &row, 0)?, value(DOING, &row, 1)?);
        let Some(before_us) = request.before_us(&measurement) else {
            continue;
        };
        let Some(is_old) = time_condition("`time`", &(i64::MIN..before_us)) else {
            continue;
        };
        let rows = remove(session, (id, &measurement), &is_old, request.dry_run).await?;
        if rows > 0 {
            report.removed.push(RemovedRows {
                measurement,
                partition: None,
                before_us,
                rows,
            });
        }
    }
    let release = format!("select release_lock({LOCK})");
    session.query(DOING, &release).await?;
    Ok(report)
}

/// Goes by series, which is how the table is sorted; answers how many rows went or would.
async fn remove(
    session: &mut Session,
    (id, measurement): (i32, &str),
    is_old: &str,
    dry_run: bool,
) -> Result<u64, StoreError> {
    let table = data_table(measurement);
    let sql = format!(
        "select s.`id` from `series` s where s.`measurement_id` = {id}
         and exists (select 1 from {table} d where d.`series_id` = s.`id` and {is_old})"
    );
    let mut series = Vec::new();
    for row in session.query(DOING, &sql).await? {
        series.push(value::<i32>(DOING, &row, 0)?.to_string());
    }
    let mut rows = 0;
    for series in series.chunks(SERIES_AT_ONCE) {
        let which = format!("`series_id` in ({}) and {is_old}", series.join(", "));
        if dry_run {
            let count = format!("select count(*) from {table} where {which}");
            rows += session.query_value::<u64>(DOING, &count).await?;
            continue;
        }
        let delete = format!(
            "delete from {table} where {which} order by `series_id`, `time` limit {MOST_ROWS}"
        );
        loop {
            let deleted = session.execute(DOING, &delete).await?;
            rows += deleted;
            if deleted < MOST_ROWS {
                break;
            }
        }
    }
    Ok(rows)
}
