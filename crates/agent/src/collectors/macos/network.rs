//! `network`: what each interface received and sent, and the state of its link.
//!
//! Counters since boot, of every interface. An interface of which the library does not know its
//! state has no `up`.

use super::{CollectError, Collector, CollectorEntry, as_tag, kept};
use sysinfo::{InterfaceOperationalState, Networks};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "network",
    description: "Traffic and errors of each network interface, and the state of its link.",
    new: |_| Box::<Network>::default(),
    default_on: true,
    measurements: &["network"],
};

#[derive(Default)]
struct Network {
    interfaces: Option<Networks>,
}

impl Collector for Network {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let interfaces = kept(&mut self.interfaces, Networks::new)?;
        interfaces.refresh(true);
        let time_us = clock.now_us();
        for (interface, data) in &*interfaces {
            let up = match data.operational_state() {
                InterfaceOperationalState::Up => Some(true),
                InterfaceOperationalState::Down | InterfaceOperationalState::LowerLayerDown => {
                    Some(false)
                }
                _ => None,
            };
            let speed = data.transmit_link_speed().map(|bits| bits as f64);
            points.push(
                Point::new(name!("network"), time_us)
                    .tag(
                        name!("interface"),
                        as_tag(interface.to_string_lossy().into_owned()),
                    )
                    .field(name!("received_bytes"), data.total_received())
                    .field(name!("received_packets"), data.total_packets_received())
                    .field(name!("received_errors"), data.total_errors_on_received())
                    .field(name!("transmitted_bytes"), data.total_transmitted())
                    .field(
                        name!("transmitted_packets"),
                        data.total_packets_transmitted(),
                    )
                    .field(
                        name!("transmitted_errors"),
                        data.total_errors_on_transmitted(),
                    )
                    .field(name!("mtu_bytes"), data.mtu())
                    .field_if(name!("up"), up)
                    .field_if(name!("speed_bits_per_second"), speed),
            );
        }
        Ok(())
    }
}
