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
    let mut condition = StoreCondition {
        version: format!("{name} {number}"),
        clock_us: Some(value(doing, row, 1)?),
        is_read_only: value::<i64>(doing, row, 2)? != 0,
        schema: u32::try_from(applied_version(session).await?).unwrap_or(0),
        schema_needed: u32::try_from(MIGRATIONS.len()).unwrap_or(0),
        may_create: true,
        ..StoreCondition::default()
    };
    if condition.schema > 0
        && let Some(rights) = rights(session).await?
    {
        condition.may_create = rights.iter().any(|right| right.is_on(None, "CREATE"));
        condition.missing_rights = Some(missing(session, &rights).await?);
    }
    Ok(condition)
}

/// What a sink does with its tables.
const RIGHTS: &[&str] = &["INSERT", "SELECT", "UPDATE"];

/// A right of this user: on a table, or on all of the database.
struct Granted {
    right: String,
    table: Option<String>,
}

impl Granted {
    fn is_on(&self, table: Option<&str>, right: &str) -> bool {
        self.right == right && (self.table.is_none() || self.table.as_deref() == table)
    }
}

/// The rights of this user, on everything, on the database, and on its tables; `None` where a role is in use,
/// whose rights these views do not show.
async fn rights(session: &mut Session) -> Result<Option<Vec<Granted>>, StoreError> {
    let doing = "asking which rights are missing";
    let role: String = session
        .query_value(doing, "select coalesce(current_role(), 'NONE')")
        .await?;
    if role != "NONE" {
        return Ok(None);
    }
    let sql = "select privilege_type, cast('' as char) from information_schema.user_privileges where grantee = GRANTEE
               union select privilege_type, cast('' as char) from information_schema.schema_privileges
                   where grantee = GRANTEE and database() like table_schema
               union select privilege_type, table_name from information_schema.table_privileges
                   where grantee = GRANTEE and table_schema = database()";
    let grantee = "concat('''', substring_index(current_user(), '@', 1), '''@''', substring_index(current_user(), '@', -1), '''')";
    let rows = session
        .query(doing, &sql.replace("GRANTEE", grantee))
        .await?;
    let granted = rows.iter().map(|row| {
        let table: String = value(doing, row, 1)?;
        Ok(Granted {
            right: value(doing, row, 0)?,
            table: Some(table).filter(|table| !table.is_empty()),
        })
    });
    granted.collect::<Result<Vec<_>, StoreError>>().map(Some)
}

async fn missing(session: &mut Session, granted: &[Granted]) -> Result<Vec<String>, StoreError> {
    let doing = "asking which tables there are";
    // Those of points are made and granted like these.
    let sql = "select table_name from information_schema.tables
               where table_schema = database() and table_type = 'BASE TABLE' and table_name not like 'm\\_%'
               and table_name not like '%migration%' order by 1";
    let rows = session.query(doing, sql).await?;
    let mut missing = Vec::new();
    for row in &rows {
        let table: String = value(doing, row, 0)?;
        let lacks = |right: &&&str| !granted.iter().any(|one| one.is_on(Some(&table), right));
        let lacking = RIGHTS.iter().filter(lacks);
        missing.extend(lacking.map(|right| format!("{right} on {table}")));
    }
    Ok(missing)
}
