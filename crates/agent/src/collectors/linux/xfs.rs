//! `xfs`: what each XFS file system did.
//!
//! Source: `<sys>/fs/xfs/<device>/stats/stats`, lines of a group and its counters, whose meaning
//! is documented on the pages of XFS about its run-time statistics. The file systems are looked for
//! once a minute. Most counters of the kernel have 32 bits: they begin again at 0 beyond that.

use super::sysfs::{Due, names_in};
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText};
use std::path::PathBuf;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "xfs",
    description: "Reads, writes, allocations and work of the log of each XFS file system.",
    new: |context| Box::new(Xfs::new(context)),
    default_on: true,
    measurements: &["xfs"],
};

/// The groups that are told, with the fields of their counters in order.
static GROUPS: [(&str, &[Name]); 12] = [
    (
        "extent_alloc",
        &[
            name!("extents_allocated"),
            name!("blocks_allocated"),
            name!("extents_freed"),
            name!("blocks_freed"),
        ],
    ),
    (
        "abt",
        &[
            name!("allocation_btree_lookups"),
            name!("allocation_btree_compares"),
            name!("allocation_btree_inserts"),
            name!("allocation_btree_deletes"),
        ],
    ),
    (
        "blk_map",
        &[
            name!("mapping_reads"),
            name!("mapping_writes"),
            name!("unmappings"),
            name!("extent_list_inserts"),
            name!("extent_list_deletes"),
            name!("extent_list_lookups"),
            name!("extent_list_compares"),
        ],
    ),
    (
        "bmbt",
        &[
            name!("mapping_btree_lookups"),
            name!("mapping_btree_compares"),
            name!("mapping_btree_inserts"),
            name!("mapping_btree_deletes"),
        ],
    ),
    (
        "dir",
        &[
            name!("directory_lookups"),
            name!("directory_creates"),
            name!("directory_removes"),
            name!("directory_reads"),
        ],
    ),
    (
        "trans",
        &[
            name!("transactions_waited_for"),
            name!("transactions_not_waited_for"),
            name!("transactions_empty"),
        ],
    ),
    (
        "ig",
        &[
            name!("inode_cache_lookups"),
            name!("inode_cache_hits"),
            name!("inode_cache_recycles"),
            name!("inode_cache_misses"),
            name!("inode_cache_races"),
            name!("inode_reclaims"),
            name!("inode_attribute_changes"),
        ],
    ),
    (
        "log",
        &[
            name!("log_writes"),
            name!("log_blocks"),
            name!("log_waits_for_buffers"),
            name!("log_forces"),
            name!("log_force_waits"),
        ],
    ),
    ("rw", &[name!("writes"), name!("reads")]),
    (
        "attr",
        &[
            name!("attribute_gets"),
            name!("attribute_sets"),
            name!("attribute_removes"),
            name!("attribute_lists"),
        ],
    ),
    (
        "vnodes",
        &[
            name!("inodes_active"),
            name!("inodes_allocated"),
            name!("inodes_got"),
            name!("inodes_held"),
            name!("inodes_released"),
            name!("inodes_reclaimed"),
            name!("inodes_removed"),
        ],
    ),
    (
        "xpc",
        &[
            name!("flushed_bytes"),
            name!("written_bytes"),
            name!("read_bytes"),
        ],
    ),
];

struct Xfs {
    folder: PathBuf,
    due: Due,
    file_systems: Vec<(String, SourceFile)>,
}

impl Xfs {
    fn new(context: &CollectorContext) -> Self {
        Self {
            folder: context.roots.sys.join("fs/xfs"),
            due: Due::every_minute(),
            file_systems: Vec::new(),
        }
    }

    fn find(&mut self) -> Result<(), CollectError> {
        // Beside the file systems there are `stats`, the sum of all, and `debug`.
        self.file_systems = names_in(&self.folder)?
            .into_iter()
            .filter(|name| name != "stats" && name != "debug")
            .map(|name| {
                let file = self.folder.join(&name).join("stats/stats");
                (name, SourceFile::new(file))
            })
            .collect();
        Ok(())
    }
}

impl Collector for Xfs {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.find()?;
            self.due.done(now_us);
        }
        for (device, file) in &mut self.file_systems {
            match file.read_text() {
                Ok(text) => points.push(parse(text, device, clock.now_us())?),
                Err(CollectError::Unavailable { .. }) => self.due.expire(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A group that an old kernel does not have, or that has more counters, is fine.
fn parse(stats: SourceText<'_>, device: &str, time_us: i64) -> Result<Point, CollectError> {
    let mut point = Point::new(name!("xfs"), time_us).tag(name!("device"), device.to_owned());
    for (line, text) in stats.lines() {
        let mut words = text.split_ascii_whitespace();
        let group = words.next().unwrap_or_default();
        let Some((_, fields)) = GROUPS.iter().find(|(known, _)| *known == group) else {
            continue;
        };
        for field in *fields {
            point.set(field.clone(), stats.number::<u64>(line, words.next())?);
        }
    }
    if point.fields().is_empty() {
        return Err(stats.error(1, "there is no group that is known"));
    }
    Ok(point)
}
