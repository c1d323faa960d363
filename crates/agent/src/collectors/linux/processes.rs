//! `processes`: how many there are by state, their threads, and the limits of both.
//!
//! Not single processes. Sources: the head of the `stat` file of every process,
//! proc_pid_stat(5), and the limits in `/proc/sys/kernel`. A process that ends while it is read is
//! not counted; where `/proc` is mounted with `hidepid` only the visible ones are. It is the one
//! collector of the default set whose work grows with the number of processes: a process costs
//! one open, one read and one close, ten microseconds together; of the first [`KEPT`] that last the
//! descriptor is kept, and only read again. As long as nothing was forked, by the count in `/proc/stat`, there is
//! no process that is not known, and the folder is not listed. So that it stays light on a host with many of them, it reads
//! [`PROCESSES_PER_SECOND`] on the mean: with 200 it counts every 10 s at most, with 1,000 every 50 s. In
//! the collections between it has no point.

use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile};
use crate::collectors::source::is_made_anew;
use memchr::memrchr;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "processes",
    description: "Processes by state, their threads, and the limits of both.",
    new: |context| Box::new(Processes::new(context)),
    default_on: true,
    measurements: &["processes"],
};

/// Enough of a `stat` file: the name has at most 64 bytes, and the 18 numbers before the threads
/// 20 digits each.
const STAT_HEAD_BYTES: usize = 512;
/// Entries of `/proc` are read in pieces of this size.
const LIST_BYTES: usize = 16 * 1024;
/// How many processes are read in a second, on the mean.
const PROCESSES_PER_SECOND: i64 = 20;
/// Of so many processes the descriptor is kept: those of a small host, of the 1,024 that a process often may have.
const KEPT: usize = 256;
/// The name has ended by then: it has at most 64 bytes, the process's number before it ten. Only numbers follow.
const NAME_ENDS_BY: usize = 96;
/// Fields of a point.
const FIELDS: usize = 11;
/// The folder is listed after so long in any case: a kernel that only looks like Linux may not count its forks.
const LISTED_FOR: Duration = Duration::from_secs(60);
/// From the state to the number of threads.
const WORDS_TO_THREADS: usize = 17;

struct Processes {
    proc: PathBuf,
    /// Of the machine: it says how much was forked.
    stat: SourceFile,
    limits: [SourceFile; 2],
    list: Vec<MaybeUninit<u8>>,
    kept: HashMap<u32, Kept>,
    /// When the folder was listed, and how much had been forked before; only if all processes in it are kept.
    listed: Option<(Instant, u64)>,
    /// The last count, and when the next one may be.
    counted: Option<(i64, i64)>,
}

impl Processes {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let limit =
            |name| SourceFile::new(roots.proc.join("sys/kernel").join(name)).of_one_record();
        Self {
            proc: roots.proc.clone(),
            stat: context
                .sources
                .file(roots.proc.join("stat"))
                .of_one_record(),
            limits: [limit("threads-max"), limit("pid_max")],
            list: vec![MaybeUninit::uninit(); LIST_BYTES],
            kept: HashMap::new(),
            listed: None,
            counted: None,
        }
    }
}

/// The `stat` file of a process. It stays that of this one: when the process has ended and another
/// has its number, reading it fails.
struct Kept {
    stat: OwnedFd,
    /// Whether the process was there at the last count.
    seen: bool,
}

impl Collector for Processes {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let time_us = clock.now_us();
        if let Some((last_us, next_us)) = self.counted
            && (last_us..next_us).contains(&time_us)
        {
            return Ok(());
        }
        let states = self
            .count()
            .map_err(|source| CollectError::from_io(&self.proc, source))?;
        if states.total() == 0 {
            // There is always at least ourselves: this is no `/proc`.
            let path = self.proc.join("1/stat");
            return Err(CollectError::Unavailable { path });
        }
        let pause_us = i64::try_from(states.total())
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000 / PROCESSES_PER_SECOND);
        self.counted = Some((time_us, time_us.saturating_add(pause_us)));
        let mut limits = [None; 2];
        for (file, slot) in self.limits.iter_mut().zip(&mut limits) {
            *slot = match file.read_text_if_there()? {
                Some(text) => Some(text.only_number::<u64>()?),
                None => None,
            };
        }
        let [threads_max, pid_max] = limits;
        points.push(
            states
                .add_to(Point::new(name!("processes"), time_us).with_room(FIELDS))
                .field_if(name!("threads_max"), threads_max)
                .field_if(name!("pid_max"), pid_max),
        );
        Ok(())
    }
}

impl Processes {
    fn count(&mut self) -> io::Result<States> {
        let forked = self.forked();
        let is_known = self
            .listed
            .is_some_and(|(at, before)| Some(before) == forked && at.elapsed() < LISTED_FOR);
        if is_known {
            return Ok(self.count_kept());
        }
        self.listed = None;
        let began = Instant::now();
        let (states, all_kept) = self.list()?;
        self.listed = forked.filter(|_| all_kept).map(|forked| (began, forked));
        Ok(states)
    }

    /// How often something was forked since the machine's start, if the kernel counts it.
    fn forked(&mut self) -> Option<u64> {
        let stat = self.stat.read_bytes().ok()?;
        let mut lines = stat.split(|&byte| byte == b'\n');
        let count = lines.find_map(|line| line.strip_prefix(b"processes "))?;
        let count = std::str::from_utf8(count).ok()?.trim().parse().ok();
        count.filter(|&count| count > 0)
    }

    /// Reads all that are kept; those that fail have ended.
    fn count_kept(&mut self) -> States {
        let mut states = States::default();
        let mut head = [0; STAT_HEAD_BYTES];
        self.kept.retain(|_, kept| {
            let read = rustix::io::pread(&kept.stat, &mut head, 0);
            if let Ok(length) = read {
                states.add_parsed(&head[..length]);
            }
            read.is_ok()
        });
        states
    }

    /// Reads all that the folder has, and tells whether all of them are kept.
    fn list(&mut self) -> io::Result<(States, bool)> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let proc = openat(CWD, &self.proc, flags | OFlags::DIRECTORY, Mode::empty())?;
        let may_keep = is_made_anew(&proc);
        let mut states = States::default();
        let mut path = String::new();
        let mut head = [0; STAT_HEAD_BYTES];
        let mut entries = RawDir::new(proc.as_fd(), &mut self.list);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let process = entry.file_name().to_bytes();
            let Ok(process) = std::str::from_utf8(process) else {
                continue;
            };
            let Ok(process) = process.parse() else {
                continue;
            };
            if let Some(kept) = self.kept.get_mut(&process)
                && let Ok(length) = rustix::io::pread(&kept.stat, &mut head, 0)
            {
                kept.seen = true;
                states.add_parsed(&head[..length]);
                continue;
            }
            path.clear();
            if write!(path, "{process}/stat").is_err() {
                continue;
            }
            // It may have ended meanwhile.
            let Ok(stat) = openat(&proc, path.as_str(), flags, Mode::empty()) else {
                continue;
            };
            let Ok(length) = rustix::io::read(&stat, &mut head) else {
                continue;
            };
            states.add_parsed(&head[..length]);
            if may_keep && (self.kept.len() < KEPT || self.kept.contains_key(&process)) {
                self.kept.insert(process, Kept { stat, seen: true });
            }
        }
        self.kept.retain(|_, kept| std::mem::take(&mut kept.seen));
        let all_kept = states.total() == self.kept.len() as u64;
        Ok((states, all_kept))
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
    threads: u64,
}

impl States {
    fn add_parsed(&mut self, head: &[u8]) {
        if let Some((state, threads)) = parse(head) {
            self.add(state, threads);
        }
    }

    fn add(&mut self, state: u8, threads: u64) {
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
        self.threads = self.threads.saturating_add(threads);
    }

    const fn total(&self) -> u64 {
        self.running
            + self.sleeping
            + self.blocked
            + self.stopped
            + self.zombie
            + self.idle
            + self.other
    }

    fn add_to(&self, point: Point) -> Point {
        point
            .field(name!("total"), self.total())
            .field(name!("running"), self.running)
            .field(name!("sleeping"), self.sleeping)
            .field(name!("blocked"), self.blocked)
            .field(name!("stopped"), self.stopped)
            .field(name!("zombie"), self.zombie)
            .field(name!("idle"), self.idle)
            .field(name!("other"), self.other)
            .field(name!("threads"), self.threads)
    }
}

/// The state of one process, the letter after its name, and its threads. The name is in
/// parentheses and may hold any byte, parentheses too.
fn parse(head: &[u8]) -> Option<(u8, u64)> {
    let until_name_ends = &head[..head.len().min(NAME_ENDS_BY)];
    let end_of_name = memrchr(b')', until_name_ends)?;
    let rest = head.get(end_of_name + 2..)?;
    let state = *rest.first()?;
    let threads = behind_blanks(rest, WORDS_TO_THREADS)
        .and_then(|rest| rest.split(|&byte| byte == b' ').next())
        .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    Some((state, threads.unwrap_or(0)))
}

/// What follows the blank of this number. Blanks are counted in pieces, for which the compiler has
/// instructions, up to the piece with the one that is sought.
fn behind_blanks(mut text: &[u8], number: usize) -> Option<&[u8]> {
    const PIECE: usize = 16;
    let mut left = number;
    while let Some((piece, rest)) = text.split_first_chunk::<PIECE>() {
        let blanks: u8 = piece.iter().map(|byte| u8::from(*byte == b' ')).sum();
        if usize::from(blanks) >= left {
            break;
        }
        left -= usize::from(blanks);
        text = rest;
    }
    let blanks = text.iter().enumerate().filter(|(_, byte)| **byte == b' ');
    let (at, _) = blanks.into_iter().nth(left.checked_sub(1)?)?;
    text.get(at + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::HostRoots;
    use std::path::Path;
    use std::process::Command;

    fn of(root: &Path) -> Processes {
        let roots = HostRoots {
            proc: root.to_owned(),
            ..HostRoots::default()
        };
        Processes::new(&CollectorContext {
            roots,
            ..CollectorContext::default()
        })
    }

    #[test]
    fn descriptors_are_kept_as_long_as_their_process_lasts() {
        let mut processes = of(Path::new("/proc"));
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let first = processes.count().unwrap().total();
        assert!(first > 1);
        let there = processes.kept.contains_key(&child.id());
        assert!(there || processes.kept.len() == KEPT);
        if let Some(kept) = processes.kept.get(&child.id()) {
            let mut head = [0; STAT_HEAD_BYTES];
            let length = rustix::io::pread(&kept.stat, &mut head, 0).unwrap();
            let (_, threads) = parse(&head[..length]).expect("it is made anew");
            assert_eq!(threads, 1);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(processes.count().unwrap().total() > 0);
        assert!(!processes.kept.contains_key(&child.id()));
    }

    #[test]
    fn a_name_may_hold_what_ends_it() {
        let numbers = "1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0";
        let long = "é) R 1 (".repeat(7);
        for name in ["a", "(sd-pam)", ") S (", "", "a b", &long] {
            for threads in [0, 3, 12_345] {
                let told =
                    format!("4194304 ({name}) S {numbers} {threads} 0 1 18446744073709551615");
                assert_eq!(parse(told.as_bytes()), Some((b'S', threads)), "{told}");
            }
        }
        // A number that is cut short is still one, and what is not there is none.
        for (told, expected) in [
            ("", None),
            ("7 (a", None),
            ("7 (a)", None),
            ("7 (a) ", None),
            ("7 (a) Z", Some((b'Z', 0))),
            ("7 (a) Z 1 2", Some((b'Z', 0))),
            ("7 (a) D 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0", Some((b'D', 0))),
            (
                "7 (a) D 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 ",
                Some((b'D', 0)),
            ),
            (
                "7 (a) D 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 3",
                Some((b'D', 3)),
            ),
        ] {
            assert_eq!(parse(told.as_bytes()), expected, "{told}");
        }
    }

    #[test]
    fn the_folder_is_listed_when_something_was_forked() {
        let folder = tempfile::tempdir().unwrap();
        let stat = folder.path().join("stat");
        let forked = |count: u64| {
            std::fs::write(&stat, format!("cpu 1 2\nprocesses {count}\nctxt 3\n")).unwrap();
        };
        let mut processes = of(Path::new("/proc"));
        processes.stat = SourceFile::new(stat.clone());
        forked(5);
        let first = processes.count().unwrap().total();
        assert_eq!(processes.listed.is_some(), first <= KEPT as u64);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        if processes.listed.is_some() {
            assert!(processes.count().unwrap().total() > 0);
            assert!(!processes.kept.contains_key(&pid), "nothing was forked");
        }
        forked(6);
        let total = processes.count().unwrap().total();
        assert!(processes.kept.contains_key(&pid) || total > KEPT as u64);
        child.kill().unwrap();
        child.wait().unwrap();
        // It is not counted any more, whether the folder is listed or not.
        processes.count().unwrap();
        assert!(!processes.kept.contains_key(&pid));
        forked(0);
        processes.count().unwrap();
        assert!(processes.listed.is_none(), "it is not known");
    }

    #[test]
    fn plain_files_are_opened_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let stat = folder.path().join("7/stat");
        std::fs::create_dir(folder.path().join("7")).unwrap();
        let write = |state| {
            std::fs::write(
                &stat,
                format!("7 (a) {state} 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 1"),
            )
            .unwrap();
        };
        write("S");
        let mut processes = of(folder.path());
        assert_eq!(processes.count().unwrap().sleeping, 1);
        write("Z");
        let again = processes.count().unwrap();
        assert_eq!((again.sleeping, again.zombie, again.threads), (0, 1, 3));
        assert!(processes.kept.is_empty());
    }
}
