//! What can go wrong with a spool. Losses are no errors: they are counted as [`crate::Dropped`].

use rusqlite::{Error as SqliteError, ErrorCode, ffi};
use std::io;
use std::path::PathBuf;

/// Why a spool could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// A bound of 0 would keep nothing.
    #[error("opening a spool: {setting} must be greater than 0")]
    Settings {
        /// The name of the setting.
        setting: &'static str,
    },
    /// Another process has the spool open (Q8).
    #[error("opening the spool {}: another process is using it; each agent needs a state folder of its own", path.display())]
    InUse {
        /// The spool's file.
        path: PathBuf,
    },
    /// The lock file could not be made or locked.
    #[error("locking the spool {}", path.display())]
    Lock {
        /// The spool's file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file could not be opened, though not because it is corrupt.
    #[error("opening the spool {}", path.display())]
    Open {
        /// The spool's file.
        path: PathBuf,
        /// The cause.
        source: SqliteError,
    },
    /// The file system cannot do write-ahead logging, as some network file systems.
    #[error("opening the spool {}: its file system does not take a write-ahead log (journal mode {mode}); put the state folder on a local disk", path.display())]
    NoWriteAheadLog {
        /// The spool's file.
        path: PathBuf,
        /// The journal mode that SQLite chose instead.
        mode: String,
    },
    /// An SQLite database that is no spool.
    #[error("opening the spool {}: it is a database of another program (application id {application_id:#x}); move it away or choose another state folder", path.display())]
    NotASpool {
        /// The spool's file.
        path: PathBuf,
        /// What the file says it is.
        application_id: u32,
    },
    /// A spool of a newer program.
    #[error("opening the spool {}: it has format {found}, this program knows {known}; use the newer program, or let it send all and then delete the file", path.display())]
    UnknownFormat {
        /// The spool's file.
        path: PathBuf,
        /// The format of the file.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// A corrupt file could not be renamed.
    #[error("setting the corrupt spool {} aside", path.display())]
    SetAside {
        /// The spool's file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The disk is full, and giving up the oldest entries did not help. The batch is not stored;
    /// see [`crate::Spool::note_unstored`].
    #[error("appending to the spool {}: the disk is full", path.display())]
    DiskFull {
        /// The spool's file.
        path: PathBuf,
        /// The cause.
        source: SqliteError,
    },
    /// One batch is larger than the whole spool may be.
    #[error(
        "appending to a spool: a batch of {bytes} bytes is larger than the spool's bound of {max_bytes}"
    )]
    TooLarge {
        /// Bytes of the batch.
        bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// The batch does not carry what [`crate::Spool::next`] says (Q4).
    #[error(
        "appending to a spool: the next batch is {expected:?} as (epoch, sequence), not {found:?}"
    )]
    OutOfOrder {
        /// What comes next.
        expected: (i64, u64),
        /// What the batch carries.
        found: (i64, u64),
    },
    /// Any other failure of the database.
    #[error("{doing} the spool {}", path.display())]
    Storage {
        /// What we were doing: "reading from", "appending to".
        doing: &'static str,
        /// The spool's file.
        path: PathBuf,
        /// The cause.
        source: SqliteError,
    },
}

impl SpoolError {
    /// Whether the same call can work later without a change of settings or files.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Storage { source, .. } | Self::Open { source, .. } => !is_corrupt(source),
            _ => false,
        }
    }

    /// Whether the file turned out to be corrupt while it was in use: opening it anew sets it
    /// aside (Q9).
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if is_corrupt(source))
    }
}

/// Whether SQLite says that the file is damaged, or what is in it is not what the schema promises.
pub(crate) fn is_corrupt(error: &SqliteError) -> bool {
    match error {
        SqliteError::SqliteFailure(failure, _) => {
            matches!(
                failure.code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
            )
        }
        SqliteError::InvalidColumnType(..)
        | SqliteError::IntegralValueOutOfRange(..)
        | SqliteError::FromSqlConversionFailure(..)
        | SqliteError::Utf8Error(..)
        | SqliteError::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// Whether a write failed for want of space: ENOSPC is `SQLITE_FULL` in the file, and an I/O error
/// in the shared memory of the WAL; a quota (EDQUOT) is an I/O error of writing.
pub(crate) fn is_disk_full(error: &SqliteError) -> bool {
    matches!(error, SqliteError::SqliteFailure(failure, _)
        if failure.code == ErrorCode::DiskFull
            || [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE].contains(&failure.extended_code))
}
