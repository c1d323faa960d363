//! The files of a control group of version 2. A file that a controller does not have is absent.

use super::Io;
use crate::collectors::linux::sysfs::Values;
use std::path::Path;
use tidegauge_model::{Name, Point, name};

/// Lines of a key and a number: the file, the key, the field, and what to divide by.
static KEYED: [(&str, &str, Name, f64); 24] = [
    ("cpu.stat", "usage_usec", name!("cpu_usage_seconds"), 1e6),
    ("cpu.stat", "user_usec", name!("cpu_user_seconds"), 1e6),
    ("cpu.stat", "system_usec", name!("cpu_system_seconds"), 1e6),
    ("cpu.stat", "nr_periods", name!("cpu_periods"), 1.0),
    (
        "cpu.stat",
        "nr_throttled",
        name!("cpu_throttled_periods"),
        1.0,
    ),
    (
        "cpu.stat",
        "throttled_usec",
        name!("cpu_throttled_seconds"),
        1e6,
    ),
    ("memory.stat", "anon", name!("memory_anonymous_bytes"), 1.0),
    ("memory.stat", "file", name!("memory_file_bytes"), 1.0),
    ("memory.stat", "kernel", name!("memory_kernel_bytes"), 1.0),
    ("memory.stat", "slab", name!("memory_slab_bytes"), 1.0),
    ("memory.stat", "sock", name!("memory_socket_bytes"), 1.0),
    ("memory.stat", "shmem", name!("memory_shared_bytes"), 1.0),
    (
        "memory.stat",
        "file_dirty",
        name!("memory_dirty_bytes"),
        1.0,
    ),
    (
        "memory.stat",
        "inactive_file",
        name!("memory_inactive_file_bytes"),
        1.0,
    ),
    ("memory.stat", "pgfault", name!("memory_faults"), 1.0),
    (
        "memory.stat",
        "pgmajfault",
        name!("memory_major_faults"),
        1.0,
    ),
    ("memory.events", "low", name!("memory_low_events"), 1.0),
    ("memory.events", "high", name!("memory_high_events"), 1.0),
    ("memory.events", "max", name!("memory_limit_events"), 1.0),
    ("memory.events", "oom", name!("memory_oom_events"), 1.0),
    ("memory.events", "oom_kill", name!("memory_oom_kills"), 1.0),
    (
        "memory.swap.events",
        "max",
        name!("memory_swap_limit_events"),
        1.0,
    ),
    (
        "memory.swap.events",
        "fail",
        name!("memory_swap_failures"),
        1.0,
    ),
    ("pids.events", "max", name!("pids_limit_events"), 1.0),
];
/// Files of one number.
static NUMBERS: [(&str, Name); 4] = [
    ("memory.current", name!("memory_bytes")),
    ("memory.peak", name!("memory_peak_bytes")),
    ("memory.swap.current", name!("memory_swap_bytes")),
    ("pids.current", name!("pids")),
];
/// Files of a number, or of `max` where there is no limit.
static LIMITS: [(&str, Name); 5] = [
    ("memory.max", name!("memory_limit_bytes")),
    ("memory.high", name!("memory_high_bytes")),
    ("memory.low", name!("memory_low_bytes")),
    ("memory.swap.max", name!("memory_swap_limit_bytes")),
    ("pids.max", name!("pids_limit")),
];
static PRESSURE: [(&str, Name, Name); 3] = [
    (
        "cpu.pressure",
        name!("cpu_pressure_some_seconds"),
        name!("cpu_pressure_full_seconds"),
    ),
    (
        "memory.pressure",
        name!("memory_pressure_some_seconds"),
        name!("memory_pressure_full_seconds"),
    ),
    (
        "io.pressure",
        name!("io_pressure_some_seconds"),
        name!("io_pressure_full_seconds"),
    ),
];

/// Adds the limits of a group.
pub(super) fn limits(folder: &Path, values: &mut Values, limits: &mut Vec<(Name, f64)>) {
    for (file, field) in &LIMITS {
        if let Some(limit) = values.number::<u64>(folder, file) {
            limits.push((field.clone(), limit as f64));
        }
    }
    // `200000 100000`, or `max 100000`.
    let cores = values.text(folder, "cpu.max").and_then(|text| {
        let (quota, period) = text.split_once(' ')?;
        let (quota, period): (u64, u64) = (quota.parse().ok()?, period.trim().parse().ok()?);
        (period > 0).then_some(quota as f64 / period as f64)
    });
    limits.extend(cores.map(|cores| (name!("cpu_limit_cores"), cores)));
}

/// Adds what a group uses.
pub(super) fn add(folder: &Path, values: &mut Values, point: &mut Point) {
    let mut file = "";
    for (keyed, ..) in &KEYED {
        if *keyed == file {
            continue;
        }
        file = keyed;
        let Some(text) = values.text(folder, file) else {
            continue;
        };
        for line in text.lines() {
            let Some((key, number)) = line.split_once(' ') else {
                continue;
            };
            let known = KEYED
                .iter()
                .find(|(in_file, known, ..)| *in_file == file && *known == key);
            if let (Some((_, _, field, divisor)), Ok(number)) =
                (known, number.trim().parse::<u64>())
            {
                point.set(field.clone(), number as f64 / divisor);
            }
        }
    }
    for (file, field) in &NUMBERS {
        if let Some(number) = values.number::<u64>(folder, file) {
            point.set(field.clone(), number);
        }
    }
    for (file, some, full) in &PRESSURE {
        let Some(text) = values.text(folder, file) else {
            continue;
        };
        for line in text.lines() {
            let field = match line.split(' ').next() {
                Some("some") => some,
                Some("full") => full,
                _ => continue,
            };
            let total = line
                .rsplit_once("total=")
                .map(|(_, total)| total.parse::<u64>());
            if let Some(Ok(total)) = total {
                point.set(field.clone(), total as f64 / 1e6);
            }
        }
    }
}

/// The sums of `io.stat`: lines of a device and `key=number`.
pub(super) fn io(folder: &Path, values: &mut Values) -> Option<Io> {
    let text = values.text(folder, "io.stat")?;
    let mut sums = Io::default();
    for word in text.split_ascii_whitespace() {
        let Some((key, number)) = word.split_once('=') else {
            continue;
        };
        let sum = match key {
            "rbytes" => &mut sums.read_bytes,
            "wbytes" => &mut sums.written_bytes,
            "dbytes" => &mut sums.discarded_bytes,
            "rios" => &mut sums.reads,
            "wios" => &mut sums.writes,
            "dios" => &mut sums.discards,
            _ => continue,
        };
        *sum = sum.saturating_add(number.parse::<u64>().ok()?);
    }
    Some(sums)
}
