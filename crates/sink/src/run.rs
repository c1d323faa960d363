//! The loop: gather what waits, pack a step, have it committed, acknowledge.
//!
//! A step is as large as the work that waits (S4): while one is being committed the source reads
//! ahead into its bounded channel, and when that is full the partitions are paused (D11). An
//! outage is waited out with the step in hand, for ever (D8).

use crate::assemble::{Assembled, Assembler, Needs, Packed};
use crate::bisect::set_refused_rows_aside;
use crate::retry::Backoff;
use crate::status::{SinkStatus, chain, fenced, phase_took};
use crate::{Message, SinkError, SinkSettings, Source, SourceEvent};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_model::Clock;
use tidegauge_store::{Applied, ErrorClass, SourceId, Store, StoreError};
use tokio_util::sync::CancellationToken;

/// Rounds of asking after which the store evidently does not make what it is asked for.
const MOST_ROUNDS: usize = 5;
/// How often the other sinks' positions are looked at while waiting for the end.
const LOOK_FOR_END: Duration = Duration::from_millis(500);

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
    steps: u64,
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
            steps: 0,
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
        self.source.close(grace).await;
        match ended {
            Ok(finished) => Ok(finished),
            Err(Leave::Stopped) => Ok(Finished::Stopped),
            Err(Leave::Failed(error)) => Err(error),
        }
    }

    async fn work(&mut self) -> Result<Finished, Leave> {
        let ends = match self.settings.until_end {
            true => Some(self.source.ends().await?),
            false => None,
        };
        let mut look = tokio::time::interval(LOOK_FOR_END);
        let mut idle = false;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Leave::Stopped);
            }
            if let Some(ends) = &ends
                && self.waiting.is_empty()
                && self.is_at_end(ends).await?
            {
                return Ok(Finished::ReachedEnd);
            }
            if self.waiting.is_empty() {
                let event = tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Err(Leave::Stopped),
                    event = self.source.next() => Some(event?),
                    _ = look.tick() => None,
                };
                if event.is_none() {
                    self.status.caught_up(self.clock.now_us());
                }
                match event {
                    Some(event) => {
                        idle = false;
                        self.take(event).await?;
                    }
                    None if !idle && ends.is_none() => {
                        idle = true;
                        self.housekeep().await;
                    }
                    None => {}
                }
            }
            while self.waiting_bytes < self.settings.step_bytes {
                let Some(event) = self.source.try_next()? else {
                    break;
                };
                self.take(event).await?;
            }
            if !self.waiting.is_empty() {
                self.step().await?;
            }
            if self
                .settings
                .cycles
                .is_some_and(|cycles| self.steps >= cycles)
            {
                return Ok(Finished::Cycles);
            }
        }
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
            } => {
                let topic = source.label().to_owned();
                return Err(Leave::Failed(SinkError::PositionLost {
                    topic,
                    partition,
                    stored,
                    low,
                    high,
                }));
            }
        }
        Ok(())
    }

    fn drop_waiting(&mut self, source: &SourceId, partition: i32) {
        self.waiting
            .retain(|message| message.partition != partition || message.source != *source);
        self.waiting_bytes = self
            .waiting
            .iter()
            .map(|message| message.payload.len())
            .sum();
    }

    /// Packs and commits one step of what waits.
    async fn step(&mut self) -> Result<(), Leave> {
        let began = Instant::now();
        let mut packed = self.pack().await?;
        phase_took("pack", began.elapsed());
        if packed.step.moves.is_empty() {
            // Nothing of it was ours or new.
            self.consume(packed.consumed);
            return Ok(());
        }
        let began = Instant::now();
        loop {
            match self.store.apply(&packed.step).await {
                Ok(Applied::Committed { rows, duplicates }) => {
                    phase_took("commit", began.elapsed());
                    return self.committed(packed, rows, duplicates).await;
                }
                Ok(Applied::Already) => {
                    tracing::info!("the step had been committed already, its answer was lost");
                    return self.committed(packed, 0, 0).await;
                }
                Ok(Applied::LedgerMoved) => {
                    tracing::debug!("another sink changed a ledger row meanwhile, packing again");
                    self.assembler().abandoned();
                    return Ok(());
                }
                Ok(Applied::Fenced) => {
                    fenced();
                    return self.read_positions_again(&packed).await;
                }
                Err(error) if error.class() == ErrorClass::Data => {
                    let (messages, encoding) =
                        (&self.waiting[..packed.consumed], self.settings.encoding);
                    let store = self.store.as_mut();
                    match set_refused_rows_aside(store, &mut packed, messages, encoding).await {
                        Ok(0) => self.wait_out("committing a step", error).await?,
                        Ok(_) => {}
                        Err(error) => self.wait_out("finding refused rows", error).await?,
                    }
                }
                Err(error) => self.wait_out("committing a step", error).await?,
            }
        }
    }

    /// Packs what waits; has the store make what is missing until nothing is.
    async fn pack(&mut self) -> Result<Packed, Leave> {
        for round in 0.. {
            let mut assembler = self.assembler.take().expect("it is put back below");
            let messages = std::mem::take(&mut self.waiting);
            let positions = std::mem::take(&mut self.positions);
            let packing = tokio::task::spawn_blocking(move || {
                let assembled = assembler.assemble(&messages, &positions);
                (assembler, messages, positions, assembled)
            });
            let (assembler, messages, positions, assembled) =
                packing.await.map_err(|source| SinkError::Task {
                    task: "packing of a step",
                    source,
                })?;
            self.assembler = Some(assembler);
            self.waiting = messages;
            self.positions = positions;
            match assembled {
                Assembled::Packed(packed) => return Ok(*packed),
                Assembled::Needs(needs) if round < MOST_ROUNDS => self.meet(needs).await?,
                Assembled::Needs(needs) => {
                    let text = format!("making what a step needs ({:?})", needs.requirements);
                    let error = StoreError::new(text, ErrorClass::Outage);
                    self.assembler().catalog.clear();
                    self.wait_out("making what a step needs", error).await?;
                }
            }
        }
        unreachable!("the loop has no end")
    }

    async fn meet(&mut self, needs: Needs) -> Result<(), Leave> {
        while !needs.requirements.is_empty() {
            let assembler = self.assembler.as_mut().expect("only packing takes it");
            match self
                .store
                .ensure(&needs.requirements, &mut assembler.catalog)
                .await
            {
                Ok(()) => break,
                Err(error) => self.wait_out("making what a step needs", error).await?,
            }
        }
        let keys: Vec<_> = needs.ledger.into_iter().collect();
        while !keys.is_empty() {
            match self.store.ledger(&keys).await {
                Ok(rows) => {
                    self.assembler().learn_ledger(&keys, rows);
                    break;
                }
                Err(error) => self.wait_out("reading the ledger", error).await?,
            }
        }
        Ok(())
    }

    async fn committed(&mut self, packed: Packed, rows: u64, duplicates: u64) -> Result<(), Leave> {
        self.steps += 1;
        self.backoff.reset();
        self.status.store_is_back(self.clock.as_ref());
        self.assembler().committed();
        for position in &packed.step.moves {
            let key = (position.source.clone(), position.partition);
            if let Some(stored) = self.positions.get_mut(&key) {
                *stored = position.to;
            }
        }
        self.consume(packed.consumed);
        self.status
            .committed(self.clock.now_us(), rows, duplicates, &packed.tally);
        Ok(self.source.acknowledge(&packed.step.moves).await?)
    }

    fn consume(&mut self, messages: usize) {
        self.waiting.drain(..messages);
        self.waiting_bytes = self
            .waiting
            .iter()
            .map(|message| message.payload.len())
            .sum();
    }

    /// The step was fenced: somebody else moved a position. Everything that waits of its
    /// partitions is read again from where the database stands.
    async fn read_positions_again(&mut self, packed: &Packed) -> Result<(), Leave> {
        self.assembler().abandoned();
        let mut found = Vec::new();
        for position in &packed.step.moves {
            let (source, partition) = (&position.source, position.partition);
            loop {
                match self
                    .store
                    .positions(source, &[(partition, position.from)])
                    .await
                {
                    Ok(stored) => {
                        found.extend(
                            stored
                                .iter()
                                .map(|s| (source.clone(), s.partition, s.next_offset)),
                        );
                        break;
                    }
                    Err(error) => self.wait_out("reading positions", error).await?,
                }
            }
            self.drop_waiting(source, partition);
        }
        tracing::info!(
            partitions = found.len(),
            "another sink was ahead, going on from the stored positions"
        );
        // A partition that is not ours any more stays away.
        found.retain(|(source, partition, _)| {
            self.positions.contains_key(&(source.clone(), *partition))
        });
        for (source, partition, next) in &found {
            self.positions.insert((source.clone(), *partition), *next);
        }
        Ok(self.source.rewind(&found).await?)
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
    async fn is_at_end(&mut self, ends: &[(SourceId, i32, i64)]) -> Result<bool, Leave> {
        let mut remaining = 0;
        let mut others: HashMap<&SourceId, HashMap<i32, i64>> = HashMap::new();
        for (source, partition, end) in ends {
            let mut at = self.positions.get(&(source.clone(), *partition)).copied();
            if at.is_none() {
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
            }
            remaining += u64::try_from(end - at.unwrap_or(0)).unwrap_or(0);
        }
        self.status.remaining(remaining);
        Ok(remaining == 0)
    }

    async fn housekeep(&mut self) {
        if let Err(error) = self.store.housekeep().await {
            tracing::debug!(error = %chain(&error), "housekeeping was put off");
        }
    }

    fn assembler(&mut self) -> &mut Assembler {
        self.assembler.as_mut().expect("only packing takes it")
    }
}
