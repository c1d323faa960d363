//! What the kernel says of a running program, from /proc/PID/stat and /proc/PID/status (proc(5)).

use anyhow::Context;
use serde::Serialize;
use std::fs;
use std::process::Child;

/// Kernel ticks per second in /proc; USER_HZ is 100 on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program that ends with the value.
#[derive(Debug)]
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct ProcessUse {
    /// User and system time of all its threads.
    pub(super) cpu_seconds: f64,
    /// Resident memory.
    pub(super) rss_bytes: u64,
    /// The greatest it ever was.
    pub(super) peak_rss_bytes: u64,
}

impl ProcessUse {
    pub(super) fn of(id: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{id}/{file}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        parse(&read("stat")?, &read("status")?).with_context(|| format!("understand /proc/{id}"))
    }
}

/// User and system time of a process and of all its children, those that ended and were waited
/// for included: a database server and its backends.
pub(super) fn tree_cpu_seconds(id: u32) -> anyhow::Result<f64> {
    let mut seconds = 0.0;
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let Ok(stat) = fs::read_to_string(entry.context("read /proc")?.path().join("stat")) else {
            continue;
        };
        let Some((name, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let own: u32 = name
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let parent: u32 = fields
            .get(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        // utime and stime, and for the server itself cutime and cstime too (fields 14 to 17).
        let wanted = if own == id {
            11..15
        } else if parent == id {
            11..13
        } else {
            continue;
        };
        let ticks = fields
            .get(wanted)
            .unwrap_or_default()
            .iter()
            .filter_map(|text| text.parse::<f64>().ok());
        seconds += ticks.sum::<f64>() / TICKS_PER_SECOND;
    }
    Ok(seconds)
}

fn parse(stat: &str, status: &str) -> Option<ProcessUse> {
    // The name in brackets may hold anything, so fields are counted from behind it; utime and
    // stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(ProcessUse {
        cpu_seconds: ticks / TICKS_PER_SECOND,
        rss_bytes: kib("VmRSS:")? * 1_024,
        peak_rss_bytes: kib("VmHWM:")? * 1_024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        let status = "Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\n";
        let expected = ProcessUse {
            cpu_seconds: 2.0,
            rss_bytes: 10_240,
            peak_rss_bytes: 20_480,
        };
        assert_eq!(parse(stat, status), Some(expected));
    }
}
