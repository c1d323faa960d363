//! Measurements of the agent itself: whether it keeps up, and what it costs.

use super::{Kind, MeasurementEntry, counter, gauge, tag, text, truth};

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    MeasurementEntry {
        name: "collector",
        kind: Kind::Gauge,
        description: "One run of one collector: each that fails, the first that succeeds, after failures too, and then one a minute.",
        tags: &[tag("collector", "The name of the collector.")],
        fields: &[
            gauge(
                "duration_seconds",
                "seconds",
                "How long the run took; absent while it has not ended.",
            ),
            truth(
                "success",
                "Whether the run ended in time and without an error.",
            ),
            text(
                "reason",
                "Why it did not succeed: `failed`, `deadline`, `busy` or `panicked`; absent when it did.",
            ),
            text(
                "detail",
                "What went wrong, for a person; absent when nothing did.",
            ),
        ],
    },
    MeasurementEntry {
        name: "listener",
        kind: Kind::Gauge,
        description: "What one listener took from applications. Counters begin at the agent's start.",
        tags: &[tag("listener", "The name of the listener.")],
        fields: &[
            counter("accepted_points", "points", "Points that it accepted."),
            counter(
                "refused_points",
                "points",
                "Points, lines or requests that it refused; /metrics has them by reason.",
            ),
            text(
                "reason",
                "Why it refused something last; absent when nothing was refused since the point before.",
            ),
            text("detail", "What was wrong with it, for a person."),
        ],
    },
    MeasurementEntry {
        name: "agent",
        kind: Kind::Gauge,
        description: "The agent that sends the measurements. Counters begin at its start.",
        tags: &[],
        fields: &[
            gauge(
                "spool_batches",
                "batches",
                "Batches that wait in the spool.",
            ),
            gauge("spool_bytes", "bytes", "Bytes that wait in the spool."),
            gauge(
                "spool_oldest_seconds",
                "seconds",
                "Age of the oldest batch in the spool, 0 when it is empty.",
            ),
            counter(
                "missed_ticks",
                "",
                "Collections and checks that were due and not begun.",
            ),
            counter(
                "left_out_values",
                "",
                "Numbers that were left out because they were not finite.",
            ),
            counter(
                "dropped_batches",
                "",
                "Batches that were given up; the ledger says which and why.",
            ),
            counter(
                "cpu_seconds",
                "seconds",
                "Processor time of the agent's process.",
            ),
            gauge(
                "resident_bytes",
                "bytes",
                "Memory of the agent's process that is in RAM.",
            ),
        ],
    },
];
