//! `memory`: how the host's memory is used.
//!
//! Not swap, which has its own collector. Source: `/proc/meminfo`, proc_meminfo(5). *Used* is what
//! is not available to new programs without swapping (`MemTotal` - `MemAvailable`), since free
//! memory alone says little: the kernel lends what is free to caches. A kernel before 3.14 does
//! not tell what is available, and then used is absent too. `VmallocTotal` and `VmallocChunk` are left
//! out: the one is a constant of the processor, the other is 0 since kernel 4.4.

use super::heads::{Heads, before_colon};
use super::keyed::Table;
use super::{
    CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, percent_of, words,
};
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "memory",
    description: "Memory in total, available, used, and by what holds it.",
    new: |context| Box::new(Memory::new(context)),
    default_on: true,
    measurements: &["memory"],
};

/// What `/proc/meminfo` calls it, and what we call it. Lines with a unit are in KiB.
static FIELDS: Table = Table(&[
    ("Active", name!("active_bytes")),
    ("Active(anon)", name!("active_anonymous_bytes")),
    ("Active(file)", name!("active_file_bytes")),
    ("AnonHugePages", name!("anonymous_huge_bytes")),
    ("AnonPages", name!("anonymous_bytes")),
    ("Balloon", name!("balloon_bytes")),
    ("Bounce", name!("bounce_bytes")),
    ("Buffers", name!("buffers_bytes")),
    ("Cached", name!("cached_bytes")),
    ("CmaFree", name!("cma_free_bytes")),
    ("CmaTotal", name!("cma_total_bytes")),
    ("CommitLimit", name!("commit_limit_bytes")),
    ("Committed_AS", name!("committed_bytes")),
    ("DirectMap1G", name!("direct_map_1g_bytes")),
    ("DirectMap2M", name!("direct_map_2m_bytes")),
    ("DirectMap4M", name!("direct_map_4m_bytes")),
    ("DirectMap4k", name!("direct_map_4k_bytes")),
    ("Dirty", name!("dirty_bytes")),
    ("FileHugePages", name!("file_huge_bytes")),
    ("FilePmdMapped", name!("file_huge_mapped_bytes")),
    ("HardwareCorrupted", name!("corrupted_bytes")),
    ("HugePages_Free", name!("huge_pages_free")),
    ("HugePages_Rsvd", name!("huge_pages_reserved")),
    ("HugePages_Surp", name!("huge_pages_surplus")),
    ("HugePages_Total", name!("huge_pages")),
    ("Hugepagesize", name!("huge_page_bytes")),
    ("Hugetlb", name!("hugetlb_bytes")),
    ("Inactive", name!("inactive_bytes")),
    ("Inactive(anon)", name!("inactive_anonymous_bytes")),
    ("Inactive(file)", name!("inactive_file_bytes")),
    ("KReclaimable", name!("reclaimable_bytes")),
    ("KernelStack", name!("kernel_stack_bytes")),
    ("Mapped", name!("mapped_bytes")),
    ("MemAvailable", name!("available_bytes")),
    ("MemFree", name!("free_bytes")),
    ("MemTotal", name!("total_bytes")),
    ("Mlocked", name!("locked_bytes")),
    ("NFS_Unstable", name!("nfs_unstable_bytes")),
    ("PageTables", name!("page_tables_bytes")),
    ("Percpu", name!("per_cpu_bytes")),
    ("SReclaimable", name!("slab_reclaimable_bytes")),
    ("SUnreclaim", name!("slab_unreclaimable_bytes")),
    ("SecPageTables", name!("secondary_page_tables_bytes")),
    ("Shmem", name!("shared_bytes")),
    ("ShmemHugePages", name!("shared_huge_bytes")),
    ("ShmemPmdMapped", name!("shared_huge_mapped_bytes")),
    ("Slab", name!("slab_bytes")),
    ("Unaccepted", name!("unaccepted_bytes")),
    ("Unevictable", name!("unevictable_bytes")),
    ("VmallocUsed", name!("vmalloc_used_bytes")),
    ("Writeback", name!("writeback_bytes")),
    ("WritebackTmp", name!("writeback_temporary_bytes")),
]);
const _: () = FIELDS.assert_sorted();
/// Fields that are calculated.
const USED_FIELDS: usize = 3;

struct Memory {
    meminfo: SourceFile,
    heads: Heads<&'static Name>,
}

impl Memory {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            meminfo: file(roots.proc.join("meminfo")).of_one_record(),
            heads: Heads::default(),
        }
    }
}

impl Collector for Memory {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let meminfo = self.meminfo.read_text()?;
        let mut point =
            Point::new(name!("memory"), clock.now_us()).with_room(FIELDS.0.len() + USED_FIELDS);
        let (mut total, mut available) = (None, None);
        let look_up = |key: &str| FIELDS.field(key);
        for (line, told) in self.heads.lines(meminfo, before_colon, look_up) {
            let Some((field, rest)) = told else {
                return Err(meminfo.error(line, "there is no colon"));
            };
            let Some(field) = field else {
                continue;
            };
            let mut words = words(rest);
            let mut value: u64 = meminfo.number(line, words.next())?;
            if words.next() == Some("kB") {
                value = value.saturating_mul(1024);
            }
            match field.as_str() {
                "total_bytes" => total = Some(value),
                "available_bytes" => available = Some(value),
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
