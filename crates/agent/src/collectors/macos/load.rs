//! `load`: the load averages, as getloadavg(3) tells them.

use super::{CollectError, Collector, CollectorEntry, failed};
use sysinfo::System;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "load",
    description: "Load averages over 1, 5 and 15 minutes.",
    new: |_| Box::new(Load),
    default_on: true,
    measurements: &["load"],
};

struct Load;

impl Collector for Load {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let load = System::load_average().map_err(failed)?;
        points.push(
            Point::new(name!("load"), clock.now_us())
                .field(name!("load1"), load.one)
                .field(name!("load5"), load.five)
                .field(name!("load15"), load.fifteen),
        );
        Ok(())
    }
}
