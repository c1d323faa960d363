//! Built-in measurements: what the collectors read of the network's protocols.
//!
//! Interfaces are in `host`, TCP is in `tcp`. Not how they are read: that is said at the head of each collector's
//! file.

use super::{MeasurementEntry, TagEntry, bytes, count, counter, number, percent, tag, truth};
use crate::Kind;

pub(super) const MEASUREMENTS: &[MeasurementEntry] =
    &[ARP, CONNTRACK, ICMP, IP, SOCKETS, SOFTNET, UDP];

pub(super) const FAMILY: TagEntry = tag("family", "`ipv4` or `ipv6`.");

const ARP: MeasurementEntry = MeasurementEntry {
    name: "arp",
    kind: Kind::Gauge,
    description: "Neighbours that IPv4 knows on each interface.",
    tags: &[tag("interface", "The name of the interface.")],
    fields: &[
        number("entries", "Neighbours in the table."),
        number(
            "incomplete_entries",
            "Those of them that have not answered.",
        ),
    ],
};

const CONNTRACK: MeasurementEntry = MeasurementEntry {
    name: "conntrack",
    kind: Kind::Gauge,
    description: "Connections that the firewall keeps track of.",
    tags: &[],
    fields: &[
        number("entries", "Connections in the table."),
        number(
            "entries_max",
            "How many the table can hold; then new ones are dropped.",
        ),
        percent("used_percent", "How full the table is."),
        count("found", "Packets whose connection was found."),
        count(
            "invalid",
            "Packets that belong to no connection and cannot begin one.",
        ),
        count("inserts", "Connections put into the table."),
        count(
            "insert_failures",
            "Connections that were there already when they were to be put in.",
        ),
        count("drops", "Packets dropped because tracking failed."),
        count(
            "early_drops",
            "Connections thrown out early because the table was full.",
        ),
        count("icmp_errors", "Messages of ICMP that could not be tracked."),
        count(
            "search_restarts",
            "Searches begun again because the table was changed.",
        ),
        count(
            "clashes_resolved",
            "Connections that two packets began at once, merged.",
        ),
        count(
            "chain_overflows",
            "Connections dropped because their chain was too long.",
        ),
    ],
};

const ICMP: MeasurementEntry = MeasurementEntry {
    name: "icmp",
    kind: Kind::Counter,
    description: "Messages of ICMP and ICMPv6 by kind.",
    tags: &[FAMILY],
    fields: &[
        count("received_messages", "Messages received."),
        count("received_errors", "Messages received with an error."),
        count(
            "checksum_errors",
            "Messages received with a wrong checksum.",
        ),
        count(
            "received_unreachables",
            "Received: the destination cannot be reached.",
        ),
        count(
            "received_time_exceeded",
            "Received: a packet took too many hops or too long.",
        ),
        count(
            "received_parameter_problems",
            "Received: a packet's header was wrong.",
        ),
        count(
            "received_too_bigs",
            "Received: a packet was too big (ICMPv6).",
        ),
        count("received_redirects", "Received: there is a better route."),
        count("received_echos", "Pings received."),
        count("received_echo_replies", "Answers to pings received."),
        count(
            "received_router_advertisements",
            "Routers that made themselves known (ICMPv6).",
        ),
        count(
            "received_neighbor_solicitations",
            "Questions for an address received (ICMPv6).",
        ),
        count(
            "received_neighbor_advertisements",
            "Answers to them received (ICMPv6).",
        ),
        count("transmitted_messages", "Messages sent."),
        count("transmitted_errors", "Messages that could not be sent."),
        count(
            "transmitted_unreachables",
            "Sent: the destination cannot be reached.",
        ),
        count(
            "transmitted_time_exceeded",
            "Sent: a packet took too many hops or too long.",
        ),
        count(
            "transmitted_parameter_problems",
            "Sent: a packet's header was wrong.",
        ),
        count(
            "transmitted_too_bigs",
            "Sent: a packet was too big (ICMPv6).",
        ),
        count("transmitted_redirects", "Sent: there is a better route."),
        count("transmitted_echos", "Pings sent."),
        count("transmitted_echo_replies", "Answers to pings sent."),
        count(
            "transmitted_router_solicitations",
            "Questions for routers sent (ICMPv6).",
        ),
        count(
            "transmitted_neighbor_solicitations",
            "Questions for an address sent (ICMPv6).",
        ),
        count(
            "transmitted_neighbor_advertisements",
            "Answers to them sent (ICMPv6).",
        ),
        count(
            "rate_limited_host",
            "Messages not sent because one host got too many.",
        ),
        count(
            "rate_limited_global",
            "Messages not sent because there were too many.",
        ),
    ],
};

const IP: MeasurementEntry = MeasurementEntry {
    name: "ip",
    kind: Kind::Counter,
    description: "Packets of IPv4 and IPv6: received, sent, forwarded, dropped, fragmented.",
    tags: &[FAMILY],
    fields: &[
        truth(
            "forwarding",
            "Whether packets of others are forwarded (IPv4).",
        ),
        count(
            "received_packets",
            "Packets received, those with errors too.",
        ),
        counter("received_bytes", "bytes", "Bytes received."),
        count(
            "received_delivered",
            "Packets handed to a protocol of this host.",
        ),
        count(
            "received_header_errors",
            "Packets dropped because of their header.",
        ),
        count(
            "received_address_errors",
            "Packets dropped because of their destination.",
        ),
        count(
            "received_no_routes",
            "Packets dropped because there was no route.",
        ),
        count(
            "received_unknown_protocols",
            "Packets of a protocol that nobody here speaks.",
        ),
        count(
            "received_too_bigs",
            "Packets too big to be forwarded (IPv6).",
        ),
        count(
            "received_truncated",
            "Packets that were shorter than they said.",
        ),
        count(
            "received_discards",
            "Packets dropped for want of memory and the like.",
        ),
        count(
            "received_checksum_errors",
            "Packets with a wrong checksum (IPv4).",
        ),
        count("received_multicast_packets", "Multicast packets received."),
        counter("received_multicast_bytes", "bytes", "Bytes of them."),
        count("received_broadcast_packets", "Broadcast packets received."),
        counter("received_broadcast_bytes", "bytes", "Bytes of them."),
        count(
            "received_congestion_marks",
            "Packets marked by a congested router.",
        ),
        count("forwarded_packets", "Packets forwarded."),
        count(
            "transmitted_packets",
            "Packets that protocols of this host wanted to send.",
        ),
        counter("transmitted_bytes", "bytes", "Bytes sent."),
        count(
            "transmitted_discards",
            "Packets dropped instead of being sent.",
        ),
        count(
            "transmitted_no_routes",
            "Packets not sent because there was no route.",
        ),
        count("transmitted_multicast_packets", "Multicast packets sent."),
        counter("transmitted_multicast_bytes", "bytes", "Bytes of them."),
        count("transmitted_broadcast_packets", "Broadcast packets sent."),
        counter("transmitted_broadcast_bytes", "bytes", "Bytes of them."),
        count("fragments_received", "Fragments received."),
        count(
            "reassembled_packets",
            "Packets put together from fragments.",
        ),
        count(
            "reassembly_failures",
            "Fragments that could not be put together.",
        ),
        count(
            "reassembly_timeouts",
            "Packets of which a fragment did not come in time.",
        ),
        count(
            "reassembly_overlaps",
            "Fragments that overlap another (IPv4).",
        ),
        count("fragmented_packets", "Packets cut into fragments."),
        count("fragmentation_failures", "Packets that could not be cut."),
        count("fragments_created", "Fragments made."),
    ],
};

const SOCKETS: MeasurementEntry = MeasurementEntry {
    name: "sockets",
    kind: Kind::Gauge,
    description: "Sockets in use by protocol, and the memory that they take.",
    tags: &[],
    fields: &[
        number("used", "Sockets of all kinds."),
        number(
            "tcp_in_use",
            "Sockets of TCP over IPv4, without those in `TIME_WAIT`.",
        ),
        number(
            "tcp_orphans",
            "Sockets of TCP that no program has any more.",
        ),
        number("tcp_time_wait", "Connections in `TIME_WAIT`."),
        number("tcp_allocated", "Sockets of TCP in any state."),
        bytes("tcp_memory_bytes", "Memory of the buffers of TCP."),
        number("udp_in_use", "Sockets of UDP over IPv4."),
        bytes("udp_memory_bytes", "Memory of the buffers of UDP."),
        number("udplite_in_use", "Sockets of UDP-Lite over IPv4."),
        number("raw_in_use", "Raw sockets of IPv4."),
        number(
            "fragments_in_use",
            "Packets of IPv4 that wait for fragments.",
        ),
        bytes("fragments_memory_bytes", "Memory of their fragments."),
        number("tcp6_in_use", "Sockets of TCP over IPv6."),
        number("udp6_in_use", "Sockets of UDP over IPv6."),
        number("udplite6_in_use", "Sockets of UDP-Lite over IPv6."),
        number("raw6_in_use", "Raw sockets of IPv6."),
        number(
            "fragments6_in_use",
            "Packets of IPv6 that wait for fragments.",
        ),
        bytes("fragments6_memory_bytes", "Memory of their fragments."),
    ],
};

const SOFTNET: MeasurementEntry = MeasurementEntry {
    name: "softnet",
    kind: Kind::Counter,
    description: "How each core keeps up with received packets.",
    tags: &[tag(
        "cpu",
        "`total` for all cores together, or the core's number.",
    )],
    fields: &[
        count("processed_packets", "Packets processed."),
        count(
            "dropped_packets",
            "Packets dropped because the core's queue was full.",
        ),
        count(
            "squeezes",
            "How often work was left for later because its time was up.",
        ),
        count(
            "steered_packets",
            "How often another core handed packets over (RPS).",
        ),
        count(
            "flow_limited_packets",
            "Packets dropped because one flow sent too many.",
        ),
        number("backlog_packets", "Packets that wait in the core's queue."),
    ],
};

const UDP: MeasurementEntry = MeasurementEntry {
    name: "udp",
    kind: Kind::Counter,
    description: "Datagrams of UDP, and what goes wrong with them.",
    tags: &[FAMILY],
    fields: &[
        count("received_datagrams", "Datagrams received by programs."),
        count(
            "received_errors",
            "Datagrams that could not be received, for any of the reasons below.",
        ),
        count(
            "no_port_datagrams",
            "Datagrams to a port where nobody listens.",
        ),
        count(
            "receive_buffer_errors",
            "Datagrams dropped because the receive buffer was full.",
        ),
        count("checksum_errors", "Datagrams with a wrong checksum."),
        count("memory_errors", "Datagrams dropped for want of memory."),
        count(
            "ignored_multicasts",
            "Multicast datagrams that nobody here wants.",
        ),
        count("transmitted_datagrams", "Datagrams sent."),
        count(
            "transmit_buffer_errors",
            "Datagrams not sent because the send buffer was full.",
        ),
    ],
};
