//! `system`: uptime, boot time, context switches, interrupts, forks, and processes by state.
//!
//! Not single processes. Sources: `/proc/uptime`, `/proc/stat`, and the state in the `stat` file
//! of every process, proc_pid_stat(5). A process that ends while it is read is not counted; where
//! `/proc` is mounted with `hidepid` only the visible ones are.

use super::{CollectError, Collector, CollectorEntry, SourceFile};
use crate::roots::HostRoots;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "system",
    description: "Uptime, boot time, context switches, interrupts, forks, processes by state.",
    new: |context| Box::new(System::new(&context.roots)),
    default_on: true,
    measurements: &["system"],
};

/// Enough of a `stat` file to hold the state: the name before it has at most 64 bytes.
const STAT_HEAD_BYTES: usize = 256;

struct System {
    uptime: SourceFile,
    stat: SourceFile,
    proc: PathBuf,
}

impl System {
    fn new(roots: &HostRoots) -> Self {
        Self {
            uptime: SourceFile::new(roots.proc.join("uptime")),
            stat: SourceFile::new(roots.proc.join("stat")),
            proc: roots.proc.clone(),
        }
    }
}

impl Collector for System {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let uptime = self.uptime.read_text()?;
        let time_us = clock.now_us();
        let first = uptime
            .lines()
            .next()
            .and_then(|(_, text)| text.split_ascii_whitespace().next());
        let mut point = Point::new(name!("system"), time_us)
            .field(name!("uptime_seconds"), uptime.number::<f64>(1, first)?);

        let stat = self.stat.read_text()?;
        for (line, text) in stat.lines() {
            let mut words = text.split_ascii_whitespace();
            let field = match words.next() {
                Some("btime") => name!("boot_time_seconds"),
                Some("ctxt") => name!("context_switches"),
                Some("intr") => name!("interrupts"),
                Some("processes") => name!("forks"),
                _ => continue,
            };
            point.set(field, stat.number::<u64>(line, words.next())?);
        }
        let states = States::count(&self.proc)?;
        points.push(states.add_to(point));
        Ok(())
    }
}

/// How many processes are in which state.
#[derive(Default)]
struct States {
    running: u64,
    sleeping: u64,
    blocked: u64,
    stopped: u64,
    zombie: u64,
    idle: u64,
    other: u64,
}

impl States {
    fn count(proc: &Path) -> Result<Self, CollectError> {
        let failed = |source| CollectError::from_io(proc, source);
        let mut states = Self::default();
        let mut path = proc.to_owned();
        for entry in fs::read_dir(proc).map_err(failed)? {
            let process = entry.map_err(failed)?.file_name();
            if !process.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            path.push(process);
            path.push("stat");
            if let Some(state) = state_in(&path) {
                states.add(state);
            }
            path.pop();
            path.pop();
        }
        Ok(states)
    }

    fn add(&mut self, state: u8) {
        let slot = match state {
            b'R' => &mut self.running,
            b'S' => &mut self.sleeping,
            b'D' => &mut self.blocked,
            b'T' | b't' => &mut self.stopped,
            b'Z' => &mut self.zombie,
            b'I' => &mut self.idle,
            _ => &mut self.other,
        };
        *slot += 1;
    }

    fn add_to(&self, point: Point) -> Point {
        let all = self.running
            + self.sleeping
            + self.blocked
            + self.stopped
            + self.zombie
            + self.idle
            + self.other;
        point
            .field(name!("processes"), all)
            .field(name!("processes_running"), self.running)
            .field(name!("processes_sleeping"), self.sleeping)
            .field(name!("processes_blocked"), self.blocked)
            .field(name!("processes_stopped"), self.stopped)
            .field(name!("processes_zombie"), self.zombie)
            .field(name!("processes_idle"), self.idle)
            .field(name!("processes_other"), self.other)
    }
}

/// The state of one process: the letter after its name, which is in parentheses and may hold any
/// byte, parentheses too. `None` if the process is gone.
fn state_in(path: &Path) -> Option<u8> {
    let mut head = [0; STAT_HEAD_BYTES];
    let length = File::open(path)
        .and_then(|mut file| file.read(&mut head))
        .ok()?;
    let head = &head[..length];
    let end_of_name = head.iter().rposition(|&byte| byte == b')')?;
    head.get(end_of_name + 2).copied()
}
