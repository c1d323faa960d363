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
    datasets: Vec<SourceFile>,
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
            let mut datasets: Vec<_> = files
                .iter()
                .filter(|file| file.starts_with("objset-"))
                .map(|file| SourceFile::new(folder.join(file)))
                .collect();
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
        let mut arc = Point::new(name!("zfs_arc"), clock.now_us());
        set_fields(arcstats, &ARC, &mut arc)?;
        if arc.fields().is_empty() {
            return Err(arcstats.error(1, "there is no value that is known"));
        }
        points.push(arc);
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.find()?;
            self.due.done(now_us);
        }
        for pool in &mut self.pools {
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
            for dataset in &mut pool.datasets {
                match dataset.read_text() {
                    Ok(text) => {
                        if let Some(point) = dataset_point(text, &pool.name, clock.now_us())? {
                            points.push(point);
                        }
                    }
                    Err(CollectError::Unavailable { .. }) => self.due.expire(),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Lines of a name, the number of its type, and its value.
fn lines_of(text: SourceText<'_>) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().skip(HEAD_LINES).filter_map(|(line, text)| {
        let (name, rest) = text.split_once(' ')?;
        let (_, value) = rest.trim_start().split_once(' ')?;
        Some((line, name, value.trim()))
    })
}

fn set_fields(
    text: SourceText<'_>,
    fields: &'static [(&str, Name)],
    point: &mut Point,
) -> Result<(), CollectError> {
    for (line, name, value) in lines_of(text) {
        if let Some((_, field)) = fields.iter().find(|(known, _)| *known == name) {
            point.set(field.clone(), text.number::<u64>(line, Some(value))?);
        }
    }
    Ok(())
}

fn dataset_point(
    text: SourceText<'_>,
    pool: &str,
    time_us: i64,
) -> Result<Option<Point>, CollectError> {
    let name = lines_of(text).find(|(_, name, _)| *name == "dataset_name");
    let Some((_, _, dataset)) = name else {
        return Ok(None);
    };
    let mut point = Point::new(name!("zfs_dataset"), time_us)
        .tag(name!("pool"), pool.to_owned())
        .tag(name!("dataset"), dataset.to_owned());
    set_fields(text, &DATASET, &mut point)?;
    Ok(Some(point).filter(|point| !point.fields().is_empty()))
}
