//! Questions with exact answers, over a reader in memory.

mod memory_reader;
mod percentiles;
mod range;
mod states;
mod uptime;

use memory_reader::MemoryReader;
use std::sync::Arc;
use tidegauge_model::{Point, name};
use tidegauge_query::Query;

/// One second in microseconds.
const SECOND: i64 = 1_000_000;
/// A begin that is a multiple of a day, so that buckets begin with it.
const BEGIN: i64 = 20_000 * 86_400 * SECOND;

struct Fixture {
    reader: Arc<MemoryReader>,
    query: Query,
}

impl Fixture {
    fn new() -> Self {
        let reader = Arc::new(MemoryReader::default());
        Self {
            query: Query::new(reader.clone()),
            reader,
        }
    }

    /// Stores `m{part=...}` with a gauge and a counter at `seconds` after the begin.
    fn sample(&self, part: &'static str, seconds: f64, gauge: f64, total: f64) {
        let time_us = BEGIN + (seconds * SECOND as f64) as i64;
        let point = Point::new(name!("m"), time_us)
            .tag(name!("part"), part)
            .field(name!("level"), gauge)
            .field(name!("bytes_total"), total)
            .field(name!("word"), "text");
        self.reader.store("web-1", &point);
    }
}
