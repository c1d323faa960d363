//! A pooler in transaction mode (PgBouncer's `pool_mode = transaction`) is told from a server at the
//! start, and refused: each transaction would have another session of the server, and advisory
//! locks, prepared statements, temporary tables and settings are a session's.
//!
//! A session is known by the id of its process. A second connection begins a transaction, which takes
//! a session away from the pool, most likely the one that the first connection had just used. If the
//! first one is then answered by another process, its session is not its own. That is never so
//! without a pooler, or with one in session mode.

use super::connect::{Link, Session};
use super::errors;
use crate::{ErrorClass, StoreError};
use tokio_postgres::SimpleQueryMessage;

const WHY: &str = "\
    the connection goes through a pooler in transaction mode, in which every transaction has another \
    session of the server: advisory locks, prepared statements and temporary tables are lost between \
    them; use `pool_mode = session` for this database, or connect to PostgreSQL itself";

/// Refuses a connection whose session is not its own.
pub(super) async fn refuse_transaction_mode(
    session: &Session,
    link: &Link,
) -> Result<(), StoreError> {
    let doing = "looking whether a pooler is between us and PostgreSQL";
    let before = process_id(session, doing).await?;
    let other = match link.connect_another().await {
        Ok(other) => other,
        Err(error) => {
            // One connection may be all that there is.
            tracing::debug!(%error, "not looked whether there is a pooler");
            return Ok(());
        }
    };
    other.batch(doing, "begin; select 1").await?;
    let after = process_id(session, doing).await?;
    other.rollback().await?;
    match before == after {
        true => Ok(()),
        false => Err(StoreError::new(doing, ErrorClass::Usage).caused_by(WHY)),
    }
}

/// The server's process that answers now. Nothing is prepared for that: a pooler may lose it.
async fn process_id(session: &Session, doing: &str) -> Result<String, StoreError> {
    let answer = session.client().simple_query("select pg_backend_pid()");
    let answer = session
        .within(doing, errors::During::Statement, answer)
        .await?;
    let id = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    id.ok_or_else(|| errors::unexpected(doing, "the server answered no row"))
}
