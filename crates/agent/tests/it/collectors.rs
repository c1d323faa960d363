//! Every collector on fixture hosts, compared with golden files, and on this machine.
//!
//! A fixture is `tests/fixtures/<host>/{first,second}/{proc,sys}`: plain files at two moments, so
//! that figures of the interval between them are seen. `UPDATE_GOLDEN=1` writes
//! `tests/golden/<host>.txt` anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::HostRoots;
use tidegauge_agent::collectors::filesystem::{Filesystem, Space};
use tidegauge_agent::collectors::time::{KernelClock, Time};
use tidegauge_agent::collectors::{
    COLLECTORS, CollectError, Collector, CollectorContext, availability,
};
use tidegauge_model::{ManualClock, Point, SystemClock, Value, ValueType, catalog};
use tidegauge_testkit::HostTree;

/// 2026-11-21 00:00:00 UTC.
const FIRST_US: i64 = 1_795_219_200_000_000;

fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A host at its first moment, with the collectors that measure it.
struct FixtureHost {
    name: &'static str,
    tree: HostTree,
    collectors: Vec<Box<dyn Collector>>,
}

impl FixtureHost {
    fn open(name: &'static str, root_fs: Option<&str>) -> Self {
        let tree = HostTree::copy_of(&Self::moment(name, "first"));
        let root_fs = root_fs.map_or_else(|| PathBuf::from("/"), |path| tree.path(path));
        let roots = HostRoots {
            page_bytes: 4096,
            ..HostRoots::new(tree.proc_root(), tree.sys_root(), root_fs)
        };
        let context = CollectorContext::from(roots);
        // These read the root of the host, which must not be that of the machine of the test.
        let of_root = ["identity", "logged_in_users", "systemd"];
        let has_root = context.roots.root_fs != Path::new("/");
        let collectors = COLLECTORS
            .iter()
            .filter(|entry| has_root || !of_root.contains(&entry.name))
            .map(|entry| match entry.name {
                // The two collectors that ask the system for more than files.
                "filesystem" => Box::new(filesystem(&context.roots)) as Box<dyn Collector>,
                "time" => Box::new(Time::asking(&context.roots, kernel_clock)),
                _ => (entry.new)(&context),
            })
            .collect();
        Self {
            name,
            tree,
            collectors,
        }
    }

    fn moment(name: &str, moment: &str) -> PathBuf {
        tests_folder().join("fixtures").join(name).join(moment)
    }

    fn go_to_second_moment(&self) {
        for root in ["proc", "sys"] {
            self.tree.remove(root);
            let from = Self::moment(self.name, "second").join(root);
            copy_files(&from, root, &self.tree);
        }
    }

    fn collect(&mut self, time_us: i64) -> Vec<Point> {
        let clock = ManualClock::at(time_us);
        let mut points = Vec::new();
        for collector in &mut self.collectors {
            let from = points.len();
            match collector.collect(&clock, &mut points) {
                // Not every host has every source.
                Ok(()) | Err(CollectError::Unavailable { .. }) => {}
                Err(error) => panic!("{}: {error:?}", collector.name()),
            }
            assert_in_catalog(collector.name(), &points[from..]);
        }
        points
    }
}

fn copy_files(from: &Path, to: &str, tree: &HostTree) {
    for entry in fs::read_dir(from).expect("a fixture folder") {
        let entry = entry.expect("an entry of the fixture");
        let target = format!("{to}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            copy_files(&entry.path(), &target, tree);
        } else {
            tree.write(&target, fs::read(entry.path()).expect("a fixture file"));
        }
    }
}

/// The space of a mount depends on its name alone; backups are away.
fn filesystem(roots: &HostRoots) -> Filesystem {
    let ask = |path: &Path| {
        if path.ends_with("mnt/backup") {
            return Err(io::Error::from_raw_os_error(116)); // ESTALE
        }
        let blocks = path.file_name().map_or(0, |name| name.len() as u64);
        Ok(Space {
            total_bytes: 1_000_000_000_000,
            free_bytes: 400_000_000_000 + blocks * 4096,
            available_bytes: 350_000_000_000 + blocks * 4096,
            inodes: if path.starts_with("/data") {
                0
            } else {
                61_054_976
            },
            inodes_free: 60_000_000,
            read_only: false,
        })
    };
    Filesystem::asking(roots, Arc::new(ask), Duration::from_secs(60))
}

/// A clock that is kept right, and runs a little too fast by itself.
fn kernel_clock() -> io::Result<KernelClock> {
    Ok(KernelClock {
        synchronized: true,
        offset_ns: -1_250_000,
        frequency: -820_000,
        max_error_us: 31_500,
        estimated_error_us: 120,
        tai_offset_seconds: 37,
    })
}

/// Each point has only measurements, tags and fields of the catalog, with the right types.
fn assert_in_catalog(collector: &str, points: &[Point]) {
    let entry = COLLECTORS.iter().find(|entry| entry.name == collector);
    let entry = entry.expect("a collector");
    for point in points {
        let name = point.measurement().as_str();
        assert!(
            entry.measurements.contains(&name),
            "{collector} yields {name}"
        );
        let measurement = catalog::measurement(name).expect("is in the catalog");
        let tags: Vec<_> = point.tags().iter().map(|(tag, _)| tag.as_str()).collect();
        let known: Vec<_> = measurement.tags.iter().map(|tag| tag.name).collect();
        if name == "cgroup" {
            // What the path of a group does not name is absent.
            assert!(tags.iter().all(|tag| known.contains(tag)), "{tags:?}");
        } else {
            assert_eq!(tags, known, "{name}");
        }
        assert_eq!(point.left_out(), 0, "{name} has values that are not finite");
        assert!(!point.fields().is_empty(), "{name}");
        for (field, value) in point.fields() {
            let value_type = match value {
                Value::Float(number) => {
                    let has_sign = ["celsius", "amperes", "ppm", "offset_seconds"];
                    let may_be_negative =
                        has_sign.iter().any(|unit| field.as_str().ends_with(unit));
                    assert!(
                        *number >= 0.0 || may_be_negative,
                        "{name}.{field} is {number}"
                    );
                    ValueType::Float
                }
                Value::Bool(_) => ValueType::Bool,
                Value::Text(_) => ValueType::Text,
            };
            let known = measurement.field(field.as_str());
            assert_eq!(
                known.map(|known| known.value_type),
                Some(value_type),
                "{name}.{field}"
            );
        }
    }
}

fn written(title: &str, points: &[Point]) -> String {
    let mut text = format!("# {title}\n");
    for point in points {
        text += &format!("{} @{}", point.measurement(), point.time_us());
        for (tag, value) in point.tags() {
            text += &format!(" {tag}={value:?}");
        }
        text.push('\n');
        for (field, value) in point.fields() {
            text += &match value {
                Value::Float(number) => format!("  {field} {number}\n"),
                Value::Bool(truth) => format!("  {field} {truth}\n"),
                Value::Text(words) => format!("  {field} {words:?}\n"),
            };
        }
    }
    text
}

fn assert_golden(host: &str, found: &str) {
    let path = tests_folder().join("golden").join(format!("{host}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("can be made");
        fs::write(&path, found).expect("can be written");
    }
    let golden = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; set UPDATE_GOLDEN=1", path.display()));
    if let Some((line, (now, before))) = (1..)
        .zip(found.lines().zip(golden.lines()))
        .find(|(_, (now, before))| now != before)
    {
        panic!("{}:{line} was `{before}`, is `{now}`", path.display());
    }
    assert_eq!(found.lines().count(), golden.lines().count(), "{host}");
}

fn compare_both_moments(mut host: FixtureHost, seconds: i64) {
    let mut found = written("first moment", &host.collect(FIRST_US));
    host.go_to_second_moment();
    found += &written(
        "second moment",
        &host.collect(FIRST_US + seconds * 1_000_000),
    );
    assert_golden(host.name, &found);
}

#[test]
fn bare_metal_host() {
    compare_both_moments(FixtureHost::open("bare-metal", None), 10);
}

#[test]
fn host_seen_from_a_container() {
    compare_both_moments(FixtureHost::open("container", Some("host")), 1);
}

#[test]
fn board_with_thermal_zones() {
    compare_both_moments(FixtureHost::open("arm-board", Some("host")), 301);
}

#[test]
fn small_virtual_machine() {
    compare_both_moments(FixtureHost::open("small-vm", Some("host")), 60);
}

#[test]
fn this_machine() {
    let context = CollectorContext::default();
    let before_us = tidegauge_model::Clock::now_us(&SystemClock);
    let mut collectors: Vec<_> = COLLECTORS
        .iter()
        .map(|entry| (entry.new)(&context))
        .collect();
    for round in 1..=2 {
        for collector in &mut collectors {
            let mut points = Vec::new();
            match collector.collect(&SystemClock, &mut points) {
                Ok(()) => {}
                Err(CollectError::NotBuilt { .. }) => continue,
                // A sandbox may hide a file; it may not be misread.
                Err(CollectError::Unavailable { path }) => {
                    assert!(!path.exists(), "{}", path.display());
                    continue;
                }
                Err(error) => panic!("{}: {error:?}", collector.name()),
            }
            assert_in_catalog(collector.name(), &points);
            let after_us = tidegauge_model::Clock::now_us(&SystemClock);
            for point in &points {
                assert!((before_us..=after_us).contains(&point.time_us()));
            }
            if ["load", "memory", "system"].contains(&collector.name()) {
                assert_eq!(points.len(), 1, "{} in round {round}", collector.name());
            }
        }
    }
}

#[test]
fn availability_tells_every_collector() {
    let told = availability(&CollectorContext::default(), &SystemClock);
    assert_eq!(told.len(), COLLECTORS.len());
    let load = told.iter().find(|(name, _)| *name == "load");
    assert!(matches!(load, Some((_, Ok(())))), "{load:?}");
}

/// A small generator of numbers (xorshift), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Cuts, flips, doubles or overfills a part of `content`.
    fn damage(&mut self, content: &mut Vec<u8>) {
        let at = self.below(content.len());
        match self.below(6) {
            0 => content.truncate(at),
            1 if !content.is_empty() => content[at] ^= 1 << self.below(8),
            2 => drop(content.splice(at..at, *b"99999999999999999999999")),
            3 => drop(content.splice(at..at, *b"-1")),
            4 => {
                let part = content[at..].to_vec();
                content.extend(part);
            }
            _ => {
                let end = (at + self.below(40)).min(content.len());
                drop(content.drain(at..end));
            }
        }
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_damaged_host_is_an_error_and_no_panic() {
    for (seed, name) in [(1, "bare-metal"), (2, "container"), (3, "small-vm")] {
        let tree = HostTree::copy_of(&FixtureHost::moment(name, "first"));
        let mut files = Vec::new();
        files_below(&tree.proc_root(), &mut files);
        files_below(&tree.sys_root(), &mut files);
        files.sort();
        let root_fs = if name == "bare-metal" {
            "/".into()
        } else {
            tree.path("host")
        };
        let roots = HostRoots::new(tree.proc_root(), tree.sys_root(), root_fs);
        let context = CollectorContext::from(roots.clone());
        let mut collectors: Vec<_> = COLLECTORS
            .iter()
            .map(|entry| match entry.name {
                "filesystem" => Box::new(filesystem(&roots)) as Box<dyn Collector>,
                _ => (entry.new)(&context),
            })
            .collect();
        let mut dice = Dice(seed);
        for round in 1..=60 {
            // A few files at a time, and each collector goes on with what it remembers.
            let mut whole = Vec::new();
            for _ in 0..=dice.below(8) {
                let path = &files[dice.below(files.len())];
                let content = fs::read(path).expect("a file");
                let mut damaged = content.clone();
                dice.damage(&mut damaged);
                fs::write(path, damaged).expect("written");
                whole.push((path, content));
            }
            let clock = ManualClock::at(FIRST_US + round * 1_000_000);
            for collector in &mut collectors {
                let mut points = Vec::new();
                let outcome = collector.collect(&clock, &mut points);
                assert!(
                    !matches!(outcome, Err(CollectError::Read { .. })),
                    "{} in round {round}: {outcome:?}",
                    collector.name()
                );
                let not_finite = points.iter().any(|point| point.left_out() > 0);
                assert!(!not_finite, "{} in round {round}", collector.name());
            }
            for (path, content) in whole.into_iter().rev() {
                fs::write(path, content).expect("written");
            }
        }
    }
}
