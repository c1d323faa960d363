//! `memory`: how the host's memory is used.
//!
//! *Used* is what is not available to new programs without swapping, as on Linux, not what the
//! library calls used.

use super::{CollectError, Collector, CollectorEntry, kept, percent_of};
use sysinfo::{MemoryRefreshKind, System};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "memory",
    description: "Memory in total, available, used and free.",
    new: |_| Box::<Memory>::default(),
    default_on: true,
    measurements: &["memory"],
};

#[derive(Default)]
struct Memory {
    system: Option<System>,
}

impl Collector for Memory {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let system = kept(&mut self.system, System::new)?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let (total, available) = (system.total_memory(), system.available_memory());
        let used = total.saturating_sub(available);
        points.push(
            Point::new(name!("memory"), clock.now_us())
                .field(name!("total_bytes"), total)
                .field(name!("free_bytes"), system.free_memory())
                .field(name!("available_bytes"), available)
                .field(name!("used_bytes"), used)
                .field_if(name!("used_percent"), percent_of(used, total))
                .field_if(name!("available_percent"), percent_of(available, total)),
        );
        Ok(())
    }
}
