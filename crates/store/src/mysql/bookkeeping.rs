//! Positions and ledger: the statements of a step, and what is asked beside it.

use super::connect::{Session, value};
use super::errors;
use super::rows::Repeats;
use super::values::{signed, text, texts};
use crate::{
    LedgerChange, LedgerKey, LedgerRow, PositionMove, SourceId, Step, StoreError, StoredPosition,
};
use mysql_async::Row;
use std::collections::HashMap;
use tidegauge_model::{AgentId, SequenceRanges};

/// Advances a position that still stands where the step begins (D5). A row that is met is always
/// changed: the time of the change is.
fn move_position(moved: &PositionMove) -> String {
    let (from, to) = (moved.from, moved.to);
    let (next, fence) = match from == to {
        true => ("`next_offset`".to_owned(), String::new()),
        false => (to.to_string(), format!(" and `next_offset` = {from}")),
    };
    format!(
        "update `position` set `next_offset` = {next}, `topic` = {}, `messages` = `messages` + {},
         `points` = `points` + {}, `duplicate_points` = `duplicate_points` + {},
         `dead_letters` = `dead_letters` + {}, `left_out_values` = `left_out_values` + {},
         `updated` = utc_timestamp(6)
         where `source` = {} and `partition` = {}{fence}",
        text(moved.source.label()),
        signed(moved.messages),
        signed(moved.points),
        signed(moved.duplicate_points),
        signed(moved.dead_letters),
        signed(moved.left_out_values),
        text(moved.source.as_str()),
        moved.partition,
    )
}

/// The moves of a step, in one order for all writers, so that two of them cannot deadlock.
pub(super) fn move_positions(step: &Step) -> impl Iterator<Item = String> {
    let mut moves: Vec<&PositionMove> = step.moves.iter().collect();
    moves.sort_by_key(|moved| (moved.source.as_str(), moved.partition));
    moves.into_iter().map(move_position)
}

/// The ledger changes of a step, in one order for all writers. Each changes one row, or none when
/// another version is stored (D6).
pub(super) fn change_ledger(step: &Step) -> impl Iterator<Item = String> {
    let mut changes: Vec<&LedgerChange> = step.ledger.iter().collect();
    changes.sort_by_key(|change| &change.key);
    changes.into_iter().map(|change| {
        let (key, row) = (&change.key, &change.row);
        let (agent, epoch) = (text(key.agent.as_str()), key.epoch);
        let columns = [
            (
                "version",
                change.expected_version.saturating_add(1).to_string(),
            ),
            ("next_sequence", signed(row.next_sequence).to_string()),
            ("missing", text(&row.missing.to_text())),
            ("dropped", text(&row.dropped_text())),
            ("missing_batches", signed(row.missing.count()).to_string()),
            ("dropped_batches", signed(row.dropped_batches()).to_string()),
            ("last_time", row.last_time_us.to_string()),
            ("batches", signed(row.batches).to_string()),
            ("points", signed(row.points).to_string()),
            (
                "duplicate_batches",
                signed(row.duplicate_batches).to_string(),
            ),
            ("conflicts", signed(row.conflicts).to_string()),
        ];
        let assignments: Vec<String> = columns
            .iter()
            .map(|(name, value)| format!("`{name}` = {value}"))
            .collect();
        let assignments = assignments.join(", ");
        match change.expected_version {
            // A row that is there stays as it is, and counts as not changed.
            0 => format!(
                "insert into `ledger` set `agent` = {agent}, `epoch` = {epoch}, {assignments}
                 on duplicate key update `agent` = `agent`"
            ),
            expected => format!(
                "update `ledger` set {assignments}, `updated` = utc_timestamp(6)
                 where `agent` = {agent} and `epoch` = {epoch} and `version` = {expected}"
            ),
        }
    })
}

/// The statements that note what is missing of the logs.
pub(super) fn note_gaps(step: &Step) -> impl Iterator<Item = String> + '_ {
    step.gaps.iter().filter_map(|gap| {
        let moved = step.moves.get(gap.slot as usize)?;
        Some(format!(
            "insert into `gap` (`source`, `partition`, `from_offset`, `topic`, `to_offset`, `reason`)
             values ({}, {}, {}, {}, {}, {})
             on duplicate key update `to_offset` = greatest(`to_offset`, values(`to_offset`)),
             `reason` = values(`reason`), `noted` = utc_timestamp(6)",
            text(moved.source.as_str()),
            moved.partition,
            gap.from,
            text(moved.source.label()),
            gap.to,
            text(gap.reason.as_str()),
        ))
    })
}

/// Whether every position of a step stands at its end: it was committed before.
pub(super) async fn stand_at_end(session: &mut Session, step: &Step) -> Result<bool, StoreError> {
    let moves: Vec<String> = step
        .moves
        .iter()
        .map(|moved| {
            format!(
                "`source` = {} and `partition` = {} and `next_offset` = {}",
                text(moved.source.as_str()),
                moved.partition,
                moved.to
            )
        })
        .collect();
    let sql = format!(
        "select count(*) from `position` where {}",
        moves.join(" or ")
    );
    let standing: usize = session.query_value("reading the positions", &sql).await?;
    Ok(standing == step.moves.len())
}

/// Counts repeated rows as such, in their partitions' bookkeeping.
pub(super) fn count_repeats<'a>(
    step: &'a Step,
    repeats: &'a Repeats,
) -> impl Iterator<Item = String> + 'a {
    repeats.by_slot().filter_map(|(slot, count)| {
        let moved = step.moves.get(slot as usize)?;
        Some(format!(
            "update `position` set `points` = `points` - {count},
             `duplicate_points` = `duplicate_points` + {count}
             where `source` = {} and `partition` = {}",
            text(moved.source.as_str()),
            moved.partition
        ))
    })
}

/// The positions of these partitions, begun where they are not known.
pub(super) async fn positions(
    session: &mut Session,
    source: &SourceId,
    wanted: &[(i32, i64)],
) -> Result<Vec<StoredPosition>, StoreError> {
    let doing = format!("reading the positions of {source}");
    let find = |known: &[StoredPosition], partition: i32| {
        let found = known.iter().find(|known| known.partition == partition);
        found.copied()
    };
    let mut known = known_positions(session, source).await?;
    let mut missing: Vec<&(i32, i64)> = wanted
        .iter()
        .filter(|(partition, _)| find(&known, *partition).is_none())
        .collect();
    if !missing.is_empty() {
        missing.sort_unstable();
        let (id, label) = (text(source.as_str()), text(source.label()));
        let rows: Vec<String> = missing
            .iter()
            .map(|(partition, offset)| format!("({id}, {partition}, {label}, {offset})"))
            .collect();
        let insert = format!(
            "insert into `position` (`source`, `partition`, `topic`, `next_offset`) values {}
             on duplicate key update `source` = `source`",
            rows.join(", ")
        );
        session.execute(&doing, &insert).await?;
        known = known_positions(session, source).await?;
    }
    wanted
        .iter()
        .map(|(partition, _)| {
            find(&known, *partition)
                .ok_or_else(|| errors::unexpected(doing.as_str(), "a position has vanished"))
        })
        .collect()
}

/// All positions of a source.
pub(super) async fn known_positions(
    session: &mut Session,
    source: &SourceId,
) -> Result<Vec<StoredPosition>, StoreError> {
    let doing = format!("reading the positions of {source}");
    let sql = format!(
        "select `partition`, `next_offset` from `position` where `source` = {}
         order by `partition`",
        text(source.as_str())
    );
    let rows = session.query(&doing, &sql).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredPosition {
                partition: value(&doing, row, 0)?,
                next_offset: value(&doing, row, 1)?,
            })
        })
        .collect()
}

const LEDGER: &str = "select `agent`, `epoch`, `version`, `next_sequence`, `missing`, `dropped`,
    `last_time`, `batches`, `points`, `duplicate_batches`, `conflicts` from `ledger`";

/// The ledger rows of these keys.
pub(super) async fn ledger(
    session: &mut Session,
    keys: &[LedgerKey],
) -> Result<HashMap<LedgerKey, LedgerRow>, StoreError> {
    let mut found = HashMap::with_capacity(keys.len());
    for keys in keys.chunks(1_000) {
        let agents = texts(keys.iter().map(|key| key.agent.as_str()));
        let mut epochs: Vec<String> = keys.iter().map(|key| key.epoch.to_string()).collect();
        epochs.sort_unstable();
        epochs.dedup();
        // Both servers find this through the key; for a list of pairs not all do.
        let sql = format!(
            "{LEDGER} where `agent` in ({agents}) and `epoch` in ({})",
            epochs.join(", ")
        );
        for row in session.query("reading the ledger", &sql).await? {
            let (key, row) = ledger_row(&row)?;
            if keys.contains(&key) {
                found.insert(key, row);
            }
        }
    }
    Ok(found)
}

/// All ledger rows, by agent, newest epoch first.
pub(super) async fn ledger_rows(
    session: &mut Session,
) -> Result<Vec<(LedgerKey, LedgerRow)>, StoreError> {
    let sql = format!("{LEDGER} order by `agent`, `epoch` desc");
    let rows = session.query("reading the ledger", &sql).await?;
    rows.iter().map(ledger_row).collect()
}

fn ledger_row(row: &Row) -> Result<(LedgerKey, LedgerRow), StoreError> {
    let doing = "reading the ledger";
    let odd = || errors::unexpected(doing, "a row is not in its form");
    let key = LedgerKey {
        agent: AgentId::new(value::<String>(doing, row, 0)?).map_err(|_| odd())?,
        epoch: value(doing, row, 1)?,
    };
    let (missing, dropped): (String, String) = (value(doing, row, 4)?, value(doing, row, 5)?);
    let ledger = LedgerRow {
        version: value(doing, row, 2)?,
        next_sequence: value(doing, row, 3)?,
        missing: SequenceRanges::parse(&missing).ok_or_else(odd)?,
        dropped: LedgerRow::parse_dropped(&dropped).ok_or_else(odd)?,
        last_time_us: value(doing, row, 6)?,
        batches: value(doing, row, 7)?,
        points: value(doing, row, 8)?,
        duplicate_batches: value(doing, row, 9)?,
        conflicts: value(doing, row, 10)?,
    };
    Ok((key, ledger))
}
