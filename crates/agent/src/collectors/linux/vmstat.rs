//! `vmstat`: the work of the memory management since boot.
//!
//! Not the state of the memory, which the collector `memory` reads, and not the bytes swapped,
//! which `swap` has. Source: `/proc/vmstat`, proc_vmstat(5), whose names come and go with the
//! kernel: `workingset_refault` became two in 5.9, and `allocstall` is one per zone now.

use super::heads::{Heads, first_word};
use super::keyed::Table;
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, words};
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "vmstat",
    description: "Page faults, paging, reclaim, compaction, and processes killed for want of memory.",
    new: |context| Box::new(Vmstat::new(context)),
    default_on: true,
    measurements: &["vmstat"],
};

static FIELDS: Table = Table(&[
    ("compact_fail", name!("compaction_failures")),
    ("compact_stall", name!("compaction_stalls")),
    ("compact_success", name!("compaction_successes")),
    ("drop_pagecache", name!("pagecache_drops")),
    ("drop_slab", name!("slab_drops")),
    ("numa_hint_faults", name!("numa_hint_faults")),
    ("numa_hit", name!("numa_hits")),
    ("numa_miss", name!("numa_misses")),
    ("numa_pages_migrated", name!("numa_pages_migrated")),
    ("oom_kill", name!("oom_kills")),
    ("pageoutrun", name!("kswapd_runs")),
    ("pgactivate", name!("pages_activated")),
    ("pgdeactivate", name!("pages_deactivated")),
    ("pgfault", name!("page_faults")),
    ("pgfree", name!("pages_freed")),
    ("pgmajfault", name!("major_page_faults")),
    ("pgmigrate_fail", name!("page_migration_failures")),
    ("pgmigrate_success", name!("pages_migrated")),
    ("pgscan_direct", name!("pages_scanned_direct")),
    ("pgscan_kswapd", name!("pages_scanned_kswapd")),
    ("pgsteal_direct", name!("pages_reclaimed_direct")),
    ("pgsteal_kswapd", name!("pages_reclaimed_kswapd")),
    ("slabs_scanned", name!("slabs_scanned")),
    ("swap_ra", name!("swap_readahead")),
    ("swap_ra_hit", name!("swap_readahead_hits")),
    ("thp_collapse_alloc", name!("huge_pages_collapsed")),
    ("thp_fault_alloc", name!("huge_page_faults")),
    ("thp_fault_fallback", name!("huge_page_fallbacks")),
    ("thp_split_page", name!("huge_pages_split")),
    ("workingset_refault", name!("refaults_file")),
    ("workingset_refault_anon", name!("refaults_anonymous")),
    ("workingset_refault_file", name!("refaults_file")),
    ("zswpin", name!("zswap_loads")),
    ("zswpout", name!("zswap_stores")),
]);
const _: () = FIELDS.assert_sorted();
/// What is told in KiB.
static KIBIBYTES: Table = Table(&[
    ("pgpgin", name!("paged_in_bytes")),
    ("pgpgout", name!("paged_out_bytes")),
]);
const _: () = KIBIBYTES.assert_sorted();
/// What is told in pages.
static PAGES: Table = Table(&[
    ("nr_dirtied", name!("dirtied_bytes")),
    ("nr_written", name!("written_back_bytes")),
]);
const _: () = PAGES.assert_sorted();
/// The fields of all tables, and `allocation_stalls`.
const ROOM: usize = FIELDS.0.len() + KIBIBYTES.0.len() + PAGES.0.len() + 1;

/// What a line of `vmstat` tells.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// A field, in units of so many.
    Field(&'static Name, u64),
    /// A part of `allocation_stalls`.
    Stalls,
}

impl Line {
    fn of(key: &str, page_bytes: u64) -> Option<Self> {
        if key.starts_with("allocstall") {
            return Some(Self::Stalls);
        }
        let field = |table: &Table, unit| Some(Self::Field(table.field(key)?, unit));
        field(&FIELDS, 1)
            .or_else(|| field(&KIBIBYTES, 1024))
            .or_else(|| field(&PAGES, page_bytes))
    }
}

struct Vmstat {
    vmstat: SourceFile,
    page_bytes: u64,
    heads: Heads<Line>,
}

impl Vmstat {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            vmstat: file(roots.proc.join("vmstat")),
            page_bytes: roots.page_bytes,
            heads: Heads::default(),
        }
    }
}

impl Collector for Vmstat {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let vmstat = self.vmstat.read_text()?;
        let mut point = Point::new(name!("vmstat"), clock.now_us()).with_room(ROOM);
        let mut stalls = None;
        let look_up = |key: &str| Line::of(key, self.page_bytes);
        for (line, told) in self.heads.lines(vmstat, first_word, look_up) {
            // Most lines are not wanted: their numbers are not even read.
            let Some((Some(told), rest)) = told else {
                continue;
            };
            let number: u64 = vmstat.number(line, words(rest).next())?;
            match told {
                Line::Field(field, unit) => point.set(field.clone(), number.saturating_mul(unit)),
                Line::Stalls => stalls = Some(stalls.unwrap_or(0_u64).saturating_add(number)),
            }
        }
        if point.fields().is_empty() {
            return Err(vmstat.error(0, "no line is known"));
        }
        points.push(point.field_if(name!("allocation_stalls"), stalls));
        Ok(())
    }
}
