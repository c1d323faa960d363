//! The loop: gather what waits, pack a step, have it committed, acknowledge.
//!
//! A step is as large as the work that waits (S4): while one is being committed the next is packed
//! and the source reads ahead into its bounded channel; when that is full the partitions are
//! paused (D11). An outage is waited out with the step in hand, for ever (D8).

mod committing;
mod lost;
mod packing;

use crate::assemble::Assembler;
use crate::retry::Backoff;
use crate::status::{SinkStatus, phase_took};
use crate::{Message, SinkError, SinkSettings, Source, SourceEvent};
use lost::LostPosition;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, chain};
use tidegauge_store::{ErrorClass, SourceId, Store, StoreError};
use tokio_util::sync::CancellationToken;

/// How often the other sinks' positions are looked at while waiting for the end.
const LOOK_FOR_END: Duration = Duration::from_millis(500);

/// The longest that the store may take at the end for what is no part of a step.
const FINISH_DEADLINE: Duration = Duration::from_millis(500);
/// How often it is told how far behind the sink is.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Why a sink ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It was told to stop.
    Stopped,
    /// Everything is applied that was there at the start.
    ReachedEnd,
    /// It committed as many steps as it was to.
    Cycles,
}

/// Why the loop is left.
enum Leave {
    Stopped,
    Failed(SinkError),
}

impl From<SinkError> for Leave {
    fn from(error: SinkError) -> Self {
        Self::Failed(error)
    }
}

/// A sink: one source, one store, one loop.
pub struct Sink {
    store: Box<dyn Store>,
    source: Box<dyn Source>,
    // Given to a blocking thread while it packs, and taken back with the answer.
    assembler: Option<Assembler>,
    settings: SinkSettings,
    clock: Arc<dyn Clock>,
    status: Arc<SinkStatus>,
    cancel: CancellationToken,
    backoff: Backoff,
    positions: HashMap<(SourceId, i32), i64>,
    waiting: Vec<Message>,
    waiting_bytes: usize,
    /// Positions outside of their logs, until what waits is committed.
    lost: Vec<LostPosition>,
    steps: u64,
    /// Where the partitions ended at the start, if that is how far to read.
    ends: Arc<[(SourceId, i32, i64)]>,
    reported: Option<Instant>,
}

impl Sink {
    /// A sink over a store whose schema is in place.
    #[must_use]
    pub fn new(
        store: Box<dyn Store>,
        source: Box<dyn Source>,
        assembler: Assembler,
        settings: SinkSettings,
        clock: Arc<dyn Clock>,
        status: Arc<SinkStatus>,
        cancel: CancellationToken,
    ) -> Self {
        let backoff = Backoff::new(settings.retry_first, settings.retry_longest);
        Self {
            store,
            source,
            assembler: Some(assembler),
            settings,
            clock,
            status,
            cancel,
            backoff,
            positions: HashMap::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            lost: Vec::new(),
            steps: 0,
            ends: Arc::default(),
            reported: None,
        }
    }

    /// Runs until it is told to stop, or reaches the end or the number of steps it was given.
    ///
    /// # Errors
    /// [`SinkError`] for what waiting cannot mend; an outage is none.
    pub async fn run(mut self) -> Result<Finished, SinkError> {
        let (cancel, grace) = (self.cancel.clone(), self.settings.stop_deadline);
        // A step that is under way may end; after that whatever is waited for is abandoned (D12).
        let overdue = async {
            cancel.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        let ended = tokio::select! {
            ended = self.work() => ended,
            () = overdue => Err(Leave::Stopped),
        };
        let finished = tokio::time::timeout(FINISH_DEADLINE, self.store.finish());
        if let Ok(Err(error)) = finished.await {
            tracing::debug!(error = %chain(&error), "the store was left as it is");
        }
        self.source.close(grace).await;
        match ended {
            Ok(finished) => Ok(finished),
            Err(Leave::Stopped) => Ok(Finished::Stopped),
            Err(Leave::Failed(error)) => Err(error),
        }
    }

    async fn work(&mut self) -> Result<Finished, Leave> {
        let until_end = self.settings.until_end;
        if until_end {
            self.ends = self.source.ends().await?.into();
        }
        let mut look = tokio::time::interval(LOOK_FOR_END);
        let mut idle = false;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Leave::Stopped);
            }
            if self.waiting.is_empty() {
                self.go_past_lost().await?;
            }
            if until_end && self.waiting.is_empty() && self.is_at_end().await? {
                return Ok(Finished::ReachedEnd);
            }
            if self.waiting.is_empty() {
                let began = Instant::now();
                let event = tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Err(Leave::Stopped),
                    event = self.source.next() => Some(event?),
                    _ = look.tick() => None,
                };
                match event {
                    Some(_) => phase_took("fetch", began.elapsed()),
                    None => self.status.caught_up(self.clock.now_us()),
                }
                self.report();
                match event {
                    Some(event) => {
                        idle = false;
                        self.take(event).await?;
                    }
                    None if !idle && !until_end => {
                        idle = true;
                        self.housekeep().await;
                    }
                    None => {}
                }
            }
            self.gather().await?;
            if !self.waiting.is_empty() {
                self.status.has_work(self.clock.now_us());
                self.steps().await?;
            }
            if self.is_last_cycle() {
                return Ok(Finished::Cycles);
            }
        }
    }

    /// Takes what the source has at once, up to the size of a step (S4).
    async fn gather(&mut self) -> Result<(), Leave> {
        while self.waiting_bytes < self.settings.step_bytes && self.lost.is_empty() {
            let Some(event) = self.source.try_next()? else {
                break;
            };
            self.take(event).await?;
        }
        Ok(())
    }

    fn is_last_cycle(&self) -> bool {
        self.settings
            .cycles
            .is_some_and(|cycles| self.steps >= cycles)
    }

    async fn take(&mut self, event: SourceEvent) -> Result<(), Leave> {
        match event {
            SourceEvent::Messages(messages) => {
                self.waiting_bytes += messages.iter().map(|m| m.payload.len()).sum::<usize>();
                self.waiting.extend(messages);
            }
            SourceEvent::Assigned(partitions) => {
                for (source, partition, position) in partitions {
                    self.drop_waiting(&source, partition);
                    self.positions.insert((source, partition), position);
                }
                self.status.partitions(self.positions.len());
            }
            SourceEvent::Revoked(partitions) => {
                for (source, partition) in partitions {
                    self.drop_waiting(&source, partition);
                    self.forget_lost(&source, partition);
                    self.positions.remove(&(source, partition));
                }
                self.status.partitions(self.positions.len());
            }
            SourceEvent::PositionLost {
                source,
                partition,
                stored,
                low,
                high,
            } => self.lost(LostPosition {
                source,
                partition,
                stored,
                low,
                high,
            })?,
        }
        Ok(())
    }

    fn drop_waiting(&mut self, source: &SourceId, partition: i32) {
        self.waiting
            .retain(|message| message.partition != partition || message.source != *source);
        self.count_waiting();
    }

    fn count_waiting(&mut self) {
        let bytes = self.waiting.iter().map(|message| message.payload.len());
        self.waiting_bytes = bytes.sum();
    }

    /// Says once that the store is away, waits, and lets the caller try again.
    async fn wait_out(&mut self, doing: &'static str, error: StoreError) -> Result<(), Leave> {
        if error.class() == ErrorClass::Usage {
            return Err(Leave::Failed(SinkError::Store(error)));
        }
        self.status
            .store_is_away(self.clock.as_ref(), doing, &error);
        tokio::select! {
            () = self.cancel.cancelled() => Err(Leave::Stopped),
            () = tokio::time::sleep(self.backoff.pause()) => Ok(()),
        }
    }

    /// Whether every partition has reached the end that it had at the start. Partitions of other
    /// sinks count too, so they are looked up in the store.
    async fn is_at_end(&mut self) -> Result<bool, Leave> {
        let ends = Arc::clone(&self.ends);
        let mut remaining = 0;
        let mut others: HashMap<&SourceId, HashMap<i32, i64>> = HashMap::new();
        for (source, partition, end) in ends.iter() {
            let mut at = self.positions.get(&(source.clone(), *partition)).copied();
            if at.is_some() {
                if self.source.is_through(source, *partition, *end) {
                    continue;
                }
            } else {
                if !others.contains_key(source) {
                    let known = match self.store.known_positions(source).await {
                        Ok(known) => known,
                        Err(error) => {
                            self.wait_out("reading positions", error).await?;
                            return Ok(false);
                        }
                    };
                    let known = known.iter().map(|p| (p.partition, p.next_offset)).collect();
                    others.insert(source, known);
                }
                at = others
                    .get(source)
                    .and_then(|known| known.get(partition))
                    .copied();
                // Another sink may be further on, or the log was cut: then it is for the one that
                // has the partition to find out.
                if at > Some(*end) && self.is_behind(source, *partition, at).await? {
                    remaining += 1;
                }
            }
            remaining += u64::try_from(end - at.unwrap_or(0)).unwrap_or(0);
        }
        self.status.remaining(remaining);
        Ok(remaining == 0)
    }

    /// Whether the log of a partition ends before a position.
    async fn is_behind(
        &mut self,
        source: &SourceId,
        partition: i32,
        position: Option<i64>,
    ) -> Result<bool, Leave> {
        let ends = self.source.ends().await?;
        let end = ends
            .iter()
            .find(|(of, at, _)| of == source && *at == partition);
        Ok(end.is_some_and(|(_, _, end)| position > Some(*end)))
    }

    /// Tells how far behind the sink is, now and then.
    fn report(&mut self) {
        if self.reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            return;
        }
        self.reported = Some(Instant::now());
        let now_us = self.clock.now_us();
        let report = self.source.report(now_us);
        self.status.source(now_us, &report);
        // While there is always something to do, nobody asks whether the end is reached.
        let remaining = self.ends.iter().filter_map(|(source, partition, end)| {
            let at = self.positions.get(&(source.clone(), *partition))?;
            u64::try_from(end - at).ok()
        });
        if self.steps > 0 && !self.ends.is_empty() {
            self.status.remaining(remaining.sum());
        }
    }

    async fn housekeep(&mut self) {
        if let Err(error) = self.store.housekeep().await {
            tracing::debug!(error = %chain(&error), "housekeeping was put off");
        }
    }
}
