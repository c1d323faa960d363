//! Dead letters: stored as part of a step, listed, and taken out.

use super::connect::{PACKET_BYTES, Session, value};
use super::errors;
use super::values::{push_bytes, push_text, push_time, signed, text, time_us};
use crate::letters::{LETTER_BYTES, Measured};
use crate::{
    DeadLetter, DeadLetterFilter, DeadLetterRow, LetterBound, PositionMove, RemovedLetters, Step,
    StoreError,
};
use mysql_async::{Row, Value};
use std::collections::BTreeMap;

/// Dead letters that are listed when no number is given.
const DEFAULT_LIST: usize = 100;

/// Bytes of a letter beside its message, at most: its texts are bounded far below.
const LETTER_HEAD: usize = 64 << 10;

const INSERT: &str = "insert into `dead_letter` (`source`, `topic`, `partition`, `message_offset`,
         `point_index`, `reason`, `detail`, `encoding`, `payload`) values ";

/// Whether a letter is stored by a statement of its own.
const fn is_large(letter: &DeadLetter) -> bool {
    letter.payload.len() * 2 + LETTER_HEAD > PACKET_BYTES
}

fn partition_of(step: &Step, slot: u32) -> Result<&PositionMove, StoreError> {
    step.moves.get(slot as usize).ok_or_else(|| {
        errors::unexpected(
            "storing dead letters",
            "a dead letter's slot is none of the step's",
        )
    })
}

/// Stores the letters whose messages are large, each by its own statement and its message as it is,
/// not in digits. They come before all others of the step, because a message is with the letter of
/// its lowest number. A message that is larger than the server takes would be refused for ever, so
/// its letter is stored without it, and says so.
pub(super) async fn insert_large(session: &mut Session, step: &Step) -> Result<(), StoreError> {
    let doing = "storing a dead letter of a large message";
    let mut limit = None;
    for letter in step.dead_letters.iter().filter(|letter| is_large(letter)) {
        let most = match limit {
            Some(most) => most,
            None => {
                let sql = "select cast(@@max_allowed_packet as unsigned)";
                *limit.insert(session.query_value::<u64>(doing, sql).await?)
            }
        };
        let moved = partition_of(step, letter.slot)?;
        let bytes = letter.payload.len() as u64;
        let (detail, payload) = match bytes + LETTER_HEAD as u64 > most {
            false => (letter.detail.clone(), letter.payload.to_vec()),
            true => {
                let not_kept = format!(
                    "{}; the message of {bytes} bytes is not kept: the server's max_allowed_packet is \
                     {most}",
                    letter.detail
                );
                (not_kept, Vec::new())
            }
        };
        let values: Vec<Value> = vec![
            moved.source.as_str().into(),
            moved.source.label().into(),
            moved.partition.into(),
            letter.offset.into(),
            letter.index.into(),
            letter.reason.as_str().into(),
            detail.into(),
            letter.encoding.as_str().into(),
            payload.into(),
        ];
        let sql = format!("{INSERT}(?, ?, ?, ?, ?, ?, ?, ?, ?)");
        session.execute_with(doing, &sql, values).await?;
    }
    Ok(())
}

/// The statements that store the other dead letters of a step, each of about a packet's size.
pub(super) fn insert(step: &Step) -> Result<Vec<String>, StoreError> {
    let mut statements: Vec<String> = Vec::new();
    for letter in step.dead_letters.iter().filter(|letter| !is_large(letter)) {
        let moved = partition_of(step, letter.slot)?;
        let mut row = String::with_capacity(letter.payload.len() * 2 + 512);
        row.push('(');
        for text in [moved.source.as_str(), moved.source.label()] {
            push_text(&mut row, text);
            row.push(',');
        }
        let index = letter.index.map_or("null".to_owned(), |at| at.to_string());
        row.push_str(&format!("{},{},{index},", moved.partition, letter.offset));
        for text in [letter.reason.as_str(), &letter.detail, &letter.encoding] {
            push_text(&mut row, text);
            row.push(',');
        }
        push_bytes(&mut row, &letter.payload);
        row.push(')');
        match statements.last_mut() {
            Some(statement) if statement.len() + row.len() < PACKET_BYTES => {
                statement.push(',');
                statement.push_str(&row);
            }
            _ => statements.push(format!("{INSERT}{row}")),
        }
    }
    Ok(statements)
}

/// The statements that count the letters of a step which are none of their own.
pub(super) fn count_further(step: &Step) -> Result<Vec<String>, StoreError> {
    let counts = step.further_letters.iter().map(|further| {
        let moved = partition_of(step, further.slot)?;
        Ok(format!(
            "insert into `dead_letter_removed` (`source`, `partition`, `reason`, `bound`, `topic`,
                 `letters`, `bytes`, `first_time`, `last_time`)
             values ({}, {}, {}, {}, {}, {}, 0, utc_timestamp(6), utc_timestamp(6))
             on duplicate key update `letters` = `letters` + values(`letters`),
                 `topic` = values(`topic`), `last_time` = values(`last_time`)",
            text(moved.source.as_str()),
            moved.partition,
            text(further.reason.as_str()),
            text(LetterBound::Bytes.as_str()),
            text(moved.source.label()),
            signed(further.letters),
        ))
    });
    counts.collect()
}

/// Dead letters, newest first. The bytes of a message are with its letter of the lowest number, so
/// for the others they are looked up from there on downwards.
pub(super) async fn list(
    session: &mut Session,
    filter: &DeadLetterFilter,
) -> Result<Vec<DeadLetterRow>, StoreError> {
    let doing = "reading the dead letters";
    let limit = match filter.limit {
        0 => DEFAULT_LIST,
        limit => limit,
    };
    let mut conditions = vec!["true".to_owned()];
    if !filter.ids.is_empty() {
        let ids: Vec<String> = filter.ids.iter().map(ToString::to_string).collect();
        conditions.push(format!("d.`id` in ({})", ids.join(", ")));
    }
    if let Some(reason) = filter.reason {
        conditions.push(format!("d.`reason` = {}", text(reason.as_str())));
    }
    if let Some(topic) = &filter.topic {
        conditions.push(format!("d.`topic` = {}", text(topic)));
    }
    for (bound, sign) in [(filter.since_us, ">="), (filter.until_us, "<")] {
        let mut literal = String::new();
        if bound.is_some_and(|time_us| push_time(&mut literal, time_us)) {
            conditions.push(format!("d.`stored` {sign} {literal}"));
        }
    }
    if let Some(below) = filter.below {
        conditions.push(format!("d.`id` < {below}"));
    }
    let sql = format!(
        "select d.`id`, d.`stored`, d.`source`, d.`topic`, d.`partition`, d.`message_offset`,
         d.`point_index`, d.`reason`, d.`detail`, d.`encoding`,
         case when d.`point_index` is null or length(d.`payload`) > 0 then d.`payload`
         else coalesce((select h.`payload` from `dead_letter` h where h.`id` < d.`id`
              and h.`source` = d.`source` and h.`partition` = d.`partition`
              and h.`message_offset` = d.`message_offset` and length(h.`payload`) > 0
              order by h.`id` desc limit 1), d.`payload`) end
         from `dead_letter` d where {} order by d.`id` desc limit {limit}",
        conditions.join(" and ")
    );
    let rows = session.query(doing, &sql).await?;
    rows.iter().map(|row| letter(doing, row)).collect()
}

fn letter(doing: &str, row: &Row) -> Result<DeadLetterRow, StoreError> {
    let stored_us = row.as_ref(1).and_then(time_us);
    Ok(DeadLetterRow {
        id: value(doing, row, 0)?,
        stored_us: stored_us
            .ok_or_else(|| errors::unexpected(doing, "`stored` is not in its form"))?,
        source: value(doing, row, 2)?,
        topic: value(doing, row, 3)?,
        partition: value(doing, row, 4)?,
        offset: value(doing, row, 5)?,
        index: value(doing, row, 6)?,
        reason: value(doing, row, 7)?,
        detail: value(doing, row, 8)?,
        encoding: value(doing, row, 9)?,
        payload: value(doing, row, 10)?,
    })
}

/// Deletes dead letters in a transaction of its own; answers how many were there.
pub(super) async fn delete(session: &mut Session, ids: &[i64]) -> Result<u64, StoreError> {
    let doing = "deleting dead letters";
    session.execute(doing, "start transaction").await?;
    let mut deleted = 0;
    for &id in ids {
        deleted += u64::from(take_out(session, id).await?);
    }
    session.commit().await?;
    Ok(deleted)
}

/// Deletes a dead letter as part of a transaction; false when it is not there. The bytes of its
/// message are handed to the next letter of it.
pub(super) async fn take_out(session: &mut Session, id: i64) -> Result<bool, StoreError> {
    let doing = "taking out a dead letter";
    let heir = format!(
        "select d.`id` from `dead_letter` g join `dead_letter` d on d.`id` > g.`id`
         and d.`source` = g.`source` and d.`partition` = g.`partition`
         and d.`message_offset` = g.`message_offset`
         where g.`id` = {id} and length(g.`payload`) > 0 and g.`point_index` is not null
         order by d.`id` limit 1 for update"
    );
    if let Some(row) = session.query(doing, &heir).await?.first() {
        let heir: i64 = value(doing, row, 0)?;
        let hand_over = format!(
            "update `dead_letter` h join `dead_letter` g on g.`id` = {id}
             set h.`payload` = g.`payload` where h.`id` = {heir} and length(h.`payload`) = 0"
        );
        session.execute(doing, &hand_over).await?;
    }
    let delete = format!("delete from `dead_letter` where `id` = {id}");
    Ok(session.execute(doing, &delete).await? == 1)
}

/// What a letter takes, as an SQL expression.
fn letter_bytes() -> String {
    format!("length(`payload`) + length(`detail`) + {LETTER_BYTES}")
}

/// The greatest number, and the bytes of all letters above a number.
pub(super) async fn measure(session: &mut Session, above: i64) -> Result<(i64, u64), StoreError> {
    let doing = "measuring the dead letters";
    let sql = format!(
        "select coalesce(max(`id`), 0), cast(coalesce(sum({}), 0) as unsigned)
         from `dead_letter` where `id` > {above}",
        letter_bytes()
    );
    let rows = session.query(doing, &sql).await?;
    let row = rows.first();
    let row = row.ok_or_else(|| errors::unexpected(doing, "the server answered no row"))?;
    Ok((value(doing, row, 0)?, value(doing, row, 1)?))
}

/// The letters of the lowest numbers.
pub(super) async fn oldest(
    session: &mut Session,
    at_most: usize,
) -> Result<Vec<Measured>, StoreError> {
    let doing = "reading the oldest dead letters";
    let sql = format!(
        "select `id`, `stored`, cast({} as unsigned) from `dead_letter` order by `id`
         limit {at_most}",
        letter_bytes()
    );
    let rows = session.query(doing, &sql).await?;
    let measured = |row: &Row| {
        let stored_us = row.as_ref(1).and_then(time_us);
        Ok(Measured {
            id: value(doing, row, 0)?,
            stored_us: stored_us
                .ok_or_else(|| errors::unexpected(doing, "`stored` is not in its form"))?,
            bytes: value(doing, row, 2)?,
        })
    };
    rows.iter().map(measured).collect()
}

/// Takes letters out and counts them as removed; `None`: not all of them are there.
pub(super) async fn remove(
    session: &mut Session,
    ids: &[i64],
    bound: LetterBound,
) -> Result<Option<Vec<RemovedLetters>>, StoreError> {
    let doing = "removing dead letters";
    session.execute(doing, "start transaction").await?;
    let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    // Locked first, so that each is counted by who deletes it.
    let counted = format!("select `reason` from `dead_letter` where `id` in ({list}) for update");
    let mut by_reason: BTreeMap<String, u64> = BTreeMap::new();
    for row in session.query(doing, &counted).await? {
        *by_reason.entry(value(doing, &row, 0)?).or_default() += 1;
    }
    if by_reason.values().sum::<u64>() != ids.len() as u64 {
        session.rollback().await?;
        return Ok(None);
    }
    let count = format!(
        "insert into `dead_letter_removed` (`source`, `partition`, `reason`, `bound`, `topic`,
             `letters`, `bytes`, `first_time`, `last_time`)
         select `source`, `partition`, `reason`, {}, max(`topic`), count(*),
                sum(length(`payload`)), utc_timestamp(6), utc_timestamp(6)
         from `dead_letter` where `id` in ({list}) group by `source`, `partition`, `reason`
         on duplicate key update `letters` = `dead_letter_removed`.`letters` + values(`letters`),
             `bytes` = `dead_letter_removed`.`bytes` + values(`bytes`),
             `topic` = values(`topic`), `last_time` = values(`last_time`)",
        text(bound.as_str())
    );
    session.execute(doing, &count).await?;
    let hand_over = format!(
        "update `dead_letter` h join (
             select min(d.`id`) as `heir`, max(g.`id`) as `giver` from `dead_letter` g
             join `dead_letter` d on d.`source` = g.`source` and d.`partition` = g.`partition`
             and d.`message_offset` = g.`message_offset` and d.`id` > g.`id`
             where g.`id` in ({list}) and d.`id` not in ({list})
             and g.`point_index` is not null and length(g.`payload`) > 0
             group by g.`source`, g.`partition`, g.`message_offset`) m on m.`heir` = h.`id`
         join `dead_letter` g on g.`id` = m.`giver`
         set h.`payload` = g.`payload` where length(h.`payload`) = 0"
    );
    session.execute(doing, &hand_over).await?;
    let delete = format!("delete from `dead_letter` where `id` in ({list})");
    session.execute(doing, &delete).await?;
    session.commit().await?;
    let removed = by_reason
        .into_iter()
        .map(|(reason, letters)| RemovedLetters {
            reason,
            bound,
            letters,
        });
    Ok(Some(removed.collect()))
}
