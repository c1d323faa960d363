//! What the kernel says of a running program, its clock and what /proc has (proc(5)).

use anyhow::Context;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;
use std::fs;
use std::process::Child;
use std::time::Duration;

/// Kernel ticks per second in /proc; USER_HZ is 100 on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program that ends with the value.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// What all cores of the machine did since it was started, or between two looks (/proc/stat).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MachineUse {
    /// Whatever ran, summed over the cores.
    pub(super) busy_seconds: f64,
    /// Nothing ran, or everything waited for a disk; summed over the cores.
    pub(super) idle_seconds: f64,
}

impl MachineUse {
    pub(super) fn now() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        parse_machine(&stat).context("understand /proc/stat")
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            busy_seconds: self.busy_seconds - before.busy_seconds,
            idle_seconds: self.idle_seconds - before.idle_seconds,
        }
    }
}

fn parse_machine(stat: &str) -> Option<MachineUse> {
    // user nice system idle iowait irq softirq steal; guests are within user and nice.
    let ticks: Vec<f64> = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_whitespace()
        .filter_map(|text| text.parse().ok())
        .collect();
    let ticks = ticks.get(..8)?;
    let idle = ticks[3] + ticks[4];
    Some(MachineUse {
        busy_seconds: (ticks.iter().sum::<f64>() - idle) / TICKS_PER_SECOND,
        idle_seconds: idle / TICKS_PER_SECOND,
    })
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
        let cpu = cpu_seconds(id).with_context(|| format!("read the clock of process {id}"))?;
        parse(cpu, &read("status")?).with_context(|| format!("understand /proc/{id}"))
    }
}

/// How many files, sockets among them, a process has open now.
pub(super) fn open_files(id: u32) -> anyhow::Result<u64> {
    let folder = format!("/proc/{id}/fd");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {folder}"))?;
    Ok(entries.count() as u64)
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

/// clock_getcpuclockid(3): to the nanosecond, where /proc/PID/stat has hundredths of a second, as much as several
/// collections of an agent take.
fn cpu_seconds(id: u32) -> anyhow::Result<f64> {
    let process = Pid::from_raw(i32::try_from(id)?);
    let time = clock_gettime(clock_getcpuclockid(process)?)?;
    Ok(Duration::from(time).as_secs_f64())
}

fn parse(cpu_seconds: f64, status: &str) -> Option<ProcessUse> {
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(ProcessUse {
        cpu_seconds,
        rss_bytes: kib("VmRSS:")? * 1_024,
        peak_rss_bytes: kib("VmHWM:")? * 1_024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_finer_than_in_ticks() {
        let own = std::process::id();
        let before = cpu_seconds(own).unwrap();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(3) {}
        let took = cpu_seconds(own).unwrap() - before;
        assert!(took > 0.0, "{took}");
        assert!(cpu_seconds(u32::MAX).is_err());
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\n";
        let expected = ProcessUse {
            cpu_seconds: 2.0,
            rss_bytes: 10_240,
            peak_rss_bytes: 20_480,
        };
        assert_eq!(parse(2.0, status), Some(expected));
    }

    #[test]
    fn waiting_for_a_disk_is_idle_and_guests_count_once() {
        let stat = "cpu  100 10 50 800 200 5 5 30 40 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let expected = MachineUse {
            busy_seconds: 2.0,
            idle_seconds: 10.0,
        };
        assert_eq!(parse_machine(stat), Some(expected));
    }
}
