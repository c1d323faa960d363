//! Bringing the bookkeeping tables to this program's version, under a lock, forward only (S8).

use super::connect::Session;
use super::errors::{self, During};
use super::read::BOOKKEEPING;
use crate::error::{name_is_kept, schema_lacks};
use crate::{ErrorClass, StoreError};
use std::time::Duration;
use tidegauge_model::catalog;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The advisory lock of all schema changes in the current schema, as an SQL expression: steps
/// never take it.
pub(super) const SCHEMA_LOCK: &str = "hashtextextended('tidegauge schema ' || current_schema(), 0)";

/// The table in which refinery keeps what was applied.
pub(super) const HISTORY: &str = "refinery_schema_history";

/// The longest that all migrations together may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// How long another program's migrations are waited for.
const LOCK_WAIT: &str = "set lock_timeout = '60s'; set statement_timeout = 0";

/// Creates what is missing; refuses a database that is newer than this program. The session's
/// settings are changed: it is not to be kept.
pub(super) async fn migrate(session: &mut Session) -> Result<(), StoreError> {
    let doing = "migrating the tables";
    let applied = applied_version(session).await?;
    if !session.manages_schema {
        return check(session, doing, applied).await;
    }
    if applied == newest() {
        return Ok(());
    }
    session.batch(doing, LOCK_WAIT).await?;
    let lock = format!("select pg_advisory_lock({SCHEMA_LOCK})");
    session.query_once(doing, &lock, &[]).await?;
    let held = "select exists (select from pg_locks
                where locktype = 'advisory' and pid = pg_backend_pid() and granted)";
    if !session.query_one(doing, held, &[]).await?.get::<_, bool>(0) {
        return Err(StoreError::new(doing, ErrorClass::Usage).caused_by(
            "the lock is not held: a pooler in transaction mode cannot be used for this store",
        ));
    }
    // Another program may have been first.
    let applied = applied_version(session).await?;
    if applied > 0 {
        check_names(session, doing).await?;
    }
    if applied < newest() {
        let runner = embedded::migrations::runner();
        let migrated = runner.run_async(session.client_mut());
        match tokio::time::timeout(DEADLINE, migrated).await {
            Ok(migrated) => migrated.map_err(|error| failed(doing, error))?,
            Err(_) => return Err(errors::deadline_elapsed(doing, During::Commit)),
        };
    }
    let unlock = format!("select pg_advisory_unlock({SCHEMA_LOCK})");
    session.query_once(doing, &unlock, &[]).await?;
    Ok(())
}

/// The version that is applied; 0 for none, an error when it is newer than this program's, or was
/// made by other texts than this program's.
pub(super) async fn applied_version(session: &mut Session) -> Result<i32, StoreError> {
    let doing = "reading the version of the tables";
    let present = "select exists (select from pg_class where relname = $1
                   and relnamespace = current_schema()::regnamespace)";
    if !session
        .query_one(doing, present, &[&HISTORY])
        .await?
        .get::<_, bool>(0)
    {
        return Ok(0);
    }
    let refused = |why: String| Err(StoreError::new(doing, ErrorClass::Usage).caused_by(why));
    let migrations = embedded::migrations::runner();
    let migrations = migrations.get_migrations();
    let applied = format!("select version, name, checksum from {HISTORY} order by version desc");
    let applied = session.query(doing, &applied, &[]).await?;
    for row in &applied {
        let (version, name, checksum): (i32, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let known = migrations.iter().find(|known| known.version() == version);
        match known {
            None => {
                let newest = newest();
                return refused(format!(
                    "the database has version {version}, this program knows up to {newest}: use a \
                     newer program"
                ));
            }
            Some(known) if known.checksum().to_string() != checksum => {
                return refused(format!(
                    "version {version} ({name}) was made by another text than this program's"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(applied.first().map_or(0, |row| row.get(0)))
}

/// Whether a schema that somebody else manages is of this version, and the role has the rights that
/// steps need.
async fn check(session: &mut Session, doing: &str, applied: i32) -> Result<(), StoreError> {
    if applied < newest() {
        let version = |version: i32| u32::try_from(version).unwrap_or(0);
        return Err(schema_lacks(doing, version(applied), version(newest())));
    }
    let lacking = "with tables as (
                       select name from unnest($1::text[]) as v(name)
                       union all select 'm_' || name from measurement
                       union all select name from partition)
                   select t.name, string_agg(r.name, ', ' order by r.name)
                   from tables t cross join unnest('{INSERT,SELECT,UPDATE}'::text[]) as r(name)
                   where not coalesce(
                       has_table_privilege(to_regclass(quote_ident(t.name)), r.name), false)
                   group by t.name order by t.name limit 5";
    let rows = session.query(doing, lacking, &[&BOOKKEEPING]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let lacking: Vec<String> = rows
        .iter()
        .map(|row| format!("{} on {}", row.get::<_, &str>(1), row.get::<_, &str>(0)))
        .collect();
    Err(StoreError::new(doing, ErrorClass::Outage)
        .caused_by(format!("the role lacks {}", lacking.join("; "))))
}

/// Number, name, text and checksum of each migration.
pub(super) fn texts() -> Vec<(i32, String, String, String)> {
    let runner = embedded::migrations::runner();
    let mut texts: Vec<_> = runner
        .get_migrations()
        .iter()
        .map(|known| {
            let (name, sql) = (known.name().to_owned(), known.sql().unwrap_or_default());
            let checksum = known.checksum().to_string();
            (known.version(), name, sql.to_owned(), checksum)
        })
        .collect();
    texts.sort_unstable();
    texts
}

/// Refuses to bring a database up to date that has a measurement of a name that is kept now.
async fn check_names(session: &mut Session, doing: &str) -> Result<(), StoreError> {
    let names = "select name from measurement order by name";
    for row in session.query(doing, names, &[]).await? {
        let name: &str = row.get(0);
        if catalog::is_reserved_measurement(name) {
            return Err(name_is_kept(doing, name));
        }
    }
    Ok(())
}

/// The version that this program brings.
pub(super) fn newest() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max()
        .unwrap_or(0)
}

/// An error of a migration, with the server's own where there is one.
fn failed(doing: &str, error: refinery::Error) -> StoreError {
    match error.kind() {
        refinery::error::Kind::DivergentVersion(..) | refinery::error::Kind::MissingVersion(..) => {
            StoreError::new(doing, ErrorClass::Usage).caused_by(error)
        }
        refinery::error::Kind::Connection(_, cause) => {
            let code = cause
                .downcast_ref::<tokio_postgres::Error>()
                .and_then(|cause| cause.code())
                .map(|code| code.code().to_owned());
            let made = StoreError::new(doing, ErrorClass::Outage).caused_by(error);
            match code {
                Some(code) => made.with_code(code),
                None => made,
            }
        }
        _ => StoreError::new(doing, ErrorClass::Outage).caused_by(error),
    }
}

/// Begins a transaction that changes the schema: one owner at a time, short waits (D9).
pub(super) async fn begin_schema_change(session: &Session, doing: &str) -> Result<(), StoreError> {
    let begin = format!(
        "begin; select pg_advisory_xact_lock({SCHEMA_LOCK}); set local lock_timeout = '3s'"
    );
    let answer = session.client().batch_execute(&begin);
    session.within(doing, During::Statement, answer).await
}

/// Ends such a transaction.
pub(super) async fn commit_schema_change(session: &Session, doing: &str) -> Result<(), StoreError> {
    let answer = session.client().batch_execute("commit");
    session
        .within(doing, During::Commit, answer)
        .await
        .map_err(|error| match error.class() {
            // What was made is looked up again by the next try.
            ErrorClass::Outage => error,
            _ => errors::unexpected(doing, "the schema change was refused").caused_by(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_our_own_tables_and_views_are_no_measurements() {
        for migration in embedded::migrations::runner().get_migrations() {
            let sql = migration.sql().expect("a text");
            for line in sql.lines() {
                let made = ["create table ", "create view "].map(|make| line.strip_prefix(make));
                if let Some(rest) = made.into_iter().flatten().next() {
                    let name = rest.split([' ', '(']).next().expect("a name");
                    assert!(catalog::is_reserved_measurement(name), "{name}");
                }
            }
        }
    }
}
