//! Youngest samples of sources without sequences, until they are noted for the view `freshness`.
//!
//! An agent's ledger row has its youngest sample. A host without an agent has `host.last_time`, which
//! is no part of a step: two sinks that store points of one host at once would wait for each
//! other's row. So it is noted between steps, every few seconds, and once more before the end. What a
//! crash forgets is noted with the host's next sample.

use crate::{RowBlock, SeriesId};
use hashbrown::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is noted while steps are committed.
const EVERY: Duration = Duration::from_secs(5);

/// Youngest samples by series.
#[derive(Debug, Default)]
pub(crate) struct SeenSeries {
    newest: HashMap<SeriesId, i64>,
    noted: Option<Instant>,
}

impl SeenSeries {
    /// Sees the rows of a step that was committed; answers whether it is time to note. Blocks of
    /// measurements that agents alone feed are not looked at.
    pub(crate) fn see(&mut self, blocks: &[RowBlock]) -> bool {
        for block in blocks.iter().filter(|block| block.measurement().keyed) {
            for row in 0..block.len() {
                let key = block.key(row);
                let newest = self.newest.entry(key.series).or_insert(key.time_us);
                *newest = key.time_us.max(*newest);
            }
        }
        !self.newest.is_empty() && self.noted.is_none_or(|noted| noted.elapsed() >= EVERY)
    }

    /// Takes what is to be noted, by the number of the series.
    pub(crate) fn take(&mut self) -> Vec<(SeriesId, i64)> {
        self.noted = Some(Instant::now());
        let mut newest: Vec<(SeriesId, i64)> = self.newest.drain().collect();
        newest.sort_unstable();
        newest
    }
}
