//! Migrations: versioned SQL, forward only (S8), all that are missing in one transaction.
//!
//! The version is the file's `user_version`. The transaction begins with `begin immediate`, so
//! that of two programs that start at once one waits and then finds nothing to do; refinery's
//! SQLite driver cannot do so, since it begins transactions of its own.

use super::connection::{mark, schema_version};
use rusqlite::{Connection, TransactionBehavior};

/// The migrations; the first one has version 1. Those that were released never change.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/V1__bookkeeping.sql")];

/// The version of this program's schema.
pub(super) const fn latest_version() -> u32 {
    MIGRATIONS.len() as u32
}

/// Applies what is missing. A newer schema was refused when the file was opened.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = schema_version(&transaction)?;
    for (migration, version_after) in MIGRATIONS.iter().zip(1..).skip(version as usize) {
        transaction.execute_batch(migration)?;
        mark(&transaction, version_after)?;
        tracing::info!(version = version_after, "brought the schema up to date");
    }
    transaction.commit()
}
