//! `btrfs`: allocation, commits and errors of devices of each Btrfs file system.
//!
//! Source: `<sys>/fs/btrfs/<uuid>`, which btrfs(5) documents. Kernels before 5.14 do not tell the
//! errors there. File systems, devices and profiles are looked for once a minute.

use super::sysfs::{Due, Values, names_in};
use super::{CollectError, Collector, CollectorContext, CollectorEntry};
use std::path::PathBuf;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "btrfs",
    description: "Allocation, commits and errors of devices of each Btrfs file system.",
    new: |context| Box::new(Btrfs::new(context)),
    default_on: true,
    measurements: &["btrfs", "btrfs_allocation", "btrfs_device"],
};

/// Sizes in sysfs are in units of 512 bytes.
const SECTOR_BYTES: u64 = 512;
const KINDS: [&str; 4] = ["data", "metadata", "system", "mixed"];

static ALLOCATION: [(&str, Name); 7] = [
    ("bytes_used", name!("used_bytes")),
    ("total_bytes", name!("total_bytes")),
    ("bytes_reserved", name!("reserved_bytes")),
    ("bytes_pinned", name!("pinned_bytes")),
    ("bytes_readonly", name!("read_only_bytes")),
    ("disk_used", name!("disk_used_bytes")),
    ("disk_total", name!("disk_total_bytes")),
];
static ERRORS: [(&str, Name); 5] = [
    ("write_errs", name!("write_errors")),
    ("read_errs", name!("read_errors")),
    ("flush_errs", name!("flush_errors")),
    ("corruption_errs", name!("corruption_errors")),
    ("generation_errs", name!("generation_errors")),
];

struct Btrfs {
    folder: PathBuf,
    values: Values,
    due: Due,
    file_systems: Vec<FileSystem>,
}

struct FileSystem {
    uuid: String,
    folder: PathBuf,
    label: Option<String>,
    devices: u64,
    device_bytes: Option<u64>,
    /// Kind of allocation, its folder, and how it is spread over devices.
    allocations: Vec<(&'static str, PathBuf, Option<String>)>,
    device_infos: Vec<(String, PathBuf)>,
}

impl Btrfs {
    fn new(context: &CollectorContext) -> Self {
        Self {
            folder: context.roots.sys.join("fs/btrfs"),
            values: Values::new(),
            due: Due::every_minute(),
            file_systems: Vec::new(),
        }
    }

    fn find(&mut self) -> Result<(), CollectError> {
        let names = names_in(&self.folder)?;
        self.file_systems.clear();
        for uuid in names {
            let folder = self.folder.join(&uuid);
            let allocation = folder.join("allocation");
            // Beside the file systems there are `features` and `debug`.
            if !allocation.is_dir() {
                continue;
            }
            let devices = folder.join("devices");
            let device_names = names_in(&devices).unwrap_or_default();
            let sizes = device_names
                .iter()
                .filter_map(|device| self.values.number::<u64>(&devices.join(device), "size"))
                .try_fold(0_u64, |sum, size| {
                    sum.checked_add(size.checked_mul(SECTOR_BYTES)?)
                });
            let allocations = KINDS.iter().filter_map(|kind| {
                let folder = allocation.join(kind);
                let files = names_in(&folder).ok()?;
                // The profiles are the folders in it: `single`, `dup`, `raid1` and so on.
                let profiles: Vec<_> = files
                    .into_iter()
                    .filter(|file| folder.join(file).is_dir())
                    .collect();
                let profile = Some(profiles.join("+")).filter(|profile| !profile.is_empty());
                Some((*kind, folder, profile))
            });
            let infos = folder.join("devinfo");
            self.file_systems.push(FileSystem {
                allocations: allocations.collect(),
                label: self.values.owned(&folder, "label"),
                devices: device_names.len() as u64,
                device_bytes: sizes.filter(|sizes| *sizes > 0),
                device_infos: names_in(&infos)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|id| (id.clone(), infos.join(id)))
                    .collect(),
                uuid,
                folder,
            });
        }
        Ok(())
    }
}

impl Collector for Btrfs {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.find()?;
            self.due.done(now_us);
        }
        for file_system in &self.file_systems {
            let found = points.len();
            add_points(file_system, &mut self.values, clock, points);
            if points.len() == found {
                self.due.expire();
            }
        }
        Ok(())
    }
}

/// Adds the points of one file system; one that was just unmounted has none.
fn add_points(
    file_system: &FileSystem,
    values: &mut Values,
    clock: &dyn Clock,
    points: &mut Vec<Point>,
) {
    let uuid = &file_system.uuid;
    let allocation = file_system.folder.join("allocation");
    let reserve: Option<u64> = values.number(&allocation, "global_rsv_size");
    let mut point = Point::new(name!("btrfs"), clock.now_us())
        .tag(name!("uuid"), uuid.clone())
        .field_if(name!("label"), file_system.label.clone())
        .field(name!("devices"), file_system.devices)
        .field_if(name!("device_bytes"), file_system.device_bytes)
        .field_if(name!("global_reserve_bytes"), reserve)
        .field_if(
            name!("global_reserve_used_bytes"),
            values.number::<u64>(&allocation, "global_rsv_reserved"),
        );
    if reserve.is_none() {
        return;
    }
    if let Some(stats) = values.text(&file_system.folder, "commit_stats") {
        for (key, number) in numbers_of(stats) {
            match key {
                "commits" => point.set(name!("commits"), number),
                "total_commit_ms" => {
                    point.set(name!("commit_time_seconds"), number as f64 / 1e3);
                }
                "max_commit_ms" => {
                    point.set(name!("longest_commit_seconds"), number as f64 / 1e3);
                }
                _ => {}
            }
        }
    }
    points.push(point);
    for (kind, folder, profile) in &file_system.allocations {
        let mut point = Point::new(name!("btrfs_allocation"), clock.now_us())
            .tag(name!("uuid"), uuid.clone())
            .tag(name!("kind"), *kind);
        for (file, field) in &ALLOCATION {
            if let Some(number) = values.number::<u64>(folder, file) {
                point.set(field.clone(), number);
            }
        }
        let point = point.field_if(name!("profile"), profile.clone());
        if !point.fields().is_empty() {
            points.push(point);
        }
    }
    for (id, folder) in &file_system.device_infos {
        let missing = values.truth(folder, "missing");
        let mut point = Point::new(name!("btrfs_device"), clock.now_us())
            .tag(name!("uuid"), uuid.clone())
            .tag(name!("device"), id.clone())
            .field_if(name!("missing"), missing);
        if let Some(stats) = values.text(folder, "error_stats") {
            for (key, number) in numbers_of(stats) {
                if let Some((_, field)) = ERRORS.iter().find(|(known, _)| *known == key) {
                    point.set(field.clone(), number);
                }
            }
        }
        if !point.fields().is_empty() {
            points.push(point);
        }
    }
}

/// Lines of a key and a number.
fn numbers_of(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, number) = line.split_once(' ')?;
        Some((key, number.trim().parse().ok()?))
    })
}
