//! Built-in measurements of storage in software: RAID, file systems, and clients of file servers.

use super::{
    Kind, MeasurementEntry, TagEntry, bytes, count, counter, gauge, number, tag, text, truth,
};

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    BTRFS,
    BTRFS_ALLOCATION,
    BTRFS_DEVICE,
    MDRAID,
    NFS,
    NFS_OPERATION,
    XFS,
    ZFS_ARC,
    ZFS_DATASET,
    ZFS_POOL,
];

const UUID: TagEntry = tag("uuid", "The UUID of the file system.");

const BTRFS: MeasurementEntry = MeasurementEntry {
    name: "btrfs",
    kind: Kind::Gauge,
    description: "Each Btrfs file system that is mounted.",
    tags: &[UUID],
    fields: &[
        text("label", "Its label; absent where it has none."),
        number("devices", "Devices that it is on."),
        bytes("device_bytes", "Size of its devices."),
        bytes(
            "global_reserve_bytes",
            "Space kept back for the file system's own needs.",
        ),
        bytes("global_reserve_used_bytes", "The part of it that is taken."),
        count("commits", "Transactions committed."),
        counter("commit_time_seconds", "seconds", "Time that commits took."),
        gauge(
            "longest_commit_seconds",
            "seconds",
            "Time that the longest commit took.",
        ),
    ],
};

const BTRFS_ALLOCATION: MeasurementEntry = MeasurementEntry {
    name: "btrfs_allocation",
    kind: Kind::Gauge,
    description: "What each Btrfs file system has allocated, by kind.",
    tags: &[
        UUID,
        tag(
            "kind",
            "`data`, `metadata`, `system`, or `mixed` for data and metadata.",
        ),
    ],
    fields: &[
        bytes("used_bytes", "Used of what is allocated."),
        bytes("total_bytes", "Allocated."),
        bytes("reserved_bytes", "Reserved for what is being written."),
        bytes("pinned_bytes", "Freed, but not before the next commit."),
        bytes("read_only_bytes", "In blocks that are read-only."),
        bytes("disk_used_bytes", "Used on all devices, copies included."),
        bytes(
            "disk_total_bytes",
            "Allocated on all devices, copies included.",
        ),
        text(
            "profile",
            "How it is spread over devices, such as `single` or `raid1`.",
        ),
    ],
};

const BTRFS_DEVICE: MeasurementEntry = MeasurementEntry {
    name: "btrfs_device",
    kind: Kind::Counter,
    description: "Errors of each device of a Btrfs file system.",
    tags: &[
        UUID,
        tag("device", "The number of the device in the file system."),
    ],
    fields: &[
        truth("missing", "Whether the device is missing."),
        count("write_errors", "Writes that failed."),
        count("read_errors", "Reads that failed."),
        count("flush_errors", "Flushes that failed."),
        count("corruption_errors", "Blocks whose checksum was wrong."),
        count(
            "generation_errors",
            "Blocks that were older than they should be.",
        ),
    ],
};

const MDRAID: MeasurementEntry = MeasurementEntry {
    name: "mdraid",
    kind: Kind::Gauge,
    description: "State, disks and synchronisation of each software RAID array.",
    tags: &[
        tag("device", "The kernel's name of the array, such as `md0`."),
        tag(
            "level",
            "Its level, such as `raid1`; `none` where it is not known.",
        ),
    ],
    fields: &[
        truth("active", "Whether it is running."),
        truth(
            "read_only",
            "Whether it is read-only, perhaps only until it is first written to.",
        ),
        text(
            "state",
            "Its state, such as `clean`, `active` or `inactive`.",
        ),
        number("disks", "Disks that it should have."),
        number("disks_active", "Disks that work."),
        number("disks_failed", "Disks that failed."),
        number("disks_spare", "Disks in reserve."),
        number("disks_journal", "Disks that hold its journal."),
        number("members", "Disks that belong to it, whatever their state."),
        number(
            "disks_missing",
            "Disks that it should have and that do not work.",
        ),
        bytes("size_bytes", "Its size."),
        text(
            "sync_action",
            "What is being done: `idle`, `resync`, `recover`, `check`, `repair`, `reshape`.",
        ),
        gauge(
            "sync_percent",
            "percent",
            "How much of that is done; absent while it is idle.",
        ),
        gauge("sync_remaining_seconds", "seconds", "When it will be done."),
        gauge(
            "sync_speed_bytes_per_second",
            "bytes_per_second",
            "How fast that is.",
        ),
        number("mismatches", "Sectors that differed in the last check."),
    ],
};

const NFS: MeasurementEntry = MeasurementEntry {
    name: "nfs",
    kind: Kind::Counter,
    description: "What the NFS client of this host asked of servers.",
    tags: &[],
    fields: &[
        count("packets", "Packets; recent kernels do not count them."),
        count("udp_packets", "Packets over UDP."),
        count("tcp_packets", "Packets over TCP."),
        count("tcp_connections", "Connections over TCP."),
        count("calls", "Requests."),
        count(
            "retransmissions",
            "Requests that were sent again because no answer came.",
        ),
        count(
            "authentication_refreshes",
            "How often credentials were refreshed.",
        ),
    ],
};

const NFS_OPERATION: MeasurementEntry = MeasurementEntry {
    name: "nfs_operation",
    kind: Kind::Counter,
    description: "Requests of the NFS client by operation; those that were never asked for are left out.",
    tags: &[
        tag("version", "The version of NFS: 2, 3 or 4."),
        tag("operation", "The operation, such as `read` or `getattr`."),
    ],
    fields: &[count("requests", "Requests.")],
};

const XFS: MeasurementEntry = MeasurementEntry {
    name: "xfs",
    kind: Kind::Counter,
    description: "What each XFS file system did since it was mounted.",
    tags: &[tag(
        "device",
        "The kernel's name of the device, such as `sda1`.",
    )],
    fields: &[
        count("extents_allocated", "Extents allocated."),
        count("blocks_allocated", "Blocks allocated."),
        count("extents_freed", "Extents freed."),
        count("blocks_freed", "Blocks freed."),
        count(
            "allocation_btree_lookups",
            "Lookups in the tree of free space.",
        ),
        count("allocation_btree_compares", "Comparisons in it."),
        count("allocation_btree_inserts", "Records inserted into it."),
        count("allocation_btree_deletes", "Records deleted from it."),
        count("mapping_reads", "Maps of blocks read."),
        count("mapping_writes", "Maps of blocks written."),
        count("unmappings", "Blocks unmapped."),
        count("extent_list_inserts", "Extents inserted into lists."),
        count("extent_list_deletes", "Extents deleted from lists."),
        count("extent_list_lookups", "Extents looked up in lists."),
        count("extent_list_compares", "Comparisons in lists."),
        count("mapping_btree_lookups", "Lookups in the trees of maps."),
        count("mapping_btree_compares", "Comparisons in them."),
        count("mapping_btree_inserts", "Records inserted into them."),
        count("mapping_btree_deletes", "Records deleted from them."),
        count(
            "directory_lookups",
            "Names looked up in directories, beyond the kernel's cache.",
        ),
        count("directory_creates", "Names created."),
        count("directory_removes", "Names removed."),
        count("directory_reads", "Reads of directories."),
        count(
            "transactions_waited_for",
            "Transactions whose writing was waited for.",
        ),
        count(
            "transactions_not_waited_for",
            "Transactions that were written later.",
        ),
        count("transactions_empty", "Transactions that changed nothing."),
        count("inode_cache_lookups", "Inodes looked up in the cache."),
        count("inode_cache_hits", "Inodes that were found in it."),
        count(
            "inode_cache_recycles",
            "Inodes that were found, but about to be reclaimed.",
        ),
        count("inode_cache_misses", "Inodes that were not in it."),
        count(
            "inode_cache_races",
            "Inodes that somebody else had just put into it.",
        ),
        count("inode_reclaims", "Inodes reclaimed from it."),
        count(
            "inode_attribute_changes",
            "Explicit changes of attributes of inodes.",
        ),
        count("log_writes", "Buffers of the log written."),
        count("log_blocks", "Blocks of the log written, of 512 bytes."),
        count(
            "log_waits_for_buffers",
            "How often a buffer of the log had to be waited for.",
        ),
        count("log_forces", "How often the log was forced to disk."),
        count("log_force_waits", "How often that was waited for."),
        count("writes", "Calls to write."),
        count("reads", "Calls to read."),
        count("attribute_gets", "Extended attributes read."),
        count("attribute_sets", "Extended attributes set."),
        count("attribute_removes", "Extended attributes removed."),
        count("attribute_lists", "Lists of extended attributes."),
        number("inodes_active", "Inodes in memory."),
        count("inodes_allocated", "Inodes taken into memory."),
        count("inodes_got", "Inodes taken by the kernel's cache."),
        count("inodes_held", "Inodes held."),
        count("inodes_released", "Inodes released."),
        count("inodes_reclaimed", "Inodes removed from memory."),
        count("inodes_removed", "Inodes that ceased to be active."),
        counter(
            "flushed_bytes",
            "bytes",
            "Bytes written to disk from the kernel's cache.",
        ),
        counter("written_bytes", "bytes", "Bytes that programs wrote."),
        counter("read_bytes", "bytes", "Bytes that programs read."),
    ],
};

const ZFS_ARC: MeasurementEntry = MeasurementEntry {
    name: "zfs_arc",
    kind: Kind::Counter,
    description: "The cache of OpenZFS.",
    tags: &[],
    fields: &[
        count("hits", "Reads that were answered from the cache."),
        count("misses", "Reads that were not."),
        count(
            "demand_data_hits",
            "Reads of data that were answered from the cache.",
        ),
        count("demand_data_misses", "Reads of data that were not."),
        count(
            "demand_metadata_hits",
            "Reads of metadata that were answered from the cache.",
        ),
        count("demand_metadata_misses", "Reads of metadata that were not."),
        count(
            "prefetch_data_hits",
            "Reads ahead of data that was in the cache.",
        ),
        count("prefetch_data_misses", "Reads ahead of data that was not."),
        count(
            "prefetch_metadata_hits",
            "Reads ahead of metadata that was in the cache.",
        ),
        count(
            "prefetch_metadata_misses",
            "Reads ahead of metadata that was not.",
        ),
        count("mru_hits", "Hits among what was used lately."),
        count(
            "mru_ghost_hits",
            "Hits that a larger list of what was used lately would have had.",
        ),
        count("mfu_hits", "Hits among what is used often."),
        count(
            "mfu_ghost_hits",
            "Hits that a larger list of what is used often would have had.",
        ),
        count("deleted", "Buffers evicted."),
        count(
            "mutex_misses",
            "Buffers that were not evicted because they were locked.",
        ),
        count("evict_skips", "Buffers that were passed over by evictions."),
        number("buffers", "Buffers in the cache."),
        bytes("size_bytes", "Size of the cache."),
        bytes("target_bytes", "Size that it aims at."),
        bytes("minimum_bytes", "The least that it may aim at."),
        bytes("maximum_bytes", "The most that it may aim at."),
        bytes(
            "compressed_bytes",
            "Cached blocks as they are in memory, compressed.",
        ),
        bytes("uncompressed_bytes", "The same blocks without compression."),
        bytes("data_bytes", "Data in the cache."),
        bytes("metadata_bytes", "Metadata in the cache."),
        bytes("dnode_bytes", "Nodes of objects in the cache."),
        bytes("header_bytes", "Heads of buffers."),
        bytes("mru_bytes", "What was used lately."),
        bytes("mfu_bytes", "What is used often."),
        count(
            "memory_throttles",
            "How often writes were held back because memory was short.",
        ),
        count(
            "prunes",
            "How often the kernel was asked to let go of cached files.",
        ),
        count(
            "l2_hits",
            "Reads that were answered from the cache on disk (L2ARC).",
        ),
        count("l2_misses", "Reads that were not."),
        counter(
            "l2_read_bytes",
            "bytes",
            "Bytes read from the cache on disk.",
        ),
        counter("l2_written_bytes", "bytes", "Bytes written to it."),
        bytes("l2_size_bytes", "Size of what is in it."),
        bytes("l2_allocated_bytes", "Space that this takes, compressed."),
        count("l2_errors", "Errors of the cache on disk."),
        count(
            "l2_checksum_errors",
            "Blocks of it whose checksum was wrong.",
        ),
    ],
};

const ZFS_DATASET: MeasurementEntry = MeasurementEntry {
    name: "zfs_dataset",
    kind: Kind::Counter,
    description: "Reads and writes of each data set that is mounted, 200 of a pool at most.",
    tags: &[
        tag("pool", "The pool."),
        tag("dataset", "The data set, such as `tank/home`."),
    ],
    fields: &[
        count("reads", "Reads."),
        counter("read_bytes", "bytes", "Bytes read."),
        count("writes", "Writes."),
        counter("written_bytes", "bytes", "Bytes written."),
        count(
            "unlinks",
            "Files put into the queue of what is to be deleted.",
        ),
        count("unlinks_done", "Files deleted from it."),
    ],
};

const ZFS_POOL: MeasurementEntry = MeasurementEntry {
    name: "zfs_pool",
    kind: Kind::Gauge,
    description: "The state of each ZFS pool.",
    tags: &[tag("pool", "The pool.")],
    fields: &[
        truth("online", "Whether it works with all that it needs."),
        text(
            "state",
            "`online`, `degraded`, `faulted`, `suspended` and others.",
        ),
        number(
            "datasets_left_out",
            "Data sets that have no point because there are too many.",
        ),
    ],
};
