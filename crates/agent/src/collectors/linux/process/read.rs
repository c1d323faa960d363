//! The files of one process, proc(5): what they hold, or nothing if the process has ended or they
//! may not be read.

use super::{Counters, counter};
use crate::collectors::linux::sysfs::{Values, names_in};
use std::fs;
use std::path::Path;

/// Set in the flags of threads of the kernel, `PF_KTHREAD`.
const FLAG_KERNEL: u64 = 0x0020_0000;

/// What `stat` tells.
#[derive(Debug)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) is_kernel: bool,
    pub(super) threads: u64,
    pub(super) start_ticks: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
    pub(super) counters: Counters,
}

/// Parses `stat`: a number, a name in parentheses that may hold any byte, then words.
pub(super) fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let words = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let number = |place: usize| words.get(place)?.parse::<u64>().ok();
    let mut counters = [None; counter::COUNT];
    counters[counter::USER] = Some(number(11)?);
    counters[counter::SYSTEM] = Some(number(12)?);
    counters[counter::MINOR_FAULTS] = number(7);
    counters[counter::MAJOR_FAULTS] = number(9);
    Some(Stat {
        name,
        is_kernel: number(6)? & FLAG_KERNEL != 0,
        threads: number(17)?,
        start_ticks: number(19)?,
        virtual_bytes: number(20)?,
        resident_pages: number(21)?,
        counters,
    })
}

/// What is read only of processes whose group is told.
#[derive(Debug, Default)]
pub(super) struct Details {
    pub(super) swap_bytes: Option<u64>,
    pub(super) pss_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
}

/// Reads `status`, `io`, `fd` and, if asked for, `smaps_rollup`.
pub(super) fn read_details(
    folder: &Path,
    values: &mut Values,
    with_pss: bool,
    counters: &mut Counters,
) -> Details {
    let mut details = Details::default();
    if let Some(status) = values.text(folder, "status") {
        for (key, value) in lines_of(status) {
            match key {
                "VmSwap" => details.swap_bytes = kibibytes(value),
                "voluntary_ctxt_switches" => counters[counter::VOLUNTARY] = value.parse().ok(),
                "nonvoluntary_ctxt_switches" => counters[counter::INVOLUNTARY] = value.parse().ok(),
                _ => {}
            }
        }
    }
    if let Some(io) = values.text(folder, "io") {
        for (key, value) in lines_of(io) {
            let place = match key {
                "rchar" => counter::READ,
                "wchar" => counter::WRITTEN,
                "syscr" => counter::READ_CALLS,
                "syscw" => counter::WRITE_CALLS,
                "read_bytes" => counter::DISK_READ,
                "write_bytes" => counter::DISK_WRITTEN,
                _ => continue,
            };
            counters[place] = value.parse().ok();
        }
    }
    details.open_files = open_files(&folder.join("fd"));
    if with_pss && let Some(rollup) = values.text(folder, "smaps_rollup") {
        details.pss_bytes = lines_of(rollup)
            .find(|(key, _)| *key == "Pss")
            .and_then(|(_, value)| kibibytes(value));
    }
    details
}

/// How many files are open: since Linux 6.2 the size of the folder, else what is in it.
fn open_files(folder: &Path) -> Option<u64> {
    let size = fs::metadata(folder).ok()?.len();
    // File systems on disks tell a size that says something else; there are no fixtures on `proc`.
    if size > 0 && size % 4096 != 0 {
        return Some(size);
    }
    names_in(folder).ok().map(|names| names.len() as u64)
}

/// The most files that may be open, of `limits`.
pub(super) fn open_files_limit(folder: &Path, values: &mut Values) -> Option<u64> {
    let limits = values.text(folder, "limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The path of the process in the hierarchy of control groups: that of version 2, or else that of
/// the memory controller, or else the first one.
pub(super) fn cgroup_of(folder: &Path, values: &mut Values) -> Option<String> {
    let text = values.text(folder, "cgroup")?;
    let lines = || {
        text.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
    };
    let unified = lines().find(|(controllers, path)| controllers.is_empty() && *path != "/");
    let memory =
        || lines().find(|(controllers, _)| controllers.split(',').any(|it| it == "memory"));
    let found = unified.or_else(memory).or_else(|| lines().next())?;
    Some(found.1.to_owned())
}

fn lines_of(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        Some((key, value.trim()))
    })
}

fn kibibytes(value: &str) -> Option<u64> {
    let number: u64 = value.strip_suffix("kB")?.trim_end().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"7 (a) R \xff) S 1 7 7 0 -1 4194560 11 0 12 0 13 14 0 0 20 0 3 0 500 4096000 100 18446744073709551615";
        let stat = parse_stat(stat).expect("is a stat");
        assert_eq!(stat.name, "a) R \u{fffd}");
        assert_eq!(
            (stat.threads, stat.start_ticks, stat.resident_pages),
            (3, 500, 100)
        );
        assert_eq!(stat.counters[counter::USER], Some(13));
        assert_eq!(stat.counters[counter::MAJOR_FAULTS], Some(12));
        assert!(!stat.is_kernel);
    }

    #[test]
    fn a_stat_that_is_cut_short_is_nothing() {
        let whole = b"7 (a) S 1 7 7 0 -1 4194560 11 0 12 0 13 14 0 0 20 0 3 0 500 4096000 1";
        assert!(parse_stat(whole).is_some());
        for length in 0..whole.len() - 1 {
            assert!(parse_stat(&whole[..length]).is_none(), "{length}");
        }
    }
}
