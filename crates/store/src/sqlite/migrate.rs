//! Migrations: versioned SQL, forward only (S8), all that are missing in one transaction.
//!
//! The version is the file's `user_version`; the table `tidegauge_migration` keeps the checksum of
//! each text. The transaction begins with `begin immediate`, so that of two programs that start at
//! once one waits and then finds nothing to do; refinery's SQLite driver cannot do so, since it
//! begins transactions of its own.

use super::check_views;
use super::connection::{File, mark, schema_version};
use super::tables::NOW_US;
use crate::error::name_is_kept;
use crate::{ErrorClass, StoreError};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use tidegauge_model::catalog;

/// The migrations; the first one has version 1. Those that were released never change.
pub(super) const MIGRATIONS: &[(&str, &str)] = &[
    (
        "bookkeeping",
        include_str!("../../migrations/sqlite/V1__bookkeeping.sql"),
    ),
    (
        "losses",
        include_str!("../../migrations/sqlite/V2__losses.sql"),
    ),
    (
        "views_of_checks",
        include_str!("../../migrations/sqlite/V3__views_of_checks.sql"),
    ),
];

/// Where it is kept what was applied.
pub(super) const HISTORY: &str = "create table if not exists \"tidegauge_migration\" (
    \"version\" integer primary key,
    \"name\" text not null,
    \"checksum\" text not null,
    \"applied\" integer not null
) strict";

/// The version of this program's schema.
pub(super) const fn latest_version() -> u32 {
    MIGRATIONS.len() as u32
}

/// Applies what is missing. A newer schema was refused when the file was opened; one that was made
/// by other texts than this program's is refused here.
pub(super) fn migrate(file: &File, connection: &mut Connection) -> Result<(), StoreError> {
    let doing = "migrating";
    let failed = |error| file.failed(doing, error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    if let Some(refused) = bring_up_to_date(file, &transaction).map_err(failed)? {
        return Err(refused);
    }
    transaction.commit().map_err(failed)
}

/// What is to be done in the transaction; answers why the database is refused, if it is.
fn bring_up_to_date(
    file: &File,
    transaction: &Transaction<'_>,
) -> rusqlite::Result<Option<StoreError>> {
    let doing = format!("migrating {}", file.path.display());
    let applied = schema_version(transaction)?;
    transaction.execute_batch(HISTORY)?;
    for (version, (name, sql)) in (1..).zip(MIGRATIONS).take(applied as usize) {
        let checksum = checksum(sql);
        match noted(transaction, version)? {
            // Applied before checksums were kept.
            None => note(transaction, version, name, &checksum)?,
            Some(noted) if noted == checksum => {}
            Some(_) => {
                let why = format!(
                    "version {version} ({name}) was made by another text than this program's"
                );
                return Ok(Some(
                    StoreError::new(doing, ErrorClass::Usage).caused_by(why),
                ));
            }
        }
    }
    if applied > 0
        && applied < latest_version()
        && let Some(name) = kept_name(transaction)?
    {
        return Ok(Some(name_is_kept(&doing, &name)));
    }
    for (version, (name, sql)) in (1..).zip(MIGRATIONS).skip(applied as usize) {
        transaction.execute_batch(sql)?;
        note(transaction, version, name, &checksum(sql))?;
        mark(transaction, version)?;
        tracing::info!(version, name, "brought the schema up to date");
    }
    check_views::refresh(transaction)?;
    Ok(None)
}

/// A measurement whose name is kept now.
fn kept_name(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let names: Vec<String> = connection
        .prepare("select name from measurement order by name")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut names = names.into_iter();
    Ok(names.find(|name| catalog::is_reserved_measurement(name)))
}

fn noted(connection: &Connection, version: u32) -> rusqlite::Result<Option<String>> {
    let sql = "select checksum from tidegauge_migration where version = ?1";
    let noted = connection.query_row(sql, [version], |row| row.get(0));
    noted.optional()
}

fn note(connection: &Connection, version: u32, name: &str, checksum: &str) -> rusqlite::Result<()> {
    let sql = format!(
        "insert into tidegauge_migration (version, name, checksum, applied)
         values (?1, ?2, ?3, {NOW_US})"
    );
    connection.execute(&sql, params![version, name, checksum])?;
    Ok(())
}

pub(super) fn checksum(sql: &str) -> String {
    let digest = Sha256::digest(sql.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_our_own_tables_and_views_are_no_measurements() {
        for (_, sql) in MIGRATIONS {
            for line in sql.lines() {
                let made =
                    ["create table \"", "create view \""].map(|make| line.strip_prefix(make));
                if let Some(rest) = made.into_iter().flatten().next() {
                    let (name, _) = rest.split_once('"').expect("a name");
                    assert!(catalog::is_reserved_measurement(name), "{name}");
                }
            }
        }
    }
}
