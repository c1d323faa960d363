//! What sysfs tells of a core: its clock frequency, and how often heat slowed it down.
//!
//! Not its usage. Sources: `cpufreq/scaling_cur_freq` and `thermal_throttle/*_throttle_count` in
//! `<sys>/devices/system/cpu/cpu<number>`, the latter of Intel's processors. Which of them a core has
//! is found out when it appears. Without `cpufreq`, as in virtual machines, `cpu MHz` of
//! `/proc/cpuinfo` is taken, which hardly changes there and is long: it is read once a minute.
//!
//! Some kernels (4.13 to 5.17 on x86) sleep for 10 ms to find the frequency of a core that was
//! idle. So reading frequencies ends after [`LONGEST`], and goes on from there in the collection
//! after: on a large host a core's frequency is then told in every few collections only.

use super::super::{SourceFile, ValueFile};
use crate::roots::HostRoots;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tidegauge_model::{Point, name};

/// How long a collection reads frequencies.
const LONGEST: Duration = Duration::from_millis(50);
/// Of so many cores the files are kept open, three of each.
const KEPT_CORES: usize = 64;
/// How often `/proc/cpuinfo` is read, in microseconds.
const CPUINFO_INTERVAL_US: i64 = 60_000_000;

/// The files of all cores.
pub(super) struct Cores {
    folder: PathBuf,
    cores: HashMap<u32, Core>,
    cpuinfo: SourceFile,
    cpuinfo_us: Option<i64>,
    megahertz: HashMap<u32, f64>,
    began: Instant,
    /// The core at which reading frequencies ended, if it was not the last.
    next: u32,
    out_of_time: bool,
}

struct Core {
    frequency: Option<ValueFile>,
    core_throttles: Option<ValueFile>,
    package_throttles: Option<ValueFile>,
}

impl Core {
    fn find(folder: &Path, may_keep: bool) -> Self {
        let file = |name| {
            let path = folder.join(name);
            path.exists().then(|| ValueFile::new(path, may_keep))
        };
        Self {
            frequency: file("cpufreq/scaling_cur_freq"),
            core_throttles: file("thermal_throttle/core_throttle_count"),
            package_throttles: file("thermal_throttle/package_throttle_count"),
        }
    }
}

impl Cores {
    pub(super) fn new(roots: &HostRoots) -> Self {
        Self {
            folder: roots.sys.join("devices/system/cpu"),
            cores: HashMap::new(),
            cpuinfo: SourceFile::new(roots.proc.join("cpuinfo")),
            cpuinfo_us: None,
            megahertz: HashMap::new(),
            began: Instant::now(),
            next: 0,
            out_of_time: false,
        }
    }

    /// Begins a collection.
    pub(super) fn begin(&mut self, time_us: i64) {
        self.began = Instant::now();
        if !std::mem::take(&mut self.out_of_time) {
            self.next = 0;
        }
        let without =
            self.cores.is_empty() || self.cores.values().all(|core| core.frequency.is_none());
        let due = self
            .cpuinfo_us
            .is_none_or(|last_us| !(last_us..last_us + CPUINFO_INTERVAL_US).contains(&time_us));
        if without && due {
            self.cpuinfo_us = Some(time_us);
            self.read_cpuinfo();
        }
    }

    /// Reads lines such as `processor : 0` and `cpu MHz : 2400.000`; other processors than x86 do not
    /// have the latter, and what is not understood is no frequency.
    fn read_cpuinfo(&mut self) {
        self.megahertz.clear();
        let Ok(text) = self.cpuinfo.read_text() else {
            return;
        };
        let mut core = None;
        for (_, line) in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            match key.trim_end() {
                "processor" => core = value.trim().parse().ok(),
                "cpu MHz" => {
                    if let (Some(core), Ok(megahertz)) = (core, value.trim().parse()) {
                        self.megahertz.insert(core, megahertz);
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds what is known of a core to its point.
    pub(super) fn add_to(&mut self, core: u32, mut point: Point) -> Point {
        let may_keep = self.cores.len() < KEPT_CORES;
        let files = self
            .cores
            .entry(core)
            .or_insert_with(|| Core::find(&self.folder.join(format!("cpu{core}")), may_keep));
        if let Some(frequency) = &mut files.frequency {
            if core >= self.next && !self.out_of_time {
                let kilohertz: Option<u64> = frequency.number();
                let hertz = kilohertz.map(|kilohertz| kilohertz.saturating_mul(1_000));
                point = point.field_if(name!("frequency_hertz"), hertz);
                if self.began.elapsed() > LONGEST {
                    (self.out_of_time, self.next) = (true, core + 1);
                }
            }
        } else if let Some(megahertz) = self.megahertz.get(&core) {
            point.set(name!("frequency_hertz"), megahertz * 1e6);
        }
        let count = |file: &mut Option<ValueFile>| file.as_mut()?.number::<u64>();
        point
            .field_if(name!("core_throttles"), count(&mut files.core_throttles))
            .field_if(
                name!("package_throttles"),
                count(&mut files.package_throttles),
            )
    }

    /// Forgets the files of cores that were unplugged.
    pub(super) fn forget(&mut self, is_there: impl Fn(u32) -> bool) {
        self.cores.retain(|core, _| is_there(*core));
    }
}
