//! `udp`: datagrams of UDP over IPv4 and IPv6, and what goes wrong with them.
//!
//! Not UDP-Lite, which nobody uses and newer kernels do not have. Sources: the group `Udp` of
//! `net/snmp` and the lines `Udp6` of `net/snmp6` of the measured namespace, proc_pid_net(5); the
//! latter are missing where IPv6 is switched off.

use super::keyed::Table;
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "udp",
    description: "Datagrams of UDP over IPv4 and IPv6, and what goes wrong with them.",
    new: |context| Box::new(Udp::new(context)),
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

struct Udp {
    v4: SourceFile,
    v6: SourceFile,
}

impl Udp {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            v4: file(roots.proc_of_namespace("net/snmp")),
            v6: file(roots.proc_of_namespace("net/snmp6")),
        }
    }
}

impl Collector for Udp {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let v4 = self.v4.read_text()?;
        let mut point = Point::new(name!("udp"), clock.now_us()).tag(name!("family"), "ipv4");
        if !FIELDS.set_group(v4, "Udp", &mut point)? {
            return Err(v4.error(0, "there is no group `Udp`"));
        }
        points.push(point);
        if let Some(v6) = self.v6.read_text_if_there()? {
            let mut point = Point::new(name!("udp"), clock.now_us()).tag(name!("family"), "ipv6");
            if FIELDS.set_lines(v6, "Udp6", &mut point)? {
                points.push(point);
            }
        }
        Ok(())
    }
}
