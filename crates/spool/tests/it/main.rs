//! Tests of the spool through its public face, on real files.

mod bounds;
mod damage;
mod look;
mod random;
mod shortcuts;

use std::path::Path;
use tidegauge_spool::{Appended, NewBatch, Spool, SpoolSettings};

pub(crate) const WIDE: SpoolSettings = SpoolSettings {
    max_bytes: 1 << 30,
    max_age_us: i64::MAX,
};

pub(crate) fn open(path: &Path, settings: SpoolSettings) -> Spool {
    Spool::open(path, settings, 1_000).expect("a spool").0
}

/// Appends as the agent does, telling all drops if asked to.
pub(crate) fn append(spool: &Spool, payload: &[u8], tell: bool, now_us: i64) -> Appended {
    let (epoch, sequence) = spool.next();
    let drops = spool.drops().expect("readable");
    let through = drops.last().map(|dropped| dropped.id);
    spool
        .append(NewBatch {
            epoch,
            sequence,
            payload,
            tells_drops_through: through.filter(|_| tell),
            now_us,
        })
        .expect("appended")
}

pub(crate) fn sequences(spool: &Spool) -> Vec<u64> {
    let entries = spool.read(0, 10_000, 1 << 30).expect("readable").entries;
    entries.iter().map(|entry| entry.sequence).collect()
}
