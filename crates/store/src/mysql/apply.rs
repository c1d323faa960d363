//! The step: one transaction, few round trips (D3 to D6).
//!
//! Positions and ledger go out together right behind START TRANSACTION; then come the rows, what
//! is counted of them, the dead letters, and COMMIT. What was counted against what was asked
//! decides between commit, fence and a moved ledger.

use super::connect::Session;
use super::rows::{self, Repeats};
use super::{bookkeeping, dead_letters};
use crate::phases::Phases;
use crate::{Applied, RowBlock, Step, StoreError};

/// Commits a step, whole or not at all. After an error of class `Data` the transaction is still
/// open.
pub(super) async fn apply(session: &mut Session, step: &Step) -> Result<Applied, StoreError> {
    let mut phases = Phases::begin();
    if let Some(ended) = begin(session, step).await? {
        return Ok(ended);
    }
    phases.end("fence");
    for &id in &step.resolves {
        if !dead_letters::take_out(session, id).await? {
            session.rollback().await?;
            return Ok(Applied::Fenced);
        }
    }
    let mut repeats = Repeats::default();
    let mut new_rows = 0;
    for block in step.blocks.iter().filter(|block| !block.is_empty()) {
        new_rows += rows::insert(session, block, &mut repeats).await?;
    }
    dead_letters::insert_large(session, step).await?;
    let mut statements: Vec<String> = bookkeeping::count_repeats(step, &repeats).collect();
    statements.extend(dead_letters::insert(step)?);
    statements.extend(dead_letters::count_further(step)?);
    statements.extend(bookkeeping::note_gaps(step));
    let doing = "storing dead letters and counts";
    session.affected(doing, &statements).await?;
    phases.end("copy");
    session.commit().await?;
    phases.end("commit");
    Ok(Applied::Committed {
        rows: new_rows,
        duplicates: repeats.total(),
    })
}

/// Writes rows and rolls back. After an error of class `Data` the transaction is still open.
pub(super) async fn try_rows(session: &mut Session, blocks: &[RowBlock]) -> Result<(), StoreError> {
    session.execute("trying rows", "start transaction").await?;
    for block in blocks.iter().filter(|block| !block.is_empty()) {
        rows::insert(session, block, &mut Repeats::default()).await?;
    }
    session.rollback().await
}

/// Begins the transaction with all that decides whether the step may be written. `Some`: it may
/// not, and the transaction is rolled back.
async fn begin(session: &mut Session, step: &Step) -> Result<Option<Applied>, StoreError> {
    let mut statements = vec!["start transaction".to_owned()];
    statements.extend(bookkeeping::move_positions(step));
    statements.extend(bookkeeping::change_ledger(step));
    let affected = session
        .affected("checking the positions of a step", &statements)
        .await?;
    let (moved, changed) = affected[1..].split_at(step.moves.len());
    if affected[1..].iter().all(|&rows| rows == 1) {
        return Ok(None);
    }
    let is_fenced = moved.contains(&0);
    debug_assert!(is_fenced || changed.contains(&0));
    // First back, so that what is read below is not what this very transaction moved.
    session.rollback().await?;
    if !is_fenced {
        return Ok(Some(Applied::LedgerMoved));
    }
    let at_end = step.resolves.is_empty() && bookkeeping::stand_at_end(session, step).await?;
    Ok(Some(match at_end {
        true => Applied::Already,
        false => Applied::Fenced,
    }))
}
