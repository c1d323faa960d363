//! Dead letters: stored as part of a step, listed, and taken out.

use super::connect::Session;
use super::errors;
use super::values::{Time, storable, unsigned};
use crate::letters::{LETTER_BYTES, Measured};
use crate::{DeadLetterFilter, DeadLetterRow, LetterBound, RemovedLetters, Step, StoreError};
use tokio_postgres::types::ToSql;

const TAKING_OUT: &str = "taking dead letters out";

/// Stores the dead letters of a step. Their texts must never be a reason to fail, so what a text
/// column cannot hold is replaced; the payload is kept as it came.
pub(super) async fn insert(session: &mut Session, step: &Step) -> Result<(), StoreError> {
    let doing = "storing dead letters";
    if step.dead_letters.is_empty() {
        return Ok(());
    }
    let letters = &step.dead_letters;
    let mut sources = Vec::with_capacity(letters.len());
    let mut topics = Vec::with_capacity(letters.len());
    let mut partitions = Vec::with_capacity(letters.len());
    for letter in letters {
        let moved = step.moves.get(letter.slot as usize).ok_or_else(|| {
            errors::unexpected(doing, "a dead letter's slot is none of the step's")
        })?;
        sources.push(moved.source.as_str());
        topics.push(storable(moved.source.label()));
        partitions.push(moved.partition);
    }
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
    let indexes: Vec<Option<i32>> = letters
        .iter()
        .map(|letter| Some(i32::try_from(letter.index?).unwrap_or(i32::MAX)))
        .collect();
    let reasons: Vec<&str> = letters
        .iter()
        .map(|letter| letter.reason.as_str())
        .collect();
    let details: Vec<String> = letters
        .iter()
        .map(|letter| storable(&letter.detail))
        .collect();
    let encodings: Vec<String> = letters
        .iter()
        .map(|letter| storable(&letter.encoding))
        .collect();
    let payloads: Vec<&[u8]> = letters
        .iter()
        .map(|letter| letter.payload.as_ref())
        .collect();
    let sql = "insert into dead_letter (source, topic, partition, message_offset, point_index,
                   reason, detail, encoding, payload)
               select source, topic, partition, message_offset, point_index, reason, detail,
                   encoding, payload
               from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::integer[],
                           $6::text[], $7::text[], $8::text[], $9::bytea[]) with ordinality
               as v(source, topic, partition, message_offset, point_index, reason, detail,
                    encoding, payload, n) order by n";
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &sources,
        &topics,
        &partitions,
        &offsets,
        &indexes,
        &reasons,
        &details,
        &encodings,
        &payloads,
    ];
    session.execute(doing, sql, &parameters).await?;
    Ok(())
}

/// Counts the letters of a step which are none of their own.
pub(super) async fn count_further(session: &mut Session, step: &Step) -> Result<(), StoreError> {
    let count = "insert into dead_letter_removed (source, partition, reason, bound, topic, letters,
                     bytes, first_time, last_time)
                 values ($1, $2, $3, $4, $5, $6, 0, now(), now())
                 on conflict (source, partition, reason, bound) do update
                 set letters = dead_letter_removed.letters + excluded.letters,
                     topic = excluded.topic, last_time = excluded.last_time";
    let doing = "counting dead letters";
    for further in &step.further_letters {
        let moved = step.moves.get(further.slot as usize).ok_or_else(|| {
            errors::unexpected(doing, "a dead letter's slot is none of the step's")
        })?;
        let (reason, bound) = (further.reason.as_str(), LetterBound::Bytes.as_str());
        let letters = i64::try_from(further.letters).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &moved.source.as_str(),
            &moved.partition,
            &reason,
            &bound,
            &storable(moved.source.label()),
            &letters,
        ];
        session.execute(doing, count, &parameters).await?;
    }
    Ok(())
}

/// Dead letters, newest first. The bytes of a message are with its letter of the lowest number, so
/// for the others they are looked up from there on downwards, which is near.
pub(super) async fn list(
    session: &mut Session,
    filter: &DeadLetterFilter,
) -> Result<Vec<DeadLetterRow>, StoreError> {
    let limit = match filter.limit {
        0 => 100,
        limit => i64::try_from(limit).unwrap_or(i64::MAX),
    };
    let sql = "select d.id, d.stored, d.source, d.topic, d.partition, d.message_offset,
                      d.point_index, d.reason, d.detail, d.encoding, coalesce(h.payload, d.payload)
               from (select * from dead_letter
                     where ($1::bigint[] is null or id = any($1))
                     and ($2::text is null or reason = $2) and ($3::text is null or topic = $3)
                     and ($4::timestamptz is null or stored >= $4)
                     and ($5::timestamptz is null or stored < $5)
                     and ($6::bigint is null or id < $6)
                     order by id desc limit $7) d
               left join lateral (
                   select payload from dead_letter
                   where octet_length(d.payload) = 0 and d.point_index is not null
                   and id < d.id and source = d.source and partition = d.partition
                   and message_offset = d.message_offset and octet_length(payload) > 0
                   order by id desc limit 1) h on true
               order by d.id desc";
    let ids = (!filter.ids.is_empty()).then_some(&filter.ids);
    let reason = filter.reason.map(|reason| reason.as_str());
    let (since, until) = (filter.since_us.map(Time), filter.until_us.map(Time));
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &ids,
        &reason,
        &filter.topic,
        &since,
        &until,
        &filter.below,
        &limit,
    ];
    let rows = session
        .query_once("reading the dead letters", sql, &parameters)
        .await?;
    let letters = rows.iter().map(|row| DeadLetterRow {
        id: row.get(0),
        stored_us: row.get::<_, Time>(1).0,
        source: row.get(2),
        topic: row.get(3),
        partition: row.get(4),
        offset: row.get(5),
        index: row
            .get::<_, Option<i32>>(6)
            .map(|index| u32::try_from(index).unwrap_or(0)),
        reason: row.get(7),
        detail: row.get(8),
        encoding: row.get(9),
        payload: row.get(10),
    });
    Ok(letters.collect())
}

/// Deletes dead letters in a transaction of its own; answers how many were there.
pub(super) async fn delete(session: &mut Session, ids: &[i64]) -> Result<u64, StoreError> {
    let begin = "begin isolation level read committed";
    session.batch("deleting dead letters", begin).await?;
    let deleted = take_out(session, ids).await?;
    session.commit().await?;
    Ok(deleted)
}

/// Takes the dead letters that a step resolves out; false when not all of them are there.
pub(super) async fn take_out_all(session: &mut Session, ids: &[i64]) -> Result<bool, StoreError> {
    if ids.is_empty() {
        return Ok(true);
    }
    Ok(take_out(session, ids).await? == ids.len() as u64)
}

/// Deletes dead letters as part of a transaction. The bytes of a message are handed to the next
/// letter of it that stays.
async fn take_out(session: &mut Session, ids: &[i64]) -> Result<u64, StoreError> {
    lock(session, ids).await?;
    delete_locked(session, ids).await
}

/// Locks all letters of these letters' messages, in one order: two who take letters of one message
/// out at once must see what the other left.
async fn lock(session: &mut Session, ids: &[i64]) -> Result<(), StoreError> {
    let lock = "select d.id from dead_letter d
                join (select distinct source, partition, message_offset from dead_letter
                      where id = any($1)) m using (source, partition, message_offset)
                order by d.id for update of d";
    session.query(TAKING_OUT, lock, &[&ids]).await?;
    Ok(())
}

async fn delete_locked(session: &mut Session, ids: &[i64]) -> Result<u64, StoreError> {
    let hand_over = "update dead_letter d set payload = h.payload from (
                         select distinct on (g.id) d.id, g.payload from dead_letter g
                         join dead_letter d using (source, partition, message_offset)
                         where g.id = any($1) and octet_length(g.payload) > 0
                         and d.id > g.id and d.id <> all($1) and d.point_index is not null
                         order by g.id, d.id) h
                     where d.id = h.id and octet_length(d.payload) = 0";
    session.execute(TAKING_OUT, hand_over, &[&ids]).await?;
    let delete = "delete from dead_letter where id = any($1)";
    session.execute(TAKING_OUT, delete, &[&ids]).await
}

/// The greatest number, and the bytes of all letters above a number.
pub(super) async fn measure(session: &mut Session, above: i64) -> Result<(i64, u64), StoreError> {
    let sql = format!(
        "select coalesce(max(id), 0),
         coalesce(sum(octet_length(payload)::bigint + octet_length(detail) + {LETTER_BYTES}), 0)::bigint
         from dead_letter where id > $1"
    );
    let row = session
        .query_one("measuring the dead letters", &sql, &[&above])
        .await?;
    Ok((row.get(0), unsigned(row.get(1))))
}

/// The letters of the lowest numbers.
pub(super) async fn oldest(
    session: &mut Session,
    at_most: usize,
) -> Result<Vec<Measured>, StoreError> {
    let sql = format!(
        "select id, stored, octet_length(payload)::bigint + octet_length(detail) + {LETTER_BYTES}
         from dead_letter order by id limit $1"
    );
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let rows = session
        .query("reading the oldest dead letters", &sql, &[&at_most])
        .await?;
    let letters = rows.iter().map(|row| Measured {
        id: row.get(0),
        stored_us: row.get::<_, Time>(1).0,
        bytes: unsigned(row.get(2)),
    });
    Ok(letters.collect())
}

/// Takes letters out and counts them as removed; `None`: not all of them are there.
pub(super) async fn remove(
    session: &mut Session,
    ids: &[i64],
    bound: LetterBound,
) -> Result<Option<Vec<RemovedLetters>>, StoreError> {
    let doing = "removing dead letters";
    session
        .batch(doing, "begin isolation level read committed")
        .await?;
    lock(session, ids).await?;
    let count = "insert into dead_letter_removed (source, partition, reason, bound, topic, letters,
                     bytes, first_time, last_time)
                 select source, partition, reason, $2, max(topic), count(*),
                        sum(octet_length(payload)::bigint)::bigint, now(), now()
                 from dead_letter where id = any($1)
                 group by source, partition, reason order by source, partition, reason
                 on conflict (source, partition, reason, bound) do update
                 set letters = dead_letter_removed.letters + excluded.letters,
                     bytes = dead_letter_removed.bytes + excluded.bytes,
                     topic = excluded.topic, last_time = excluded.last_time";
    session
        .execute(doing, count, &[&ids, &bound.as_str()])
        .await?;
    let by_reason = "select reason, count(*) from dead_letter where id = any($1) group by reason";
    let rows = session.query(doing, by_reason, &[&ids]).await?;
    let found: i64 = rows.iter().map(|row| row.get::<_, i64>(1)).sum();
    if unsigned(found) != ids.len() as u64 {
        session.rollback().await?;
        return Ok(None);
    }
    delete_locked(session, ids).await?;
    session.commit().await?;
    let removed = rows.iter().map(|row| RemovedLetters {
        reason: row.get(0),
        bound,
        letters: unsigned(row.get(1)),
    });
    Ok(Some(removed.collect()))
}
