//! The spool as a source, for `tidegauge up`: position = the number of the next entry.
//!
//! The spool forgets an entry when the store has committed it (D2); if the program ends between
//! the two, the stored position tells, and the entry is forgotten at the next start.

use super::{Source, SourceEvent};
use crate::{Message, SinkError};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_spool::{Spool, SpoolError};
use tidegauge_store::{PositionMove, SourceId, Store, StoreError};
use tokio::sync::Notify;

/// Entries and bytes that are read at once.
const PAGE_ENTRIES: usize = 1_000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How long to wait for a notice before looking without one; a notice is only a hint.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A spool, read directly.
pub struct SpoolSource {
    spool: Spool,
    source: SourceId,
    appended: Arc<Notify>,
    /// The number of the last entry that was given.
    given: i64,
    assigned: bool,
    begin: i64,
}

/// Why a spool could not be opened as a source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenSpoolError {
    /// The store did not answer.
    #[error("asking the store for the spool's position")]
    Store(#[from] StoreError),
    /// The spool did not answer.
    #[error("preparing the spool")]
    Spool(#[from] SpoolError),
}

impl SpoolSource {
    /// Prepares a spool for reading from the position that the store has of it. `appended` is
    /// notified after each append.
    ///
    /// # Errors
    /// [`OpenSpoolError`]; trying again is harmless.
    pub async fn open(
        spool: Spool,
        store: &mut dyn Store,
        appended: Arc<Notify>,
    ) -> Result<Self, OpenSpoolError> {
        let source = SourceId::spool(spool.id());
        let stored = store.positions(&source, &[(0, 0)]).await?;
        let begin = stored.first().map_or(0, |position| position.next_offset);
        // A copy of the file from an earlier day would give numbers again that were applied.
        if spool.stats()?.next_id < begin {
            spool.advance_ids(begin)?;
        }
        let this = Self {
            spool,
            source,
            appended,
            given: begin - 1,
            assigned: false,
            begin,
        };
        this.forget_below(begin)?;
        Ok(this)
    }

    fn forget_below(&self, next: i64) -> Result<(), SpoolError> {
        loop {
            let page = self.spool.read(-1, PAGE_ENTRIES, PAGE_BYTES)?;
            let applied: Vec<i64> = page
                .entries
                .iter()
                .map(|entry| entry.id)
                .filter(|id| *id < next)
                .collect();
            if applied.is_empty() {
                return Ok(());
            }
            self.spool.acknowledge(&applied)?;
        }
    }

    fn read(&mut self) -> Result<Option<SourceEvent>, SinkError> {
        if !self.assigned {
            self.assigned = true;
            return Ok(Some(SourceEvent::Assigned(vec![(
                self.source.clone(),
                0,
                self.begin,
            )])));
        }
        let page = self
            .spool
            .read(self.given, PAGE_ENTRIES, PAGE_BYTES)
            .map_err(SinkError::Spool)?;
        let Some(last) = page.entries.last() else {
            return Ok(None);
        };
        self.given = last.id;
        let messages = page
            .entries
            .into_iter()
            .map(|entry| Message {
                source: self.source.clone(),
                partition: 0,
                offset: entry.id,
                received_us: None,
                encoding: tidegauge_wire::header_value_of(&entry.payload).map(Bytes::from),
                payload: Bytes::from(entry.payload),
            })
            .collect();
        Ok(Some(SourceEvent::Messages(messages)))
    }
}

#[async_trait::async_trait]
impl Source for SpoolSource {
    async fn next(&mut self) -> Result<SourceEvent, SinkError> {
        loop {
            if let Some(event) = self.read()? {
                return Ok(event);
            }
            tokio::select! {
                () = self.appended.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn try_next(&mut self) -> Result<Option<SourceEvent>, SinkError> {
        self.read()
    }

    async fn acknowledge(&mut self, moves: &[PositionMove]) -> Result<(), SinkError> {
        for position in moves
            .iter()
            .filter(|position| position.source == self.source)
        {
            self.forget_below(position.to).map_err(SinkError::Spool)?;
        }
        Ok(())
    }

    async fn rewind(&mut self, positions: &[(SourceId, i32, i64)]) -> Result<(), SinkError> {
        for (source, _, next) in positions {
            if *source == self.source {
                self.given = next - 1;
            }
        }
        Ok(())
    }

    async fn ends(&mut self) -> Result<Vec<(SourceId, i32, i64)>, SinkError> {
        let next = self.spool.stats().map_err(SinkError::Spool)?.next_id;
        Ok(vec![(self.source.clone(), 0, next)])
    }

    async fn close(&mut self, _deadline: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_spool::{NewBatch, SpoolSettings};

    #[test]
    fn an_entry_is_of_the_encoding_that_it_was_written_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let bounds = SpoolSettings {
            max_bytes: 1 << 20,
            max_age_us: i64::MAX,
        };
        let (spool, _) = Spool::open(&folder.path().join("spool.db"), bounds, 1).expect("a spool");
        spool.begin_epoch(1).expect("an epoch");
        for payload in [&b"{\"v\":1,"[..], b"\x08\x01", b"something else"] {
            let (epoch, sequence) = spool.next();
            let batch = NewBatch {
                epoch,
                sequence,
                payload,
                tells_drops_through: None,
                now_us: 1,
            };
            spool.append(batch).expect("appended");
        }
        let mut source = SpoolSource {
            source: SourceId::spool(spool.id()),
            spool,
            appended: Arc::default(),
            given: -1,
            assigned: true,
            begin: 0,
        };
        let Some(SourceEvent::Messages(messages)) = source.read().expect("readable") else {
            panic!("there are messages");
        };
        let encodings: Vec<_> = messages.iter().map(|m| m.encoding.as_deref()).collect();
        let expected = [Some(&b"json/1"[..]), Some(b"compact/1"), None];
        assert_eq!(encodings, expected);
    }
}
