//! `ip`: packets of IPv4 and IPv6 that were received, sent, forwarded, dropped, fragmented.
//!
//! Not by interface. Sources, of the measured namespace: the group `Ip` of `net/snmp`, `IpExt` of
//! `net/netstat`, the lines `Ip6` of `net/snmp6`, proc_pid_net(5); the latter are missing where
//! IPv6 is switched off. What one of the two does not count is absent from its point.

use super::keyed::Table;
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "ip",
    description: "Packets of IPv4 and IPv6: received, sent, forwarded, dropped, fragmented.",
    new: |context| Box::new(Ip::new(context)),
    default_on: true,
    measurements: &["ip"],
};

/// `IpExt` and `Ip6` have what `Ip` lacks under names that they share.
static FIELDS: Table = Table(&[
    ("ForwDatagrams", name!("forwarded_packets")),
    ("FragCreates", name!("fragments_created")),
    ("FragFails", name!("fragmentation_failures")),
    ("FragOKs", name!("fragmented_packets")),
    ("InAddrErrors", name!("received_address_errors")),
    ("InBcastOctets", name!("received_broadcast_bytes")),
    ("InBcastPkts", name!("received_broadcast_packets")),
    ("InCEPkts", name!("received_congestion_marks")),
    ("InCsumErrors", name!("received_checksum_errors")),
    ("InDelivers", name!("received_delivered")),
    ("InDiscards", name!("received_discards")),
    ("InHdrErrors", name!("received_header_errors")),
    ("InMcastOctets", name!("received_multicast_bytes")),
    ("InMcastPkts", name!("received_multicast_packets")),
    ("InNoRoutes", name!("received_no_routes")),
    ("InOctets", name!("received_bytes")),
    ("InReceives", name!("received_packets")),
    ("InTooBigErrors", name!("received_too_bigs")),
    ("InTruncatedPkts", name!("received_truncated")),
    ("InUnknownProtos", name!("received_unknown_protocols")),
    ("OutBcastOctets", name!("transmitted_broadcast_bytes")),
    ("OutBcastPkts", name!("transmitted_broadcast_packets")),
    ("OutDiscards", name!("transmitted_discards")),
    ("OutForwDatagrams", name!("forwarded_packets")),
    ("OutMcastOctets", name!("transmitted_multicast_bytes")),
    ("OutMcastPkts", name!("transmitted_multicast_packets")),
    ("OutNoRoutes", name!("transmitted_no_routes")),
    ("OutOctets", name!("transmitted_bytes")),
    ("OutRequests", name!("transmitted_packets")),
    ("ReasmFails", name!("reassembly_failures")),
    ("ReasmOKs", name!("reassembled_packets")),
    ("ReasmOverlaps", name!("reassembly_overlaps")),
    ("ReasmReqds", name!("fragments_received")),
    ("ReasmTimeout", name!("reassembly_timeouts")),
]);
const _: () = FIELDS.assert_sorted();

struct Ip {
    snmp: SourceFile,
    netstat: SourceFile,
    snmp6: SourceFile,
}

impl Ip {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            snmp: file(roots.proc_of_namespace("net/snmp")),
            netstat: file(roots.proc_of_namespace("net/netstat")),
            snmp6: file(roots.proc_of_namespace("net/snmp6")),
        }
    }
}

impl Collector for Ip {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let snmp = self.snmp.read_text()?;
        let mut point = Point::new(name!("ip"), clock.now_us())
            .tag(name!("family"), "ipv4")
            .field_if(name!("forwarding"), forwarding(snmp));
        if !FIELDS.set_group(snmp, "Ip", &mut point)? {
            return Err(snmp.error(0, "there is no group `Ip`"));
        }
        if let Some(netstat) = self.netstat.read_text_if_there()? {
            FIELDS.set_group(netstat, "IpExt", &mut point)?;
        }
        points.push(point);
        if let Some(snmp6) = self.snmp6.read_text_if_there()? {
            let mut point = Point::new(name!("ip"), clock.now_us()).tag(name!("family"), "ipv6");
            if FIELDS.set_lines(snmp6, "Ip6", &mut point)? {
                points.push(point);
            }
        }
        Ok(())
    }
}

/// The first number of the group `Ip` is 1 when packets are forwarded, and 2 when not.
fn forwarding(snmp: SourceText<'_>) -> Option<bool> {
    let mut lines = snmp
        .lines()
        .filter_map(|(_, text)| text.strip_prefix("Ip: "));
    let first = |line: &'_ str| line.split_ascii_whitespace().next().map(str::to_owned);
    match (
        first(lines.next()?)?.as_str(),
        first(lines.next()?)?.as_str(),
    ) {
        ("Forwarding", "1") => Some(true),
        ("Forwarding", "2") => Some(false),
        _ => None,
    }
}
