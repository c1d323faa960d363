//! Upkeep of the store beside the steps: settling, retention and the bounds of the dead letters, over a connection of its own, so
//! that a long sort stalls no step.
//!
//! Every sink has one; the store lets one program at a time do it. Settling waits until the sink
//! has caught up with its source. An error is logged and the work is tried again at the next turn:
//! nothing here can lose a row.

use crate::status::SinkStatus;
use metrics::counter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, chain};
use tidegauge_store::{
    DeadLetterBounds, RemovedLetters, RetentionReport, RetentionRequest, SettleReport,
    SettleRequest, Store,
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How long ago the sink may have caught up at most, to be counted as not behind.
const CAUGHT_UP_WITHIN_US: i64 = 10_000_000;

/// What upkeep is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpkeepSettings {
    /// Time between two turns.
    pub every: Duration,
    /// How long after its end a partition is left open for late rows.
    pub settle_after: Duration,
    /// How long rows are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// The same for single measurements, which comes first.
    pub retention_of: BTreeMap<String, Duration>,
    /// How long dead letters are kept; `None`: for ever.
    pub dead_letter_age: Option<Duration>,
    /// Bytes that dead letters may take; `None`: any number.
    pub dead_letter_bytes: Option<u64>,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            settle_after: Duration::from_secs(3_600),
            retention: None,
            retention_of: BTreeMap::new(),
            dead_letter_age: Some(Duration::from_secs(30 * 86_400)),
            dead_letter_bytes: Some(1 << 30),
        }
    }
}

impl UpkeepSettings {
    /// What is to be settled at this time.
    #[must_use]
    pub fn settle_request(&self, now_us: i64, at_most: usize) -> SettleRequest {
        SettleRequest {
            now_us,
            grace_us: micros(self.settle_after),
            at_most,
            postponed_too: false,
        }
    }

    /// What is old at this time.
    #[must_use]
    pub fn retention_request(&self, now_us: i64) -> RetentionRequest {
        let limits = self.retention_of.iter();
        RetentionRequest {
            now_us,
            keep_us: self.retention.map(micros),
            keep_of_us: limits
                .map(|(name, &keep)| (name.clone(), micros(keep)))
                .collect(),
            dry_run: false,
        }
    }

    /// How many dead letters are kept at this time.
    #[must_use]
    pub fn dead_letter_bounds(&self, now_us: i64) -> DeadLetterBounds {
        DeadLetterBounds {
            now_us,
            keep_us: self.dead_letter_age.map(micros),
            bytes: self.dead_letter_bytes,
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Looks after the store until it is cancelled; what is under way then is abandoned, which the
/// store allows at any moment.
pub async fn run(
    mut store: Box<dyn Store>,
    settings: UpkeepSettings,
    clock: Arc<dyn Clock>,
    status: Arc<SinkStatus>,
    cancel: CancellationToken,
) {
    let turns = async {
        let mut turns = tokio::time::interval(settings.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            turn(store.as_mut(), &settings, clock.as_ref(), &status).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = turns => {}
    }
}

/// One turn: what is too old, or more than is kept, goes; then what is over is settled for as long as the sink keeps up.
async fn turn(
    store: &mut dyn Store,
    settings: &UpkeepSettings,
    clock: &dyn Clock,
    status: &SinkStatus,
) {
    let request = settings.retention_request(clock.now_us());
    if request.has_limits() {
        match store.retain(&request).await {
            Ok(report) => tell_removed(&report),
            Err(error) => tracing::debug!(error = %chain(&error), "retention was put off"),
        }
    }
    let bounds = settings.dead_letter_bounds(clock.now_us());
    match store.bound_dead_letters(&bounds).await {
        Ok(removed) => tell_removed_letters(&removed),
        Err(error) => tracing::debug!(error = %chain(&error), "dead letters were left for now"),
    }
    loop {
        let now_us = clock.now_us();
        let caught_up = |at_us: i64| now_us.saturating_sub(at_us) <= CAUGHT_UP_WITHIN_US;
        if !status.report().caught_up_us.is_some_and(caught_up) {
            return;
        }
        match store.settle(&settings.settle_request(now_us, 1)).await {
            Ok(report) => {
                tell_settled(&report);
                if report.remaining == 0 || report.is_busy {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "settling was put off");
                return;
            }
        }
    }
}

fn tell_removed(report: &RetentionReport) {
    for removed in &report.removed {
        let (measurement, partition) = (&removed.measurement, &removed.partition);
        let rows = removed.rows;
        tracing::info!(measurement, ?partition, rows, "removed old rows");
        counter!("tidegauge_sink_removed_rows_total").increment(rows);
    }
}

fn tell_removed_letters(removed: &[RemovedLetters]) {
    for letters in removed {
        let (reason, bound, count) = (&letters.reason, letters.bound.as_str(), letters.letters);
        tracing::warn!(
            reason,
            bound,
            count,
            "removed dead letters that were not looked after"
        );
        counter!("tidegauge_sink_removed_dead_letters_total",
            "reason" => reason.clone(), "bound" => bound)
        .increment(count);
    }
}

fn tell_settled(report: &SettleReport) {
    for settled in &report.settled {
        let (partition, rows) = (&settled.partition, settled.rows);
        let duplicates = settled.duplicates_removed;
        let measurement = &settled.measurement;
        tracing::info!(
            measurement,
            partition,
            rows,
            duplicates,
            "settled a partition"
        );
        counter!("tidegauge_sink_settled_partitions_total").increment(1);
        counter!("tidegauge_sink_settled_duplicates_total").increment(duplicates);
    }
    for postponed in &report.postponed {
        let (partition, why) = (&postponed.partition, &postponed.why);
        tracing::debug!(partition, why, "put off the settling of a partition");
    }
}

#[cfg(test)]
mod tests;
