//! `disk_io`: the bytes that were read from and written to each disk.
//!
//! Counters since boot. The library tells them by volume; volumes of one name are one series, the
//! first of them.

use super::{CollectError, Collector, CollectorEntry, as_tag, kept};
use std::collections::HashSet;
use sysinfo::{DiskRefreshKind, Disks};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "disk_io",
    description: "Bytes read from and written to each disk.",
    new: |_| Box::<DiskIo>::default(),
    default_on: true,
    measurements: &["disk_io"],
};

#[derive(Default)]
struct DiskIo {
    disks: Option<Disks>,
}

impl Collector for DiskIo {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let disks = kept(&mut self.disks, Disks::new)?;
        disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
        let time_us = clock.now_us();
        let mut told = HashSet::new();
        for disk in &*disks {
            let device = as_tag(disk.name().to_string_lossy().into_owned());
            let usage = disk.usage();
            if told.insert(device.clone()) {
                points.push(
                    Point::new(name!("disk_io"), time_us)
                        .tag(name!("device"), device)
                        .field(name!("read_bytes"), usage.total_read_bytes)
                        .field(name!("written_bytes"), usage.total_written_bytes),
                );
            }
        }
        Ok(())
    }
}
