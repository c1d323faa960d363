//! The commit of a step: one transaction, in the order fence, ledger, rows, dead letters (D3).

use super::bookkeeping::{self, Fence};
use super::connection::File;
use super::{dead_letters, tables};
use crate::phases::Phases;
use crate::{Applied, Cell, RowBlock, Step, StoreError};
use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior, types::Null};
use tidegauge_model::ValueType;

/// Commits a step, whole or not at all.
pub(super) fn apply(
    file: &File,
    connection: &mut Connection,
    step: &Step,
) -> Result<Applied, StoreError> {
    let doing = "writing a step to";
    let before_commit = |error| file.failed(doing, error).rolled_back();
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(before_commit)?;
    let mut phases = Phases::begin();
    let applied = write(&transaction, step, &mut phases).map_err(before_commit)?;
    if matches!(applied, Applied::Committed { .. }) {
        // A failure here may come after the log was written: whether the step is there, the
        // positions tell.
        transaction
            .commit()
            .map_err(|error| file.failed("committing a step to", error))?;
        phases.end("commit");
    }
    Ok(applied)
}

/// Writes rows in a transaction that is rolled back.
pub(super) fn try_rows(
    file: &File,
    connection: &mut Connection,
    blocks: &[RowBlock],
) -> Result<(), StoreError> {
    let mut tried = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for block in blocks {
            let slots = (0..block.len()).map(|row| block.origin(row).slot as usize + 1);
            let mut duplicates = vec![0; slots.max().unwrap_or(0)];
            insert_rows(&transaction, block, &mut duplicates)?;
        }
        transaction.rollback()
    };
    tried().map_err(|error| file.failed("trying rows in", error).rolled_back())
}

fn write(
    transaction: &Transaction<'_>,
    step: &Step,
    phases: &mut Phases,
) -> rusqlite::Result<Applied> {
    match bookkeeping::advance(transaction, &step.moves)? {
        Fence::Passed => {}
        Fence::Already => return Ok(Applied::Already),
        Fence::Elsewhere => return Ok(Applied::Fenced),
    }
    for change in &step.ledger {
        if !bookkeeping::change_ledger(transaction, change)? {
            return Ok(Applied::LedgerMoved);
        }
    }
    for &id in &step.resolves {
        if !dead_letters::take_out(transaction, id)? {
            return Ok(Applied::Fenced);
        }
    }
    bookkeeping::note_gaps(transaction, step)?;
    phases.end("fence");
    let mut duplicates = vec![0_u64; step.moves.len()];
    for block in &step.blocks {
        insert_rows(transaction, block, &mut duplicates)?;
    }
    for (moved, &duplicates) in step.moves.iter().zip(&duplicates) {
        bookkeeping::count_duplicates(transaction, moved, duplicates)?;
    }
    dead_letters::insert(transaction, step)?;
    dead_letters::count_further(transaction, step)?;
    phases.end("copy");
    let duplicates = duplicates.iter().sum();
    Ok(Applied::Committed {
        rows: step.rows() as u64 - duplicates,
        duplicates,
    })
}

/// Inserts a block in key order; counts rows that are there already, by the slot they came from.
fn insert_rows(
    transaction: &Transaction<'_>,
    block: &RowBlock,
    duplicates: &mut [u64],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(&tables::insert(block.measurement()))?;
    for &row in block.sorted().iter() {
        let row = row as usize;
        let key = block.key(row);
        insert.raw_bind_parameter(1, key.series.0)?;
        insert.raw_bind_parameter(2, key.time_us)?;
        for (column, &cell) in block.cells(row).iter().enumerate() {
            bind(&mut insert, column, cell, block)?;
        }
        if insert.raw_execute()? == 0 {
            duplicates[block.origin(row).slot as usize] += 1;
        }
    }
    Ok(())
}

fn bind(
    insert: &mut CachedStatement<'_>,
    column: usize,
    cell: Cell,
    block: &RowBlock,
) -> rusqlite::Result<()> {
    let parameter = column + 3;
    if cell.is_null() {
        return insert.raw_bind_parameter(parameter, Null);
    }
    match block.column_type(column) {
        ValueType::Float => insert.raw_bind_parameter(parameter, cell.as_float()),
        ValueType::Bool => insert.raw_bind_parameter(parameter, cell.as_bool()),
        ValueType::Text => insert.raw_bind_parameter(parameter, block.text(cell)),
    }
}
