//! Rows as PostgreSQL's binary COPY takes them (PostgreSQL manual, `COPY`, "Binary Format"):
//! a signature, then for each row the number of columns and for each column its length and bytes,
//! all big-endian. Written once, from the packed cells into one buffer: no value is boxed.

use super::send::Load;
use super::values::{quoted, wire_time};
use crate::{RowBlock, StoreError};
use bytes::{BufMut, Bytes, BytesMut};
use tidegauge_model::ValueType;

/// The signature, no flags, no extension of the header.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What stands for the row count of the end.
const TRAILER: i16 = -1;

/// What stands for the length of an absent value.
const ABSENT: i32 = -1;

/// What goes to the server at once, about.
const CHUNK_BYTES: usize = 128 * 1024;

/// Which columns of a block are sent: time, series, those that have a value, and the slot where
/// rows are staged.
pub(super) struct CopyPlan {
    columns: Vec<(usize, ValueType)>,
    with_slot: bool,
}

impl CopyPlan {
    /// The plan of a block.
    pub(super) fn of(block: &RowBlock, with_slot: bool) -> Self {
        let columns = (0..block.measurement().fields.len())
            .filter(|&column| block.has_values(column))
            .map(|column| (column, block.column_type(column)))
            .collect();
        Self { columns, with_slot }
    }

    /// The columns of the data table, quoted, in the order in which they are sent.
    pub(super) fn column_list(&self, block: &RowBlock) -> String {
        let fields = &block.measurement().fields;
        let mut list = "time, series_id".to_owned();
        for &(column, _) in &self.columns {
            list.push_str(", ");
            list.push_str(&quoted(&fields[column].name));
        }
        list
    }

    /// The statement that takes rows into a table (a quoted name).
    pub(super) fn statement(&self, block: &RowBlock, table: &str) -> String {
        let list = self.column_list(block);
        let slot = if self.with_slot { ", \"slot\"" } else { "" };
        format!("copy {table} ({list}{slot}) from stdin (format binary)")
    }
}

/// Writes rows, in chunks, into one buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct CopyEncoder {
    buffer: BytesMut,
}

impl CopyEncoder {
    /// Begins a COPY.
    pub(super) fn begin(&mut self) {
        self.buffer.clear();
        self.buffer.put_slice(HEADER);
    }

    /// Writes one row; `Err` when its time is beyond what the database takes.
    fn row(&mut self, block: &RowBlock, row: usize, plan: &CopyPlan) -> Result<(), StoreError> {
        let key = block.key(row);
        let time = wire_time(key.time_us).ok_or_else(time_out_of_range)?;
        let out = &mut self.buffer;
        let count = 2 + plan.columns.len() + usize::from(plan.with_slot);
        // At most 1,600 columns in a table.
        out.put_i16(i16::try_from(count).unwrap_or(i16::MAX));
        out.put_slice(&eight_bytes(time.cast_unsigned()));
        out.put_i32(4);
        out.put_i32(key.series.0);
        let cells = block.cells(row);
        for &(column, value_type) in &plan.columns {
            let cell = cells[column];
            if cell.is_null() {
                out.put_i32(ABSENT);
                continue;
            }
            match value_type {
                ValueType::Float => out.put_slice(&eight_bytes(cell.as_float().to_bits())),
                ValueType::Bool => {
                    out.put_i32(1);
                    out.put_u8(u8::from(cell.as_bool()));
                }
                ValueType::Text => {
                    let text = block.text(cell).as_bytes();
                    // A step is far below 2 GiB.
                    out.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
                    out.put_slice(text);
                }
            }
        }
        if plan.with_slot {
            out.put_i32(4);
            out.put_i32(i32::try_from(block.origin(row).slot).unwrap_or(i32::MAX));
        }
        Ok(())
    }

    /// What goes to the server next: as many of the rows as are worth sending at once, with the
    /// trailer behind the last one.
    pub(super) fn chunk(
        &mut self,
        load: &Load<'_>,
        rows: &mut std::slice::Iter<'_, u32>,
    ) -> Result<Bytes, StoreError> {
        self.buffer.reserve(CHUNK_BYTES + CHUNK_BYTES / 4);
        while self.buffer.len() < CHUNK_BYTES {
            let Some(&row) = rows.next() else {
                break;
            };
            self.row(load.block, row as usize, &load.plan)?;
        }
        if rows.as_slice().is_empty() {
            self.buffer.put_i16(TRAILER);
        }
        Ok(self.buffer.split().freeze())
    }
}

/// A column of eight bytes with its length, written at once.
#[inline]
fn eight_bytes(bits: u64) -> [u8; 12] {
    let mut column = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    column[4..].copy_from_slice(&bits.to_be_bytes());
    column
}

/// The error of a row whose time no column of the database takes.
pub(super) fn time_out_of_range() -> StoreError {
    StoreError::new("encoding rows", crate::ErrorClass::Data)
        .caused_by("a time lies beyond what PostgreSQL stores")
        .with_code("22008")
        .rolled_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, FieldColumn, Measurement, RowKey, RowOrigin, SeriesId};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use tidegauge_model::Kind;

    #[test]
    fn a_row_byte_by_byte() {
        let field = |name: &str, value_type| FieldColumn {
            name: name.to_owned(),
            value_type,
        };
        let measurement = Measurement {
            id: 1,
            name: "x".to_owned(),
            kind: Kind::Gauge,
            keyed: false,
            fields: vec![
                field("never", ValueType::Float),
                field("f", ValueType::Float),
                field("b", ValueType::Bool),
                field("t", ValueType::Text),
            ],
            tags: Vec::new(),
            refused: BTreeMap::new(),
        };
        let mut block = RowBlock::new(Arc::new(measurement));
        let origin = RowOrigin {
            slot: 3,
            offset: 0,
            index: 0,
        };
        for time_us in [946_684_800_000_001, 946_684_800_000_002] {
            let key = RowKey {
                series: SeriesId(7),
                time_us,
            };
            block.push(key, origin);
        }
        block.set(0, 1, Cell::float(1.0));
        block.set(0, 2, Cell::bool(true));
        block.set_text(0, 3, "é");
        let plan = CopyPlan::of(&block, true);
        assert_eq!(
            plan.statement(&block, "\"p\""),
            "copy \"p\" (time, series_id, \"f\", \"b\", \"t\", \"slot\") from stdin (format binary)"
        );
        let mut encoder = CopyEncoder::default();
        encoder.begin();
        let load = Load {
            block: &block,
            rows: &[0, 1],
            plan,
            statement: String::new(),
        };
        let mut rows = load.rows.iter();
        let chunk = encoder.chunk(&load, &mut rows).expect("in range");
        let mut expected = HEADER.to_vec();
        expected.extend([
            0, 6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7,
        ]);
        expected.extend([0, 0, 0, 8, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        expected.extend([0, 0, 0, 2, 0xc3, 0xa9, 0, 0, 0, 4, 0, 0, 0, 3]);
        expected.extend([
            0, 6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 7,
        ]);
        expected.extend([0xff; 12]);
        expected.extend([0, 0, 0, 4, 0, 0, 0, 3, 0xff, 0xff]);
        assert_eq!(chunk.as_ref(), expected.as_slice());
        assert_eq!(rows.len(), 0);
    }

    #[test]
    fn a_time_beyond_the_range_is_the_rows_fault() {
        assert_eq!(time_out_of_range().class(), crate::ErrorClass::Data);
    }
}
