//! The file as a whole: lock, open, check, make, set aside (Q8, Q9). Not what is in it.

use crate::drops::{self, DropCause, Range};
use crate::error::is_corrupt;
use crate::{SpoolError, unsigned};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// "TGsp".
pub(crate) const APPLICATION_ID: u32 = 0x5447_7370;
const FORMAT: i64 = 1;

/// How long a statement waits for a reader from outside, such as a person with `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A batch takes many of SQLite's usual pages of 4,096 bytes, and each is two writes to the log and one to the
/// file. Of a new file only.
const PAGE_BYTES: i64 = 16_384;
/// The log is moved into the file when it has so many bytes.
const LOG_BYTES: i64 = 4 << 20;

const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 8388608;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA temp_store = MEMORY;
";

const SCHEMA: &str = "
    CREATE TABLE meta (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        id TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        next_sequence INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        epoch INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        created_us INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE dropped (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        epoch INTEGER NOT NULL,
        first_sequence INTEGER NOT NULL,
        last_sequence INTEGER NOT NULL,
        cause TEXT NOT NULL,
        told_by INTEGER
    ) STRICT;
";

/// A file that was opened, checked, and made if it was not there.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    pub(crate) connection: Connection,
    /// Held as long as the spool is open; the file stays, because removing it would race.
    pub(crate) lock: File,
    /// Where a corrupt file was set aside.
    pub(crate) set_aside: Option<PathBuf>,
}

/// What an attempt to open came to.
enum Attempt {
    Good(Connection),
    Corrupt(String),
}

pub(crate) fn open(path: &Path, now_us: i64) -> Result<SpoolFile, SpoolError> {
    let lock = lock(path)?;
    let mut set_aside = None;
    loop {
        match attempt(path, now_us, set_aside.is_some())? {
            Attempt::Good(connection) => {
                return Ok(SpoolFile {
                    connection,
                    lock,
                    set_aside,
                });
            }
            Attempt::Corrupt(detail) if set_aside.is_none() => {
                let aside = move_aside(path, now_us).map_err(|source| SpoolError::SetAside {
                    path: path.to_owned(),
                    source,
                })?;
                tracing::error!(
                    spool = %path.display(),
                    set_aside = %aside.display(),
                    detail,
                    "the spool is corrupt and was set aside, a new one begins"
                );
                set_aside = Some(aside);
            }
            Attempt::Corrupt(detail) => {
                let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
                return Err(SpoolError::Open {
                    path: path.to_owned(),
                    source: rusqlite::Error::SqliteFailure(failure, Some(detail)),
                });
            }
        }
    }
}

fn lock(path: &Path) -> Result<File, SpoolError> {
    let failed = |source| SpoolError::Lock {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(with_suffix(path, ".lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn attempt(path: &Path, now_us: i64, after_loss: bool) -> Result<Attempt, SpoolError> {
    match open_checked(path, now_us, after_loss) {
        Ok(connection) => Ok(Attempt::Good(connection)),
        Err(SpoolError::Open { source, .. }) if is_corrupt(&source) || is_no_table(&source) => {
            Ok(Attempt::Corrupt(source.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// A statement that SQLite cannot even prepare: the schema is not the one of the format.
fn is_no_table(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqlInputError { .. })
        || error.sqlite_error_code() == Some(ErrorCode::Unknown)
}

fn open_checked(path: &Path, now_us: i64, after_loss: bool) -> Result<Connection, SpoolError> {
    let failed = |source| SpoolError::Open {
        path: path.to_owned(),
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // A corrupt file is left as it is, with its WAL.
    let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection
        .set_db_config(no_checkpoint, true)
        .map_err(failed)?;

    let pragma = |connection: &Connection, name| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let application_id = pragma(&connection, "application_id").map_err(failed)?;
    let format = pragma(&connection, "user_version").map_err(failed)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let is_new = (application_id, format, tables) == (0, 0, 0);
    if !is_new && application_id != i64::from(APPLICATION_ID) {
        return Err(SpoolError::NotASpool {
            path: path.to_owned(),
            // The header's four bytes, which SQLite shows as a signed number.
            application_id: application_id as u32,
        });
    }
    if !is_new && format != FORMAT {
        return Err(SpoolError::UnknownFormat {
            path: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    if is_new {
        connection
            .pragma_update(None, "page_size", PAGE_BYTES)
            .map_err(failed)?;
    }
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(SpoolError::NoWriteAheadLog {
            path: path.to_owned(),
            mode,
        });
    }
    connection.execute_batch(SETTINGS).map_err(failed)?;
    // A file that an older version made keeps its page size.
    let page_bytes = pragma(&connection, "page_size").map_err(failed)?;
    connection
        .pragma_update(None, "wal_autocheckpoint", LOG_BYTES / page_bytes.max(1))
        .map_err(failed)?;
    if is_new {
        make(&mut connection, now_us, after_loss).map_err(failed)?;
        sync_folder(path).map_err(|source| SpoolError::Lock {
            path: path.to_owned(),
            source,
        })?;
    }
    check(&connection).map_err(failed)?;
    connection
        .set_db_config(no_checkpoint, false)
        .map_err(failed)?;
    Ok(connection)
}

fn make(connection: &mut Connection, now_us: i64, after_loss: bool) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute(
        "INSERT INTO meta (only, id, epoch, next_sequence)
         VALUES (1, lower(hex(randomblob(16))), ?1, 0)",
        [now_us.max(1)],
    )?;
    if after_loss {
        drops::record(&transaction, &loss(now_us))?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

/// The drop that stands for a whole file (Q9): each has a number of its own, so that none hides
/// another.
pub(crate) fn loss(now_us: i64) -> Range {
    Range::one(0, unsigned(now_us), DropCause::Corrupt)
}

/// Reads every page once; a payload that is damaged within its page is found by its checksum.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(failure, Some(verdict)));
    }
    connection.query_row("SELECT id, epoch, next_sequence FROM meta", [], |row| {
        row.get::<_, String>(0)?;
        row.get::<_, i64>(1)?;
        row.get::<_, i64>(2).map(|_| ())
    })?;
    connection
        .prepare("SELECT id, epoch, sequence, created_us, bytes, crc32, payload FROM entry")?;
    connection
        .prepare("SELECT id, epoch, first_sequence, last_sequence, cause, told_by FROM dropped")?;
    Ok(())
}

/// Renames the file with its WAL; returns the new name of the file.
fn move_aside(path: &Path, now_us: i64) -> io::Result<PathBuf> {
    let mut moment = now_us;
    let aside = loop {
        let aside = with_suffix(path, &format!(".corrupt-{moment}"));
        if !aside.try_exists()? {
            break aside;
        }
        moment += 1;
    };
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if suffix.is_empty() || error.kind() != io::ErrorKind::NotFound => {
                return Err(error);
            }
            _ => {}
        }
    }
    sync_folder(path)?;
    Ok(aside)
}

/// Makes new names durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
