//! The table `dropped`: what was given up and is not yet known to the sink (Q2, Q5).
//!
//! Rows are ranges of one epoch and cause. Ranges that touch are one row under a new id, whether
//! the older one was told already or not: so an outage of any length is one row, and every batch
//! that tells it is right.

use crate::{signed, unsigned};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

/// Why a batch was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropCause {
    /// The bound in bytes forced it out.
    Full,
    /// The bound in age forced it out.
    Age,
    /// The disk was full.
    DiskFull,
    /// Its checksum did not fit, or the file was corrupt as a whole.
    Corrupt,
    /// The receiver refused it for good.
    Refused,
}

impl DropCause {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 5] = [
        Self::Full,
        Self::Age,
        Self::DiskFull,
        Self::Corrupt,
        Self::Refused,
    ];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Age => "age",
            Self::DiskFull => "disk_full",
            Self::Corrupt => "corrupt",
            Self::Refused => "refused",
        }
    }

    /// The cause behind a word. A word that this program does not have is a loss all the same.
    pub(crate) fn parse(word: &str) -> Self {
        let known = Self::ALL.into_iter().find(|cause| cause.as_str() == word);
        known.unwrap_or(Self::Corrupt)
    }
}

/// A range of batches that were given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The row; a later change of the range has a greater one.
    pub id: i64,
    /// The epoch of the batches; 0 for a whole file of unknown content (Q9).
    pub epoch: i64,
    /// The first of them.
    pub first_sequence: u64,
    /// The last of them.
    pub last_sequence: u64,
    /// Why they were given up.
    pub cause: DropCause,
}

impl Dropped {
    /// How many batches these are; 1 for a whole file.
    #[must_use]
    pub const fn batches(&self) -> u64 {
        self.last_sequence - self.first_sequence + 1
    }
}

/// Batches that are to be given up, one cause, one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) epoch: i64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) cause: DropCause,
}

impl Range {
    pub(crate) const fn one(epoch: i64, sequence: u64, cause: DropCause) -> Self {
        Self {
            epoch,
            first: sequence,
            last: sequence,
            cause,
        }
    }

    /// How many batches these are.
    pub(crate) const fn batches(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Adds one batch to ranges, at the end of the last where it goes on.
    pub(crate) fn push(ranges: &mut Vec<Self>, one: Self) {
        match ranges.last_mut() {
            Some(last)
                if (last.epoch, last.cause) == (one.epoch, one.cause)
                    && last.last.checked_add(1) == Some(one.first) =>
            {
                last.last = one.last;
            }
            _ => ranges.push(one),
        }
    }
}

/// Adds a range that nobody was told of, merged with what it touches; returns its row's id.
pub(crate) fn record(connection: &Connection, range: &Range) -> Result<i64> {
    let (first, last) = (signed(range.first), signed(range.last));
    let cause = range.cause.as_str();
    let touching: (Option<i64>, Option<i64>) = connection
        .prepare_cached(
            "SELECT min(first_sequence), max(last_sequence) FROM dropped
             WHERE epoch = ?1 AND cause = ?2 AND first_sequence - 1 <= ?4 AND last_sequence >= ?3 - 1",
        )?
        .query_row(params![range.epoch, cause, first, last], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if let (Some(least), Some(greatest)) = touching {
        connection
            .prepare_cached(
                "DELETE FROM dropped
                 WHERE epoch = ?1 AND cause = ?2 AND first_sequence - 1 <= ?4 AND last_sequence >= ?3 - 1",
            )?
            .execute(params![range.epoch, cause, first, last])?;
        return insert(connection, range, first.min(least), last.max(greatest));
    }
    insert(connection, range, first, last)
}

fn insert(connection: &Connection, range: &Range, first: i64, last: i64) -> Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO dropped (epoch, first_sequence, last_sequence, cause) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![range.epoch, first, last, range.cause.as_str()])?;
    Ok(connection.last_insert_rowid())
}

/// What no entry tells, the oldest first.
pub(crate) fn untold(connection: &Connection) -> Result<Vec<Dropped>> {
    connection
        .prepare_cached(
            "SELECT id, epoch, first_sequence, last_sequence, cause FROM dropped
             WHERE told_by IS NULL ORDER BY id",
        )?
        .query_map([], read_row)?
        .collect()
}

/// Notes that the payload of entry `entry_id` tells what is untold up to row `through`.
pub(crate) fn mark_told(connection: &Connection, entry_id: i64, through: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE dropped SET told_by = ?1 WHERE told_by IS NULL AND id <= ?2")?
        .execute([entry_id, through])?;
    Ok(())
}

/// Forgets what an acknowledged entry told.
pub(crate) fn forget_told(connection: &Connection, entry_id: i64) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM dropped WHERE told_by = ?1")?
        .execute([entry_id])?;
    Ok(())
}

/// Makes untold again what the entries of these ids told, because they are given up themselves.
pub(crate) fn release_told(connection: &Connection, first_id: i64, last_id: i64) -> Result<()> {
    let mut next = connection.prepare_cached(
        "SELECT id, epoch, first_sequence, last_sequence, cause FROM dropped
         WHERE told_by BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1",
    )?;
    // One by one: recording one may merge it with others of them.
    while let Some(told) = next.query_row([first_id, last_id], read_row).optional()? {
        connection
            .prepare_cached("DELETE FROM dropped WHERE id = ?1")?
            .execute([told.id])?;
        let range = Range {
            epoch: told.epoch,
            first: told.first_sequence,
            last: told.last_sequence,
            cause: told.cause,
        };
        record(connection, &range)?;
    }
    Ok(())
}

fn read_row(row: &Row<'_>) -> Result<Dropped> {
    Ok(Dropped {
        id: row.get(0)?,
        epoch: row.get(1)?,
        first_sequence: unsigned(row.get(2)?),
        last_sequence: unsigned(row.get(3)?),
        cause: DropCause::parse(row.get_ref(4)?.as_str()?),
    })
}
