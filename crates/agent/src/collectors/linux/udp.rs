//! `udp`: datagrams of UDP over IPv4 and IPv6, and what goes wrong with them.
//!
//! Not UDP-Lite, which nobody uses and newer kernels do not have. Sources: the group `Udp` of
//! `net/snmp` and the lines `Udp6` of `net/snmp6` of the measured namespace, proc_pid_net(5); the
//! latter are missing where IPv6 is switched off.

use super::keyed::{Protocol, Table};
use super::{CollectError, Collector, CollectorEntry};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "udp",
    description: "Datagrams of UDP over IPv4 and IPv6, and what goes wrong with them.",
    new: |context| Box::new(Udp(Protocol::new(context, &FIELDS, ("Udp", "Udp6")))),
    default_on: true,
    measurements: &["udp"],
};

static FIELDS: Table = Table(&[
    ("IgnoredMulti", name!("ignored_multicasts")),
    ("InCsumErrors", name!("checksum_errors")),
    ("InDatagrams", name!("received_datagrams")),
    ("InErrors", name!("received_errors")),
    ("MemErrors", name!("memory_errors")),
    ("NoPorts", name!("no_port_datagrams")),
    ("OutDatagrams", name!("transmitted_datagrams")),
    ("RcvbufErrors", name!("receive_buffer_errors")),
    ("SndbufErrors", name!("transmit_buffer_errors")),
]);
const _: () = FIELDS.assert_sorted();

struct Udp(Protocol);

impl Collector for Udp {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        self.0.collect(&name!("udp"), clock, points)
    }
}
