//! `time`: whether the host's clock is kept right, how far it is off, and what it counts with.
//!
//! Not a question to a time server, and not the offset that a daemon without the kernel's help
//! (chrony without `rtcsync`) measures. Sources: adjtimex(2), see [`kernel_clock`]; the clock
//! source in `<sys>/devices/system/clocksource`.

mod kernel_clock;

pub use kernel_clock::KernelClock;

use super::{CollectError, Collector, CollectorEntry, SourceFile, rounded};
use crate::roots::HostRoots;
use std::io;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "time",
    description: "Whether the clock is kept right, its offset and frequency, and its source.",
    new: |context| Box::new(Time::new(&context.roots)),
    default_on: true,
    measurements: &["time"],
};

/// What asks for the state of the kernel's clock.
pub type AskClock = fn() -> io::Result<KernelClock>;

/// The collector `time`.
#[derive(Debug)]
pub struct Time {
    source: SourceFile,
    ask: AskClock,
}

impl Time {
    /// One that asks the system.
    #[must_use]
    pub fn new(roots: &HostRoots) -> Self {
        Self::asking(roots, kernel_clock::ask)
    }

    /// One that asks `ask` instead of the system.
    #[must_use]
    pub fn asking(roots: &HostRoots, ask: AskClock) -> Self {
        let file = "devices/system/clocksource/clocksource0/current_clocksource";
        Self {
            source: SourceFile::new(roots.sys.join(file)),
            ask,
        }
    }
}

impl Collector for Time {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let source = self.source.read_text()?.first_line()?.trim().to_owned();
        let time_us = clock.now_us();
        let told = (self.ask)()
            .map_err(|error| CollectError::from_io(std::path::Path::new("adjtimex(2)"), error))?;
        points.push(
            Point::new(name!("time"), time_us)
                .field(name!("synchronized"), told.synchronized)
                .field(name!("offset_seconds"), told.offset_ns as f64 / 1e9)
                .field(
                    name!("frequency_ppm"),
                    rounded(told.frequency as f64 / 65_536.0, 4),
                )
                .field(name!("max_error_seconds"), told.max_error_us as f64 / 1e6)
                .field(
                    name!("estimated_error_seconds"),
                    told.estimated_error_us as f64 / 1e6,
                )
                .field(
                    name!("tai_offset_seconds"),
                    f64::from(told.tai_offset_seconds),
                )
                .field(name!("clock_source"), source),
        );
        Ok(())
    }
}
