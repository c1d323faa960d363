//! The sink's numbers in `/metrics`: what they are. Counted per step and per report, never per row.

use tidegauge_model::{Metric, MetricKind};

use Metric as M;

/// All numbers of the sink.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    M::counter("tidegauge_sink_steps_total", &[], "Committed steps."),
    M::counter("tidegauge_sink_rows_total", &[], "Rows that were stored."),
    M::counter("tidegauge_sink_values_total", &[], "Values in accepted points."),
    M::counter("tidegauge_sink_messages_total", &[], "Messages that were applied."),
    M::counter("tidegauge_sink_bytes_total", &[], "Bytes of the messages that were applied, uncompressed."),
    M::histogram("tidegauge_sink_phase_seconds", &["phase"],
        "Seconds of a step's phases. `fetch`: waiting for the source; `pack`: decoding and making rows, beside the `apply` of the step before; `apply`: all of the commit with its retries, and within it `fence` (positions and ledger), `copy` (encoding and sending rows, or waiting for those that are sent ahead) and `commit`; dead letters are in one of these two."),
    M::gauge("tidegauge_sink_partitions", &[], "Partitions that are this sink's."),
    M::gauge("tidegauge_sink_lag_messages", &["topic", "partition"],
        "Offsets between the stored position and the end of the log, as it was known some seconds ago."),
    M::gauge("tidegauge_sink_lag_seconds", &["topic", "partition"],
        "Age of the oldest message that waits, by its own time stamp and as far as it is known; 0 when none does."),
    M::gauge("tidegauge_sink_newest_sample_age_seconds", &[],
        "Age of the youngest sample of the last step when it was committed."),
    M::counter("tidegauge_sink_retries_total", &["doing", "reason"],
        "Tries that the database did not grant, by what was done and the database's own code (`no_answer` where there was none)."),
    M::counter("tidegauge_sink_dead_letters_total", &["reason"],
        "Messages and points that could not be stored, by reason."),
    M::counter("tidegauge_sink_duplicate_batches_total", &[], "Batches that came again and were left out."),
    M::counter("tidegauge_sink_duplicate_points_total", &[], "Points that came again and were not stored twice."),
    M::counter("tidegauge_sink_conflicts_total", &[], "Batches that show that two machines send under one agent id, stored."),
    M::counter("tidegauge_sink_left_out_values_total", &[], "Values that were left out because they were not finite."),
    M::counter("tidegauge_sink_gaps_total", &["reason"],
        "Positions that were not in the log any more, recorded and gone past."),
    M::counter("tidegauge_sink_gap_messages_total", &["reason"], "Offsets in those gaps."),
    M::counter("tidegauge_sink_fenced_steps_total", &[],
        "Steps that were thrown away because another sink was ahead."),
    M::counter("tidegauge_sink_pauses_total", &[],
        "Times that fetching was paused because the sink took nothing for a second."),
    M::gauge("tidegauge_sink_cached", &["what"],
        "Entries kept in memory between steps: `hosts`, `series`, `ledger`."),
    M::counter("tidegauge_sink_settled_partitions_total", &[], "Partitions that were settled."),
    M::counter("tidegauge_sink_settled_duplicates_total", &[], "Repeated rows that settling left out."),
    M::counter("tidegauge_sink_removed_dead_letters_total", &["reason", "bound"],
        "Dead letters that were too old or too many bytes, by reason and bound."),
    M::counter("tidegauge_sink_removed_rows_total", &[],
        "Rows that were older than they are kept; estimated where whole partitions go."),
];

/// Tells the recorder what the numbers mean; call it once.
pub fn describe_metrics() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}
