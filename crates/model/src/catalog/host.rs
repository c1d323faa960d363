//! Built-in measurements: what the agent's collectors read from the host.
//!
//! Not how they are read: that is said at the head of each collector's file.

use super::{MeasurementEntry, bytes, count, counter, gauge, number, percent, tag, truth};
use crate::Kind;

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    CPU, DISK_IO, FILESYSTEM, LOAD, MEMORY, NETWORK, SWAP, SYSTEM,
];

const CPU: MeasurementEntry = MeasurementEntry {
    name: "cpu",
    kind: Kind::Gauge,
    description: "Time of each core and of all cores by mode, as shares of the interval since the sample before; the ten modes sum up to 100.",
    tags: &[tag(
        "cpu",
        "`total` for all cores together, or the core's number.",
    )],
    fields: &[
        percent(
            "user_percent",
            "Programs, without those of a lower priority and without guests.",
        ),
        percent(
            "nice_percent",
            "Programs of a lower priority, without guests.",
        ),
        percent("system_percent", "The kernel, without interrupts."),
        percent("idle_percent", "Nothing to do."),
        percent(
            "iowait_percent",
            "Nothing to do while a disk was being waited for; not a reliable figure, says the kernel.",
        ),
        percent("irq_percent", "Interrupts."),
        percent("softirq_percent", "Deferred work of interrupts."),
        percent("steal_percent", "Taken by the hypervisor for others."),
        percent("guest_percent", "Virtual machines that run on this host."),
        percent(
            "guest_nice_percent",
            "Virtual machines of a lower priority that run on this host.",
        ),
        gauge(
            "frequency_hertz",
            "hertz",
            "Clock frequency; of cores only.",
        ),
        count(
            "core_throttles",
            "How often heat slowed the core down (Intel).",
        ),
        count(
            "package_throttles",
            "How often heat slowed the whole package down (Intel).",
        ),
    ],
};

const DISK_IO: MeasurementEntry = MeasurementEntry {
    name: "disk_io",
    kind: Kind::Counter,
    description: "Reads, writes, discards and flushes of each whole disk that did any I/O since boot, and how busy it was.",
    tags: &[tag(
        "device",
        "The kernel's name of the disk, such as `sda` or `nvme0n1`.",
    )],
    fields: &[
        count("reads", "Reads completed."),
        count(
            "reads_merged",
            "Reads that were merged into another before they were sent.",
        ),
        counter("read_bytes", "bytes", "Bytes read."),
        counter(
            "read_time_seconds",
            "seconds",
            "Time that reads took, summed over all of them.",
        ),
        count("writes", "Writes completed."),
        count(
            "writes_merged",
            "Writes that were merged into another before they were sent.",
        ),
        counter("written_bytes", "bytes", "Bytes written."),
        counter(
            "write_time_seconds",
            "seconds",
            "Time that writes took, summed over all of them.",
        ),
        count("discards", "Discards (trims) completed."),
        count(
            "discards_merged",
            "Discards that were merged into another before they were sent.",
        ),
        counter("discarded_bytes", "bytes", "Bytes discarded."),
        counter(
            "discard_time_seconds",
            "seconds",
            "Time that discards took, summed over all of them.",
        ),
        count("flushes", "Flushes of the disk's cache completed."),
        counter(
            "flush_time_seconds",
            "seconds",
            "Time that flushes took, summed over all of them.",
        ),
        counter(
            "io_time_seconds",
            "seconds",
            "Time during which the disk had anything to do.",
        ),
        counter(
            "weighted_io_time_seconds",
            "seconds",
            "Time that all I/O took, summed, with what is still under way.",
        ),
        number("in_flight", "I/O under way at the sample."),
        percent(
            "utilisation_percent",
            "Share of the interval since the sample before in which the disk had anything to do; disks that work in parallel can take more at 100.",
        ),
        gauge(
            "read_wait_seconds",
            "seconds",
            "Mean time of the reads completed since the sample before, queueing included.",
        ),
        gauge(
            "write_wait_seconds",
            "seconds",
            "Mean time of the writes completed since the sample before, queueing included.",
        ),
    ],
};

const FILESYSTEM: MeasurementEntry = MeasurementEntry {
    name: "filesystem",
    kind: Kind::Gauge,
    description: "Space and inodes of every real mount; each file system once.",
    tags: &[
        tag("mount", "Where it is mounted."),
        tag(
            "device",
            "What is mounted: a block device, an export, a data set.",
        ),
        tag("fstype", "The type of the file system, such as `ext4`."),
    ],
    fields: &[
        bytes("total_bytes", "Size."),
        bytes("used_bytes", "Used."),
        bytes("free_bytes", "Free, with what is kept back for root."),
        bytes("available_bytes", "Free for everybody."),
        percent(
            "used_percent",
            "Used share of what everybody may fill, as `df` tells it.",
        ),
        number(
            "inodes",
            "Inodes in all; absent where they are made as needed.",
        ),
        number("inodes_free", "Free inodes."),
        percent("inodes_used_percent", "Used share of the inodes."),
        truth(
            "read_only",
            "Whether the file system is read-only for all; a mount point alone that is does not count.",
        ),
        truth(
            "responding",
            "Whether it answered in time; if not, the figures are absent.",
        ),
    ],
};

const LOAD: MeasurementEntry = MeasurementEntry {
    name: "load",
    kind: Kind::Gauge,
    description: "Load averages, and the number of tasks (threads).",
    tags: &[],
    fields: &[
        number(
            "load1",
            "Tasks that run, want to run or wait for a disk, averaged over a minute.",
        ),
        number("load5", "The same over 5 minutes."),
        number("load15", "The same over 15 minutes."),
        number(
            "runnable_tasks",
            "Tasks that run or want to run at the sample.",
        ),
        number("tasks", "Tasks in all."),
    ],
};

const MEMORY: MeasurementEntry = MeasurementEntry {
    name: "memory",
    kind: Kind::Gauge,
    description: "Memory in total, available, used, and by what holds it.",
    tags: &[],
    fields: &[
        bytes("total_bytes", "Memory that the kernel can use."),
        bytes(
            "available_bytes",
            "What new programs could get without swapping, by the kernel's estimate.",
        ),
        bytes("used_bytes", "Total without what is available."),
        bytes("free_bytes", "Used for nothing at all."),
        bytes("buffers_bytes", "Cached blocks of disks."),
        bytes(
            "cached_bytes",
            "Cached files, shared memory and tmpfs included.",
        ),
        bytes("shared_bytes", "Shared memory and tmpfs."),
        bytes("active_bytes", "Used lately."),
        bytes(
            "inactive_bytes",
            "Not used lately, and first to be reclaimed.",
        ),
        bytes("unevictable_bytes", "Cannot be reclaimed."),
        bytes("locked_bytes", "Locked by programs."),
        bytes("dirty_bytes", "Waits to be written to disk."),
        bytes("writeback_bytes", "Is being written to disk."),
        bytes(
            "anonymous_bytes",
            "Memory of programs that belongs to no file.",
        ),
        bytes(
            "anonymous_huge_bytes",
            "The part of it in transparent huge pages.",
        ),
        bytes("mapped_bytes", "Files mapped into programs."),
        bytes("slab_bytes", "Data structures of the kernel."),
        bytes(
            "slab_reclaimable_bytes",
            "The part of them that can be reclaimed.",
        ),
        bytes("slab_unreclaimable_bytes", "The part of them that cannot."),
        bytes(
            "kernel_stack_bytes",
            "Stacks of the kernel's threads and system calls.",
        ),
        bytes("page_tables_bytes", "Tables of memory pages."),
        bytes("committed_bytes", "Promised to programs, used or not."),
        bytes(
            "commit_limit_bytes",
            "What may be promised where overcommitting is forbidden.",
        ),
        bytes(
            "corrupted_bytes",
            "Taken out of use because the hardware reported errors.",
        ),
        bytes(
            "active_anonymous_bytes",
            "The part of the active that belongs to no file.",
        ),
        bytes(
            "active_file_bytes",
            "The part of the active that belongs to files.",
        ),
        bytes(
            "inactive_anonymous_bytes",
            "The part of the inactive that belongs to no file.",
        ),
        bytes(
            "inactive_file_bytes",
            "The part of the inactive that belongs to files.",
        ),
        bytes(
            "reclaimable_bytes",
            "Memory of the kernel that can be reclaimed, slabs included.",
        ),
        bytes(
            "secondary_page_tables_bytes",
            "Tables of memory pages of virtual machines.",
        ),
        bytes("per_cpu_bytes", "Data that the kernel keeps per core."),
        bytes(
            "vmalloc_used_bytes",
            "Memory of the kernel that is mapped in one piece.",
        ),
        bytes(
            "writeback_temporary_bytes",
            "Buffers of FUSE for writing back.",
        ),
        bytes(
            "nfs_unstable_bytes",
            "Sent to a server of NFS and not yet on its disk.",
        ),
        bytes(
            "bounce_bytes",
            "Buffers for devices that cannot reach all memory.",
        ),
        bytes("balloon_bytes", "Given back to the hypervisor."),
        bytes(
            "cma_total_bytes",
            "Kept for devices that need memory in one piece.",
        ),
        bytes("cma_free_bytes", "The free part of it."),
        bytes(
            "unaccepted_bytes",
            "Not yet accepted by a confidential virtual machine.",
        ),
        bytes(
            "shared_huge_bytes",
            "Shared memory and tmpfs in huge pages.",
        ),
        bytes(
            "shared_huge_mapped_bytes",
            "The part of it that is mapped as such into programs.",
        ),
        bytes("file_huge_bytes", "Cached files in huge pages."),
        bytes(
            "file_huge_mapped_bytes",
            "The part of it that is mapped as such into programs.",
        ),
        bytes(
            "direct_map_4k_bytes",
            "Memory that the kernel itself maps in pages of 4 KiB.",
        ),
        bytes(
            "direct_map_2m_bytes",
            "Memory that the kernel itself maps in pages of 2 MiB.",
        ),
        bytes(
            "direct_map_4m_bytes",
            "Memory that the kernel itself maps in pages of 4 MiB.",
        ),
        bytes(
            "direct_map_1g_bytes",
            "Memory that the kernel itself maps in pages of 1 GiB.",
        ),
        number(
            "huge_pages_reserved",
            "Huge pages that are promised and not yet used.",
        ),
        number(
            "huge_pages_surplus",
            "Huge pages beyond the size of the pool.",
        ),
        bytes("hugetlb_bytes", "Memory of huge pages of all sizes."),
        number("huge_pages", "Huge pages in the pool."),
        number("huge_pages_free", "Huge pages in the pool that are free."),
        bytes("huge_page_bytes", "Size of one huge page."),
        percent("used_percent", "Used share of the total."),
        percent("available_percent", "Available share of the total."),
    ],
};

const NETWORK: MeasurementEntry = MeasurementEntry {
    name: "network",
    kind: Kind::Counter,
    description: "Traffic and errors of each network interface, and the state of its link.",
    tags: &[tag(
        "interface",
        "The name of the interface, such as `eth0`.",
    )],
    fields: &[
        counter("received_bytes", "bytes", "Bytes received."),
        count("received_packets", "Packets received."),
        count("received_errors", "Packets received with an error."),
        count(
            "received_drops",
            "Packets received and dropped by the kernel or the driver.",
        ),
        count("received_fifo_errors", "Overruns of the receiving queue."),
        count("received_frame_errors", "Frames received misaligned."),
        count(
            "received_compressed_packets",
            "Compressed packets received.",
        ),
        count("received_multicast_packets", "Multicast packets received."),
        counter("transmitted_bytes", "bytes", "Bytes sent."),
        count("transmitted_packets", "Packets sent."),
        count(
            "transmitted_errors",
            "Packets that could not be sent because of an error.",
        ),
        count(
            "transmitted_drops",
            "Packets dropped instead of being sent.",
        ),
        count("transmitted_fifo_errors", "Underruns of the sending queue."),
        count("transmitted_compressed_packets", "Compressed packets sent."),
        count("collisions", "Collisions on the wire."),
        count(
            "carrier_errors",
            "Packets that could not be sent because the carrier was lost.",
        ),
        truth("up", "Whether packets can flow."),
        gauge(
            "speed_bits_per_second",
            "bits_per_second",
            "Speed of the link; absent where there is none or the driver does not tell.",
        ),
        bytes("mtu_bytes", "Longest packet that is sent."),
        count("carrier_changes", "How often the link went up or down."),
    ],
};

const SWAP: MeasurementEntry = MeasurementEntry {
    name: "swap",
    kind: Kind::Gauge,
    description: "Swap space, and what went in and out of it.",
    tags: &[],
    fields: &[
        bytes(
            "total_bytes",
            "Size of all swap space; 0 where there is none.",
        ),
        bytes("used_bytes", "Used swap space."),
        bytes("free_bytes", "Free swap space."),
        percent(
            "used_percent",
            "Used share; absent where there is no swap space.",
        ),
        bytes("cached_bytes", "In swap space and in memory as well."),
        bytes(
            "zswap_bytes",
            "Memory that holds compressed pages instead of swap space.",
        ),
        bytes("zswapped_bytes", "What those pages take uncompressed."),
        counter(
            "swapped_in_bytes",
            "bytes",
            "Read back from swap space since boot.",
        ),
        counter(
            "swapped_out_bytes",
            "bytes",
            "Written to swap space since boot.",
        ),
    ],
};

const SYSTEM: MeasurementEntry = MeasurementEntry {
    name: "system",
    kind: Kind::Gauge,
    description: "Uptime, boot time, and the work of the kernel's scheduler and interrupts.",
    tags: &[],
    fields: &[
        gauge("uptime_seconds", "seconds", "Time since boot."),
        gauge(
            "boot_time_seconds",
            "seconds",
            "When the host booted, in seconds since 1970 UTC.",
        ),
        count(
            "context_switches",
            "Switches from one task to another since boot.",
        ),
        count("interrupts", "Interrupts served since boot."),
        count("forks", "Processes and threads created since boot."),
        count("softirqs", "Deferred work of interrupts done since boot."),
        number("running_tasks", "Tasks that run or want to run."),
        number("blocked_tasks", "Tasks that wait for a disk."),
        gauge(
            "entropy_bits",
            "bits",
            "Randomness that the kernel has gathered; 256 is all that newer ones keep.",
        ),
    ],
};
