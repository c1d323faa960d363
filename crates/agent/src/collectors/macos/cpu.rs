//! `cpu`: how idle each core and all of them were, and how fast they run.
//!
//! The library tells no modes but idle. Shares are of the interval since the collection before, so
//! the first one has none; it looks again after [`sysinfo::MINIMUM_CPU_UPDATE_INTERVAL`] at the
//! earliest, and until then the shares are those of before.

use super::{CollectError, Collector, CollectorEntry, kept, rounded};
use sysinfo::{CpuRefreshKind, System};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "cpu",
    description: "How idle each core and all of them were, and their frequency.",
    new: |_| Box::<Cpu>::default(),
    default_on: true,
    measurements: &["cpu"],
};

#[derive(Default)]
struct Cpu {
    system: Option<System>,
    has_begun: bool,
}

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let system = kept(&mut self.system, System::new)?;
        let asked = CpuRefreshKind::nothing().with_usage().with_frequency();
        system.refresh_cpu_specifics(asked);
        let time_us = clock.now_us();
        if !std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        let idle = |usage: f32| rounded(100.0 - f64::from(usage.clamp(0.0, 100.0)), 3);
        points.push(
            Point::new(name!("cpu"), time_us)
                .tag(name!("cpu"), "total".to_owned())
                .field(name!("idle_percent"), idle(system.global_cpu_usage())),
        );
        for (number, core) in system.cpus().iter().enumerate() {
            let megahertz = core.frequency();
            points.push(
                Point::new(name!("cpu"), time_us)
                    .tag(name!("cpu"), number.to_string())
                    .field(name!("idle_percent"), idle(core.usage()))
                    .field_if(
                        name!("frequency_hertz"),
                        (megahertz > 0).then_some(megahertz as f64 * 1e6),
                    ),
            );
        }
        Ok(())
    }
}
