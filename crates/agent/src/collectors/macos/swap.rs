//! `swap`: swap space. A host without any has totals of 0 and no `used_percent`.

use super::{CollectError, Collector, CollectorEntry, kept, percent_of};
use sysinfo::{MemoryRefreshKind, System};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "swap",
    description: "Swap space in total, used and free.",
    new: |_| Box::<Swap>::default(),
    default_on: true,
    measurements: &["swap"],
};

#[derive(Default)]
struct Swap {
    system: Option<System>,
}

impl Collector for Swap {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let system = kept(&mut self.system, System::new)?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_swap());
        let (total, used) = (system.total_swap(), system.used_swap());
        points.push(
            Point::new(name!("swap"), clock.now_us())
                .field(name!("total_bytes"), total)
                .field(name!("used_bytes"), used)
                .field(name!("free_bytes"), system.free_swap())
                .field_if(name!("used_percent"), percent_of(used, total)),
        );
        Ok(())
    }
}
