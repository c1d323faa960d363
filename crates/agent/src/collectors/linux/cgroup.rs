//! `cgroup`: what control groups use, and how far they are held back.
//!
//! Off by default: there may be many. Sources: `<sys>/fs/cgroup`, the kernel's
//! `admin-guide/cgroup-v2`; and where the controllers are those of version 1, its
//! `admin-guide/cgroup-v1`. The groups are looked for once a minute, down to a depth and up to a
//! number, those near the root first; how many are left out is told. Limits are read then too. The
//! root is the host itself, which other collectors tell.
//!
//! A counter that is a sum over devices goes on where a device goes away.

mod hierarchy;
mod version1;
mod version2;

use super::cgroup_names::Names;
use super::sysfs::{Due, Values};
use super::{CollectError, Collector, CollectorContext, CollectorEntry};
use crate::collectors::settings::CgroupSettings;
use hierarchy::{Controller, Found, Roots, find};
use std::collections::HashMap;
use std::path::PathBuf;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "cgroup",
    description: "CPU, memory, I/O and pressure of control groups, with their units and containers.",
    new: |context| Box::new(Cgroup::new(context)),
    default_on: false,
    measurements: &["cgroup", "cgroup_groups"],
};

/// Bytes and operations of a group, summed over its devices.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Io {
    read_bytes: u64,
    written_bytes: u64,
    discarded_bytes: u64,
    reads: u64,
    writes: u64,
    discards: u64,
}

impl Io {
    const fn parts(self) -> [u64; 6] {
        [
            self.read_bytes,
            self.written_bytes,
            self.discarded_bytes,
            self.reads,
            self.writes,
            self.discards,
        ]
    }
}

static IO: [Name; 6] = [
    name!("io_read_bytes"),
    name!("io_written_bytes"),
    name!("io_discarded_bytes"),
    name!("io_reads"),
    name!("io_writes"),
    name!("io_discards"),
];

/// Sums that go on where a part of them goes away.
#[derive(Debug, Clone, Copy)]
struct Sums {
    last: [u64; IO.len()],
    totals: [u64; IO.len()],
}

impl Sums {
    fn follow(&mut self, now: Io) {
        for ((last, total), now) in self.last.iter_mut().zip(&mut self.totals).zip(now.parts()) {
            *total = total.saturating_add(now.saturating_sub(*last));
            *last = now;
        }
    }
}

/// One group that is told.
struct Group {
    path: String,
    names: Names,
    /// Its folder in the hierarchy of each controller.
    folders: Vec<(Controller, PathBuf)>,
    limits: Vec<(Name, f64)>,
}

struct Cgroup {
    roots: Roots,
    settings: CgroupSettings,
    values: Values,
    due: Due,
    groups: Vec<Group>,
    left_out: u64,
    sums: HashMap<String, Sums>,
    ticks_per_second: f64,
}

impl Cgroup {
    fn new(context: &CollectorContext) -> Self {
        Self {
            roots: Roots::new(context.roots.sys.join("fs/cgroup")),
            settings: context.cgroup.clone(),
            values: Values::new(),
            due: Due::every_minute(),
            groups: Vec::new(),
            left_out: 0,
            sums: HashMap::new(),
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1) as f64,
        }
    }

    fn look(&mut self) -> Result<(), CollectError> {
        let hierarchies = self.roots.hierarchies()?;
        let Found { groups, left_out } = find(&hierarchies, &self.settings);
        self.left_out = left_out;
        self.groups = groups
            .into_iter()
            .map(|(path, folders)| {
                let mut limits = Vec::new();
                for (controller, folder) in &folders {
                    match controller {
                        Controller::Unified => {
                            version2::limits(folder, &mut self.values, &mut limits)
                        }
                        other => version1::limits(*other, folder, &mut self.values, &mut limits),
                    }
                }
                Group {
                    names: Names::of(&path),
                    path,
                    folders,
                    limits,
                }
            })
            .collect();
        let groups = &self.groups;
        self.sums
            .retain(|path, _| groups.iter().any(|group| group.path == *path));
        Ok(())
    }
}

impl Collector for Cgroup {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.look()?;
            self.due.done(now_us);
        }
        for group in &self.groups {
            let mut point = Point::new(name!("cgroup"), clock.now_us())
                .tag(name!("cgroup"), group.path.clone());
            let names = [
                (name!("unit"), &group.names.unit),
                (name!("container"), &group.names.container),
                (name!("pod"), &group.names.pod),
            ];
            for (tag, text) in names {
                if let Some(text) = text {
                    point = point.tag(tag, text.clone());
                }
            }
            let mut io = None;
            for (controller, folder) in &group.folders {
                match controller {
                    Controller::Unified => {
                        version2::add(folder, &mut self.values, &mut point);
                        io = version2::io(folder, &mut self.values);
                    }
                    Controller::Blkio => io = version1::io(folder, &mut self.values),
                    other => {
                        let ticks = self.ticks_per_second;
                        version1::add(*other, folder, &mut self.values, ticks, &mut point);
                    }
                }
            }
            if let Some(io) = io {
                let begin = Sums {
                    last: io.parts(),
                    totals: io.parts(),
                };
                let sums = self.sums.entry(group.path.clone()).or_insert(begin);
                sums.follow(io);
                for (field, total) in IO.iter().zip(sums.totals) {
                    point.set(field.clone(), total);
                }
            }
            if point.fields().is_empty() {
                // It is gone.
                self.due.expire();
                continue;
            }
            for (field, limit) in &group.limits {
                point.set(field.clone(), *limit);
            }
            points.push(point);
        }
        points.push(
            Point::new(name!("cgroup_groups"), clock.now_us())
                .field(name!("groups_told"), self.groups.len() as u64)
                .field(name!("groups_left_out"), self.left_out),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_goes_on_where_a_device_goes_away() {
        let io = |read_bytes| Io {
            read_bytes,
            ..Io::default()
        };
        let mut sums = Sums {
            last: io(100).parts(),
            totals: io(100).parts(),
        };
        for (now, total) in [(150, 150), (20, 150), (30, 160)] {
            sums.follow(io(now));
            assert_eq!(sums.totals[0], total);
        }
    }
}
