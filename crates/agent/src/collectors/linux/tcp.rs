//! `tcp`: connections and segments of TCP, and what goes wrong with them.
//!
//! Not single connections, and not their states (`tcp_states`). The kernel counts IPv4 and IPv6
//! together. Sources: the group `Tcp` of `net/snmp` and `TcpExt` of `net/netstat`,
//! proc_pid_net(5) and the kernel's `Documentation/networking/snmp_counter.rst`, of the measured
//! namespace; older kernels have fewer.

use super::keyed::{Group, Table};
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "tcp",
    description: "Connections and segments of TCP, retransmissions, overflows, aborts.",
    new: |context| Box::new(Tcp::new(context)),
    default_on: true,
    measurements: &["tcp"],
};

static SNMP: Table = Table(&[
    ("ActiveOpens", name!("active_opens")),
    ("AttemptFails", name!("failed_attempts")),
    ("CurrEstab", name!("established")),
    ("EstabResets", name!("established_resets")),
    ("InCsumErrors", name!("checksum_errors")),
    ("InErrs", name!("received_errors")),
    ("InSegs", name!("received_segments")),
    ("OutRsts", name!("transmitted_resets")),
    ("OutSegs", name!("transmitted_segments")),
    ("PassiveOpens", name!("passive_opens")),
    ("RetransSegs", name!("retransmitted_segments")),
]);
const _: () = SNMP.assert_sorted();

static NETSTAT: Table = Table(&[
    ("DelayedACKs", name!("delayed_acknowledgements")),
    ("EmbryonicRsts", name!("embryonic_resets")),
    ("ListenDrops", name!("listen_drops")),
    ("ListenOverflows", name!("listen_overflows")),
    ("OfoPruned", name!("out_of_order_pruned")),
    ("PAWSEstab", name!("paws_rejects")),
    ("RcvPruned", name!("receive_queues_pruned")),
    ("SyncookiesFailed", name!("syncookies_failed")),
    ("SyncookiesRecv", name!("syncookies_received")),
    ("SyncookiesSent", name!("syncookies_sent")),
    ("TCPAbortFailed", name!("abort_failures")),
    ("TCPAbortOnClose", name!("aborts_on_close")),
    ("TCPAbortOnData", name!("aborts_on_data")),
    ("TCPAbortOnLinger", name!("aborts_on_linger")),
    ("TCPAbortOnMemory", name!("aborts_on_memory")),
    ("TCPAbortOnTimeout", name!("aborts_on_timeout")),
    ("TCPBacklogDrop", name!("backlog_drops")),
    ("TCPChallengeACK", name!("challenge_acknowledgements")),
    ("TCPFastRetrans", name!("fast_retransmits")),
    ("TCPKeepAlive", name!("keepalives")),
    ("TCPLossProbes", name!("loss_probes")),
    ("TCPLostRetransmit", name!("lost_retransmits")),
    ("TCPMemoryPressures", name!("memory_pressures")),
    ("TCPOFODrop", name!("out_of_order_drops")),
    ("TCPOFOQueue", name!("out_of_order_segments")),
    ("TCPRcvCollapsed", name!("receive_queues_collapsed")),
    ("TCPRcvQDrop", name!("receive_queue_drops")),
    ("TCPReqQFullDoCookies", name!("request_queue_full_cookies")),
    ("TCPReqQFullDrop", name!("request_queue_full_drops")),
    ("TCPRetransFail", name!("retransmit_failures")),
    ("TCPSlowStartRetrans", name!("slow_start_retransmits")),
    ("TCPSpuriousRTOs", name!("spurious_timeouts")),
    ("TCPSynRetrans", name!("syn_retransmits")),
    ("TCPTimeWaitOverflow", name!("time_wait_overflows")),
    ("TCPTimeouts", name!("timeouts")),
    ("TCPZeroWindowDrop", name!("zero_window_drops")),
    ("TW", name!("time_waits")),
]);
const _: () = NETSTAT.assert_sorted();

struct Tcp {
    snmp: (SourceFile, Group),
    netstat: (SourceFile, Group),
}

impl Tcp {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| {
            let path = roots.proc_of_namespace(path);
            context.sources.file(path).of_one_record()
        };
        Self {
            snmp: (file("net/snmp"), Group::new(&SNMP, "Tcp")),
            netstat: (file("net/netstat"), Group::new(&NETSTAT, "TcpExt")),
        }
    }
}

impl Collector for Tcp {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let (file, tcp) = &mut self.snmp;
        let snmp = file.read_text()?;
        let mut point =
            Point::new(name!("tcp"), clock.now_us()).with_room(SNMP.0.len() + NETSTAT.0.len());
        if !tcp.set(snmp, &mut point)? {
            return Err(snmp.error(0, "there is no group `Tcp`"));
        }
        let (file, extended) = &mut self.netstat;
        if let Some(netstat) = file.read_text_if_there()? {
            extended.set(netstat, &mut point)?;
        }
        points.push(point);
        Ok(())
    }
}
