//! Built-in measurements: what the collectors read of the kernel's own work.
//!
//! Not how they are read: that is said at the head of each collector's file.

use super::{MeasurementEntry, bytes, count, counter, gauge, number, percent, tag, text, truth};
use crate::Kind;

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    BUDDYINFO,
    FILEHANDLES,
    INTERRUPTS,
    NUMA,
    PRESSURE,
    PROCESSES,
    SCHEDULER,
    SOFTIRQS,
    TIME,
    VMSTAT,
];

const BUDDYINFO: MeasurementEntry = MeasurementEntry {
    name: "buddyinfo",
    kind: Kind::Gauge,
    description: "Free blocks of memory by size: how fragmented each zone is.",
    tags: &[
        tag("node", "The number of the NUMA node."),
        tag("zone", "The zone of its memory, such as `Normal`."),
    ],
    fields: &[
        number("order_0", "Free blocks of one page."),
        number("order_1", "Free blocks of 2 pages."),
        number("order_2", "Free blocks of 4 pages."),
        number("order_3", "Free blocks of 8 pages."),
        number("order_4", "Free blocks of 16 pages."),
        number("order_5", "Free blocks of 32 pages."),
        number("order_6", "Free blocks of 64 pages."),
        number("order_7", "Free blocks of 128 pages."),
        number("order_8", "Free blocks of 256 pages."),
        number("order_9", "Free blocks of 512 pages."),
        number("order_10", "Free blocks of 1024 pages."),
        number(
            "order_11",
            "Free blocks of 2048 pages; most kernels stop before.",
        ),
        number("order_12", "Free blocks of 4096 pages."),
        number("order_13", "Free blocks of 8192 pages."),
        bytes("free_bytes", "All free blocks together."),
    ],
};

const FILEHANDLES: MeasurementEntry = MeasurementEntry {
    name: "filehandles",
    kind: Kind::Gauge,
    description: "Open files of the whole host, and what the kernel remembers of files.",
    tags: &[],
    fields: &[
        number("open", "Open files."),
        number(
            "max",
            "How many files can be open; absent where there is no limit.",
        ),
        percent(
            "used_percent",
            "Open files as a share of those that can be.",
        ),
        number("inodes", "Inodes in the kernel's memory."),
        number("inodes_free", "Those of them that are not used."),
        number("dentries", "Names of files in the kernel's memory."),
        number("dentries_unused", "Those of them that are not used."),
        number(
            "dentries_negative",
            "Those of them that say that there is no such file.",
        ),
    ],
};

const INTERRUPTS: MeasurementEntry = MeasurementEntry {
    name: "interrupts",
    kind: Kind::Counter,
    description: "Interrupts by their source, all cores together; sources that never had one are left out.",
    tags: &[
        tag(
            "irq",
            "The number of the interrupt, or its name such as `LOC`.",
        ),
        tag(
            "source",
            "The devices, or what the kernel says the name means.",
        ),
    ],
    fields: &[count("interrupts", "Interrupts served.")],
};

const NUMA: MeasurementEntry = MeasurementEntry {
    name: "numa",
    kind: Kind::Gauge,
    description: "Memory of each NUMA node, and whether programs get theirs from the node that they run on.",
    tags: &[tag("node", "The number of the node.")],
    fields: &[
        bytes("total_bytes", "Memory of the node."),
        bytes("free_bytes", "Used for nothing at all."),
        bytes(
            "used_bytes",
            "Total without what is free; caches are used memory here.",
        ),
        bytes("file_bytes", "Cached files."),
        bytes(
            "anonymous_bytes",
            "Memory of programs that belongs to no file.",
        ),
        bytes("shared_bytes", "Shared memory and tmpfs."),
        bytes("slab_bytes", "Data structures of the kernel."),
        bytes("dirty_bytes", "Waits to be written to disk."),
        number("huge_pages", "Huge pages in the node's pool."),
        number(
            "huge_pages_free",
            "Huge pages in the node's pool that are free.",
        ),
        percent("used_percent", "Used share of the total."),
        count(
            "hit_pages",
            "Pages that were wanted from this node and came from it.",
        ),
        count(
            "missed_pages",
            "Pages that came from this node, though another was wanted.",
        ),
        count(
            "foreign_pages",
            "Pages that were wanted from this node and came from another.",
        ),
        count(
            "interleaved_pages",
            "Pages that were spread over all nodes on purpose and came from here.",
        ),
        count("local_pages", "Pages for programs that ran on this node."),
        count(
            "other_node_pages",
            "Pages for programs that ran on another node.",
        ),
    ],
};

const PRESSURE: MeasurementEntry = MeasurementEntry {
    name: "pressure",
    kind: Kind::Gauge,
    description: "Time that was lost to waiting for a resource (PSI of the kernel).",
    tags: &[tag("resource", "`cpu`, `memory`, `io` or `irq`.")],
    fields: &[
        percent(
            "some_avg10_percent",
            "Share of time in which some task waited, over 10 seconds.",
        ),
        percent("some_avg60_percent", "The same over a minute."),
        percent("some_avg300_percent", "The same over 5 minutes."),
        counter("some_seconds", "seconds", "Time in which some task waited."),
        percent(
            "full_avg10_percent",
            "Share of time in which nothing else was done, over 10 seconds.",
        ),
        percent("full_avg60_percent", "The same over a minute."),
        percent("full_avg300_percent", "The same over 5 minutes."),
        counter(
            "full_seconds",
            "seconds",
            "Time in which all tasks that had work waited.",
        ),
    ],
};

const PROCESSES: MeasurementEntry = MeasurementEntry {
    name: "processes",
    kind: Kind::Gauge,
    description: "Processes by state, their threads, and the limits of both.",
    tags: &[],
    fields: &[
        number("total", "Processes in all, threads of the kernel too."),
        number("running", "Processes that run or want to run."),
        number("sleeping", "Processes that wait and can be interrupted."),
        number(
            "blocked",
            "Processes that wait for a disk or another device and cannot be interrupted.",
        ),
        number("stopped", "Processes stopped by a signal or a debugger."),
        number(
            "zombie",
            "Processes that ended and were not asked for their status by their parent.",
        ),
        number("idle", "Threads of the kernel that have nothing to do."),
        number("other", "Processes in another state."),
        number("threads", "Threads of all processes."),
        number("threads_max", "How many threads there can be."),
        number(
            "pid_max",
            "The first number that no process or thread can have.",
        ),
    ],
};

const SCHEDULER: MeasurementEntry = MeasurementEntry {
    name: "scheduler",
    kind: Kind::Counter,
    description: "What tasks got of each core, and how long they waited for it.",
    tags: &[tag(
        "cpu",
        "`total` for all cores together, or the core's number.",
    )],
    fields: &[
        counter("running_seconds", "seconds", "Time in which tasks ran."),
        counter(
            "waiting_seconds",
            "seconds",
            "Time in which tasks that could run waited, summed.",
        ),
        count("timeslices", "How often a task was given the core."),
    ],
};

const SOFTIRQS: MeasurementEntry = MeasurementEntry {
    name: "softirqs",
    kind: Kind::Counter,
    description: "Deferred work of interrupts by its kind, all cores together.",
    tags: &[tag("softirq", "The kind of work, such as `NET_RX`.")],
    fields: &[count("softirqs", "How often it was done.")],
};

const TIME: MeasurementEntry = MeasurementEntry {
    name: "time",
    kind: Kind::Gauge,
    description: "The host's clock: whether it is kept right, and how.",
    tags: &[],
    fields: &[
        truth(
            "synchronized",
            "Whether a program keeps the clock right, says the kernel.",
        ),
        gauge(
            "offset_seconds",
            "seconds",
            "What the clock still has to be moved by; below 0 it is ahead.",
        ),
        gauge(
            "frequency_ppm",
            "ppm",
            "How much faster the clock is made, in millionths; below 0 slower.",
        ),
        gauge(
            "max_error_seconds",
            "seconds",
            "The most that the clock is wrong by.",
        ),
        gauge(
            "estimated_error_seconds",
            "seconds",
            "What the clock is thought to be wrong by.",
        ),
        gauge(
            "tai_offset_seconds",
            "seconds",
            "Leap seconds between UTC and atomic time; 0 if nobody said.",
        ),
        text(
            "clock_source",
            "What the kernel counts time with, such as `tsc`.",
        ),
    ],
};

const VMSTAT: MeasurementEntry = MeasurementEntry {
    name: "vmstat",
    kind: Kind::Counter,
    description: "Work of the memory management since boot: faults, paging, reclaim, compaction.",
    tags: &[],
    fields: &[
        count(
            "page_faults",
            "Accesses to memory that the kernel had to prepare first.",
        ),
        count("major_page_faults", "Those of them that needed a disk."),
        counter("paged_in_bytes", "bytes", "Read from disks."),
        counter("paged_out_bytes", "bytes", "Written to disks."),
        counter(
            "dirtied_bytes",
            "bytes",
            "Cached data that was changed and has to be written.",
        ),
        counter(
            "written_back_bytes",
            "bytes",
            "Changed data that was written.",
        ),
        count("oom_kills", "Processes killed because memory ran out."),
        count("pages_freed", "Pages given back."),
        count("pages_activated", "Pages that were taken for used lately."),
        count(
            "pages_deactivated",
            "Pages that were taken for not used lately.",
        ),
        count(
            "pages_scanned_kswapd",
            "Pages looked at in the background to free some.",
        ),
        count(
            "pages_scanned_direct",
            "Pages looked at while a program waited for some.",
        ),
        count("pages_reclaimed_kswapd", "Pages freed in the background."),
        count(
            "pages_reclaimed_direct",
            "Pages freed while a program waited for them.",
        ),
        count(
            "allocation_stalls",
            "How often a program had to wait for freed memory.",
        ),
        count("kswapd_runs", "How often freeing in the background began."),
        count(
            "slabs_scanned",
            "Data structures of the kernel looked at to free some.",
        ),
        count(
            "refaults_file",
            "Pages of files that were read again soon after they were freed.",
        ),
        count(
            "refaults_anonymous",
            "Pages of programs that were swapped in soon after they were freed.",
        ),
        count(
            "compaction_stalls",
            "How often a program waited for memory to be put together.",
        ),
        count("compaction_failures", "How often that was in vain."),
        count("compaction_successes", "How often that worked."),
        count("pages_migrated", "Pages that were moved."),
        count("page_migration_failures", "Pages that could not be moved."),
        count(
            "huge_page_faults",
            "Faults that were given a transparent huge page.",
        ),
        count(
            "huge_page_fallbacks",
            "Faults that wanted one and got small pages.",
        ),
        count(
            "huge_pages_collapsed",
            "Small pages made into a huge one afterwards.",
        ),
        count("huge_pages_split", "Huge pages taken apart."),
        count(
            "numa_hits",
            "Pages that came from the node that was wanted.",
        ),
        count(
            "numa_misses",
            "Pages that came from another node than was wanted.",
        ),
        count(
            "numa_pages_migrated",
            "Pages moved to the node that uses them.",
        ),
        count(
            "numa_hint_faults",
            "Faults made to learn which node uses a page.",
        ),
        count("swap_readahead", "Pages of swap space read ahead."),
        count("swap_readahead_hits", "Those of them that were used."),
        count("zswap_loads", "Pages taken from compressed swap in memory."),
        count("zswap_stores", "Pages put there."),
        count(
            "pagecache_drops",
            "How often an administrator dropped cached files.",
        ),
        count(
            "slab_drops",
            "How often an administrator dropped cached names and inodes.",
        ),
    ],
};
