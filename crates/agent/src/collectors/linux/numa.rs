//! `numa`: the memory of each NUMA node, and whether programs get theirs from their own.
//!
//! Not the distances between nodes. Sources: `<sys>/devices/system/node/node<number>/meminfo` and
//! `numastat`, the kernel's `Documentation/admin-guide/numastat.rst`. A host with one node has
//! them too.

use super::keyed::{Listed, Table};
use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText, percent_of};
use crate::roots::HostRoots;
use std::path::PathBuf;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "numa",
    description: "Memory of each NUMA node, and whether programs get theirs from their own.",
    new: |context| Box::new(Numa::new(&context.roots)),
    default_on: false,
    measurements: &["numa"],
};

static MEMINFO: Table = Table(&[
    ("AnonPages:", name!("anonymous_bytes")),
    ("Dirty:", name!("dirty_bytes")),
    ("FilePages:", name!("file_bytes")),
    ("HugePages_Free:", name!("huge_pages_free")),
    ("HugePages_Total:", name!("huge_pages")),
    ("MemFree:", name!("free_bytes")),
    ("MemTotal:", name!("total_bytes")),
    ("MemUsed:", name!("used_bytes")),
    ("Shmem:", name!("shared_bytes")),
    ("Slab:", name!("slab_bytes")),
]);
const _: () = MEMINFO.assert_sorted();
static NUMASTAT: Table = Table(&[
    ("interleave_hit", name!("interleaved_pages")),
    ("local_node", name!("local_pages")),
    ("numa_foreign", name!("foreign_pages")),
    ("numa_hit", name!("hit_pages")),
    ("numa_miss", name!("missed_pages")),
    ("other_node", name!("other_node_pages")),
]);
const _: () = NUMASTAT.assert_sorted();

struct Node {
    number: u32,
    meminfo: SourceFile,
    numastat: (SourceFile, Listed),
}

struct Numa {
    folder: PathBuf,
    nodes: Vec<Node>,
}

impl Numa {
    fn new(roots: &HostRoots) -> Self {
        Self {
            folder: roots.sys.join("devices/system/node"),
            nodes: Vec::new(),
        }
    }

    /// Nodes are found once: they do not come and go without a restart.
    fn find(&mut self) -> Result<(), CollectError> {
        let failed = |source| CollectError::from_io(&self.folder, source);
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("node"));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                self.nodes.push(Node {
                    number,
                    meminfo: SourceFile::new(entry.path().join("meminfo")),
                    numastat: (
                        SourceFile::new(entry.path().join("numastat")),
                        Listed::new(&NUMASTAT, ""),
                    ),
                });
            }
        }
        self.nodes.sort_by_key(|node| node.number);
        if self.nodes.is_empty() {
            return Err(CollectError::Unavailable {
                path: self.folder.join("node0"),
            });
        }
        Ok(())
    }
}

impl Collector for Numa {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        if self.nodes.is_empty() {
            self.find()?;
        }
        for node in &mut self.nodes {
            let meminfo = node.meminfo.read_text()?;
            let mut point = Point::new(name!("numa"), clock.now_us())
                .tag(name!("node"), node.number.to_string());
            let used_percent = add_memory(meminfo, &mut point)?;
            let (file, lines) = &mut node.numastat;
            if let Some(numastat) = file.read_text_if_there()? {
                lines.set(numastat, &mut point)?;
            }
            points.push(point.field_if(name!("used_percent"), used_percent));
        }
        Ok(())
    }
}

/// Adds what lines such as `Node 0 MemTotal:  24684084 kB` tell, and returns the used share.
fn add_memory(meminfo: SourceText<'_>, point: &mut Point) -> Result<Option<f64>, CollectError> {
    let (mut total, mut used) = (None, None);
    for (line, text) in meminfo.lines() {
        let mut words = text.split_ascii_whitespace().skip(2);
        let Some((key, field)) = words
            .next()
            .and_then(|key| MEMINFO.field(key).map(|field| (key, field)))
        else {
            continue;
        };
        let mut value: u64 = meminfo.number(line, words.next())?;
        if words.next() == Some("kB") {
            value = value.saturating_mul(1024);
        }
        match key {
            "MemTotal:" => total = Some(value),
            "MemUsed:" => used = Some(value),
            _ => {}
        }
        point.set(field.clone(), value);
    }
    let total = total.ok_or_else(|| meminfo.error(0, "`MemTotal` is missing"))?;
    Ok(used.and_then(|used| percent_of(used, total)))
}
