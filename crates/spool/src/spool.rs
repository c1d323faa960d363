//! The handle: each call is one transaction, and what is kept in memory follows the file.

use crate::SpoolError;
use crate::drops::{self, DropCause, Dropped, Range};
use crate::entries::{self, Entry, Page, Size};
use crate::error::is_disk_full;
use crate::file::{self, SpoolFile};
use crate::memory::Memory;
use crate::state::{Appended, NewBatch, SpoolSettings, State, record_all, store_next};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was found when a spool was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Where a corrupt file was set aside (Q9).
    pub set_aside: Option<PathBuf>,
    /// Batches that wait.
    pub entries: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// Figures of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolStats {
    /// Batches that wait.
    pub entries: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// When the oldest was appended, in microseconds since 1970 UTC.
    pub oldest_us: Option<i64>,
    /// The id that the next append gets.
    pub next_id: i64,
    /// Batches given up since the spool was opened, all causes.
    pub dropped: BTreeMap<DropCause, u64>,
}

/// An open spool. Clones are handles to the same one; the last closes it.
#[derive(Debug, Clone)]
pub struct Spool {
    id: Arc<str>,
    /// Has a lock of its own: nobody who asks for it waits for an append.
    memory: Arc<Memory>,
    state: Arc<Mutex<State>>,
}

impl Spool {
    /// Opens the spool at `path`, in a folder that is there, and makes it if it is missing.
    ///
    /// # Errors
    /// When another process has it, when the file is of another program or a newer format, or when
    /// the file system refuses. A corrupt file is no error (Q9).
    pub fn open(
        path: &Path,
        settings: SpoolSettings,
        now_us: i64,
    ) -> Result<(Self, Opened), SpoolError> {
        if settings.max_bytes == 0 {
            return Err(SpoolError::Settings {
                setting: "max_bytes",
            });
        }
        if settings.max_age_us <= 0 {
            return Err(SpoolError::Settings { setting: "max_age" });
        }
        let SpoolFile {
            connection,
            lock,
            set_aside,
        } = file::open(path, now_us)?;
        let memory = Arc::new(Memory::default());
        let mut state = State {
            connection,
            path: path.to_owned(),
            settings,
            epoch: 0,
            next_sequence: 0,
            size: Size::default(),
            memory: Arc::clone(&memory),
            stale: true,
            waits_for_disk: true,
            unstored: Vec::new(),
            dropped: DropCause::ALL.into_iter().map(|cause| (cause, 0)).collect(),
            _lock: lock,
        };
        if set_aside.is_some() {
            state.count(&[file::loss(now_us)]);
        }
        let id: String = state.read_with("opening", |connection| {
            connection.query_row("SELECT id FROM meta", [], |row| row.get(0))
        })?;
        let opened = Opened {
            set_aside,
            entries: state.size.entries,
            bytes: state.size.bytes,
        };
        let (id, state) = (Arc::from(id), Arc::new(Mutex::new(state)));
        Ok((Self { id, memory, state }, opened))
    }

    /// A random text that belongs to this file: a copy has the same, a new file another one.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Begins an epoch: the moment `now_us` or, if the clock went back, one more than the epoch
    /// before. The sequence begins again at 0. Called at every start, because the file may be an
    /// older copy of itself.
    ///
    /// # Errors
    /// When it cannot be stored; then the epoch before goes on.
    pub fn begin_epoch(&self, now_us: i64) -> Result<i64, SpoolError> {
        let mut state = self.lock();
        state.refresh("beginning an epoch in")?;
        let epoch = now_us.max(state.epoch.saturating_add(1));
        state.write("beginning an epoch in", |transaction, _| {
            store_next(transaction, epoch, 0)
        })?;
        (state.epoch, state.next_sequence) = (epoch, 0);
        Ok(epoch)
    }

    /// The epoch and sequence that the next append must carry (Q4).
    #[must_use]
    pub fn next(&self) -> (i64, u64) {
        let mut state = self.lock();
        // Without the file the numbers in memory stand; the append will say what is wrong.
        if let Err(error) = state.refresh("reading from") {
            tracing::debug!(%error, "the next number of the spool is from memory");
        }
        (state.epoch, state.next_sequence)
    }

    /// What was given up and is not told by any entry, in the order of their ids.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn drops(&self) -> Result<Vec<Dropped>, SpoolError> {
        self.lock().read_with("reading the drops of", drops::untold)
    }

    /// Appends a batch, durably (Q1), and forces out what is over the bounds (Q6).
    ///
    /// # Errors
    /// The batch is not stored then, and its number is free. [`SpoolError::DiskFull`] after the
    /// oldest entries were given up in vain; [`SpoolError::TooLarge`]: this batch will never fit.
    /// A caller that gives the batch up says so with [`Spool::note_unstored`].
    pub fn append(&self, batch: NewBatch<'_>) -> Result<Appended, SpoolError> {
        let mut state = self.lock();
        let bytes = batch.payload.len() as u64;
        if bytes > state.settings.max_bytes {
            return Err(SpoolError::TooLarge {
                bytes,
                max_bytes: state.settings.max_bytes,
            });
        }
        match state.append(&batch, 0) {
            Err(SpoolError::Storage { source, path, .. }) if is_disk_full(&source) => {
                tracing::debug!(spool = %path.display(), "disk full, giving up the oldest entries");
                state.shrink_log();
                state.append(&batch, bytes).map_err(|error| match error {
                    SpoolError::Storage { source, path, .. } if is_disk_full(&source) => {
                        SpoolError::DiskFull { path, source }
                    }
                    other => other,
                })
            }
            result => result,
        }
    }

    /// Counts the batch that `append` did not take as given up: its number is used (Q4), and the
    /// drop is told with a later batch. It is kept in memory until the disk takes it.
    pub fn note_unstored(&self, cause: DropCause) {
        let mut state = self.lock();
        if let Err(error) = state.refresh("counting a loss in") {
            tracing::debug!(%error, "the number of a lost batch is from memory");
        }
        let loss = Range::one(state.epoch, state.next_sequence, cause);
        state.count(std::slice::from_ref(&loss));
        Range::push(&mut state.unstored, loss);
        state.next_sequence += 1;
        let next = (state.epoch, state.next_sequence);
        let stored = state.write("counting a loss in", |transaction, before| {
            record_all(transaction, before.unstored)?;
            store_next(transaction, next.0, next.1)
        });
        match stored {
            Ok(()) => state.unstored.clear(),
            Err(error) => tracing::debug!(%error, "a loss is counted in memory for now"),
        }
    }

    /// Reads entries with ids greater than `after_id`, oldest first: at most `max_entries`, and
    /// `max_bytes` of payload unless one entry alone has more. Entries whose checksum does not fit
    /// are given up on the way (Q7).
    ///
    /// # Errors
    /// When the file cannot be read, or a corrupt entry not be removed.
    pub fn read(
        &self,
        mut after_id: i64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Page, SpoolError> {
        let mut state = self.lock();
        if self.memory.acknowledged().iter().any(|id| *id > after_id) {
            state.acknowledge(&[])?;
        }
        loop {
            let page = state.read_with("reading from", |connection| {
                entries::read_page(connection, after_id, max_entries, max_bytes)
            })?;
            let Some(last_corrupt) = page.corrupt.last() else {
                return Ok(page);
            };
            tracing::error!(
                spool = %state.path.display(),
                ids = ?page.corrupt,
                "entries are corrupt and given up"
            );
            state.give_up(&page.corrupt, DropCause::Corrupt)?;
            if !page.entries.is_empty() || page.is_last {
                return Ok(page);
            }
            after_id = *last_corrupt;
        }
    }

    /// The entry that was appended last, if it is the one right behind `after_id`; once. Others, and those
    /// from before the first call, are to be read. Never waits for the disk.
    #[must_use]
    pub fn take_newest(&self, after_id: i64) -> Option<Entry> {
        self.memory.take_newest(after_id)
    }

    /// Forgets entries that the receiver has (D2), with the drops that they told (Q5). Ids that are
    /// not there are passed over. Returns how many were forgotten. It is on the disk with the next
    /// append (Q2): waiting for that would cost as much as the append itself.
    ///
    /// # Errors
    /// When the file cannot be written; then all of them stay.
    pub fn acknowledge(&self, ids: &[i64]) -> Result<u64, SpoolError> {
        let mut state = self.lock();
        if ids.is_empty() && !self.has_more_to_forget() {
            return Ok(0);
        }
        state.acknowledge(ids)
    }

    /// The same, in memory: the next call that writes takes them out of the file, as does closing it, and no
    /// figure and no read has them meanwhile. Whether it did so: for more than a few of them it does not. Never
    /// waits for the disk.
    #[must_use]
    pub fn acknowledge_in_memory(&self, ids: &[i64]) -> bool {
        self.memory.acknowledge(ids)
    }

    /// Whether entries are acknowledged in memory only.
    #[must_use]
    pub fn has_more_to_forget(&self) -> bool {
        !self.memory.acknowledged().is_empty()
    }

    /// Gives an entry up because the receiver refused it for good. Nothing if it is not there.
    ///
    /// # Errors
    /// When the file cannot be written; then the entry stays.
    pub fn refuse(&self, id: i64) -> Result<(), SpoolError> {
        self.lock().give_up(&[id], DropCause::Refused)
    }

    /// Makes later appends get ids of `next_id` at least: a reader that keeps its position elsewhere
    /// is ahead of a file that was restored from a copy.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn advance_ids(&self, next_id: i64) -> Result<(), SpoolError> {
        self.lock().write("advancing the ids of", |transaction, _| {
            entries::advance_id(transaction, next_id)
        })
    }

    /// The figures of this moment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stats(&self) -> Result<SpoolStats, SpoolError> {
        let mut state = self.lock();
        let acknowledged = self.memory.acknowledged();
        let (oldest_us, next_id, gone) = state.read_with("reading from", |connection| {
            Ok((
                entries::oldest_us(connection, &acknowledged)?,
                entries::next_id(connection)?,
                entries::size_of(connection, &acknowledged)?,
            ))
        })?;
        let mut size = state.size;
        size -= gone;
        Ok(SpoolStats {
            entries: size.entries,
            bytes: size.bytes,
            oldest_us,
            next_id,
            dropped: state.dropped.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = PoisonError::into_inner(poisoned);
            state.stale = true;
            state
        })
    }

    #[cfg(test)]
    pub(crate) fn state_for_tests(&self) -> MutexGuard<'_, State> {
        self.lock()
    }
}
