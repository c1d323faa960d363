//! `ip`: packets of IPv4 and IPv6 that were received, sent, forwarded, dropped, fragmented.
//!
//! Not by interface. Sources, of the measured namespace: the group `Ip` of `net/snmp`, `IpExt` of
//! `net/netstat`, the lines `Ip6` of `net/snmp6`, proc_pid_net(5); the latter are missing where
//! IPv6 is switched off. What one of the two does not count is absent from its point.

use super::keyed::{Group, Listed, Table};
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
    snmp: (SourceFile, Group),
    netstat: (SourceFile, Group),
    snmp6: (SourceFile, Listed),
}

impl Ip {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| {
            let path = roots.proc_of_namespace(path);
            context.sources.file(path).of_one_record()
        };
        Self {
            snmp: (file("net/snmp"), Group::new(&FIELDS, "Ip")),
            netstat: (file("net/netstat"), Group::new(&FIELDS, "IpExt")),
            snmp6: (file("net/snmp6"), Listed::new(&FIELDS, "Ip6")),
        }
    }
}

impl Collector for Ip {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let (file, ip) = &mut self.snmp;
        let snmp = file.read_text()?;
        let mut point = Point::new(name!("ip"), clock.now_us())
            .with_room(FIELDS.0.len())
            .tag(name!("family"), "ipv4")
            .field_if(name!("forwarding"), forwarding(snmp));
        if !ip.set(snmp, &mut point)? {
            return Err(snmp.error(0, "there is no group `Ip`"));
        }
        let (file, extended) = &mut self.netstat;
        if let Some(netstat) = file.read_text_if_there()? {
            extended.set(netstat, &mut point)?;
        }
        points.push(point);
        let (file, ip6) = &mut self.snmp6;
        if let Some(snmp6) = file.read_text_if_there()? {
            let mut point = Point::new(name!("ip"), clock.now_us())
                .with_room(FIELDS.0.len())
                .tag(name!("family"), "ipv6");
            if ip6.set(snmp6, &mut point)? {
                points.push(point);
            }
        }
        Ok(())
    }
}

/// The first number of the group `Ip` is 1 when packets are forwarded, and 2 when not.
fn forwarding(snmp: SourceText<'_>) -> Option<bool> {
    let mut first_words = snmp
        .lines()
        .filter_map(|(_, text)| text.strip_prefix("Ip: ")?.split_ascii_whitespace().next());
    match (first_words.next()?, first_words.next()?) {
        ("Forwarding", "1") => Some(true),
        ("Forwarding", "2") => Some(false),
        _ => None,
    }
}
