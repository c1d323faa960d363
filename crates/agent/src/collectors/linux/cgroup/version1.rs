//! The files of a control group in the hierarchies of version 1. A file that is not there is absent.

use super::Io;
use super::hierarchy::Controller;
use crate::collectors::linux::sysfs::Values;
use std::path::Path;
use tidegauge_model::{Name, Point, name};

/// Limits from here on are none: the kernel then tells the largest number of pages.
const NO_LIMIT: u64 = 1 << 62;

static MEMORY: [(&str, Name); 3] = [
    ("memory.usage_in_bytes", name!("memory_bytes")),
    ("memory.max_usage_in_bytes", name!("memory_peak_bytes")),
    ("memory.failcnt", name!("memory_limit_events")),
];
/// Keys of `memory.stat`, which are those of the group with all groups below it.
static MEMORY_STAT: [(&str, Name); 7] = [
    ("total_rss", name!("memory_anonymous_bytes")),
    ("total_cache", name!("memory_file_bytes")),
    ("total_shmem", name!("memory_shared_bytes")),
    ("total_dirty", name!("memory_dirty_bytes")),
    ("total_inactive_file", name!("memory_inactive_file_bytes")),
    ("total_pgfault", name!("memory_faults")),
    ("total_pgmajfault", name!("memory_major_faults")),
];

/// Adds the limits of a group.
pub(super) fn limits(
    controller: Controller,
    folder: &Path,
    values: &mut Values,
    limits: &mut Vec<(Name, f64)>,
) {
    let mut number = |file: &str| values.number::<u64>(folder, file);
    match controller {
        Controller::Cpu => {
            // A quota of -1 is none.
            let quota = number("cpu.cfs_quota_us");
            let period = number("cpu.cfs_period_us").filter(|period| *period > 0);
            if let (Some(quota), Some(period)) = (quota, period) {
                limits.push((name!("cpu_limit_cores"), quota as f64 / period as f64));
            }
        }
        Controller::Memory => {
            for (file, field) in [
                ("memory.limit_in_bytes", name!("memory_limit_bytes")),
                ("memory.soft_limit_in_bytes", name!("memory_low_bytes")),
            ] {
                let limit = number(file).filter(|limit| *limit < NO_LIMIT);
                limits.extend(limit.map(|limit| (field, limit as f64)));
            }
        }
        Controller::Pids => {
            let limit = number("pids.max");
            limits.extend(limit.map(|limit| (name!("pids_limit"), limit as f64)));
        }
        Controller::Cpuacct | Controller::Blkio | Controller::Unified => {}
    }
}

/// Adds what a group uses, as one controller tells it.
pub(super) fn add(
    controller: Controller,
    folder: &Path,
    values: &mut Values,
    ticks_per_second: f64,
    point: &mut Point,
) {
    match controller {
        Controller::Cpuacct => {
            if let Some(nanoseconds) = values.number::<u64>(folder, "cpuacct.usage") {
                point.set(name!("cpu_usage_seconds"), nanoseconds as f64 / 1e9);
            }
            for (key, ticks) in keyed(values.text(folder, "cpuacct.stat")) {
                let field = match key {
                    "user" => name!("cpu_user_seconds"),
                    "system" => name!("cpu_system_seconds"),
                    _ => continue,
                };
                point.set(field, ticks as f64 / ticks_per_second);
            }
        }
        Controller::Cpu => {
            for (key, number) in keyed(values.text(folder, "cpu.stat")) {
                match key {
                    "nr_periods" => point.set(name!("cpu_periods"), number),
                    "nr_throttled" => point.set(name!("cpu_throttled_periods"), number),
                    "throttled_time" => {
                        point.set(name!("cpu_throttled_seconds"), number as f64 / 1e9);
                    }
                    _ => {}
                }
            }
        }
        Controller::Memory => add_memory(folder, values, point),
        Controller::Pids => {
            if let Some(pids) = values.number::<u64>(folder, "pids.current") {
                point.set(name!("pids"), pids);
            }
        }
        Controller::Blkio | Controller::Unified => {}
    }
}

fn add_memory(folder: &Path, values: &mut Values, point: &mut Point) {
    for (file, field) in &MEMORY {
        if let Some(number) = values.number::<u64>(folder, file) {
            point.set(field.clone(), number);
        }
    }
    // With swap; what is above memory alone is swap.
    let both: Option<u64> = values.number(folder, "memory.memsw.usage_in_bytes");
    let memory: Option<u64> = values.number(folder, "memory.usage_in_bytes");
    if let (Some(both), Some(memory)) = (both, memory) {
        point.set(name!("memory_swap_bytes"), both.saturating_sub(memory));
    }
    for (key, number) in keyed(values.text(folder, "memory.stat")) {
        if let Some((_, field)) = MEMORY_STAT.iter().find(|(known, _)| *known == key) {
            point.set(field.clone(), number);
        }
    }
    let kills = keyed(values.text(folder, "memory.oom_control"))
        .find(|(key, _)| *key == "oom_kill")
        .map(|(_, kills)| kills);
    if let Some(kills) = kills {
        point.set(name!("memory_oom_kills"), kills);
    }
}

/// The sums over devices: lines of a device, what was done, and a number. Those of the throttle
/// policy are there whatever schedules the I/O.
pub(super) fn io(folder: &Path, values: &mut Values) -> Option<Io> {
    let mut sums = Io::default();
    let mut read = |file: &str, sums: [&mut u64; 3]| -> Option<()> {
        let [reads, writes, discards] = sums;
        // The file for a group with all groups below it is that of newer kernels.
        let recursive = format!("{file}_recursive");
        let text = match values.owned(folder, &recursive) {
            Some(text) => text,
            None => values.read(folder, file).ok()?.to_owned(),
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().skip(1);
            let sum = match words.next() {
                Some("Read") => &mut *reads,
                Some("Write") => &mut *writes,
                Some("Discard") => &mut *discards,
                _ => continue,
            };
            *sum = sum.saturating_add(words.next()?.parse::<u64>().ok()?);
        }
        Some(())
    };
    read(
        "blkio.throttle.io_service_bytes",
        [
            &mut sums.read_bytes,
            &mut sums.written_bytes,
            &mut sums.discarded_bytes,
        ],
    )?;
    read(
        "blkio.throttle.io_serviced",
        [&mut sums.reads, &mut sums.writes, &mut sums.discards],
    )?;
    Some(sums)
}

/// Lines of a key and a number.
fn keyed(text: Option<&str>) -> impl Iterator<Item = (&str, u64)> {
    text.unwrap_or_default().lines().filter_map(|line| {
        let (key, number) = line.split_once(' ')?;
        Some((key, number.trim().parse().ok()?))
    })
}
