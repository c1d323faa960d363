//! `disk_io`: what each disk read and wrote, and how busy it was.
//!
//! Not space, which the collector `filesystem` measures, and no partitions: whole devices are
//! those that have a folder in `<sys>/block` (all lines where `<sys>/block` is missing). A device
//! that never did any I/O (the eight empty loop devices of most hosts, an empty card reader) is
//! left out. Source: `/proc/diskstats`, the kernel's `Documentation/admin-guide/iostats.rst`; a
//! sector there is 512 bytes on every device. Discards come with kernel 4.18, flushes with 5.5.
//!
//! Counters are since boot. Utilisation and mean waits are of the interval since the collection
//! before; they are absent at first, after a counter went backwards (those of time have 32 bits
//! in some kernels), and, for waits, when nothing was completed.

use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText, rounded, words};
use crate::roots::HostRoots;
use std::collections::HashMap;
use std::path::PathBuf;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "disk_io",
    description: "Reads, writes, discards and flushes of each disk, its utilisation and waits.",
    new: |context| Box::new(DiskIo::new(&context.roots)),
    default_on: true,
    measurements: &["disk_io"],
};

const SECTOR_BYTES: u64 = 512;
/// Counters of a line in every supported kernel.
const COUNTERS_MIN: usize = 11;
/// Counters of a line since kernel 5.5.
const COUNTERS_MAX: usize = 17;
/// Fields of the interval since the collection before.
const INTERVAL_FIELDS: usize = 3;

/// The counters of one device in the order of `/proc/diskstats`.
#[derive(Clone, Copy)]
struct Counters {
    values: [u64; COUNTERS_MAX],
    known: usize,
}

/// Places in [`Counters`].
mod place {
    pub(super) const READS: usize = 0;
    pub(super) const READS_MERGED: usize = 1;
    pub(super) const SECTORS_READ: usize = 2;
    pub(super) const READ_MS: usize = 3;
    pub(super) const WRITES: usize = 4;
    pub(super) const WRITES_MERGED: usize = 5;
    pub(super) const SECTORS_WRITTEN: usize = 6;
    pub(super) const WRITE_MS: usize = 7;
    pub(super) const IN_FLIGHT: usize = 8;
    pub(super) const IO_MS: usize = 9;
    pub(super) const WEIGHTED_MS: usize = 10;
    pub(super) const DISCARDS: usize = 11;
    pub(super) const DISCARDS_MERGED: usize = 12;
    pub(super) const SECTORS_DISCARDED: usize = 13;
    pub(super) const DISCARD_MS: usize = 14;
    pub(super) const FLUSHES: usize = 15;
    pub(super) const FLUSH_MS: usize = 16;
}

struct Device {
    whole: bool,
    counters: Counters,
    /// The collection that saw it last.
    round: u64,
}

struct DiskIo {
    diskstats: SourceFile,
    /// Where whole devices have a folder; `None` if the host does not tell.
    block: Option<PathBuf>,
    devices: HashMap<String, Device>,
    before_us: i64,
    round: u64,
}

impl DiskIo {
    fn new(roots: &HostRoots) -> Self {
        Self {
            diskstats: SourceFile::new(roots.proc.join("diskstats")),
            block: Some(roots.sys.join("block")).filter(|block| block.is_dir()),
            devices: HashMap::new(),
            before_us: 0,
            round: 0,
        }
    }
}

impl Collector for DiskIo {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let diskstats = self.diskstats.read_text()?;
        let time_us = clock.now_us();
        let interval_us = time_us.saturating_sub(self.before_us);
        self.round += 1;
        for (line, text) in diskstats.lines() {
            let (device, counters) = parse(diskstats, line, text)?;
            let mut before = None;
            let whole = match self.devices.get_mut(device) {
                Some(known) => {
                    before = Some(std::mem::replace(&mut known.counters, counters));
                    known.round = self.round;
                    known.whole
                }
                None => {
                    // The kernel writes `!` in sysfs for a `/` in a device's name.
                    let whole = self
                        .block
                        .as_ref()
                        .is_none_or(|block| block.join(device.replace('/', "!")).exists());
                    let known = Device {
                        whole,
                        counters,
                        round: self.round,
                    };
                    self.devices.insert(device.to_owned(), known);
                    whole
                }
            };
            if whole && counters.any_io() {
                let mut point = counters.point(device, time_us);
                if let Some(before) = before {
                    point = counters.of_interval(&before, interval_us, point);
                }
                points.push(point);
            }
        }
        let round = self.round;
        self.devices.retain(|_, device| device.round == round);
        self.before_us = time_us;
        Ok(())
    }
}

/// Parses one line: major, minor, name, counters.
fn parse<'a>(
    diskstats: SourceText<'_>,
    line: usize,
    text: &'a str,
) -> Result<(&'a str, Counters), CollectError> {
    let mut words = words(text).skip(2);
    let device = words
        .next()
        .ok_or_else(|| diskstats.error(line, "the name of the device is missing"))?;
    let mut counters = Counters {
        values: [0; COUNTERS_MAX],
        known: 0,
    };
    for slot in &mut counters.values {
        match words.next() {
            None if counters.known >= COUNTERS_MIN => break,
            word => *slot = diskstats.number(line, word)?,
        }
        counters.known += 1;
    }
    Ok((device, counters))
}

impl Counters {
    fn any_io(&self) -> bool {
        self.values[place::READS] > 0 || self.values[place::WRITES] > 0
    }

    fn point(&self, device: &str, time_us: i64) -> Point {
        let count = |place: usize| (place < self.known).then(|| self.values[place]);
        let bytes = |place| count(place).map(|sectors: u64| sectors.saturating_mul(SECTOR_BYTES));
        let seconds = |place| count(place).map(|milliseconds| milliseconds as f64 / 1e3);
        Point::new(name!("disk_io"), time_us)
            .with_room(COUNTERS_MAX + INTERVAL_FIELDS)
            .tag(name!("device"), device.to_owned())
            .field_if(name!("reads"), count(place::READS))
            .field_if(name!("reads_merged"), count(place::READS_MERGED))
            .field_if(name!("read_bytes"), bytes(place::SECTORS_READ))
            .field_if(name!("read_time_seconds"), seconds(place::READ_MS))
            .field_if(name!("writes"), count(place::WRITES))
            .field_if(name!("writes_merged"), count(place::WRITES_MERGED))
            .field_if(name!("written_bytes"), bytes(place::SECTORS_WRITTEN))
            .field_if(name!("write_time_seconds"), seconds(place::WRITE_MS))
            .field_if(name!("discards"), count(place::DISCARDS))
            .field_if(name!("discards_merged"), count(place::DISCARDS_MERGED))
            .field_if(name!("discarded_bytes"), bytes(place::SECTORS_DISCARDED))
            .field_if(name!("discard_time_seconds"), seconds(place::DISCARD_MS))
            .field_if(name!("flushes"), count(place::FLUSHES))
            .field_if(name!("flush_time_seconds"), seconds(place::FLUSH_MS))
            .field_if(name!("io_time_seconds"), seconds(place::IO_MS))
            .field_if(
                name!("weighted_io_time_seconds"),
                seconds(place::WEIGHTED_MS),
            )
            .field_if(name!("in_flight"), count(place::IN_FLIGHT))
    }

    /// Adds what the counters say of the interval since `before`.
    fn of_interval(&self, before: &Self, interval_us: i64, point: Point) -> Point {
        let grown = |place: usize| self.values[place].checked_sub(before.values[place]);
        let utilisation = grown(place::IO_MS)
            .filter(|_| interval_us > 0)
            .map(|busy_ms| 1e5 * busy_ms as f64 / interval_us as f64)
            .map(|percent| rounded(percent.min(100.0), 3));
        let mean_wait = |milliseconds, completed| {
            let completed = grown(completed).filter(|&completed| completed > 0)?;
            let seconds = grown(milliseconds)? as f64 / 1e3;
            Some(rounded(seconds / completed as f64, 6))
        };
        point
            .field_if(name!("utilisation_percent"), utilisation)
            .field_if(
                name!("read_wait_seconds"),
                mean_wait(place::READ_MS, place::READS),
            )
            .field_if(
                name!("write_wait_seconds"),
                mean_wait(place::WRITE_MS, place::WRITES),
            )
    }
}
