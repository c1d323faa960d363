//! `systemd`: the state of the system and of its units, and how often services were restarted.
//!
//! Off by default, and only in programs that were built with the feature `systemd`: the client of
//! D-Bus is large. Source: the interface `org.freedesktop.systemd1`, org.freedesktop.systemd1(5),
//! on the system bus of the host, `/run/dbus/system_bus_socket`. It asks, and changes nothing.

#[cfg(feature = "systemd")]
mod bus;

use super::{CollectError, Collector, CollectorContext, CollectorEntry};
#[cfg(feature = "systemd")]
use crate::collectors::settings::SystemdSettings;
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Point};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "systemd",
    description: "The state of systemd and of its units, and how often services were restarted.",
    new: |context| Box::new(Systemd::new(context)),
    default_on: false,
    measurements: &["systemd", "systemd_unit"],
};

struct Systemd {
    socket: PathBuf,
    #[cfg(feature = "systemd")]
    settings: SystemdSettings,
    #[cfg(feature = "systemd")]
    bus: Option<bus::Bus>,
}

impl Systemd {
    fn new(context: &CollectorContext) -> Self {
        let socket = Path::new("/run/dbus/system_bus_socket");
        Self {
            socket: context.roots.on_host(socket),
            #[cfg(feature = "systemd")]
            settings: context.systemd.clone(),
            #[cfg(feature = "systemd")]
            bus: None,
        }
    }

    #[cfg(feature = "systemd")]
    fn ask(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let mut bus = match self.bus.take() {
            Some(bus) => bus,
            None => bus::Bus::connect(&self.socket)?,
        };
        let answer = bus.ask(&self.settings)?;
        answer.add_points(clock.now_us(), points);
        // After an error the connection is made anew.
        self.bus = Some(bus);
        Ok(())
    }

    #[cfg(not(feature = "systemd"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    const fn ask(&mut self, _: &dyn Clock, _: &mut Vec<Point>) -> Result<(), CollectError> {
        Err(CollectError::NotBuilt { feature: "systemd" })
    }
}

impl Collector for Systemd {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        if !self.socket.exists() {
            let path = self.socket.clone();
            return Err(CollectError::Unavailable { path });
        }
        self.ask(clock, points)
    }
}
