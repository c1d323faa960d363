//! What a spool has beside its file, in memory: the two shortcuts of a receiver that keeps up. Neither
//! waits for the disk or for an append that does.

use crate::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many acknowledged entries are kept in memory at most: after the end of a process that did not close
/// its spool they are sent again.
const MOST_ACKNOWLEDGED: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Somebody asked for the newest entry: the next ones are kept.
    is_asked: bool,
    /// The entry that was appended last, until it is taken or acknowledged.
    newest: Option<Entry>,
    /// Ids of entries that the receiver has, and that the next transaction removes.
    acknowledged: Vec<i64>,
}

impl Memory {
    pub(crate) fn keep_newest(&self, entry: impl FnOnce() -> Entry) {
        let mut kept = self.lock();
        if kept.is_asked {
            kept.newest = Some(entry());
        }
    }

    pub(crate) fn take_newest(&self, after_id: i64) -> Option<Entry> {
        let mut kept = self.lock();
        kept.is_asked = true;
        kept.newest
            .take_if(|entry| entry.id.checked_sub(1) == Some(after_id))
    }

    /// Whether there was room for all of them.
    pub(crate) fn acknowledge(&self, ids: &[i64]) -> bool {
        let mut kept = self.lock();
        let has_room = kept.acknowledged.len() + ids.len() <= MOST_ACKNOWLEDGED;
        if has_room {
            kept.acknowledged.extend_from_slice(ids);
            kept.newest.take_if(|entry| ids.contains(&entry.id));
        }
        has_room
    }

    pub(crate) fn acknowledged(&self) -> Vec<i64> {
        self.lock().acknowledged.clone()
    }

    /// These are not in the file any more.
    pub(crate) fn forget(&self, removed: &[i64]) {
        let mut kept = self.lock();
        kept.acknowledged.retain(|id| !removed.contains(id));
        kept.newest.take_if(|entry| removed.contains(&entry.id));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
