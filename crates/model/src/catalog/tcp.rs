//! Built-in measurements: what the collectors read of TCP.
//!
//! Not how they are read: that is said at the head of each collector's file.

use super::net::FAMILY;
use super::{MeasurementEntry, bytes, count, number};
use crate::Kind;

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[TCP, TCP_STATES];

const TCP: MeasurementEntry = MeasurementEntry {
    name: "tcp",
    kind: Kind::Counter,
    description: "Connections and segments of TCP over IPv4 and IPv6, and what goes wrong with them.",
    tags: &[],
    fields: &[
        number("established", "Connections that are open."),
        count("active_opens", "Connections begun by this host."),
        count("passive_opens", "Connections begun by others."),
        count("failed_attempts", "Connections that could not be opened."),
        count("established_resets", "Open connections that were reset."),
        count("received_segments", "Segments received."),
        count("received_errors", "Segments received with an error."),
        count(
            "checksum_errors",
            "Segments received with a wrong checksum.",
        ),
        count(
            "transmitted_segments",
            "Segments sent, without those sent again.",
        ),
        count(
            "transmitted_resets",
            "Segments sent that reset a connection.",
        ),
        count("retransmitted_segments", "Segments sent again."),
        count(
            "fast_retransmits",
            "Those sent again because acknowledgements showed a hole.",
        ),
        count(
            "slow_start_retransmits",
            "Those sent again while the rate grew from the start.",
        ),
        count("syn_retransmits", "Those that were to open a connection."),
        count(
            "lost_retransmits",
            "Segments that were lost again after they were sent again.",
        ),
        count(
            "retransmit_failures",
            "Segments that could not be sent again.",
        ),
        count(
            "timeouts",
            "Segments whose acknowledgement did not come in time.",
        ),
        count(
            "spurious_timeouts",
            "Those of them that were not needed, as it turned out.",
        ),
        count(
            "loss_probes",
            "Segments sent to find out whether the last one was lost.",
        ),
        count(
            "listen_overflows",
            "Connections dropped because a program did not accept them in time.",
        ),
        count(
            "listen_drops",
            "Connections dropped while they were opened, for any reason.",
        ),
        count(
            "request_queue_full_cookies",
            "SYN cookies sent because the queue of openings was full.",
        ),
        count(
            "request_queue_full_drops",
            "Openings dropped because that queue was full.",
        ),
        count("syncookies_sent", "SYN cookies sent."),
        count("syncookies_received", "SYN cookies that came back."),
        count("syncookies_failed", "SYN cookies that came back wrong."),
        count(
            "embryonic_resets",
            "Connections reset before they were open.",
        ),
        count("time_waits", "Connections that went through `TIME_WAIT`."),
        count(
            "time_wait_overflows",
            "Connections that did not, because there were too many.",
        ),
        count(
            "delayed_acknowledgements",
            "Acknowledgements that were held back for a moment.",
        ),
        count(
            "out_of_order_segments",
            "Segments that came before an earlier one.",
        ),
        count("out_of_order_drops", "Those of them that were dropped."),
        count(
            "out_of_order_pruned",
            "Queues of such segments that were thrown away to free memory.",
        ),
        count(
            "receive_queues_collapsed",
            "Segments merged to free memory.",
        ),
        count(
            "receive_queues_pruned",
            "Receive queues that were thrown away to free memory.",
        ),
        count(
            "receive_queue_drops",
            "Segments dropped because the receive queue was full.",
        ),
        count(
            "backlog_drops",
            "Segments dropped because the socket was busy and its backlog full.",
        ),
        count(
            "zero_window_drops",
            "Segments dropped because the window was closed.",
        ),
        count(
            "memory_pressures",
            "How often the memory of TCP became scarce.",
        ),
        count(
            "aborts_on_data",
            "Connections aborted because data came after the program closed them.",
        ),
        count(
            "aborts_on_close",
            "Connections aborted because a program closed them with data unread.",
        ),
        count(
            "aborts_on_memory",
            "Connections aborted for want of memory.",
        ),
        count(
            "aborts_on_timeout",
            "Connections aborted because the other end did not answer.",
        ),
        count(
            "aborts_on_linger",
            "Connections aborted because closing took too long.",
        ),
        count(
            "abort_failures",
            "Connections that could not even be aborted properly.",
        ),
        count(
            "paws_rejects",
            "Segments of open connections dropped because of an old time stamp.",
        ),
        count(
            "challenge_acknowledgements",
            "Answers to segments that may be forged.",
        ),
        count(
            "keepalives",
            "Segments sent to see whether the other end is there.",
        ),
    ],
};

const TCP_STATES: MeasurementEntry = MeasurementEntry {
    name: "tcp_states",
    kind: Kind::Gauge,
    description: "Sockets of TCP by state, and the bytes in their queues.",
    tags: &[FAMILY],
    fields: &[
        number("established", "Open connections."),
        number("syn_sent", "Being opened by this host."),
        number("syn_received", "Being opened by the other end."),
        number("fin_wait1", "Closed here, not acknowledged."),
        number("fin_wait2", "Closed here, the other end is still open."),
        number(
            "time_wait",
            "Closed, and kept for a while for late segments.",
        ),
        number("close", "Not connected."),
        number(
            "close_wait",
            "Closed by the other end; the program here has not closed it.",
        ),
        number(
            "last_ack",
            "Closed by both, waiting for the acknowledgement.",
        ),
        number("listen", "Listening."),
        number("closing", "Closed by both at the same time."),
        bytes(
            "receive_queue_bytes",
            "Received, and not yet read by programs.",
        ),
        bytes(
            "transmit_queue_bytes",
            "Written by programs, and not yet acknowledged.",
        ),
        number(
            "accept_queue",
            "Open connections that programs have not accepted yet.",
        ),
    ],
};
