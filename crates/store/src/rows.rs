//! The rows of one measurement in a step, packed: no boxing, no map, one `u64` per value.
//!
//! Rows are what a database's encoder reads once, in (series, time) order; they are built by
//! appending, and hold for each row where it came from, so that a row that the database refuses
//! can become a dead letter with its origin.

use crate::{Measurement, SeriesId};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tidegauge_model::ValueType;

/// One value, packed; its meaning is the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell(u64);

impl Cell {
    /// No value. The bits are those of a NaN, which no point holds.
    pub const NULL: Self = Self(u64::MAX);

    /// A finite number.
    #[must_use]
    pub fn float(number: f64) -> Self {
        debug_assert!(number.is_finite(), "points hold finite numbers only");
        Self(number.to_bits())
    }

    /// A truth value.
    #[must_use]
    pub fn bool(truth: bool) -> Self {
        Self(u64::from(truth))
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_null(self) -> bool {
        self == Self::NULL
    }

    /// The number, in a column of floats.
    #[must_use]
    pub fn as_float(self) -> f64 {
        f64::from_bits(self.0)
    }

    /// The truth value, in a column of truth values.
    #[must_use]
    pub fn as_bool(self) -> bool {
        self.0 != 0
    }
}

/// What a row is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The series.
    pub series: SeriesId,
    /// Microseconds since 1970 UTC.
    pub time_us: i64,
}

/// Where a row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowOrigin {
    /// Index into [`Step::moves`](crate::Step::moves).
    pub slot: u32,
    /// The message's offset.
    pub offset: i64,
    /// The point's place in the message.
    pub index: u32,
}

/// The rows of one measurement.
#[derive(Debug, Clone)]
pub struct RowBlock {
    measurement: Arc<Measurement>,
    keys: Vec<RowKey>,
    origins: Vec<RowOrigin>,
    cells: Vec<Cell>,
    texts: String,
    /// The rows in (series, time) order; empty unless [`RowBlock::arrange`] was the last change.
    order: Vec<u32>,
}

impl RowBlock {
    /// An empty block for rows of `measurement`, whose fields are its columns.
    #[must_use]
    pub const fn new(measurement: Arc<Measurement>) -> Self {
        Self {
            measurement,
            keys: Vec::new(),
            origins: Vec::new(),
            cells: Vec::new(),
            texts: String::new(),
            order: Vec::new(),
        }
    }

    /// An empty block for rows of `measurement`, in the memory of this one.
    #[must_use]
    pub fn recycle(mut self, measurement: Arc<Measurement>) -> Self {
        self.measurement = measurement;
        self.keys.clear();
        self.origins.clear();
        self.cells.clear();
        self.texts.clear();
        self.order.clear();
        self
    }

    /// The measurement; its fields are the columns, in that order.
    #[must_use]
    pub const fn measurement(&self) -> &Arc<Measurement> {
        &self.measurement
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Appends a row without values and returns its number; set them with [`RowBlock::set`].
    pub fn push(&mut self, key: RowKey, origin: RowOrigin) -> usize {
        self.order.clear();
        self.keys.push(key);
        self.origins.push(origin);
        self.cells
            .resize(self.cells.len() + self.columns(), Cell::NULL);
        self.keys.len() - 1
    }

    /// Sets a number or truth value of a row.
    pub fn set(&mut self, row: usize, column: usize, cell: Cell) {
        let columns = self.columns();
        self.cells[row * columns + column] = cell;
    }

    /// Sets a text of a row. A step's texts stay far below 4 GiB by its bound in bytes.
    pub fn set_text(&mut self, row: usize, column: usize, text: &str) {
        let begin = self.texts.len() as u64;
        self.texts.push_str(text);
        self.set(row, column, Cell(begin << 32 | text.len() as u64));
    }

    /// The key of a row.
    #[must_use]
    pub fn key(&self, row: usize) -> RowKey {
        self.keys[row]
    }

    /// Where a row came from.
    #[must_use]
    pub fn origin(&self, row: usize) -> RowOrigin {
        self.origins[row]
    }

    /// The values of a row, one per field of the measurement.
    #[must_use]
    pub fn cells(&self, row: usize) -> &[Cell] {
        let columns = self.columns();
        &self.cells[row * columns..(row + 1) * columns]
    }

    /// The text behind a cell of a text column; empty when the cell is none of this block's.
    #[must_use]
    pub fn text(&self, cell: Cell) -> &str {
        let (begin, length) = ((cell.0 >> 32) as usize, (cell.0 & 0xffff_ffff) as usize);
        self.texts.get(begin..begin + length).unwrap_or_default()
    }

    /// A block of these rows alone, in this order, with their values and origins.
    #[must_use]
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let mut selected = Self::new(Arc::clone(&self.measurement));
        for row in rows {
            let to = selected.push(self.keys[row], self.origins[row]);
            for (column, &cell) in self.cells(row).iter().enumerate() {
                match self.column_type(column) {
                    ValueType::Text if !cell.is_null() => {
                        selected.set_text(to, column, self.text(cell));
                    }
                    _ => selected.set(to, column, cell),
                }
            }
        }
        selected
    }

    /// Finds the order of the rows now, so that who writes them need not.
    pub fn arrange(&mut self) {
        fill_order(&self.keys, &mut self.order);
    }

    /// The numbers of all rows in (series, time) order, rows of one key in the order of arrival.
    #[must_use]
    pub fn sorted(&self) -> Cow<'_, [u32]> {
        if self.order.len() == self.keys.len() {
            return Cow::Borrowed(&self.order);
        }
        let mut order = Vec::new();
        fill_order(&self.keys, &mut order);
        Cow::Owned(order)
    }

    /// The span of the times; `None` without rows.
    #[must_use]
    pub fn times_us(&self) -> Option<RangeInclusive<i64>> {
        let first = self.keys.first()?.time_us;
        let span = self.keys.iter().fold((first, first), |(low, high), key| {
            (low.min(key.time_us), high.max(key.time_us))
        });
        Some(span.0..=span.1)
    }

    /// Whether any row has a value in this column.
    #[must_use]
    pub fn has_values(&self, column: usize) -> bool {
        self.cells
            .iter()
            .skip(column)
            .step_by(self.columns().max(1))
            .any(|cell| !cell.is_null())
    }

    /// The type of a column.
    #[must_use]
    pub fn column_type(&self, column: usize) -> ValueType {
        self.measurement.fields[column].value_type
    }

    fn columns(&self) -> usize {
        self.measurement.fields.len()
    }
}

fn fill_order(keys: &[RowKey], order: &mut Vec<u32>) {
    order.clear();
    order.extend(0..u32::try_from(keys.len()).unwrap_or(u32::MAX));
    if !keys.is_sorted() {
        // By the number too: rows of one key stay in the order of arrival.
        order.sort_unstable_by_key(|&row| (keys[row as usize], row));
    }
}
