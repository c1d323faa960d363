//! Positions and ledger: the statements of a step, and what is asked beside it.

use super::connect::Session;
use super::errors;
use super::staging::Repeats;
use super::values::{Time, signed, storable, unsigned};
use crate::{LedgerChange, LedgerKey, LedgerRow, SourceId, Step, StoreError, StoredPosition};
use std::collections::HashMap;
use tidegauge_model::{AgentId, SequenceRanges};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// Parameters of a statement.
type Parameters<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

/// Advances every position that still stands where the step begins (D5).
pub(super) const MOVE_POSITIONS: &str = "update position p set
    next_offset = case v.from_offset when v.next_offset then p.next_offset else v.next_offset end,
    messages = p.messages + v.messages, points = p.points + v.points,
    duplicate_points = p.duplicate_points + v.duplicate_points,
    dead_letters = p.dead_letters + v.dead_letters,
    left_out_values = p.left_out_values + v.left_out_values, updated = now()
    from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::bigint[])
    as v(source, partition, from_offset, next_offset, messages, points, duplicate_points,
         dead_letters, left_out_values)
    where p.source = v.source and p.partition = v.partition
    and (p.next_offset = v.from_offset or v.from_offset = v.next_offset)";

/// Changes the ledger rows that are still those that the step was built from (D6).
pub(super) const UPDATE_LEDGER: &str = "update ledger l set version = v.expected + 1,
    next_sequence = v.next_sequence, missing = v.missing, dropped = v.dropped,
    missing_batches = v.missing_batches, dropped_batches = v.dropped_batches,
    last_time = v.last_time, batches = v.batches, points = v.points,
    duplicate_batches = v.duplicate_batches, conflicts = v.conflicts, updated = now()
    from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::bigint[],
                $12::bigint[], $13::bigint[])
    as v(agent, epoch, expected, next_sequence, missing, dropped, missing_batches,
         dropped_batches, last_time, batches, points, duplicate_batches, conflicts)
    where l.agent = v.agent and l.epoch = v.epoch and l.version = v.expected";

/// Begins the ledger rows that must not be there yet.
pub(super) const INSERT_LEDGER: &str = "insert into ledger (agent, epoch, version, next_sequence,
    missing, dropped, missing_batches, dropped_batches, last_time, batches, points,
    duplicate_batches, conflicts)
    select agent, epoch, expected + 1, next_sequence, missing, dropped, missing_batches,
    dropped_batches, last_time, batches, points, duplicate_batches, conflicts
    from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::bigint[],
                $12::bigint[], $13::bigint[])
    as v(agent, epoch, expected, next_sequence, missing, dropped, missing_batches,
         dropped_batches, last_time, batches, points, duplicate_batches, conflicts)
    on conflict do nothing";

const LEDGER_COLUMNS: &str = "agent, epoch, version, next_sequence, missing, dropped, last_time,
    batches, points, duplicate_batches, conflicts";

/// The moves of a step as columns.
#[derive(Default)]
pub(super) struct Moves<'a> {
    sources: Vec<&'a str>,
    partitions: Vec<i32>,
    from: Vec<i64>,
    to: Vec<i64>,
    messages: Vec<i64>,
    points: Vec<i64>,
    duplicate_points: Vec<i64>,
    dead_letters: Vec<i64>,
    left_out_values: Vec<i64>,
}

impl<'a> Moves<'a> {
    pub(super) fn of(step: &'a Step) -> Self {
        let mut columns = Self::default();
        for moved in &step.moves {
            columns.sources.push(moved.source.as_str());
            columns.partitions.push(moved.partition);
            columns.from.push(moved.from);
            columns.to.push(moved.to);
            columns.messages.push(signed(moved.messages));
            columns.points.push(signed(moved.points));
            columns
                .duplicate_points
                .push(signed(moved.duplicate_points));
            columns.dead_letters.push(signed(moved.dead_letters));
            columns.left_out_values.push(signed(moved.left_out_values));
        }
        columns
    }

    pub(super) fn parameters(&self) -> Parameters<'_, 9> {
        [
            &self.sources,
            &self.partitions,
            &self.from,
            &self.to,
            &self.messages,
            &self.points,
            &self.duplicate_points,
            &self.dead_letters,
            &self.left_out_values,
        ]
    }
}

/// Ledger changes as columns.
#[derive(Default)]
pub(super) struct LedgerColumns<'a> {
    agents: Vec<&'a str>,
    epochs: Vec<i64>,
    expected: Vec<i64>,
    next_sequences: Vec<i64>,
    missing: Vec<String>,
    dropped: Vec<String>,
    missing_batches: Vec<i64>,
    dropped_batches: Vec<i64>,
    last_times: Vec<Time>,
    batches: Vec<i64>,
    points: Vec<i64>,
    duplicate_batches: Vec<i64>,
    conflicts: Vec<i64>,
}

impl<'a> LedgerColumns<'a> {
    /// The rows to be changed and the rows to be begun, in one order for all writers.
    pub(super) fn of(step: &'a Step) -> (Self, Self) {
        let (mut updates, mut inserts) = (Self::default(), Self::default());
        let mut changes: Vec<&LedgerChange> = step.ledger.iter().collect();
        changes.sort_by_key(|change| &change.key);
        for change in changes {
            match change.expected_version {
                0 => inserts.push(change),
                _ => updates.push(change),
            }
        }
        (updates, inserts)
    }

    fn push(&mut self, change: &'a LedgerChange) {
        let row = &change.row;
        self.agents.push(change.key.agent.as_str());
        self.epochs.push(change.key.epoch);
        self.expected.push(change.expected_version);
        self.next_sequences.push(signed(row.next_sequence));
        self.missing.push(row.missing.to_text());
        self.dropped.push(row.dropped_text());
        self.missing_batches.push(signed(row.missing.count()));
        self.dropped_batches.push(signed(row.dropped_batches()));
        self.last_times.push(Time(row.last_time_us));
        self.batches.push(signed(row.batches));
        self.points.push(signed(row.points));
        self.duplicate_batches.push(signed(row.duplicate_batches));
        self.conflicts.push(signed(row.conflicts));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    pub(super) fn parameters(&self) -> Parameters<'_, 13> {
        [
            &self.agents,
            &self.epochs,
            &self.expected,
            &self.next_sequences,
            &self.missing,
            &self.dropped,
            &self.missing_batches,
            &self.dropped_batches,
            &self.last_times,
            &self.batches,
            &self.points,
            &self.duplicate_batches,
            &self.conflicts,
        ]
    }
}

/// Notes what is missing of the logs.
pub(super) async fn note_gaps(session: &mut Session, step: &Step) -> Result<(), StoreError> {
    for gap in &step.gaps {
        let Some(moved) = step.moves.get(gap.slot as usize) else {
            continue;
        };
        let sql = "insert into gap as g (source, partition, from_offset, topic, to_offset, reason)
                   values ($1, $2, $3, $4, $5, $6)
                   on conflict (source, partition, from_offset) do update
                   set to_offset = greatest(g.to_offset, excluded.to_offset),
                   reason = excluded.reason, noted = now()";
        let parameters: Parameters<'_, 6> = [
            &moved.source.as_str(),
            &moved.partition,
            &gap.from,
            &storable(moved.source.label()),
            &gap.to,
            &gap.reason.as_str(),
        ];
        session.execute("noting a gap", sql, &parameters).await?;
    }
    Ok(())
}

/// Whether every position of a step stands at its end: it was committed before.
pub(super) async fn stand_at_end(session: &mut Session, step: &Step) -> Result<bool, StoreError> {
    let moves = Moves::of(step);
    let sql = "select count(*) from position p
               join unnest($1::text[], $2::integer[], $3::bigint[])
               as v(source, partition, next_offset)
               on p.source = v.source and p.partition = v.partition
               and p.next_offset = v.next_offset";
    let parameters: Parameters<'_, 3> = [&moves.sources, &moves.partitions, &moves.to];
    let row = session
        .query_one("reading the positions", sql, &parameters)
        .await?;
    Ok(unsigned(row.get(0)) == step.moves.len() as u64)
}

/// Counts repeated rows as such, in their partitions' bookkeeping.
pub(super) async fn count_repeats(
    session: &mut Session,
    step: &Step,
    repeats: &Repeats,
) -> Result<(), StoreError> {
    let slots = repeats.by_slot().filter_map(|(slot, count)| {
        let moved = step.moves.get(slot as usize)?;
        Some((moved.source.as_str(), moved.partition, signed(count)))
    });
    let mut columns: (Vec<&str>, Vec<i32>, Vec<i64>) = Default::default();
    for (source, partition, count) in slots {
        columns.0.push(source);
        columns.1.push(partition);
        columns.2.push(count);
    }
    let sql = "update position p set points = p.points - v.repeats,
               duplicate_points = p.duplicate_points + v.repeats
               from unnest($1::text[], $2::integer[], $3::bigint[])
               as v(source, partition, repeats)
               where p.source = v.source and p.partition = v.partition";
    let parameters: Parameters<'_, 3> = [&columns.0, &columns.1, &columns.2];
    session
        .execute("counting repeated rows", sql, &parameters)
        .await?;
    Ok(())
}

/// The positions of these partitions, begun where they are not known.
pub(super) async fn positions(
    session: &mut Session,
    source: &SourceId,
    wanted: &[(i32, i64)],
) -> Result<Vec<StoredPosition>, StoreError> {
    let doing = format!("reading the positions of {source}");
    let partitions: Vec<i32> = wanted.iter().map(|(partition, _)| *partition).collect();
    let offsets: Vec<i64> = wanted.iter().map(|(_, offset)| *offset).collect();
    let id = source.as_str();
    let select = "select partition, next_offset from position
                  where source = $1 and partition = any($2) order by partition";
    // First a mere look: an insert, even one that does nothing, waits for a step that holds the row,
    // and this is asked in the middle of a rebalance, when that step may hang.
    let rows = session.query(&doing, select, &[&id, &partitions]).await?;
    if rows.len() == wanted.len() {
        return Ok(rows.iter().map(stored_position).collect());
    }
    let insert = "insert into position (source, partition, topic, next_offset)
                  select $1, partition, $2, next_offset
                  from unnest($3::integer[], $4::bigint[]) as v(partition, next_offset)
                  where not exists (select from position p
                                    where p.source = $1 and p.partition = v.partition)
                  order by partition on conflict do nothing";
    let label = storable(source.label());
    session
        .execute(&doing, insert, &[&id, &label, &partitions, &offsets])
        .await?;
    let rows = session.query(&doing, select, &[&id, &partitions]).await?;
    Ok(rows.iter().map(stored_position).collect())
}

/// All positions of a source.
pub(super) async fn known_positions(
    session: &mut Session,
    source: &SourceId,
) -> Result<Vec<StoredPosition>, StoreError> {
    let doing = format!("reading the positions of {source}");
    let select = "select partition, next_offset from position where source = $1
                  order by partition";
    let rows = session.query(&doing, select, &[&source.as_str()]).await?;
    Ok(rows.iter().map(stored_position).collect())
}

fn stored_position(row: &Row) -> StoredPosition {
    StoredPosition {
        partition: row.get(0),
        next_offset: row.get(1),
    }
}

/// The ledger rows of these keys.
pub(super) async fn ledger(
    session: &mut Session,
    keys: &[LedgerKey],
) -> Result<HashMap<LedgerKey, LedgerRow>, StoreError> {
    let agents: Vec<&str> = keys.iter().map(|key| key.agent.as_str()).collect();
    let epochs: Vec<i64> = keys.iter().map(|key| key.epoch).collect();
    let sql = format!(
        "select {LEDGER_COLUMNS} from ledger
         where (agent, epoch) in (select * from unnest($1::text[], $2::bigint[]))"
    );
    let rows = session
        .query("reading the ledger", &sql, &[&agents, &epochs])
        .await?;
    rows.iter().map(ledger_row).collect()
}

/// All ledger rows, by agent, newest epoch first.
pub(super) async fn ledger_rows(
    session: &mut Session,
) -> Result<Vec<(LedgerKey, LedgerRow)>, StoreError> {
    let sql =
        format!("select {LEDGER_COLUMNS} from ledger order by agent collate \"C\", epoch desc");
    let rows = session.query("reading the ledger", &sql, &[]).await?;
    rows.iter().map(ledger_row).collect()
}

fn ledger_row(row: &Row) -> Result<(LedgerKey, LedgerRow), StoreError> {
    let odd = || errors::unexpected("reading the ledger", "a row is not in its form");
    let key = LedgerKey {
        agent: AgentId::new(row.get::<_, &str>(0)).map_err(|_| odd())?,
        epoch: row.get(1),
    };
    let ledger = LedgerRow {
        version: row.get(2),
        next_sequence: unsigned(row.get(3)),
        missing: SequenceRanges::parse(row.get(4)).ok_or_else(odd)?,
        dropped: LedgerRow::parse_dropped(row.get(5)).ok_or_else(odd)?,
        last_time_us: row.get::<_, Time>(6).0,
        batches: unsigned(row.get(7)),
        points: unsigned(row.get(8)),
        duplicate_batches: unsigned(row.get(9)),
        conflicts: unsigned(row.get(10)),
    };
    Ok((key, ledger))
}
