//! `icmp`: messages of ICMP and ICMPv6 by kind.
//!
//! Not the pings that checks send. Sources, of the measured namespace: the group `Icmp` of
//! `net/snmp`, the lines `Icmp6` of `net/snmp6`, proc_pid_net(5); the latter are missing where IPv6
//! is switched off. Kinds that hardly anybody sends (time stamps, address masks, multicast groups)
//! are in the numbers of all messages alone.

use super::keyed::{Protocol, Table};
use super::{CollectError, Collector, CollectorEntry};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "icmp",
    description: "Messages of ICMP and ICMPv6 by kind, received and sent.",
    new: |context| Box::new(Icmp(Protocol::new(context, &FIELDS, ("Icmp", "Icmp6")))),
    default_on: true,
    measurements: &["icmp"],
};

/// The names of ICMP, and those of ICMPv6 that differ.
static FIELDS: Table = Table(&[
    ("InCsumErrors", name!("checksum_errors")),
    ("InDestUnreachs", name!("received_unreachables")),
    ("InEchoReplies", name!("received_echo_replies")),
    ("InEchoReps", name!("received_echo_replies")),
    ("InEchos", name!("received_echos")),
    ("InErrors", name!("received_errors")),
    ("InMsgs", name!("received_messages")),
    (
        "InNeighborAdvertisements",
        name!("received_neighbor_advertisements"),
    ),
    (
        "InNeighborSolicits",
        name!("received_neighbor_solicitations"),
    ),
    ("InParmProblems", name!("received_parameter_problems")),
    ("InParmProbs", name!("received_parameter_problems")),
    ("InPktTooBigs", name!("received_too_bigs")),
    ("InRedirects", name!("received_redirects")),
    (
        "InRouterAdvertisements",
        name!("received_router_advertisements"),
    ),
    ("InTimeExcds", name!("received_time_exceeded")),
    ("OutDestUnreachs", name!("transmitted_unreachables")),
    ("OutEchoReplies", name!("transmitted_echo_replies")),
    ("OutEchoReps", name!("transmitted_echo_replies")),
    ("OutEchos", name!("transmitted_echos")),
    ("OutErrors", name!("transmitted_errors")),
    ("OutMsgs", name!("transmitted_messages")),
    (
        "OutNeighborAdvertisements",
        name!("transmitted_neighbor_advertisements"),
    ),
    (
        "OutNeighborSolicits",
        name!("transmitted_neighbor_solicitations"),
    ),
    ("OutParmProblems", name!("transmitted_parameter_problems")),
    ("OutParmProbs", name!("transmitted_parameter_problems")),
    ("OutPktTooBigs", name!("transmitted_too_bigs")),
    ("OutRateLimitGlobal", name!("rate_limited_global")),
    ("OutRateLimitHost", name!("rate_limited_host")),
    ("OutRedirects", name!("transmitted_redirects")),
    (
        "OutRouterSolicits",
        name!("transmitted_router_solicitations"),
    ),
    ("OutTimeExcds", name!("transmitted_time_exceeded")),
]);
const _: () = FIELDS.assert_sorted();

struct Icmp(Protocol);

impl Collector for Icmp {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        self.0.collect(&name!("icmp"), clock, points)
    }
}
