//! `trait Store`: what the sink asks of a database.
//!
//! # The contract (design: D3 to D9)
//! 1. [`Store::apply`] is one transaction: positions, rows, dead letters and ledger. All or
//!    nothing, durable when it returns.
//! 2. A step says for each partition `from` and `to`. Stored = `from`: applied. Stored = `to` for
//!    every move: [`Applied::Already`], nothing is written (a COMMIT answer was lost). Anything
//!    else: [`Applied::Fenced`], nothing is written. The check is a conditional update inside the
//!    transaction, so a zombie can never write.
//! 3. A ledger change says the version that it was built from. Another version is stored:
//!    [`Applied::LedgerMoved`], nothing is written.
//! 4. Schema changes and new hosts and series happen in [`Store::ensure`], outside of the step.
//! 5. An error knows its class ([`ErrorClass`]); after any error the connection is made anew by
//!    the next call, so a caller only repeats.
//! 6. A step that does away with dead letters ([`Step::resolves`]) takes each of them out in the
//!    same transaction, or is [`Applied::Fenced`]. Of several dead letters of one message the one of
//!    the lowest number holds its bytes; who takes that one out hands them to the next.
//! 7. Gaps ([`Step::gaps`]) are noted in the same transaction as the moves that go past them, and only
//!    then; the same gap noted twice is one row. Such a move may go backwards.
//! 8. Points with one (series, time) in a measurement that is `keyed` make one row; the others
//!    are counted in [`Applied::Committed`] and in their partition's bookkeeping.

use crate::{
    Catalog, DeadLetterBounds, DeadLetterFilter, DeadLetterRow, LedgerKey, LedgerRow,
    RemovedLetters, Requirements, RetentionReport, RetentionRequest, RowBlock, SettleReport,
    SettleRequest, SourceId, Step, StoreError,
};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is committed.
    Committed {
        /// Rows that are new.
        rows: u64,
        /// Rows that were there already, known by (series, time).
        duplicates: u64,
    },
    /// Every position stands at `to`: it had been committed before, or another sink came to the same
    /// end by other steps, and then the ledger is another one than this step would have left.
    Already,
    /// Some position stands elsewhere: throw the step away and read the positions again.
    Fenced,
    /// Some ledger row is not the one that the step was built from: read it and build again.
    LedgerMoved,
}

/// The next offset to apply of one partition, as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPosition {
    /// The partition.
    pub partition: i32,
    /// The next offset to apply.
    pub next_offset: i64,
}

/// A database that takes steps. One owner, one step at a time.
#[async_trait::async_trait]
pub trait Store: Send {
    /// Creates what is missing and brings the schema to this program's version, under a lock. A
    /// newer database is refused.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is half done.
    async fn migrate(&mut self) -> Result<(), StoreError>;

    /// The stored positions of these partitions. One that is not known is begun at the offset
    /// given beside it, durably, and that is answered.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn positions(
        &mut self,
        source: &SourceId,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<StoredPosition>, StoreError>;

    /// The partitions of this source that have a position.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn known_positions(
        &mut self,
        source: &SourceId,
    ) -> Result<Vec<StoredPosition>, StoreError>;

    /// The ledger rows of these keys; what is not there is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ledger(
        &mut self,
        keys: &[LedgerKey],
    ) -> Result<HashMap<LedgerKey, LedgerRow>, StoreError>;

    /// Makes hosts, measurements, fields, tags and series that a step will need, and learns them
    /// into `catalog`; what a limit or a type forbids is learned as refused, with its reason.
    /// Never part of a step (D9).
    ///
    /// # Errors
    /// [`StoreError`]; what was made stays, and asking again is harmless.
    async fn ensure(
        &mut self,
        needs: &Requirements,
        catalog: &mut Catalog,
    ) -> Result<(), StoreError>;

    /// Commits a step, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError`]; the outcome is unknown unless
    /// [`StoreError::is_certainly_rolled_back`] says so: apply the same step again, the positions
    /// tell.
    async fn apply(&mut self, step: &Step) -> Result<Applied, StoreError>;

    /// [`Store::apply`], with word of the step that comes next: it is sent when it is packed, and will
    /// be applied by the next call, as the same value. A store may write its rows meanwhile. Nothing
    /// of them can be seen, and nothing is decided, before that call; if it never comes nothing was
    /// written.
    ///
    /// # Errors
    /// As [`Store::apply`].
    async fn apply_before(
        &mut self,
        step: &Step,
        _next: oneshot::Receiver<Arc<Step>>,
    ) -> Result<Applied, StoreError> {
        self.apply(step).await
    }

    /// Writes rows by the same ways as [`Store::apply`], in a transaction that is always rolled
    /// back: whether the database takes them, all together. Their origins mean nothing here.
    ///
    /// # Errors
    /// [`StoreError`]; of class [`ErrorClass::Data`](crate::ErrorClass::Data) when it refuses one of
    /// them, with [`StoreError::refusal`] where the database says why.
    async fn try_rows(&mut self, rows: Vec<RowBlock>) -> Result<(), StoreError>;

    /// Small work that may wait until nothing else is to be done (summaries of indexes,
    /// statistics, checkpoints).
    ///
    /// # Errors
    /// [`StoreError`].
    async fn housekeep(&mut self) -> Result<(), StoreError>;

    /// Writes what may be a little behind the steps (the view `freshness`); for the end of a program.
    ///
    /// # Errors
    /// [`StoreError`]; nothing that a step has to keep is concerned.
    async fn finish(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Brings what was loaded and is over into the form in which it is read best. A database
    /// whose tables are in that form from the first has nothing to do.
    ///
    /// # Errors
    /// [`StoreError`]; the rows are there exactly once at every moment, and asking again goes on.
    async fn settle(&mut self, _request: &SettleRequest) -> Result<SettleReport, StoreError> {
        Ok(SettleReport::default())
    }

    /// Removes rows that are older than they are to be kept, or says which would go. It may leave
    /// some that are a little older, where it removes whole partitions.
    ///
    /// # Errors
    /// [`StoreError`]; what went is gone, and asking again goes on.
    async fn retain(&mut self, _request: &RetentionRequest) -> Result<RetentionReport, StoreError> {
        Ok(RetentionReport::default())
    }

    /// Dead letters, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
    ) -> Result<Vec<DeadLetterRow>, StoreError>;

    /// Deletes dead letters, in one transaction; answers how many of them were there.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete_dead_letters(&mut self, ids: &[i64]) -> Result<u64, StoreError>;

    /// Takes out the oldest dead letters that are more than is to be kept, in transactions of bounded
    /// size, and counts them by reason where the view `losses` finds them. Of many programs one
    /// does it at a time; the others do nothing.
    ///
    /// # Errors
    /// [`StoreError`]; what went is gone and counted, and asking again goes on.
    async fn bound_dead_letters(
        &mut self,
        _bounds: &DeadLetterBounds,
    ) -> Result<Vec<RemovedLetters>, StoreError> {
        Ok(Vec::new())
    }

    /// All ledger rows, newest epoch first within an agent.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ledger_rows(&mut self) -> Result<Vec<(LedgerKey, LedgerRow)>, StoreError>;
}
