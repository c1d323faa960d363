//! `memory`: how the host's memory is used.
//!
//! Not swap, which has its own collector. Source: `/proc/meminfo`, proc_meminfo(5). *Used* is what
//! is not available to new programs without swapping (`MemTotal` - `MemAvailable`), since free
//! memory alone says little: the kernel lends what is free to caches. A kernel before 3.14 does
//! not tell what is available, and then used is absent too.

use super::{CollectError, Collector, CollectorEntry, SourceFile, percent_of};
use crate::roots::HostRoots;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "memory",
    description: "Memory in total, available, used, and by what holds it.",
    new: |context| Box::new(Memory::new(&context.roots)),
    default_on: true,
    measurements: &["memory"],
};

/// What `/proc/meminfo` calls it, and what we call it. Lines with a unit are in KiB.
static FIELDS: &[(&str, Name)] = &[
    ("MemTotal", name!("total_bytes")),
    ("MemFree", name!("free_bytes")),
    ("MemAvailable", name!("available_bytes")),
    ("Buffers", name!("buffers_bytes")),
    ("Cached", name!("cached_bytes")),
    ("Active", name!("active_bytes")),
    ("Inactive", name!("inactive_bytes")),
    ("Unevictable", name!("unevictable_bytes")),
    ("Mlocked", name!("locked_bytes")),
    ("Dirty", name!("dirty_bytes")),
    ("Writeback", name!("writeback_bytes")),
    ("AnonPages", name!("anonymous_bytes")),
    ("Mapped", name!("mapped_bytes")),
    ("Shmem", name!("shared_bytes")),
    ("Slab", name!("slab_bytes")),
    ("SReclaimable", name!("slab_reclaimable_bytes")),
    ("SUnreclaim", name!("slab_unreclaimable_bytes")),
    ("KernelStack", name!("kernel_stack_bytes")),
    ("PageTables", name!("page_tables_bytes")),
    ("CommitLimit", name!("commit_limit_bytes")),
    ("Committed_AS", name!("committed_bytes")),
    ("HardwareCorrupted", name!("corrupted_bytes")),
    ("AnonHugePages", name!("anonymous_huge_bytes")),
    ("HugePages_Total", name!("huge_pages")),
    ("HugePages_Free", name!("huge_pages_free")),
    ("Hugepagesize", name!("huge_page_bytes")),
];

struct Memory {
    meminfo: SourceFile,
}

impl Memory {
    fn new(roots: &HostRoots) -> Self {
        Self {
            meminfo: SourceFile::new(roots.proc.join("meminfo")),
        }
    }
}

impl Collector for Memory {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let meminfo = self.meminfo.read_text()?;
        let mut point = Point::new(name!("memory"), clock.now_us());
        let (mut total, mut available) = (None, None);
        for (line, text) in meminfo.lines() {
            let Some((key, rest)) = text.split_once(':') else {
                return Err(meminfo.error(line, "there is no colon"));
            };
            let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == key) else {
                continue;
            };
            let mut words = rest.split_ascii_whitespace();
            let mut value: u64 = meminfo.number(line, words.next())?;
            if words.next() == Some("kB") {
                value = value.saturating_mul(1024);
            }
            match key {
                "MemTotal" => total = Some(value),
                "MemAvailable" => available = Some(value),
                _ => {}
            }
            point.set(field.clone(), value);
        }
        let total = total.ok_or_else(|| meminfo.error(0, "`MemTotal` is missing"))?;
        if let Some(available) = available {
            let used = total.saturating_sub(available);
            point = point
                .field(name!("used_bytes"), used)
                .field_if(name!("used_percent"), percent_of(used, total))
                .field_if(name!("available_percent"), percent_of(available, total));
        }
        points.push(point);
        Ok(())
    }
}
