//! `zfs`: the cache of OpenZFS, its pools, and the reads and writes of data sets.
//!
//! Source: `<proc>/spl/kstat/zfs`, which OpenZFS documents in its sources: `arcstats`, and per pool
//! a folder with `state` and a file `objset-…` per data set that is mounted. Pools and data sets
//! are looked for once a minute; of a pool's data sets the first 200 are read, how many are left
//! out is told.

use super::sysfs::{Due, Values, names_in};
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText};
use std::path::PathBuf;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "zfs",
    description: "The cache of OpenZFS (ARC), the state of its pools, and I/O of its data sets.",
    new: |context| Box::new(Zfs::new(context)),
    default_on: true,
    measurements: &["zfs_arc", "zfs_pool", "zfs_dataset"],
};

const MAX_DATASETS: usize = 200;
/// The lines before the values: what the kstat is, and the heads of its columns.
const HEAD_LINES: usize = 2;

/// What `arcstats` calls them, and our fields.
static ARC: [(&str, Name); 40] = [
    ("hits", name!("hits")),
    ("misses", name!("misses")),
    ("demand_data_hits", name!("demand_data_hits")),
    ("demand_data_misses", name!("demand_data_misses")),
    ("demand_metadata_hits", name!("demand_metadata_hits")),
    ("demand_metadata_misses", name!("demand_metadata_misses")),
    ("prefetch_data_hits", name!("prefetch_data_hits")),
    ("prefetch_data_misses", name!("prefetch_data_misses")),
    ("prefetch_metadata_hits", name!("prefetch_metadata_hits")),
    (
        "prefetch_metadata_misses",
        name!("prefetch_metadata_misses"),
    ),
    ("mru_hits", name!("mru_hits")),
    ("mru_ghost_hits", name!("mru_ghost_hits")),
    ("mfu_hits", name!("mfu_hits")),
    ("mfu_ghost_hits", name!("mfu_ghost_hits")),
    ("deleted", name!("deleted")),
    ("mutex_miss", name!("mutex_misses")),
    ("evict_skip", name!("evict_skips")),
    ("hash_elements", name!("buffers")),
    ("size", name!("size_bytes")),
    ("c", name!("target_bytes")),
    ("c_min", name!("minimum_bytes")),
    ("c_max", name!("maximum_bytes")),
    ("compressed_size", name!("compressed_bytes")),
    ("uncompressed_size", name!("uncompressed_bytes")),
    ("data_size", name!("data_bytes")),
    ("metadata_size", name!("metadata_bytes")),
    ("dnode_size", name!("dnode_bytes")),
    ("hdr_size", name!("header_bytes")),
    ("mru_size", name!("mru_bytes")),
    ("mfu_size", name!("mfu_bytes")),
    ("memory_throttle_count", name!("memory_throttles")),
    ("arc_prune", name!("prunes")),
    ("l2_hits", name!("l2_hits")),
    ("l2_misses", name!("l2_misses")),
    ("l2_read_bytes", name!("l2_read_bytes")),
    ("l2_write_bytes", name!("l2_written_bytes")),
    ("l2_size", name!("l2_size_bytes")),
    ("l2_asize", name!("l2_allocated_bytes")),
    ("l2_io_error", name!("l2_errors")),
    ("l2_cksum_bad", name!("l2_checksum_errors")),
];
static DATASET: [(&str, Name); 6] = [
    ("reads", name!("reads")),
    ("nread", name!("read_bytes")),
    ("writes", name!("writes")),
    ("nwritten", name!("written_bytes")),
    ("nunlinks", name!("unlinks")),
    ("nunlinked", name!("unlinks_done")),
];

struct Zfs {
    folder: PathBuf,
    arcstats: SourceFile,
    values: Values,
    due: Due,
    pools: Vec<Pool>,
}

struct Pool {
    name: String,
    folder: PathBuf,
    /// The files of its data sets; they may be many, so none is kept open.
    datasets: Vec<String>,
    left_out: u64,
}

impl Zfs {
    fn new(context: &CollectorContext) -> Self {
        let folder = context.roots.proc.join("spl/kstat/zfs");
        Self {
            arcstats: SourceFile::new(folder.join("arcstats")),
            folder,
            values: Values::new(),
            due: Due::every_minute(),
            pools: Vec::new(),
        }
    }

    fn find(&mut self) -> Result<(), CollectError> {
        let names = names_in(&self.folder)?;
        self.pools.clear();
        for name in names {
            let folder = self.folder.join(&name);
            let Ok(files) = names_in(&folder) else {
                continue;
            };
            let mut datasets = files;
            datasets.retain(|file| file.starts_with("objset-"));
            let left_out = datasets.len().saturating_sub(MAX_DATASETS) as u64;
            datasets.truncate(MAX_DATASETS);
            self.pools.push(Pool {
                name,
                folder,
                datasets,
                left_out,
            });
        }
        Ok(())
    }
}

impl Collector for Zfs {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let arcstats = self.arcstats.read_text()?;
        points.push(arc_point(arcstats, clock.now_us())?);
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.find()?;
            self.due.done(now_us);
        }
        for pool in &self.pools {
            let state = self.values.owned(&pool.folder, "state");
            let point = Point::new(name!("zfs_pool"), clock.now_us())
                .tag(name!("pool"), pool.name.clone())
                .field_if(
                    name!("online"),
                    state.as_ref().map(|state| state == "ONLINE"),
                )
                .field_if(name!("state"), state.map(|state| state.to_lowercase()))
                .field(name!("datasets_left_out"), pool.left_out);
            points.push(point);
            for dataset in &pool.datasets {
                match self.values.text(&pool.folder, dataset) {
                    Some(text) => points.extend(dataset_point(text, &pool.name, clock.now_us())),
                    None => self.due.expire(),
                }
            }
        }
        Ok(())
    }
}

/// The name and the value of a line, between which the number of its type stands.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(' ')?;
    let (_, value) = rest.trim_start().split_once(' ')?;
    Some((name, value.trim()))
}

fn field_of(name: &str, fields: &'static [(&str, Name)]) -> Option<Name> {
    let known = fields.iter().find(|(known, _)| *known == name)?;
    Some(known.1.clone())
}

fn arc_point(arcstats: SourceText<'_>, time_us: i64) -> Result<Point, CollectError> {
    let mut point = Point::new(name!("zfs_arc"), time_us);
    for (line, text) in arcstats.lines().skip(HEAD_LINES) {
        let Some((name, value)) = parse(text) else {
            continue;
        };
        if let Some(field) = field_of(name, &ARC) {
            point.set(field, arcstats.number::<u64>(line, Some(value))?);
        }
    }
    match point.fields().is_empty() {
        true => Err(arcstats.error(1, "there is no value that is known")),
        false => Ok(point),
    }
}

/// The point of a data set; what cannot be read of it is absent.
fn dataset_point(text: &str, pool: &str, time_us: i64) -> Option<Point> {
    let lines = || text.lines().skip(HEAD_LINES).filter_map(parse);
    let (_, dataset) = lines().find(|(name, _)| *name == "dataset_name")?;
    let mut point = Point::new(name!("zfs_dataset"), time_us)
        .tag(name!("pool"), pool.to_owned())
        .tag(name!("dataset"), dataset.to_owned());
    for (name, value) in lines() {
        if let (Some(field), Ok(number)) = (field_of(name, &DATASET), value.parse::<u64>()) {
            point.set(field, number);
        }
    }
    Some(point).filter(|point| !point.fields().is_empty())
}
