//! Built-in measurements of processes, control groups, units and sessions.

use super::{
    FieldEntry, Kind, MeasurementEntry, bytes, count, counter, gauge, number, tag, text, truth,
};

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    CGROUP,
    CGROUP_GROUPS,
    LOGGED_IN_USERS,
    PROCESS,
    PROCESS_GROUPS,
    SYSTEMD,
    SYSTEMD_UNIT,
];

const fn seconds(name: &'static str, description: &'static str) -> FieldEntry {
    counter(name, "seconds", description)
}

const fn bytes_counted(name: &'static str, description: &'static str) -> FieldEntry {
    counter(name, "bytes", description)
}

const CGROUP: MeasurementEntry = MeasurementEntry {
    name: "cgroup",
    kind: Kind::Counter,
    description: "What each control group uses, the groups below it included, and how far it is held back.",
    tags: &[
        tag(
            "cgroup",
            "The path of the group, such as `/system.slice/ssh.service`.",
        ),
        tag(
            "unit",
            "The systemd unit that the path names; absent where it names none.",
        ),
        tag(
            "container",
            "The container that the path names: 12 digits of its id, or its name.",
        ),
        tag("pod", "The UID of the Kubernetes pod that the path names."),
    ],
    fields: &[
        seconds("cpu_usage_seconds", "CPU time used."),
        seconds("cpu_user_seconds", "CPU time used by programs."),
        seconds(
            "cpu_system_seconds",
            "CPU time used by the kernel for them.",
        ),
        count(
            "cpu_periods",
            "Periods in which the limit of CPU time was kept.",
        ),
        count(
            "cpu_throttled_periods",
            "Periods in which the group had to wait because of it.",
        ),
        seconds(
            "cpu_throttled_seconds",
            "Time that it waited because of it.",
        ),
        gauge(
            "cpu_limit_cores",
            "cores",
            "The limit of CPU time; absent without one.",
        ),
        bytes("memory_bytes", "Memory used, cached files included."),
        bytes("memory_peak_bytes", "The most that it was."),
        bytes(
            "memory_limit_bytes",
            "The limit of memory; absent without one.",
        ),
        bytes(
            "memory_high_bytes",
            "Memory beyond which the group is slowed down; absent without.",
        ),
        bytes("memory_low_bytes", "Memory that is reclaimed last."),
        bytes("memory_anonymous_bytes", "Memory that belongs to no file."),
        bytes("memory_file_bytes", "Cached files."),
        bytes(
            "memory_inactive_file_bytes",
            "Cached files that were not used lately; memory without them is the working set.",
        ),
        bytes("memory_shared_bytes", "Shared memory and tmpfs."),
        bytes("memory_dirty_bytes", "Waits to be written to disk."),
        bytes("memory_kernel_bytes", "Memory of the kernel."),
        bytes("memory_slab_bytes", "Data structures of the kernel."),
        bytes("memory_socket_bytes", "Buffers of sockets."),
        bytes("memory_swap_bytes", "Swap space used."),
        bytes(
            "memory_swap_limit_bytes",
            "The limit of swap space; absent without one.",
        ),
        count("memory_faults", "Page faults."),
        count(
            "memory_major_faults",
            "Page faults that had to wait for a disk.",
        ),
        count(
            "memory_low_events",
            "How often memory below `memory_low_bytes` was reclaimed.",
        ),
        count("memory_high_events", "How often the group was slowed down."),
        count(
            "memory_limit_events",
            "How often the limit of memory was about to be passed.",
        ),
        count(
            "memory_oom_events",
            "How often memory could not be had within the limit.",
        ),
        count("memory_oom_kills", "Processes killed because of it."),
        count(
            "memory_swap_limit_events",
            "How often the limit of swap space was about to be passed.",
        ),
        count(
            "memory_swap_failures",
            "How often swap space could not be had.",
        ),
        bytes_counted("io_read_bytes", "Bytes read from block devices."),
        bytes_counted("io_written_bytes", "Bytes written to block devices."),
        bytes_counted("io_discarded_bytes", "Bytes discarded."),
        count("io_reads", "Reads from block devices."),
        count("io_writes", "Writes to block devices."),
        count("io_discards", "Discards."),
        number("pids", "Processes and threads."),
        number("pids_limit", "The limit of them; absent without one."),
        count(
            "pids_limit_events",
            "How often a process could not be started because of it.",
        ),
        seconds(
            "cpu_pressure_some_seconds",
            "Time in which some task waited for CPU time.",
        ),
        seconds("cpu_pressure_full_seconds", "Time in which all tasks did."),
        seconds(
            "memory_pressure_some_seconds",
            "Time in which some task waited for memory.",
        ),
        seconds(
            "memory_pressure_full_seconds",
            "Time in which all tasks did.",
        ),
        seconds(
            "io_pressure_some_seconds",
            "Time in which some task waited for I/O.",
        ),
        seconds("io_pressure_full_seconds", "Time in which all tasks did."),
    ],
};

const CGROUP_GROUPS: MeasurementEntry = MeasurementEntry {
    name: "cgroup_groups",
    kind: Kind::Gauge,
    description: "How many control groups are told, and how many are not.",
    tags: &[],
    fields: &[
        number("groups_told", "Groups that are told."),
        number(
            "groups_left_out",
            "Groups down to the depth that are not told because there are too many.",
        ),
    ],
};

const LOGGED_IN_USERS: MeasurementEntry = MeasurementEntry {
    name: "logged_in_users",
    kind: Kind::Gauge,
    description: "Sessions of people on the host.",
    tags: &[],
    fields: &[
        number("sessions", "Sessions."),
        number("remote_sessions", "Sessions over the network."),
        number("users", "People."),
        text("names", "Their names; absent if there is nobody."),
        text("source", "Who told: `utmp` or `logind`."),
    ],
};

const PROCESS: MeasurementEntry = MeasurementEntry {
    name: "process",
    kind: Kind::Gauge,
    description: "What each group of processes uses. Counters are of the group's processes while they belonged to it, and begin again when all of them have ended.",
    tags: &[tag(
        "name",
        "The name of the group, by `process.group_by`: a name, a user, a program, a control group, a unit, or a name with the number of its process.",
    )],
    fields: &[
        number("processes", "Processes."),
        number("threads", "Their threads."),
        bytes(
            "resident_bytes",
            "Memory in RAM; what they share is counted for each of them.",
        ),
        bytes("virtual_bytes", "Addresses that they may use."),
        bytes("swap_bytes", "Memory in swap space."),
        bytes(
            "proportional_bytes",
            "Memory in RAM, what is shared divided by those who share it (PSS); only with `process.pss`.",
        ),
        number("open_files", "Open files, sockets included."),
        number(
            "open_files_limit",
            "The most that one process may have; the lowest of the group.",
        ),
        gauge(
            "open_files_used_percent",
            "percent",
            "Used share of the limit; the highest of the group.",
        ),
        gauge(
            "oldest_start_time_seconds",
            "seconds",
            "When the oldest of them was started, in seconds since 1970 UTC.",
        ),
        seconds("cpu_user_seconds", "CPU time used by the programs."),
        seconds(
            "cpu_system_seconds",
            "CPU time used by the kernel for them.",
        ),
        count("minor_faults", "Page faults that needed no disk."),
        count("major_faults", "Page faults that had to wait for a disk."),
        count(
            "context_switches_voluntary",
            "Switches because the process waited for something.",
        ),
        count(
            "context_switches_involuntary",
            "Switches because its time was up.",
        ),
        bytes_counted(
            "read_bytes",
            "Bytes read, from the cache and from sockets too.",
        ),
        bytes_counted(
            "written_bytes",
            "Bytes written, into the cache and to sockets too.",
        ),
        count("read_calls", "Calls to read."),
        count("write_calls", "Calls to write."),
        bytes_counted("disk_read_bytes", "Bytes read from disks."),
        bytes_counted("disk_written_bytes", "Bytes to be written to disks."),
    ],
};

const PROCESS_GROUPS: MeasurementEntry = MeasurementEntry {
    name: "process_groups",
    kind: Kind::Gauge,
    description: "How many groups of processes there are, and how many are not told.",
    tags: &[],
    fields: &[
        number("processes", "Processes in all."),
        number("groups_seen", "Groups in all."),
        number(
            "groups_left_out",
            "Groups that were asked for and are not told because others use more.",
        ),
    ],
};

const SYSTEMD: MeasurementEntry = MeasurementEntry {
    name: "systemd",
    kind: Kind::Gauge,
    description: "The state of systemd, and its units by state.",
    tags: &[],
    fields: &[
        text(
            "state",
            "The state of the system, such as `running` or `degraded`.",
        ),
        number("units", "Units in all."),
        number("units_active", "Units that are active."),
        number(
            "units_reloading",
            "Units that are active and read their configuration again.",
        ),
        number("units_inactive", "Units that are not active."),
        number("units_failed", "Units that failed."),
        number("units_activating", "Units that are being started."),
        number("units_deactivating", "Units that are being stopped."),
        number(
            "units_left_out",
            "Units that were asked for and are not told because there are too many.",
        ),
    ],
};

const SYSTEMD_UNIT: MeasurementEntry = MeasurementEntry {
    name: "systemd_unit",
    kind: Kind::Gauge,
    description: "The state of each systemd unit that `systemd.only` names, by default of all services.",
    tags: &[tag("unit", "The unit, such as `ssh.service`.")],
    fields: &[
        truth("active", "Whether it is active."),
        truth("failed", "Whether it failed."),
        text(
            "state",
            "Its state, such as `active`, `inactive` or `failed`.",
        ),
        text(
            "sub_state",
            "Its state as its kind of unit names it, such as `running` or `exited`.",
        ),
        text(
            "load_state",
            "Whether its file could be read: `loaded`, `not-found`, `masked`.",
        ),
        count(
            "restarts",
            "How often systemd restarted it by itself; only of services.",
        ),
    ],
};
