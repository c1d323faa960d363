//! Connections to the file: how they are set up, and what they refuse.

use super::errors::failed;
use super::migrate;
use crate::{ErrorClass, OpenOptions, StoreError};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// `application_id` of our files: "Tide" in ASCII (<https://sqlite.org/pragma.html>).
pub(super) const APPLICATION_ID: i32 = 0x5469_6465;

/// The longest to wait for another process' transaction.
const LONGEST_BUSY: Duration = Duration::from_secs(5);

/// Statements that a connection keeps prepared: one per measurement and a few more.
const PREPARED_STATEMENTS: usize = 256;

/// The database file, and how long to wait for it.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// The longest that one job may take.
    pub(super) deadline: Duration,
    /// Whether tables, columns and views are made.
    pub(super) manages_schema: bool,
    busy: Duration,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Makes the file and its tables.
    Migrate,
    /// Writes; the file must be there, with this program's schema.
    Write,
    /// Reads only; the file must be there, with this program's schema.
    Read,
}

impl File {
    pub(super) fn new(path: PathBuf, options: &OpenOptions) -> Self {
        Self {
            path,
            deadline: options.connect_deadline + options.statement_deadline,
            manages_schema: options.manage_schema,
            busy: options.statement_deadline.min(LONGEST_BUSY),
        }
    }

    /// Opens the file.
    pub(super) fn open(&self, role: Role) -> Result<Connection, StoreError> {
        self.check_that_it_is_there(role)?;
        let access = match role {
            Role::Migrate => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Role::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Role::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let opened =
            Connection::open_with_flags(&self.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        let connection = opened.map_err(|error| self.failed("opening", error))?;
        connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
        // Before anything is written: a file that is not ours stays as it is.
        let version = connection
            .busy_timeout(self.busy)
            .and_then(|()| self.identify(&connection))
            .map_err(|error| self.failed("opening", error))?;
        self.check_version(version, role)?;
        if role != Role::Read {
            self.set_up_writing(&connection)
                .map_err(|error| self.failed("opening", error))?;
        }
        Ok(connection)
    }

    /// An error while `doing` something with this file.
    pub(super) fn failed(&self, doing: &str, error: rusqlite::Error) -> StoreError {
        failed(doing, &self.path, error)
    }

    fn check_that_it_is_there(&self, role: Role) -> Result<(), StoreError> {
        let path = self.path.display();
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        match (role, folder) {
            (Role::Migrate, Some(folder)) if !folder.is_dir() => Err(StoreError::new(
                format!("making {path}: make its folder {} first", folder.display()),
                ErrorClass::Usage,
            )),
            (Role::Write | Role::Read, _) if !self.path.exists() => Err(StoreError::new(
                format!("opening {path}: there is no database yet; a sink makes it when it starts"),
                ErrorClass::Outage,
            )),
            _ => Ok(()),
        }
    }

    /// The schema's version; `None` for a file of another program.
    fn identify(&self, connection: &Connection) -> rusqlite::Result<Option<u32>> {
        let application_id: i32 =
            connection.query_row("pragma application_id", [], |row| row.get(0))?;
        let empty: bool = connection.query_row(
            "select not exists (select 1 from sqlite_schema)",
            [],
            |row| row.get(0),
        )?;
        match application_id {
            APPLICATION_ID => schema_version(connection).map(Some),
            0 if empty => Ok(Some(0)),
            _ => Ok(None),
        }
    }

    fn check_version(&self, version: Option<u32>, role: Role) -> Result<(), StoreError> {
        let (path, latest) = (self.path.display(), migrate::latest_version());
        let (doing, class) = match version {
            None => (
                format!("opening {path}: it is the SQLite file of another program"),
                ErrorClass::Usage,
            ),
            Some(version) if version > latest => (
                format!(
                    "opening {path}: its schema has version {version} and this program knows \
                     {latest}; a newer Tidegauge made it"
                ),
                ErrorClass::Usage,
            ),
            Some(version) if version < latest && role != Role::Migrate => (
                format!(
                    "opening {path}: its schema has version {version} and this program needs \
                     {latest}; a sink brings it up to date when it starts"
                ),
                ErrorClass::Outage,
            ),
            Some(_) => return Ok(()),
        };
        Err(StoreError::new(doing, class))
    }

    fn set_up_writing(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.set_write_ahead_log(connection)?;
        connection.execute_batch(
            "pragma synchronous = full;
             pragma foreign_keys = on;
             pragma journal_size_limit = 67108864;",
        )
    }

    /// The one change for which SQLite does not wait while another connection reads.
    fn set_write_ahead_log(&self, connection: &Connection) -> rusqlite::Result<()> {
        let begin = Instant::now();
        loop {
            let set = connection.query_row("pragma journal_mode = wal", [], |_| Ok(()));
            match set {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && begin.elapsed() < self.busy =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                set => return set,
            }
        }
    }
}

/// The version of the schema, as the last migration left it.
pub(super) fn schema_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("pragma user_version", [], |row| row.get(0))
}

/// Says that the schema has this version and the file is ours; part of the transaction.
pub(super) fn mark(connection: &Connection, version: u32) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "pragma application_id = {APPLICATION_ID}; pragma user_version = {version};"
    ))
}
