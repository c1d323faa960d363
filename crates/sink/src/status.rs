//! What the sink tells of itself: a report for `/healthz` and status lines, numbers for `/metrics`.

use crate::assemble::Tally;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegauge_model::Clock;
use tidegauge_store::StoreError;

/// The sink as others see it.
#[derive(Debug, Default)]
pub struct SinkStatus(Mutex<StatusReport>);

/// A copy of the status.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// Committed steps.
    pub steps: u64,
    /// Rows that were stored.
    pub rows: u64,
    /// Dead letters that were stored.
    pub dead_letters: u64,
    /// Points that came again and were not stored twice.
    pub duplicates: u64,
    /// When the last step was committed, microseconds since 1970 UTC.
    pub committed_us: Option<i64>,
    /// The youngest sample that was stored, microseconds since 1970 UTC.
    pub newest_us: Option<i64>,
    /// Partitions that are ours.
    pub partitions: usize,
    /// An outage that lasts: since when (microseconds since 1970 UTC), and why.
    pub outage: Option<(i64, String)>,
    /// When the source last had nothing that waits, microseconds since 1970 UTC.
    pub caught_up_us: Option<i64>,
    /// Messages that are still to be applied of those that `until_end` waits for.
    pub remaining: Option<u64>,
}

impl SinkStatus {
    /// A copy of the report.
    #[must_use]
    pub fn report(&self) -> StatusReport {
        self.lock().clone()
    }

    /// Notes that the store is away, and says so when it was not known yet (D8).
    pub fn store_is_away(&self, clock: &dyn Clock, doing: &'static str, error: &StoreError) {
        let text = chain(error);
        counter!("tidegauge_sink_retries_total", "doing" => doing).increment(1);
        let mut report = self.lock();
        let since_us = match &report.outage {
            None => {
                tracing::warn!(doing, error = %text, "the store is away, keeping everything and trying again");
                clock.now_us()
            }
            Some((since_us, _)) => {
                tracing::debug!(doing, error = %text, "the store is still away");
                *since_us
            }
        };
        report.outage = Some((since_us, text));
    }

    /// Notes that the store answers, and says so when it was away.
    pub fn store_is_back(&self, clock: &dyn Clock) {
        if let Some((since_us, _)) = self.lock().outage.take() {
            let seconds = (clock.now_us() - since_us) / 1_000_000;
            tracing::info!(seconds, "the store is back");
        }
    }

    pub(crate) fn partitions(&self, partitions: usize) {
        self.lock().partitions = partitions;
        gauge!("tidegauge_sink_partitions").set(partitions as f64);
    }

    pub(crate) fn caught_up(&self, now_us: i64) {
        self.lock().caught_up_us = Some(now_us);
    }

    pub(crate) fn remaining(&self, remaining: u64) {
        self.lock().remaining = Some(remaining);
    }

    pub(crate) fn committed(&self, now_us: i64, rows: u64, duplicates: u64, tally: &Tally) {
        let dead_letters: u64 = tally.dead_letters.values().sum();
        let mut report = self.lock();
        report.steps += 1;
        report.rows += rows;
        report.dead_letters += dead_letters;
        report.duplicates += duplicates + tally.repeated_points;
        report.committed_us = Some(now_us);
        report.newest_us = report.newest_us.max(tally.newest_us);
        drop(report);
        counter!("tidegauge_sink_steps_total").increment(1);
        counter!("tidegauge_sink_rows_total").increment(rows);
        counter!("tidegauge_sink_values_total").increment(tally.values);
        counter!("tidegauge_sink_messages_total").increment(tally.messages);
        counter!("tidegauge_sink_bytes_total").increment(tally.bytes);
        counter!("tidegauge_sink_left_out_values_total").increment(tally.left_out);
        counter!("tidegauge_sink_conflicts_total").increment(tally.conflicts);
        counter!("tidegauge_sink_duplicate_batches_total").increment(tally.repeated_batches);
        counter!("tidegauge_sink_duplicate_points_total")
            .increment(duplicates + tally.repeated_points);
        for (reason, count) in &tally.dead_letters {
            counter!("tidegauge_sink_dead_letters_total", "reason" => reason.as_str())
                .increment(*count);
        }
        if let Some(newest_us) = tally.newest_us {
            let age_seconds = (now_us - newest_us) as f64 / 1e6;
            gauge!("tidegauge_sink_newest_sample_age_seconds").set(age_seconds);
        }
    }

    fn lock(&self) -> MutexGuard<'_, StatusReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn phase_took(phase: &'static str, took: Duration) {
    histogram!("tidegauge_sink_phase_seconds", "phase" => phase).record(took.as_secs_f64());
}

pub(crate) fn fenced() {
    counter!("tidegauge_sink_fenced_steps_total").increment(1);
}

/// An error with its causes on one line, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Tells the recorder what the sink's numbers mean; call it once.
pub fn describe_metrics() {
    describe_counter!("tidegauge_sink_steps_total", "Committed steps");
    describe_counter!("tidegauge_sink_rows_total", "Rows that were stored");
    describe_counter!("tidegauge_sink_values_total", "Values in accepted points");
    describe_counter!(
        "tidegauge_sink_messages_total",
        "Messages that were applied"
    );
    describe_counter!(
        "tidegauge_sink_bytes_total",
        "Bytes of the messages that were applied"
    );
    describe_counter!(
        "tidegauge_sink_left_out_values_total",
        "Values that were not finite"
    );
    describe_counter!(
        "tidegauge_sink_conflicts_total",
        "Batches of a known sequence with younger samples, stored"
    );
    describe_counter!(
        "tidegauge_sink_duplicate_batches_total",
        "Batches that came again"
    );
    describe_counter!(
        "tidegauge_sink_duplicate_points_total",
        "Points that came again and were not stored twice"
    );
    describe_counter!(
        "tidegauge_sink_dead_letters_total",
        "Dead letters by reason"
    );
    describe_counter!(
        "tidegauge_sink_retries_total",
        "Tries that failed by what was done"
    );
    describe_counter!(
        "tidegauge_sink_fenced_steps_total",
        "Steps thrown away because the stored position was another"
    );
    describe_counter!(
        "tidegauge_sink_removed_rows_total",
        "Rows that were older than they are kept; estimated where whole partitions go"
    );
    describe_counter!(
        "tidegauge_sink_removed_dead_letters_total",
        "Dead letters that were too old or too many bytes, by reason and bound"
    );
    describe_counter!(
        "tidegauge_sink_settled_partitions_total",
        "Partitions that were settled"
    );
    describe_counter!(
        "tidegauge_sink_settled_duplicates_total",
        "Repeated rows that settling left out"
    );
    describe_gauge!(
        "tidegauge_sink_partitions",
        "Partitions that are this sink's"
    );
    describe_gauge!(
        "tidegauge_sink_newest_sample_age_seconds",
        "Age of the youngest sample of the last step when it was committed"
    );
    describe_histogram!(
        "tidegauge_sink_phase_seconds",
        "Seconds that a step's phase took"
    );
}
