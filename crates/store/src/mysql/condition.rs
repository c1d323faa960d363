//! What the server says of itself and of the tables.

use super::connect::{Session, value};
use super::errors;
use super::migrate::{MIGRATIONS, applied_version};
use crate::{StoreCondition, StoreError};

pub(super) async fn condition(session: &mut Session) -> Result<StoreCondition, StoreError> {
    let doing = "asking how the database stands";
    let sql = "select version(), cast(unix_timestamp(sysdate(6)) * 1000000 as signed),
                      cast(@@global.read_only as signed)";
    let rows = session.query(doing, sql).await?;
    let row = rows.first();
    let row = row.ok_or_else(|| errors::unexpected(doing, "the server answered no row"))?;
    let version: String = value(doing, row, 0)?;
    let (name, number) = match version.split_once("-MariaDB") {
        Some((number, _)) => ("MariaDB", number),
        None => ("MySQL", version.as_str()),
    };
    Ok(StoreCondition {
        version: format!("{name} {number}"),
        clock_us: Some(value(doing, row, 1)?),
        is_read_only: value::<i64>(doing, row, 2)? != 0,
        schema: u32::try_from(applied_version(session).await?).unwrap_or(0),
        schema_needed: u32::try_from(MIGRATIONS.len()).unwrap_or(0),
        may_create: true,
        ..StoreCondition::default()
    })
}
