//! Dead letters: stored as part of a step, listed, and taken out.

use super::bookkeeping::{signed, unsigned};
use super::tables::NOW_US;
use crate::letters::{LETTER_BYTES, Measured};
use crate::{DeadLetterFilter, DeadLetterRow, LetterBound, RemovedLetters, Step};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

/// Dead letters that are listed when no number is given.
const DEFAULT_LIST: usize = 100;

/// Hands the bytes of a letter (1) to another of its message (2).
const HAND_OVER: &str = "update dead_letter
    set payload = (select payload from dead_letter where id = ?1)
    where id = ?2 and length(payload) = 0";

/// Writes the dead letters of a step.
pub(super) fn insert(connection: &Connection, step: &Step) -> rusqlite::Result<()> {
    if step.dead_letters.is_empty() {
        return Ok(());
    }
    // One moment for all letters of a step; SQLite's own clock goes on from statement to statement.
    let stored_us: i64 = connection.query_row(&format!("select {NOW_US}"), [], |row| row.get(0))?;
    let mut insert = connection.prepare_cached(
        "insert into dead_letter (stored, source, topic, \"partition\", message_offset,
         point_index, reason, detail, encoding, payload)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for letter in &step.dead_letters {
        let moved = &step.moves[letter.slot as usize];
        insert.execute(params![
            stored_us,
            moved.source.as_str(),
            moved.source.label(),
            moved.partition,
            letter.offset,
            letter.index,
            letter.reason.as_str(),
            letter.detail,
            letter.encoding,
            letter.payload.as_ref(),
        ])?;
    }
    Ok(())
}

/// Counts the letters of a step which are none of their own.
pub(super) fn count_further(connection: &Connection, step: &Step) -> rusqlite::Result<()> {
    let mut count = connection.prepare_cached(&format!(
        "insert into dead_letter_removed
         (source, \"partition\", reason, bound, topic, letters, bytes, first_time, last_time)
         values (?1, ?2, ?3, ?4, ?5, ?6, 0, {NOW_US}, {NOW_US})
         on conflict (source, \"partition\", reason, bound) do update
         set letters = letters + excluded.letters, topic = excluded.topic,
             last_time = excluded.last_time"
    ))?;
    for further in &step.further_letters {
        let moved = &step.moves[further.slot as usize];
        count.execute(params![
            moved.source.as_str(),
            moved.partition,
            further.reason.as_str(),
            LetterBound::Bytes.as_str(),
            moved.source.label(),
            signed(further.letters),
        ])?;
    }
    Ok(())
}

/// Dead letters, newest first. The bytes of a message are with its letter of the lowest number, so
/// for the others they are looked up from there on downwards, which is near.
pub(super) fn list(
    connection: &Connection,
    filter: &DeadLetterFilter,
) -> rusqlite::Result<Vec<DeadLetterRow>> {
    let limit = match filter.limit {
        0 => DEFAULT_LIST,
        limit => limit,
    };
    // An array as JSON, because a statement has no arrays.
    let ids = (!filter.ids.is_empty()).then(|| format!("{:?}", filter.ids));
    connection
        .prepare_cached(
            "select id, stored, source, topic, \"partition\", message_offset, point_index, reason,
             detail, encoding, case when point_index is null or length(payload) > 0 then payload
             else coalesce((select h.payload from dead_letter h where h.id < d.id
                  and h.source = d.source and h.\"partition\" = d.\"partition\"
                  and h.message_offset = d.message_offset and length(h.payload) > 0
                  order by h.id desc limit 1), payload) end
             from dead_letter d
             where (?1 is null or id in (select value from json_each(?1)))
             and (?2 is null or reason = ?2) and (?3 is null or topic = ?3)
             and (?4 is null or stored >= ?4) and (?5 is null or stored < ?5)
             and (?6 is null or id < ?6)
             order by id desc limit ?7",
        )?
        .query_map(
            params![
                ids,
                filter.reason.map(|reason| reason.as_str()),
                filter.topic,
                filter.since_us,
                filter.until_us,
                filter.below,
                signed(limit as u64)
            ],
            letter,
        )?
        .collect()
}

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetterRow> {
    Ok(DeadLetterRow {
        id: row.get(0)?,
        stored_us: row.get(1)?,
        source: row.get(2)?,
        topic: row.get(3)?,
        partition: row.get(4)?,
        offset: row.get(5)?,
        index: row.get(6)?,
        reason: row.get(7)?,
        detail: row.get(8)?,
        encoding: row.get(9)?,
        payload: row.get(10)?,
    })
}

/// Deletes dead letters in a transaction of its own; answers how many were there.
pub(super) fn delete(connection: &mut Connection, ids: &[i64]) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deleted = 0;
    for &id in ids {
        deleted += u64::from(take_out(&transaction, id)?);
    }
    transaction.commit()?;
    Ok(deleted)
}

/// Deletes a dead letter as part of a transaction; false when it is not there. The bytes of its
/// message are handed to the next letter of it.
pub(super) fn take_out(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    let heir: Option<i64> = connection
        .prepare_cached(
            "select d.id from dead_letter g join dead_letter d on d.id > g.id
             and d.source = g.source and d.\"partition\" = g.\"partition\"
             and d.message_offset = g.message_offset
             where g.id = ?1 and length(g.payload) > 0 and g.point_index is not null
             order by d.id limit 1",
        )?
        .query_row([id], |row| row.get(0))
        .optional()?;
    if let Some(heir) = heir {
        connection.prepare_cached(HAND_OVER)?.execute([id, heir])?;
    }
    let deleted = connection
        .prepare_cached("delete from dead_letter where id = ?1")?
        .execute([id])?;
    Ok(deleted == 1)
}

/// What a letter takes, as an SQL expression. SQLite knows the lengths without reading the bytes.
fn letter_bytes() -> String {
    format!("length(payload) + length(detail) + {LETTER_BYTES}")
}

/// The greatest number, and the bytes of all letters above a number.
pub(super) fn measure(connection: &Connection, above: i64) -> rusqlite::Result<(i64, u64)> {
    let sql = format!(
        "select coalesce(max(id), 0), coalesce(sum({}), 0) from dead_letter where id > ?1",
        letter_bytes()
    );
    let mut measure = connection.prepare_cached(&sql)?;
    measure.query_row([above], |row| Ok((row.get(0)?, unsigned(row, 1)?)))
}

/// The letters of the lowest numbers.
pub(super) fn oldest(connection: &Connection, at_most: usize) -> rusqlite::Result<Vec<Measured>> {
    let sql = format!(
        "select id, stored, {} from dead_letter order by id limit ?1",
        letter_bytes()
    );
    connection
        .prepare_cached(&sql)?
        .query_map([signed(at_most as u64)], |row| {
            Ok(Measured {
                id: row.get(0)?,
                stored_us: row.get(1)?,
                bytes: unsigned(row, 2)?,
            })
        })?
        .collect()
}

/// Takes letters out and counts them as removed; `None`: not all of them are there.
pub(super) fn remove(
    connection: &mut Connection,
    ids: &[i64],
    bound: LetterBound,
) -> rusqlite::Result<Option<Vec<RemovedLetters>>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // An array as JSON, because a statement has no arrays.
    let list = format!("{ids:?}");
    let chosen = "id in (select value from json_each(?1))";
    let count = format!(
        "insert into dead_letter_removed
         (source, \"partition\", reason, bound, topic, letters, bytes, first_time, last_time)
         select source, \"partition\", reason, ?2, max(topic), count(*), sum(length(payload)),
                {NOW_US}, {NOW_US}
         from dead_letter where {chosen} group by source, \"partition\", reason
         on conflict (source, \"partition\", reason, bound) do update
         set letters = letters + excluded.letters, bytes = bytes + excluded.bytes,
             topic = excluded.topic, last_time = excluded.last_time"
    );
    transaction.execute(&count, params![list, bound.as_str()])?;
    let by_reason =
        format!("select reason, count(*) from dead_letter where {chosen} group by reason");
    let removed: Vec<RemovedLetters> = transaction
        .prepare(&by_reason)?
        .query_map([&list], |row| {
            Ok(RemovedLetters {
                reason: row.get(0)?,
                bound,
                letters: unsigned(row, 1)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    if removed.iter().map(|removed| removed.letters).sum::<u64>() != ids.len() as u64 {
        return Ok(None);
    }
    hand_over_from(&transaction, &list)?;
    transaction.execute(&format!("delete from dead_letter where {chosen}"), [&list])?;
    transaction.commit()?;
    Ok(Some(removed))
}

/// Hands the bytes of messages over to letters of them that stay.
fn hand_over_from(connection: &Connection, list: &str) -> rusqlite::Result<()> {
    let heirs: Vec<(i64, i64)> = connection
        .prepare(
            "select max(g.id), min(d.id) from dead_letter g
             cross join dead_letter d on d.message_offset = g.message_offset
             and d.\"partition\" = g.\"partition\" and d.source = g.source and d.id > g.id
             where g.id in (select value from json_each(?1))
             and d.id not in (select value from json_each(?1))
             and g.point_index is not null and length(g.payload) > 0
             group by g.source, g.\"partition\", g.message_offset",
        )?
        .query_map([list], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut hand_over = connection.prepare_cached(HAND_OVER)?;
    for (giver, heir) in heirs {
        hand_over.execute([giver, heir])?;
    }
    Ok(())
}
