//! A look at a spool from outside, whether its agent runs or not: it takes no lock of the spool (Q8), writes nothing,
//! and no writer waits for it.
//!
//! Not a check: a payload is not read, and a file that is no spool is an error.

use crate::entries::{self, Size};
use crate::file::{APPLICATION_ID, with_suffix};
use crate::{DropCause, SpoolError, unsigned};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How long a reader may have to wait, for recovery after a crash, for example.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// What is in a spool's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolLook {
    /// Batches that wait, with the few that were acknowledged since the last append.
    pub entries: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// When the oldest was appended, in microseconds since 1970 UTC.
    pub oldest_us: Option<i64>,
    /// Batches that were given up and that the sink does not know of yet.
    pub dropped: BTreeMap<DropCause, u64>,
}

impl SpoolLook {
    /// Looks at a spool; `None` where there is no file, or nothing in it because it is being made.
    ///
    /// # Errors
    /// When the file cannot be read, or is no spool.
    pub fn at(path: &Path) -> Result<Option<Self>, SpoolError> {
        if !path.exists() {
            return Ok(None);
        }
        let failed = |source| SpoolError::Storage {
            doing: "looking at",
            path: path.to_owned(),
            source,
        };
        let mut connection = open(path).map_err(failed)?;
        let application_id: i64 = connection
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .map_err(failed)?;
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if (application_id, tables) == (0, 0) {
            return Ok(None);
        }
        if application_id != i64::from(APPLICATION_ID) {
            return Err(SpoolError::NotASpool {
                path: path.to_owned(),
                // The header's four bytes, which SQLite shows as a signed number.
                application_id: application_id as u32,
            });
        }
        read(&mut connection).map(Some).map_err(failed)
    }
}

/// Without a log beside it nobody has the file open: then SQLite is told so, as it would make one.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?mode=ro");
    if !with_suffix(path, "-wal").exists() {
        uri.push_str("&immutable=1");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// All of one moment.
fn read(connection: &mut Connection) -> rusqlite::Result<SpoolLook> {
    let transaction = connection.transaction()?;
    let Size { entries, bytes } = entries::count(&transaction)?;
    let oldest_us = entries::oldest_us(&transaction, &[])?;
    let mut dropped = BTreeMap::new();
    let mut ranges = transaction.prepare(
        "SELECT cause, sum(last_sequence - first_sequence + 1) FROM dropped GROUP BY cause",
    )?;
    let mut rows = ranges.query([])?;
    while let Some(row) = rows.next()? {
        let cause = DropCause::parse(&row.get::<_, String>(0)?);
        *dropped.entry(cause).or_default() += unsigned(row.get(1)?);
    }
    Ok(SpoolLook {
        entries,
        bytes,
        oldest_us,
        dropped,
    })
}
