//! `system`: since when the host runs.

use super::{CollectError, Collector, CollectorEntry, failed};
use sysinfo::System;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "system",
    description: "When the host was started, and for how long it has been running.",
    new: |_| Box::new(Host),
    default_on: true,
    measurements: &["system"],
};

struct Host;

impl Collector for Host {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let boot_time = System::boot_time().map_err(failed)?;
        let uptime = System::uptime().map_err(failed)?;
        points.push(
            Point::new(name!("system"), clock.now_us())
                .field(name!("boot_time_seconds"), boot_time)
                .field(name!("uptime_seconds"), uptime as f64),
        );
        Ok(())
    }
}
