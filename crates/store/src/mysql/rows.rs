//! Rows of a step: as the data of LOAD DATA LOCAL (`load`) where all of them are new and taken as they
//! are, else as multi-row INSERT statements, which count those that are there already.
//!
//! `on duplicate key update series_id = series_id` changes nothing of a row that is there, and the
//! server counts it as not changed: so the count of changed rows is the count of new ones, and no
//! error is hidden. That is what rules out `insert ignore`.

use super::connect::{PACKET_BYTES, Session};
use super::values::{data_table, push_float, push_integer, push_text, push_time, quoted};
use super::{errors, load};
use crate::{RowBlock, StoreError};
use std::collections::BTreeMap;
use tidegauge_model::ValueType;

/// Repeated rows per slot of the step's moves.
#[derive(Debug, Default)]
pub(super) struct Repeats(BTreeMap<u32, u64>);

impl Repeats {
    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Slots with repeats, and how many.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = (u32, u64)> {
        self.0
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(slot, count)| (*slot, *count))
    }

    fn add(&mut self, slot: u32, count: u64) {
        *self.0.entry(slot).or_default() += count;
    }
}

/// Inserts a block in key order; answers how many rows are new and counts the others.
pub(super) async fn insert(
    session: &mut Session,
    block: &RowBlock,
    repeats: &mut Repeats,
) -> Result<u64, StoreError> {
    let doing = format!("inserting rows of {}", block.measurement().name);
    let rows = first_of_each_key(block, repeats);
    if load::is_worth_it(session, rows.len())
        && load::all_were_loaded(session, &doing, block, &rows).await?
    {
        return Ok(rows.len() as u64);
    }
    let head = Head::of(block);
    let mut new_rows = 0;
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let (sql, taken) = head.statement(block, rest)?;
        let (chunk, after) = rest.split_at(taken);
        rest = after;
        new_rows += insert_chunk(session, &doing, block, &head, (sql, chunk), repeats).await?;
    }
    Ok(new_rows)
}

async fn insert_chunk(
    session: &mut Session,
    doing: &str,
    block: &RowBlock,
    head: &Head,
    (sql, rows): (String, &[u32]),
    repeats: &mut Repeats,
) -> Result<u64, StoreError> {
    let slot = |row: &u32| block.origin(*row as usize).slot;
    let mut by_slot: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for row in rows {
        by_slot.entry(slot(row)).or_default().push(*row);
    }
    let count = rows.len() as u64;
    if by_slot.len() == 1 {
        let new_rows = session.execute(doing, &sql).await?;
        repeats.add(slot(&rows[0]), count.saturating_sub(new_rows));
        return Ok(new_rows);
    }
    // All at once if nothing repeats (S5); else each slot by itself, which tells whose they are.
    let statements = ["savepoint `rows`".to_owned(), sql];
    let new_rows = session.affected(doing, &statements).await?[1];
    if new_rows == count {
        return Ok(new_rows);
    }
    session
        .execute(doing, "rollback to savepoint `rows`")
        .await?;
    let mut new_rows = 0;
    for (slot, rows) in by_slot {
        // A part of what fitted into one statement.
        let (sql, _) = head.statement(block, &rows)?;
        let new_of_slot = session.execute(doing, &sql).await?;
        repeats.add(slot, (rows.len() as u64).saturating_sub(new_of_slot));
        new_rows += new_of_slot;
    }
    Ok(new_rows)
}

/// The rows of a block without those that repeat a key within it; the first one stays.
fn first_of_each_key(block: &RowBlock, repeats: &mut Repeats) -> Vec<u32> {
    let mut last = None;
    let mut first = block.sorted().into_owned();
    first.retain(|&row| {
        let key = block.key(row as usize);
        let is_new = last.replace(key) != Some(key);
        if !is_new {
            repeats.add(block.origin(row as usize).slot, 1);
        }
        is_new
    });
    first
}

/// The columns that are written; the others are null in every row.
pub(super) fn columns_with_values(block: &RowBlock) -> Vec<usize> {
    let columns = 0..block.measurement().fields.len();
    columns.filter(|&column| block.has_values(column)).collect()
}

/// What the statements of a block begin with, and which of its columns they have.
struct Head {
    sql: String,
    columns: Vec<usize>,
}

impl Head {
    /// Columns without a value in the block are left out.
    fn of(block: &RowBlock) -> Self {
        let measurement = block.measurement();
        let columns = columns_with_values(block);
        let mut sql = format!(
            "insert into {} (`series_id`, `time`",
            data_table(&measurement.name)
        );
        for &column in &columns {
            sql.push_str(", ");
            sql.push_str(&quoted(&measurement.fields[column].name));
        }
        sql.push_str(") values ");
        Self { sql, columns }
    }

    /// A statement with as many of the rows as fit into a packet, at least one, and how many.
    fn statement(&self, block: &RowBlock, rows: &[u32]) -> Result<(String, usize), StoreError> {
        let mut sql = String::with_capacity(PACKET_BYTES / 4);
        sql.push_str(&self.sql);
        let mut taken = 0;
        let mut end = sql.len();
        for &row in rows {
            if taken > 0 {
                sql.push(',');
            }
            self.push_row(&mut sql, block, row as usize)?;
            if taken > 0 && sql.len() > PACKET_BYTES {
                sql.truncate(end);
                break;
            }
            taken += 1;
            end = sql.len();
        }
        sql.push_str(" on duplicate key update `series_id` = `series_id`");
        Ok((sql, taken))
    }

    fn push_row(&self, sql: &mut String, block: &RowBlock, row: usize) -> Result<(), StoreError> {
        let key = block.key(row);
        sql.push('(');
        push_integer(sql, key.series.0.into());
        sql.push(',');
        if !push_time(sql, key.time_us) {
            return Err(errors::time_out_of_range());
        }
        let cells = block.cells(row);
        for &column in &self.columns {
            sql.push(',');
            let cell = cells[column];
            if cell.is_null() {
                sql.push_str("null");
                continue;
            }
            match block.column_type(column) {
                ValueType::Float => push_float(sql, cell.as_float()),
                ValueType::Bool => sql.push(if cell.as_bool() { '1' } else { '0' }),
                ValueType::Text => push_text(sql, block.text(cell)),
            }
        }
        sql.push(')');
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{Cell, ErrorClass, FieldColumn, Measurement, RowKey, RowOrigin, SeriesId};
    use std::sync::Arc;
    use tidegauge_model::Kind;

    pub(in crate::mysql) fn block(rows: usize) -> RowBlock {
        let field = |name: &str, value_type| FieldColumn {
            name: name.to_owned(),
            value_type,
        };
        let measurement = Measurement {
            id: 1,
            name: "load".to_owned(),
            kind: Kind::Gauge,
            keyed: false,
            fields: vec![
                field("never", ValueType::Float),
                field("a`b", ValueType::Float),
                field("up", ValueType::Bool),
                field("note", ValueType::Text),
            ],
            tags: Vec::new(),
            refused: BTreeMap::new(),
        };
        let mut block = RowBlock::new(Arc::new(measurement));
        for time_us in 0..i64::try_from(rows).expect("small") {
            let key = RowKey {
                series: SeriesId(7),
                time_us,
            };
            let origin = RowOrigin {
                slot: 0,
                offset: 0,
                index: 0,
            };
            let row = block.push(key, origin);
            block.set(row, 1, Cell::float(0.5));
            block.set(row, 2, Cell::bool(row == 0));
            if row == 0 {
                block.set_text(row, 3, "it's");
            }
        }
        block
    }

    #[test]
    fn rows_are_literals_and_empty_columns_are_left_out() {
        let block = block(2);
        let (sql, taken) = Head::of(&block)
            .statement(&block, &[0, 1])
            .expect("encoded");
        assert_eq!(taken, 2);
        assert_eq!(
            sql,
            "insert into `m_load` (`series_id`, `time`, `a``b`, `up`, `note`) values \
             (7,'1970-01-01 00:00:00.000000',0.5e0,1,_utf8mb4 x'69742773'),\
             (7,'1970-01-01 00:00:00.000001',0.5e0,0,null) \
             on duplicate key update `series_id` = `series_id`"
        );
    }

    #[test]
    fn a_statement_ends_where_the_packet_does() {
        let block = block(40_000);
        let head = Head::of(&block);
        let rows = block.sorted();
        let (first, taken) = head.statement(&block, &rows).expect("encoded");
        assert!((PACKET_BYTES / 2..PACKET_BYTES + 100).contains(&first.len()));
        assert!(taken < rows.len() && first.contains(") on duplicate"));
        let (_, last) = head.statement(&block, &rows[39_999..]).expect("encoded");
        assert_eq!(last, 1);
    }

    #[test]
    fn a_time_beyond_the_range_is_the_rows_fault() {
        let mut block = block(1);
        let (key, origin) = (block.key(0), block.origin(0));
        let time_us = i64::MAX;
        block.push(RowKey { time_us, ..key }, origin);
        let error = Head::of(&block).statement(&block, &[0, 1]);
        assert_eq!(error.expect_err("refused").class(), ErrorClass::Data);
    }
}
