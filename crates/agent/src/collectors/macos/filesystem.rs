//! `filesystem`: the space of every volume that the system shows to its users.
//!
//! The library tells no inodes, and waits for a server that is gone: there is no `responding` =
//! false here. A file system without any blocks has no space to measure and is left out.

use super::{CollectError, Collector, CollectorEntry, as_tag, kept, percent_of};
use sysinfo::{DiskRefreshKind, Disks};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "filesystem",
    description: "Space of every volume, and whether it is read-only.",
    new: |_| Box::<Filesystem>::default(),
    default_on: true,
    measurements: &["filesystem"],
};

#[derive(Default)]
struct Filesystem {
    disks: Option<Disks>,
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let disks = kept(&mut self.disks, Disks::new)?;
        disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        let time_us = clock.now_us();
        for disk in &*disks {
            let (total, available) = (disk.total_space(), disk.available_space());
            if total == 0 {
                continue;
            }
            let used = total.saturating_sub(available);
            let text = |text: &std::ffi::OsStr| as_tag(text.to_string_lossy().into_owned());
            points.push(
                Point::new(name!("filesystem"), time_us)
                    .tag(name!("mount"), text(disk.mount_point().as_os_str()))
                    .tag(name!("device"), text(disk.name()))
                    .tag(name!("fstype"), text(disk.file_system()))
                    .field(name!("total_bytes"), total)
                    .field(name!("used_bytes"), used)
                    .field(name!("available_bytes"), available)
                    .field_if(name!("used_percent"), percent_of(used, total))
                    .field(name!("read_only"), disk.is_read_only())
                    .field(name!("responding"), true),
            );
        }
        Ok(())
    }
}
