//! Positions and ledger: reading them, and writing them as part of a step.

use super::tables::NOW_US;
use crate::{
    LedgerChange, LedgerKey, LedgerRow, PositionMove, SeriesId, SourceId, Step, StoredPosition,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use std::collections::HashMap;
use tidegauge_model::{AgentId, SequenceRanges};

/// Where the positions of a step stand.
pub(super) enum Fence {
    /// All stood at `from`, and now at `to`.
    Passed,
    /// All stood at `to`; nothing was written.
    Already,
    /// Some stood elsewhere: roll back.
    Elsewhere,
}

/// The positions of these partitions, begun where there is none.
pub(super) fn positions(
    connection: &mut Connection,
    source: &SourceId,
    partitions: &[(i32, i64)],
) -> rusqlite::Result<Vec<StoredPosition>> {
    let mut positions = Vec::with_capacity(partitions.len());
    // First a mere look, which waits for no writer.
    for &(partition, _) in partitions {
        let known = position(connection, source, partition)?;
        positions.extend(known.map(|next_offset| StoredPosition {
            partition,
            next_offset,
        }));
    }
    if positions.len() == partitions.len() {
        return Ok(positions);
    }
    positions.clear();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut begin = transaction.prepare_cached(&format!(
            "insert into position (source, \"partition\", topic, next_offset, updated)
             values (?1, ?2, ?3, ?4, {NOW_US}) on conflict do nothing"
        ))?;
        for &(partition, begin_offset) in partitions {
            begin.execute(params![
                source.as_str(),
                partition,
                source.label(),
                begin_offset
            ])?;
            let next_offset = position(&transaction, source, partition)?.unwrap_or(begin_offset);
            positions.push(StoredPosition {
                partition,
                next_offset,
            });
        }
    }
    transaction.commit()?;
    Ok(positions)
}

/// The partitions of a source that have a position.
pub(super) fn known_positions(
    connection: &Connection,
    source: &SourceId,
) -> rusqlite::Result<Vec<StoredPosition>> {
    connection
        .prepare_cached(
            "select \"partition\", next_offset from position where source = ?1
             order by \"partition\"",
        )?
        .query_map([source.as_str()], |row| {
            Ok(StoredPosition {
                partition: row.get(0)?,
                next_offset: row.get(1)?,
            })
        })?
        .collect()
}

fn position(
    connection: &Connection,
    source: &SourceId,
    partition: i32,
) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "select next_offset from position where source = ?1 and \"partition\" = ?2",
        )?
        .query_row(params![source.as_str(), partition], |row| row.get(0))
        .optional()
}

/// The fence (D5): moves every position that stands at its `from`.
pub(super) fn advance(connection: &Connection, moves: &[PositionMove]) -> rusqlite::Result<Fence> {
    let mut update = connection.prepare_cached(&format!(
        "update position set next_offset = iif(?3 = ?4, next_offset, ?4), topic = ?5, messages = messages + ?6,
         points = points + ?7, duplicate_points = duplicate_points + ?8,
         dead_letters = dead_letters + ?9, left_out_values = left_out_values + ?10,
         updated = {NOW_US}
         where source = ?1 and \"partition\" = ?2 and (next_offset = ?3 or ?3 = ?4)"
    ))?;
    let mut moved = 0;
    for step in moves {
        moved += update.execute(params![
            step.source.as_str(),
            step.partition,
            step.from,
            step.to,
            step.source.label(),
            signed(step.messages),
            signed(step.points),
            signed(step.duplicate_points),
            signed(step.dead_letters),
            signed(step.left_out_values),
        ])?;
    }
    if moved == moves.len() {
        return Ok(Fence::Passed);
    }
    if moved > 0 {
        return Ok(Fence::Elsewhere);
    }
    for step in moves {
        if position(connection, &step.source, step.partition)? != Some(step.to) {
            return Ok(Fence::Elsewhere);
        }
    }
    Ok(Fence::Already)
}

/// What is missing of the logs.
pub(super) fn note_gaps(connection: &Connection, step: &Step) -> rusqlite::Result<()> {
    for gap in &step.gaps {
        let Some(moved) = step.moves.get(gap.slot as usize) else {
            continue;
        };
        let sql = format!(
            "insert into gap (source, \"partition\", from_offset, topic, to_offset, reason)
             values (?1, ?2, ?3, ?4, ?5, ?6)
             on conflict do update set to_offset = max(to_offset, excluded.to_offset),
             reason = excluded.reason, noted = {NOW_US}"
        );
        connection.prepare_cached(&sql)?.execute(params![
            moved.source.as_str(),
            moved.partition,
            gap.from,
            moved.source.label(),
            gap.to,
            gap.reason.as_str(),
        ])?;
    }
    Ok(())
}

/// Points of a move that turned out to be known by (series, time).
pub(super) fn count_duplicates(
    connection: &Connection,
    moved: &PositionMove,
    duplicates: u64,
) -> rusqlite::Result<()> {
    if duplicates == 0 {
        return Ok(());
    }
    let mut update = connection.prepare_cached(
        "update position set points = points - ?3, duplicate_points = duplicate_points + ?3
         where source = ?1 and \"partition\" = ?2",
    )?;
    update.execute(params![
        moved.source.as_str(),
        moved.partition,
        signed(duplicates)
    ])?;
    Ok(())
}

/// Writes a ledger row; false when another version is stored than the one expected.
pub(super) fn change_ledger(
    connection: &Connection,
    change: &LedgerChange,
) -> rusqlite::Result<bool> {
    let sql = match change.expected_version {
        0 => format!(
            "insert into ledger (agent, epoch, version, next_sequence, missing, dropped,
             missing_batches, dropped_batches, last_time, batches, points, duplicate_batches,
             conflicts, updated)
             values (?1, ?2, ?3 + 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, {NOW_US})
             on conflict do nothing"
        ),
        _ => format!(
            "update ledger set version = ?3 + 1, next_sequence = ?4, missing = ?5, dropped = ?6,
             missing_batches = ?7, dropped_batches = ?8, last_time = ?9, batches = ?10,
             points = ?11, duplicate_batches = ?12, conflicts = ?13, updated = {NOW_US}
             where agent = ?1 and epoch = ?2 and version = ?3"
        ),
    };
    let row = &change.row;
    let changed = connection.prepare_cached(&sql)?.execute(params![
        change.key.agent.as_str(),
        change.key.epoch,
        change.expected_version,
        signed(row.next_sequence),
        row.missing.to_text(),
        row.dropped_text(),
        signed(row.missing.count()),
        signed(row.dropped_batches()),
        row.last_time_us,
        signed(row.batches),
        signed(row.points),
        signed(row.duplicate_batches),
        signed(row.conflicts),
    ])?;
    Ok(changed == 1)
}

const LEDGER: &str = "select agent, epoch, version, next_sequence, missing, dropped, last_time, \
                      batches, points, duplicate_batches, conflicts from ledger";

/// The ledger rows of these keys; what is not there is left out.
pub(super) fn ledger(
    connection: &Connection,
    keys: &[LedgerKey],
) -> rusqlite::Result<HashMap<LedgerKey, LedgerRow>> {
    let mut select =
        connection.prepare_cached(&format!("{LEDGER} where agent = ?1 and epoch = ?2"))?;
    let mut rows = HashMap::with_capacity(keys.len());
    for key in keys {
        let found = select.query_row(params![key.agent.as_str(), key.epoch], ledger_row);
        rows.extend(found.optional()?);
    }
    Ok(rows)
}

/// All ledger rows, newest epoch first within an agent.
pub(super) fn ledger_rows(
    connection: &Connection,
) -> rusqlite::Result<Vec<(LedgerKey, LedgerRow)>> {
    connection
        .prepare_cached(&format!("{LEDGER} order by agent, epoch desc"))?
        .query_map([], ledger_row)?
        .collect()
}

fn ledger_row(row: &Row<'_>) -> rusqlite::Result<(LedgerKey, LedgerRow)> {
    let key = LedgerKey {
        agent: parsed(row, 0, |text| AgentId::new(text).ok())?,
        epoch: row.get(1)?,
    };
    let row = LedgerRow {
        version: row.get(2)?,
        next_sequence: unsigned(row, 3)?,
        missing: parsed(row, 4, SequenceRanges::parse)?,
        dropped: parsed(row, 5, LedgerRow::parse_dropped)?,
        last_time_us: row.get(6)?,
        batches: unsigned(row, 7)?,
        points: unsigned(row, 8)?,
        duplicate_batches: unsigned(row, 9)?,
        conflicts: unsigned(row, 10)?,
    };
    Ok((key, row))
}

/// Notes the youngest samples of series whose hosts have no agent.
pub(super) fn note_seen(
    connection: &mut Connection,
    seen: &[(SeriesId, i64)],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut update = transaction.prepare_cached(
            "update host set last_time = ?2
             where id = (select host_id from series where id = ?1) and agent = ''
             and (last_time is null or last_time < ?2)",
        )?;
        for (series, time_us) in seen {
            update.execute(params![series.0, time_us])?;
        }
    }
    transaction.commit()
}

/// A number as SQLite has it. Sequences and counts stay below 2^63.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as we have it.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// A text in a form of our own; another one is an error, as if the type were wrong.
pub(super) fn parsed<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| {
        let cause = format!("{text:?} is not in the form that this column has");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, cause.into())
    })
}
