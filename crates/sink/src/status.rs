//! What the sink tells of itself: a report for `/healthz` and status lines, and the counting of the
//! numbers that [`METRICS`](crate::METRICS) describes.

use crate::assemble::{CacheSizes, Tally};
use crate::{PartitionLag, SourceReport};
use metrics::{counter, gauge, histogram};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegauge_model::{Clock, chain};
use tidegauge_store::{Gap, GapReason, SourceId, StoreError};

/// The sink as others see it.
#[derive(Debug, Default)]
pub struct SinkStatus(Mutex<StatusReport>);

/// A copy of the status.
#[derive(Debug, Default, Clone, PartialEq)]
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
    /// How far behind each partition is.
    pub lags: Vec<PartitionLag>,
    /// Why the source cannot be reached, and since when (microseconds since 1970 UTC).
    pub source_away: Option<(i64, String)>,
    /// Since when something waits and nothing was committed, microseconds since 1970 UTC.
    pub waiting_since_us: Option<i64>,
    /// Positions that were not in the log any more, recorded and gone past.
    pub gaps: u64,
    /// The last of them: when (microseconds since 1970 UTC), and what.
    pub last_gap: Option<(i64, String)>,
}

impl StatusReport {
    /// Messages that wait, of all partitions.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lags.iter().map(|lag| lag.messages).sum()
    }
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
        let reason = error.code().unwrap_or("no_answer").to_owned();
        counter!("tidegauge_sink_retries_total", "doing" => doing, "reason" => reason).increment(1);
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

    /// Something waits to be committed.
    pub(crate) fn has_work(&self, now_us: i64) {
        self.lock().waiting_since_us.get_or_insert(now_us);
    }

    /// What the source says of itself.
    pub(crate) fn source(&self, now_us: i64, told: &SourceReport) {
        let mut report = self.lock();
        for gone in &report.lags {
            if !told.lags.iter().any(|lag| lag.is_of(gone)) {
                set_lag(gone, 0, Some(0.0));
            }
        }
        for lag in &told.lags {
            set_lag(lag, lag.messages, lag.seconds);
        }
        report.lags.clone_from(&told.lags);
        report.source_away = told.away.as_ref().map(|why| {
            let since_us = report.source_away.as_ref().map(|(since_us, _)| *since_us);
            (since_us.unwrap_or(now_us), why.clone())
        });
        if report.lag() > 0 {
            report.waiting_since_us.get_or_insert(now_us);
        } else {
            report.waiting_since_us = None;
        }
        counter!("tidegauge_sink_pauses_total").absolute(told.pauses);
    }

    /// A gap was recorded: says so, and counts it.
    pub(crate) fn gap(&self, now_us: i64, source: &SourceId, partition: i32, gap: &Gap) {
        let (from, to, reason) = (gap.from, gap.to, gap.reason.as_str());
        let what = match gap.reason {
            GapReason::Retention => "were removed from the log before they were read",
            GapReason::Truncated => {
                "were cut off the log after they were read; all of it is read again"
            }
        };
        let text = format!("{source}[{partition}]: offsets {from} to {} {what}", to - 1);
        tracing::warn!(topic = %source, partition, from, to, reason, "messages are lost: {text}");
        counter!("tidegauge_sink_gaps_total", "reason" => reason).increment(1);
        let lost = u64::try_from(to - from).unwrap_or(0);
        counter!("tidegauge_sink_gap_messages_total", "reason" => reason).increment(lost);
        let mut report = self.lock();
        report.gaps += 1;
        report.last_gap = Some((now_us, text));
    }

    pub(crate) fn cached(&self, sizes: CacheSizes) {
        let CacheSizes {
            hosts,
            series,
            ledger,
        } = sizes;
        for (what, entries) in [("hosts", hosts), ("series", series), ("ledger", ledger)] {
            gauge!("tidegauge_sink_cached", "what" => what).set(entries as f64);
        }
    }

    pub(crate) fn committed(&self, now_us: i64, rows: u64, duplicates: u64, tally: &Tally) {
        let dead_letters: u64 = tally.dead_letters.values().sum();
        let mut report = self.lock();
        report.steps += 1;
        report.rows += rows;
        report.dead_letters += dead_letters;
        report.duplicates += duplicates + tally.repeated_points;
        report.committed_us = Some(now_us);
        report.waiting_since_us = None;
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

fn set_lag(of: &PartitionLag, messages: u64, seconds: Option<f64>) {
    let labels = [
        ("topic", of.source.label().to_owned()),
        ("partition", of.partition.to_string()),
    ];
    gauge!("tidegauge_sink_lag_messages", &labels).set(messages as f64);
    if let Some(seconds) = seconds {
        gauge!("tidegauge_sink_lag_seconds", &labels).set(seconds);
    }
}

pub(crate) fn phase_took(phase: &'static str, took: Duration) {
    histogram!("tidegauge_sink_phase_seconds", "phase" => phase).record(took.as_secs_f64());
}

pub(crate) fn fenced() {
    counter!("tidegauge_sink_fenced_steps_total").increment(1);
}
