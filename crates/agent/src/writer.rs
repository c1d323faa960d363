//! The one place that encodes batches and appends them to the spool (D1): numbers them, begins
//! epochs, tells drops. It blocks, because the spool does.
//!
//! When a batch cannot be appended, because the disk is full for example, its number is used up
//! and the loss is noted, so that the ledger will show it; collecting goes on.

use crate::collectors::SourceFile;
use crate::own::own_point;
use crate::status::{AgentStatus, SpoolFigures};
use crate::{AgentError, CollectSettings};
use std::sync::Arc;
use std::time::Instant;
use tidegauge_model::{AgentId, Clock, DropNotice, DropReason, Host, Origin, Point, Tags, chain};
use tidegauge_spool::{DropCause, Dropped, NewBatch, Spool, SpoolError};
use tidegauge_wire::{Collection, Encoder, Splitter};

/// So many drops are told with one batch at most; the others follow with the next.
const MAX_DROPS_TOLD: usize = 1_000;

/// Writes batches of one agent.
pub struct Writer {
    spool: Spool,
    encoding: &'static dyn Encoder,
    agent: AgentId,
    host: Host,
    labels: Tags,
    /// What the kernel says of this process.
    process: SourceFile,
    max_message_bytes: usize,
    clock: Arc<dyn Clock>,
    status: AgentStatus,
    message: Vec<u8>,
    /// Whether the last append failed; its end is logged once.
    failing: bool,
    /// The clock was set: the next batch begins a new epoch.
    pub(crate) epoch_due: bool,
}

impl Writer {
    /// A writer into this spool; the settings say as whom and how.
    #[must_use]
    pub fn new(
        settings: &CollectSettings,
        spool: Spool,
        clock: Arc<dyn Clock>,
        status: AgentStatus,
    ) -> Self {
        Self {
            spool,
            encoding: settings.encoding,
            agent: settings.agent.clone(),
            host: settings.host.clone(),
            labels: settings.labels.clone(),
            process: SourceFile::new(settings.context.roots.proc.join("self/stat")).of_one_record(),
            max_message_bytes: settings.max_message_bytes,
            clock,
            status,
            message: Vec::new(),
            failing: false,
            epoch_due: false,
        }
    }

    /// Begins a new epoch; once before the first batch.
    ///
    /// # Errors
    /// When the spool cannot store it.
    pub fn begin_epoch(&mut self) -> Result<i64, AgentError> {
        let epoch = self.spool.begin_epoch(self.clock.now_us());
        epoch.map_err(|source| AgentError::Spool {
            doing: "beginning an epoch",
            source,
        })
    }

    /// Appends points as one batch, or several if they are too many for one message; with a point
    /// of the measurement `agent` if `with_own`. Whether all of it is in the spool.
    pub fn write(&mut self, mut points: Vec<Point>, with_own: bool) -> bool {
        let began = Instant::now();
        if self.epoch_due {
            match self.spool.begin_epoch(self.clock.now_us()) {
                Ok(_) => self.epoch_due = false,
                // The old epoch goes on until the spool can begin another.
                Err(error) => self.failed("beginning an epoch", &error),
            }
        }
        self.update_figures();
        if with_own {
            let figures = self.status.figures();
            let now_us = self.clock.now_us();
            points.push(own_point(&figures, &mut self.process, now_us));
        }
        let left_out: u64 = points.iter().map(|point| u64::from(point.left_out())).sum();
        self.count_left_out(left_out);

        let mut drops = self.spool.drops().unwrap_or_else(|error| {
            self.failed("reading the drops of the spool", &error);
            Vec::new()
        });
        drops.truncate(MAX_DROPS_TOLD);
        let collection = Collection {
            host: self.host.clone(),
            labels: self.labels.clone(),
            drops: drops.iter().map(drop_notice).collect(),
            points,
        };
        let mut splitter = Splitter::new(self.encoding, self.max_message_bytes, collection);
        let mut untold = drops.iter();
        let mut stored = true;
        loop {
            let (epoch, sequence) = self.spool.next();
            let origin = Origin {
                agent: self.agent.clone(),
                epoch,
                sequence,
            };
            match splitter.next(Some(origin), &mut self.message) {
                None => break,
                Some(Ok(message)) => {
                    let told = message
                        .drops
                        .checked_sub(1)
                        .and_then(|last| untold.nth(last));
                    stored &=
                        self.append(epoch, sequence, message.points, told.map(|drop| drop.id));
                }
                Some(Err(oversized)) => {
                    let values = oversized
                        .point
                        .as_ref()
                        .map_or(0, |point| point.fields().len());
                    self.count_left_out(values as u64);
                    tracing::error!(error = %oversized, "a point is left out");
                }
            }
        }
        metrics::histogram!("tidegauge_agent_append_duration_seconds").record(began.elapsed());
        stored
    }

    fn append(
        &mut self,
        epoch: i64,
        sequence: u64,
        points: usize,
        tells_drops_through: Option<i64>,
    ) -> bool {
        let batch = NewBatch {
            epoch,
            sequence,
            payload: &self.message,
            tells_drops_through,
            now_us: self.clock.now_us(),
        };
        match self.spool.append(batch) {
            Ok(appended) => {
                self.dropped(&appended.dropped);
                metrics::counter!("tidegauge_agent_points_total").increment(points as u64);
                metrics::counter!("tidegauge_agent_batches_total").increment(1);
                self.status.update(|figures| {
                    figures.points += points as u64;
                    figures.batches += 1;
                });
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the spool takes batches again");
                }
                true
            }
            Err(error) => {
                self.failed("appending to the spool", &error);
                let cause = match error {
                    SpoolError::TooLarge { .. } => DropCause::Full,
                    _ => DropCause::DiskFull,
                };
                self.count_dropped(drop_reason(cause), 1);
                self.spool.note_unstored(cause);
                false
            }
        }
    }

    fn failed(&mut self, doing: &'static str, error: &SpoolError) {
        if !std::mem::replace(&mut self.failing, true) {
            let cause = chain(error);
            tracing::error!(
                cause,
                "{doing} failed; collecting goes on, losses are counted"
            );
        }
        let now_us = self.clock.now_us();
        self.status
            .update(|figures| figures.last_error = Some((now_us, chain(error))));
    }

    fn dropped(&self, dropped: &[Dropped]) {
        for drop in dropped {
            let batches = drop.last_sequence - drop.first_sequence + 1;
            let reason = drop_reason(drop.cause);
            tracing::warn!(
                batches,
                reason = reason.as_str(),
                "the spool gave up its oldest batches"
            );
            self.count_dropped(reason, batches);
        }
    }

    fn count_dropped(&self, reason: DropReason, batches: u64) {
        metrics::counter!("tidegauge_agent_dropped_batches_total", "reason" => reason.as_str())
            .increment(batches);
        self.status
            .update(|figures| figures.dropped_batches += batches);
    }

    fn count_left_out(&self, values: u64) {
        metrics::counter!("tidegauge_agent_left_out_values_total").increment(values);
        self.status
            .update(|figures| figures.left_out_values += values);
    }

    fn update_figures(&mut self) {
        match self.spool.stats() {
            Ok(stats) => {
                metrics::gauge!("tidegauge_agent_spool_batches").set(stats.entries as f64);
                metrics::gauge!("tidegauge_agent_spool_bytes").set(stats.bytes as f64);
                let spool = SpoolFigures {
                    batches: stats.entries,
                    bytes: stats.bytes,
                    oldest_us: stats.oldest_us,
                };
                self.status.update(|figures| figures.spool = spool);
            }
            Err(error) => self.failed("reading the size of the spool", &error),
        }
    }
}

fn drop_notice(drop: &Dropped) -> DropNotice {
    DropNotice {
        epoch: drop.epoch,
        first_sequence: drop.first_sequence,
        last_sequence: drop.last_sequence,
        reason: drop_reason(drop.cause),
    }
}

/// The spool's word for a loss in the words of the wire.
fn drop_reason(cause: DropCause) -> DropReason {
    match cause {
        DropCause::Full => DropReason::SpoolFull,
        DropCause::Age => DropReason::SpoolAge,
        DropCause::DiskFull => DropReason::DiskFull,
        DropCause::Corrupt => DropReason::SpoolCorrupt,
        DropCause::Refused => DropReason::Refused,
    }
}
