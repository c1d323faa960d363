//! `scheduler`: what tasks got of each core, and how long they waited for it.
//!
//! Not by process. Source: the `cpu` lines of `/proc/schedstat`, the kernel's
//! `Documentation/scheduler/sched-stats.rst`, versions 15 and newer (all supported kernels); only
//! cores that are online are there. Many kernels are built without it. The total is the sum of
//! what each core has grown by, so that it never falls when a core is unplugged.

use super::carried::Carried;
use super::{CollectError, Collector, CollectorEntry, SourceFile};
use crate::roots::HostRoots;
use std::collections::HashMap;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "scheduler",
    description: "Time in which tasks ran on each core and waited for it.",
    new: |context| Box::new(Scheduler::new(&context.roots)),
    default_on: true,
    measurements: &["scheduler"],
};

/// The words before the three that are wanted.
const WORDS_BEFORE: usize = 6;

struct Scheduler {
    schedstat: SourceFile,
    cores: HashMap<u32, [Carried; 3]>,
    total: [u64; 3],
}

impl Scheduler {
    fn new(roots: &HostRoots) -> Self {
        Self {
            schedstat: SourceFile::new(roots.proc.join("schedstat")),
            cores: HashMap::new(),
            total: [0; 3],
        }
    }
}

impl Collector for Scheduler {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let schedstat = self.schedstat.read_text()?;
        let time_us = clock.now_us();
        let before = points.len();
        for (line, text) in schedstat.lines() {
            let Some(text) = text.strip_prefix("cpu") else {
                continue;
            };
            let mut words = text.split_ascii_whitespace();
            let core: u32 = schedstat.number(line, words.next())?;
            let mut words = words.skip(WORDS_BEFORE);
            let mut figures = [0; 3];
            for slot in &mut figures {
                *slot = schedstat.number(line, words.next())?;
            }
            let known = self.cores.entry(core).or_default();
            for ((known, now), total) in known.iter_mut().zip(figures).zip(&mut self.total) {
                *total = total.saturating_add(known.grown(now));
            }
            points.push(point(time_us, core.to_string(), figures));
        }
        if points.len() == before {
            return Err(schedstat.error(0, "there is no line `cpu`"));
        }
        points.push(point(time_us, "total".to_owned(), self.total));
        Ok(())
    }
}

fn point(time_us: i64, core: String, [running_ns, waiting_ns, timeslices]: [u64; 3]) -> Point {
    // Microseconds are exact for longer in a double, and closer than anybody looks.
    let seconds = |nanoseconds: u64| (nanoseconds / 1_000) as f64 / 1e6;
    Point::new(name!("scheduler"), time_us)
        .tag(name!("cpu"), core)
        .field(name!("running_seconds"), seconds(running_ns))
        .field(name!("waiting_seconds"), seconds(waiting_ns))
        .field(name!("timeslices"), timeslices)
}
