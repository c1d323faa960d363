//! `process`: what groups of processes use, or the processes that use the most.
//!
//! Off by default: it reads some files of every process. Sources: `stat` of every process and, of
//! those whose group is told, `status`, `io`, `fd`, `limits` and, if asked for, `smaps_rollup`,
//! proc(5). Files of others' processes may be for root only: a field is absent if none of the
//! group's processes shows it.
//!
//! - Counters of a group are sums of what its processes used while they belonged to it. They go on
//!   when one of its processes ends, and begin again when all of them have ended.
//! - Threads of the kernel are one group, `[kernel]`.
//! - What decides on the group is looked up again after a minute, or when the process changes its
//!   name.

mod read;

use super::cgroup_names::Names;
use super::patterns::is_like;
use super::sysfs::Values;
use super::{CollectError, Collector, CollectorContext, CollectorEntry};
use crate::collectors::settings::{GroupBy, ProcessSettings};
use crate::roots::HostRoots;
use read::{Stat, cgroup_of, open_files_limit, parse_stat, read_details};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "process",
    description: "CPU, memory, files and I/O of groups of processes, or of those that use the most.",
    new: |context| Box::new(Process::new(context)),
    default_on: false,
    measurements: &["process", "process_groups"],
};

/// The counters of a process: their places in [`Counters`].
mod counter {
    pub(super) const USER: usize = 0;
    pub(super) const SYSTEM: usize = 1;
    pub(super) const MINOR_FAULTS: usize = 2;
    pub(super) const MAJOR_FAULTS: usize = 3;
    pub(super) const VOLUNTARY: usize = 4;
    pub(super) const INVOLUNTARY: usize = 5;
    pub(super) const READ: usize = 6;
    pub(super) const WRITTEN: usize = 7;
    pub(super) const READ_CALLS: usize = 8;
    pub(super) const WRITE_CALLS: usize = 9;
    pub(super) const DISK_READ: usize = 10;
    pub(super) const DISK_WRITTEN: usize = 11;
    pub(super) const COUNT: usize = 12;
}

type Counters = [Option<u64>; counter::COUNT];

/// Their fields; the first two are ticks.
static FIELDS: [Name; counter::COUNT] = [
    name!("cpu_user_seconds"),
    name!("cpu_system_seconds"),
    name!("minor_faults"),
    name!("major_faults"),
    name!("context_switches_voluntary"),
    name!("context_switches_involuntary"),
    name!("read_bytes"),
    name!("written_bytes"),
    name!("read_calls"),
    name!("write_calls"),
    name!("disk_read_bytes"),
    name!("disk_written_bytes"),
];

const KERNEL: &str = "[kernel]";
/// Tags of more than 1 KiB are refused by the store unless it is told otherwise.
const MAX_GROUP_BYTES: usize = 1_000;
/// How long it is not asked again to which group a process belongs.
const KEY_AGE_US: i64 = 60_000_000;

/// A process that was seen.
struct Known {
    start_ticks: u64,
    name: String,
    group: Arc<str>,
    group_at_us: i64,
    /// The most files that it may have open, once it was asked for; asked again with the group.
    limit: Option<u64>,
    /// Its counters when they were last read.
    last: Counters,
    round: u64,
}

/// A group of processes.
#[derive(Default)]
struct Group {
    /// What was used by processes while they belonged to it.
    totals: Counters,
    now: Usage,
    round: u64,
}

/// What a group uses at one moment.
#[derive(Default)]
struct Usage {
    processes: Vec<u32>,
    threads: u64,
    resident_bytes: u64,
    virtual_bytes: u64,
    start_ticks: Option<u64>,
    cpu_ticks: u64,
}

struct Process {
    proc: PathBuf,
    roots: HostRoots,
    settings: ProcessSettings,
    values: Values,
    known: HashMap<u32, Known>,
    groups: HashMap<Arc<str>, Group>,
    users: HashMap<u32, String>,
    round: u64,
    ticks_per_second: f64,
    buffer: Vec<u8>,
}

impl Process {
    fn new(context: &CollectorContext) -> Self {
        Self {
            proc: context.roots.proc.clone(),
            roots: context.roots.clone(),
            settings: context.process.clone(),
            values: Values::new(),
            known: HashMap::new(),
            groups: HashMap::new(),
            users: HashMap::new(),
            round: 0,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1) as f64,
            buffer: Vec::new(),
        }
    }

    /// Looks at every process: to which group it belongs, and what `stat` tells of it.
    fn look(&mut self, now_us: i64) -> Result<(), CollectError> {
        let failed = |source| CollectError::from_io(&self.proc, source);
        let mut numbers: Vec<u32> = Vec::with_capacity(self.known.len());
        for entry in fs::read_dir(&self.proc).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        let mut folder = self.proc.clone();
        for number in numbers {
            folder.push(number.to_string());
            let stat = read_file(&folder.join("stat"), &mut self.buffer).and_then(parse_stat);
            if let Some(stat) = stat {
                self.add(number, &stat, &folder, now_us);
            }
            folder.pop();
        }
        Ok(())
    }

    fn add(&mut self, number: u32, stat: &Stat, folder: &Path, now_us: i64) {
        let before = self
            .known
            .remove(&number)
            .filter(|known| known.start_ticks == stat.start_ticks);
        let is_fresh = before.as_ref().is_some_and(|known| {
            let age = known.group_at_us..known.group_at_us.saturating_add(KEY_AGE_US);
            known.name == stat.name && age.contains(&now_us)
        });
        let (group, group_at_us, limit) = match &before {
            Some(known) if is_fresh => (Arc::clone(&known.group), known.group_at_us, known.limit),
            _ => (self.group_of(number, stat, folder), now_us, None),
        };
        let entry = self.groups.entry(Arc::clone(&group)).or_default();
        if entry.round != self.round {
            entry.round = self.round;
            entry.now = Usage::default();
        }
        // What a process that is new used so far is its group's, also in the first round, in which
        // the counters begin.
        let last = before.map_or([Some(0); counter::COUNT], |known| known.last);
        let ticks = |counters: &Counters| {
            let [user, system, ..] = counters;
            user.unwrap_or(0).saturating_add(system.unwrap_or(0))
        };
        entry.now.cpu_ticks += ticks(&stat.counters).saturating_sub(ticks(&last));
        follow(&mut entry.totals, &last, &stat.counters);
        entry.now.processes.push(number);
        entry.now.threads += stat.threads;
        let resident_bytes = stat.resident_pages.saturating_mul(self.roots.page_bytes);
        entry.now.resident_bytes = entry.now.resident_bytes.saturating_add(resident_bytes);
        entry.now.virtual_bytes = entry.now.virtual_bytes.saturating_add(stat.virtual_bytes);
        let oldest = entry.now.start_ticks.unwrap_or(u64::MAX);
        entry.now.start_ticks = Some(oldest.min(stat.start_ticks));
        let known = Known {
            start_ticks: stat.start_ticks,
            name: stat.name.clone(),
            group,
            group_at_us,
            limit,
            last: newest(&last, &stat.counters),
            round: self.round,
        };
        self.known.insert(number, known);
    }

    fn group_of(&mut self, number: u32, stat: &Stat, folder: &Path) -> Arc<str> {
        if stat.is_kernel {
            return Arc::from(KERNEL);
        }
        let unknown = || format!("[{}]", stat.name);
        let group = match self.settings.group_by {
            GroupBy::Name => stat.name.clone(),
            GroupBy::Process => format!("{}[{number}]", stat.name),
            GroupBy::Executable => fs::read_link(folder.join("exe")).map_or_else(
                |_| unknown(),
                |path| {
                    let path = path.to_string_lossy();
                    path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
                },
            ),
            GroupBy::User => match fs::metadata(folder) {
                Ok(metadata) => self.user(metadata.uid()),
                Err(_) => unknown(),
            },
            GroupBy::Cgroup => cgroup_of(folder, &mut self.values).unwrap_or_else(unknown),
            GroupBy::Unit => cgroup_of(folder, &mut self.values)
                .and_then(|path| Names::of(&path).unit)
                .unwrap_or_else(|| "[no unit]".to_owned()),
        };
        Arc::from(bounded(group))
    }

    /// The name of a user, or the number of one that `passwd` does not know.
    fn user(&mut self, uid: u32) -> String {
        if !self.users.contains_key(&uid) {
            let passwd = self.roots.on_host(Path::new("/etc/passwd"));
            let passwd = read_file(&passwd, &mut self.buffer)
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            let name = passwd.lines().find_map(|line| {
                let mut parts = line.split(':');
                let name = parts.next()?;
                (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
            });
            self.users
                .insert(uid, name.unwrap_or_else(|| uid.to_string()));
        }
        self.users[&uid].clone()
    }

    /// The groups to tell, in the order of their names, and how many are left out.
    fn chosen(&self) -> (Vec<Arc<str>>, usize) {
        let mut groups: Vec<_> = self
            .groups
            .iter()
            .filter(|(group, _)| is_wanted(&self.settings.only, group))
            .collect();
        let all = groups.len();
        let by_memory = self.settings.top_by_memory;
        groups.sort_unstable_by_key(|(group, usage)| {
            let (cpu, memory) = (usage.now.cpu_ticks, usage.now.resident_bytes);
            let most = if by_memory {
                (memory, cpu)
            } else {
                (cpu, memory)
            };
            (std::cmp::Reverse(most), Arc::clone(group))
        });
        groups.truncate(self.settings.top);
        let mut chosen: Vec<_> = groups.iter().map(|(group, _)| Arc::clone(group)).collect();
        chosen.sort_unstable();
        (chosen, all - groups.len())
    }

    /// The point of one group, for which the other files of its processes are read.
    fn tell(&mut self, group: &Arc<str>, boot_seconds: Option<f64>, time_us: i64) -> Option<Point> {
        let entry = self.groups.get_mut(group)?;
        let (mut swap, mut pss, mut open) = (None, None, None);
        let (mut limit, mut used_percent): (Option<u64>, Option<f64>) = (None, None);
        // Threads of the kernel have no files, and what they do is told by other collectors.
        let is_kernel = &**group == KERNEL;
        for number in entry.now.processes.iter().filter(|_| !is_kernel) {
            let Some(known) = self.known.get_mut(number) else {
                continue;
            };
            let folder = self.proc.join(number.to_string());
            let mut now = [None; counter::COUNT];
            let details = read_details(&folder, &mut self.values, self.settings.pss, &mut now);
            follow(&mut entry.totals, &known.last, &now);
            known.last = newest(&known.last, &now);
            add(&mut swap, details.swap_bytes);
            add(&mut pss, details.pss_bytes);
            add(&mut open, details.open_files);
            if known.limit.is_none() {
                known.limit = open_files_limit(&folder, &mut self.values);
            }
            limit = limit.into_iter().chain(known.limit).min();
            if let (Some(files), Some(limit)) = (details.open_files, known.limit) {
                let share = super::percent_of(files, limit);
                used_percent = used_percent.into_iter().chain(share).reduce(f64::max);
            }
        }
        let usage = &entry.now;
        let ticks = self.ticks_per_second;
        let started = boot_seconds
            .zip(usage.start_ticks)
            .map(|(boot, start)| super::rounded(boot + start as f64 / ticks, 2));
        let mut point = Point::new(name!("process"), time_us)
            .tag(name!("name"), group.to_string())
            .field(name!("processes"), usage.processes.len() as u64)
            .field(name!("threads"), usage.threads)
            .field(name!("resident_bytes"), usage.resident_bytes)
            .field(name!("virtual_bytes"), usage.virtual_bytes)
            .field_if(name!("swap_bytes"), swap)
            .field_if(name!("proportional_bytes"), pss)
            .field_if(name!("open_files"), open)
            .field_if(name!("open_files_limit"), limit)
            .field_if(name!("open_files_used_percent"), used_percent)
            .field_if(name!("oldest_start_time_seconds"), started);
        for (place, (field, total)) in FIELDS.iter().zip(entry.totals).enumerate() {
            let Some(total) = total else { continue };
            let is_ticks = place <= counter::SYSTEM;
            let value = if is_ticks {
                total as f64 / ticks
            } else {
                total as f64
            };
            point.set(field.clone(), value);
        }
        Some(point)
    }

    /// When the host booted, in seconds since 1970.
    fn boot_seconds(&mut self) -> Option<f64> {
        let stat = read_file(&self.proc.join("stat"), &mut self.buffer)?;
        let stat = std::str::from_utf8(stat).ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim()
            .parse::<u64>()
            .ok()
            .map(|seconds| seconds as f64)
    }
}

impl Collector for Process {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        self.round += 1;
        let time_us = clock.now_us();
        self.look(time_us)?;
        let round = self.round;
        self.known.retain(|_, known| known.round == round);
        self.groups.retain(|_, group| group.round == round);
        if self.known.is_empty() {
            // Not even our own: this is no `proc`.
            let path = self.proc.join("self/stat");
            return Err(CollectError::Unavailable { path });
        }
        let boot_seconds = self.boot_seconds();
        let (chosen, left_out) = self.chosen();
        for group in &chosen {
            points.extend(self.tell(group, boot_seconds, time_us));
        }
        points.push(
            Point::new(name!("process_groups"), time_us)
                .field(name!("processes"), self.known.len() as u64)
                .field(name!("groups_seen"), self.groups.len() as u64)
                .field(name!("groups_left_out"), left_out as u64),
        );
        Ok(())
    }
}

/// Adds to the totals what the counters grew by; those that were not told before begin now.
fn follow(totals: &mut Counters, last: &Counters, now: &Counters) {
    for (total, (last, now)) in totals.iter_mut().zip(last.iter().zip(now)) {
        if let Some(now) = now {
            let grown = now.saturating_sub(last.unwrap_or(*now));
            *total = Some(total.unwrap_or(0).saturating_add(grown));
        }
    }
}

/// The counters as they were last read.
fn newest(last: &Counters, now: &Counters) -> Counters {
    std::array::from_fn(|place| now[place].or(last[place]))
}

/// Whether a group is one of those that are wanted: all, if none is named.
fn is_wanted(only: &[String], group: &str) -> bool {
    only.is_empty() || only.iter().any(|pattern| is_like(group, pattern))
}

/// The name of a group as a tag: not empty, and no longer than the store takes.
fn bounded(mut group: String) -> String {
    if group.is_empty() {
        return "[no name]".to_owned();
    }
    if let Some((end, _)) = group.char_indices().find(|(at, _)| *at >= MAX_GROUP_BYTES) {
        group.truncate(end);
    }
    group
}

fn add(sum: &mut Option<u64>, value: Option<u64>) {
    if let Some(value) = value {
        *sum = Some(sum.unwrap_or(0).saturating_add(value));
    }
}

/// The bytes of a file, if it can be read.
fn read_file<'b>(path: &Path, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    const MAX_BYTES: u64 = 16 * 1024 * 1024;
    buffer.clear();
    let file = File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_end(buffer).ok()?;
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_never_go_back_and_begin_when_they_are_first_told() {
        let mut totals = [None; counter::COUNT];
        let counters = |number: u64| {
            let mut counters = [None; counter::COUNT];
            counters[counter::USER] = Some(number);
            counters
        };
        follow(&mut totals, &[None; counter::COUNT], &counters(50));
        assert_eq!(totals[counter::USER], Some(0));
        follow(&mut totals, &counters(50), &counters(70));
        assert_eq!(totals[counter::USER], Some(20));
        follow(&mut totals, &counters(70), &counters(10));
        assert_eq!(totals[counter::USER], Some(20));
        follow(&mut totals, &counters(10), &[None; counter::COUNT]);
        assert_eq!(totals[counter::USER], Some(20));
    }
}
