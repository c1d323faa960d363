//! What an open spool has in memory, and the transactions that change it and the file together.
//! The public face is in `spool`.

use crate::drops::{self, DropCause, Dropped, Range};
use crate::entries::{self, Entry, Excess, ForcedOut, Size};
use crate::memory::Memory;
use crate::{SpoolError, signed, unsigned};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// The bounds of a spool (Q6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Bytes of all payloads together; 0 is refused.
    pub max_bytes: u64,
    /// The greatest age of a batch in microseconds, looked at with every append; 0 is refused.
    pub max_age_us: i64,
}

/// A batch to append.
#[derive(Debug, Clone, Copy)]
pub struct NewBatch<'p> {
    /// As [`crate::Spool::next`] says.
    pub epoch: i64,
    /// As [`crate::Spool::next`] says.
    pub sequence: u64,
    /// The bytes, already encoded with that number.
    pub payload: &'p [u8],
    /// The greatest [`Dropped::id`] of [`crate::Spool::drops`] that the payload tells, with all below it.
    pub tells_drops_through: Option<i64>,
    /// Now, in microseconds since 1970 UTC.
    pub now_us: i64,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The id of the new entry.
    pub id: i64,
    /// What had to go for it; to be told with a later batch.
    pub dropped: Vec<Dropped>,
}

/// What a transaction finds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'s> {
    /// Drops that could not be written yet.
    pub(crate) unstored: &'s [Range],
    /// What waits, without the entries that it has removed because they were acknowledged.
    waiting: Size,
    removed: Size,
}

/// An open spool, behind the handle's lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) settings: SpoolSettings,
    /// As `meta` has it, or ahead of it by what is in `unstored`.
    pub(crate) epoch: i64,
    pub(crate) next_sequence: u64,
    /// Of the table `entry`, so that no append has to count.
    pub(crate) size: Size,
    /// What is not in the file yet, or need not be read from it.
    pub(crate) memory: Arc<Memory>,
    /// A write failed: what is in memory is read from the file again before the next call.
    pub(crate) stale: bool,
    /// Whether the connection waits for the disk at the end of a transaction.
    pub(crate) waits_for_disk: bool,
    /// Drops that could not be written yet.
    pub(crate) unstored: Vec<Range>,
    /// Batches given up since the spool was opened.
    pub(crate) dropped: BTreeMap<DropCause, u64>,
    /// Held until the spool is closed (Q8).
    pub(crate) _lock: File,
}

impl State {
    /// Appends, after forcing out what is over the bounds and at least `disk_bytes` bytes.
    pub(crate) fn append(
        &mut self,
        batch: &NewBatch<'_>,
        disk_bytes: u64,
    ) -> Result<Appended, SpoolError> {
        const DOING: &str = "appending to";
        self.refresh(DOING)?;
        let (expected, found) = (
            (self.epoch, self.next_sequence),
            (batch.epoch, batch.sequence),
        );
        if expected != found {
            return Err(SpoolError::OutOfOrder { expected, found });
        }
        let bytes = batch.payload.len() as u64;
        let SpoolSettings {
            max_bytes,
            max_age_us,
        } = self.settings;
        let (id, out, dropped) = self.write(DOING, |transaction, before| {
            let excess = Excess {
                before_us: batch.now_us.saturating_sub(max_age_us),
                bytes: (before.waiting.bytes + bytes).saturating_sub(max_bytes),
                disk_bytes: disk_bytes.saturating_sub(before.removed.bytes),
            };
            record_all(transaction, before.unstored)?;
            let out = entries::force_out(transaction, excess)?;
            if let Some(last_id) = out.last_id {
                drops::release_told(transaction, 0, last_id)?;
            }
            let dropped = record_all(transaction, &out.ranges)?;
            let id = entries::insert(transaction, found, batch.now_us, batch.payload)?;
            if let Some(through) = batch.tells_drops_through {
                drops::mark_told(transaction, id, through)?;
            }
            store_next(transaction, batch.epoch, batch.sequence + 1)?;
            Ok((id, out, dropped))
        })?;
        let ForcedOut { ranges, size, .. } = out;
        self.count(&ranges);
        self.unstored.clear();
        self.next_sequence = batch.sequence + 1;
        self.size -= size;
        self.size += Size { entries: 1, bytes };
        self.memory.keep_newest(|| Entry {
            id,
            epoch: batch.epoch,
            sequence: batch.sequence,
            created_us: batch.now_us,
            payload: batch.payload.to_vec(),
        });
        Ok(Appended { id, dropped })
    }

    /// Removes entries that the receiver has, those that are noted in memory too; returns how many of `ids`
    /// were there.
    pub(crate) fn acknowledge(&mut self, ids: &[i64]) -> Result<u64, SpoolError> {
        let removed = self.write_later("forgetting entries of", |transaction, _| {
            remove_acknowledged(transaction, ids)
        })?;
        self.size -= removed;
        self.memory.forget(ids);
        Ok(removed.entries)
    }

    /// Gives entries up, in one transaction; ids that are not there are passed over.
    pub(crate) fn give_up(&mut self, ids: &[i64], cause: DropCause) -> Result<(), SpoolError> {
        let (losses, size) = self.write("giving up entries of", |transaction, _| {
            let (mut losses, mut size) = (Vec::new(), Size::default());
            for &id in ids {
                if let Some(removed) = entries::remove(transaction, id)? {
                    drops::release_told(transaction, id, id)?;
                    losses.push(Range::one(removed.epoch, removed.sequence, cause));
                    size += removed.size();
                }
            }
            record_all(transaction, &losses)?;
            Ok((losses, size))
        })?;
        self.size -= size;
        self.memory.forget(ids);
        self.count(&losses);
        Ok(())
    }

    /// Counts what was given up for [`crate::SpoolStats::dropped`].
    pub(crate) fn count(&mut self, losses: &[Range]) {
        for loss in losses {
            *self.dropped.entry(loss.cause).or_default() += loss.batches();
        }
    }

    /// Runs `change` in one transaction, which is on the disk then. It removes what was acknowledged in memory
    /// first.
    pub(crate) fn write<T>(
        &mut self,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>, Found<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        self.transaction(true, doing, change)
    }

    /// The same, but it is on the disk with the next [`Self::write`] only: until then a power failure,
    /// not the end of the process, may undo it.
    pub(crate) fn write_later<T>(
        &mut self,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>, Found<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        self.transaction(false, doing, change)
    }

    fn transaction<T>(
        &mut self,
        wait_for_disk: bool,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>, Found<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        self.refresh(doing)?;
        if self.waits_for_disk != wait_for_disk {
            let level = if wait_for_disk { "FULL" } else { "NORMAL" };
            let set = self.connection.pragma_update(None, "synchronous", level);
            set.map_err(|source| self.failed(doing, source))?;
            self.waits_for_disk = wait_for_disk;
        }
        let acknowledged = self.memory.acknowledged();
        let (connection, unstored, size) = (&mut self.connection, &self.unstored, self.size);
        let run = |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let removed = remove_acknowledged(&transaction, &acknowledged)?;
            let mut waiting = size;
            waiting -= removed;
            let found = Found {
                unstored,
                waiting,
                removed,
            };
            let result = change(&transaction, found)?;
            transaction.commit()?;
            Ok((waiting, result))
        };
        let (waiting, result) = run(connection).map_err(|source| {
            self.stale = true;
            self.failed(doing, source)
        })?;
        self.size = waiting;
        self.memory.forget(&acknowledged);
        Ok(result)
    }

    /// Reads from the file, once what is in memory is right.
    pub(crate) fn read_with<T>(
        &mut self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        self.refresh(doing)?;
        read(&self.connection).map_err(|source| self.failed(doing, source))
    }

    /// Reads what is kept in memory from the file, after a failed write: a COMMIT that failed may
    /// have worked. A number that was used in memory only stays used (Q4).
    pub(crate) fn refresh(&mut self, doing: &'static str) -> Result<(), SpoolError> {
        if !self.stale {
            return Ok(());
        }
        let stored =
            self.connection
                .query_row("SELECT epoch, next_sequence FROM meta", [], |row| {
                    Ok((row.get(0)?, unsigned(row.get(1)?)))
                });
        let read = stored.and_then(|next| Ok((next, entries::count(&self.connection)?)));
        let (next, size) = read.map_err(|source| self.failed(doing, source))?;
        (self.epoch, self.next_sequence) = next.max((self.epoch, self.next_sequence));
        self.size = size;
        self.stale = false;
        Ok(())
    }

    /// Moves the log into the file, so that its space can be used again. If it cannot be done, the
    /// append that follows will say why.
    pub(crate) fn shrink_log(&self) {
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::debug!(%error, "the log of the spool could not be shrunk");
        }
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> SpoolError {
        let path = self.path.clone();
        SpoolError::Storage {
            doing,
            path,
            source,
        }
    }
}

impl Drop for State {
    /// What is acknowledged in memory only would be sent again.
    fn drop(&mut self) {
        if !self.memory.acknowledged().is_empty()
            && let Err(error) = self.acknowledge(&[])
        {
            tracing::debug!(%error, "what was acknowledged last stays in the spool");
        }
    }
}

/// Removes entries with the drops that they told (Q5).
fn remove_acknowledged(connection: &Connection, ids: &[i64]) -> rusqlite::Result<Size> {
    let mut size = Size::default();
    for &id in ids {
        if let Some(removed) = entries::remove(connection, id)? {
            drops::forget_told(connection, id)?;
            size += removed.size();
        }
    }
    Ok(size)
}

/// Adds ranges to the table `dropped`; returns them with the ids of their rows.
pub(crate) fn record_all(
    connection: &Connection,
    ranges: &[Range],
) -> rusqlite::Result<Vec<Dropped>> {
    let record = |range: &Range| {
        Ok(Dropped {
            id: drops::record(connection, range)?,
            epoch: range.epoch,
            first_sequence: range.first,
            last_sequence: range.last,
            cause: range.cause,
        })
    };
    ranges.iter().map(record).collect()
}

/// Stores what the next append must carry (Q4).
pub(crate) fn store_next(
    connection: &Connection,
    epoch: i64,
    next_sequence: u64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE meta SET epoch = ?1, next_sequence = ?2")?
        .execute([epoch, signed(next_sequence)])?;
    Ok(())
}

#[cfg(test)]
mod tests;
