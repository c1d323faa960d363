//! Packing, on a blocking thread, and having the store make what a step needs first.

use super::{Leave, Sink};
use crate::assemble::{Assembled, Assembler, Needs, Packed};
use crate::status::phase_took;
use crate::{Message, SinkError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_store::{ErrorClass, SourceId, Step, StoreError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Rounds of asking after which the store evidently does not make what it is asked for.
const MOST_ROUNDS: usize = 5;

/// A step that is packed and not committed, with the messages that it was packed from.
pub(super) struct Pending {
    pub(super) packed: Packed,
    pub(super) messages: Vec<Message>,
}

/// What a blocking thread was lent, and what came of it.
pub(super) struct Lent {
    assembler: Assembler,
    waiting: Vec<Message>,
    assembled: Assembled,
    took: Duration,
}

impl Sink {
    /// Packs what waits; has the store make what is missing until nothing is.
    pub(super) async fn pack(&mut self) -> Result<Pending, Leave> {
        for round in 0.. {
            let packing = self.begin_packing(None);
            match self.end_packing(packing).await? {
                Assembled::Packed(packed) => return Ok(self.pending(*packed)),
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

    /// Lends the assembler and what waits to a blocking thread. Until they are given back nothing
    /// may be taken from the source. The step is `told` as soon as it is packed.
    pub(super) fn begin_packing(
        &mut self,
        told: Option<oneshot::Sender<Arc<Step>>>,
    ) -> JoinHandle<Lent> {
        let mut assembler = self
            .assembler
            .take()
            .expect("packing ends before it begins again");
        let waiting = std::mem::take(&mut self.waiting);
        let positions: HashMap<(SourceId, i32), i64> = self.positions.clone();
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let assembled = assembler.assemble(&waiting, &positions);
            if let (Assembled::Packed(packed), Some(told)) = (&assembled, told) {
                // Nobody listens if the store writes one step after the other.
                let _unheard = told.send(packed.step.clone());
            }
            Lent {
                assembler,
                waiting,
                assembled,
                took: began.elapsed(),
            }
        })
    }

    pub(super) async fn end_packing(
        &mut self,
        packing: JoinHandle<Lent>,
    ) -> Result<Assembled, Leave> {
        let lent = packing.await.map_err(|source| SinkError::Task {
            task: "packing of a step",
            source,
        })?;
        phase_took("pack", lent.took);
        self.assembler = Some(lent.assembler);
        self.waiting = lent.waiting;
        Ok(lent.assembled)
    }

    /// Takes a packed step's messages out of what waits. Positions go on as if it were committed,
    /// so that the next step can be packed meanwhile; [`Sink::take_back`] undoes that.
    pub(super) fn pending(&mut self, packed: Packed) -> Pending {
        let messages = self.waiting.drain(..packed.consumed).collect();
        self.count_waiting();
        for position in &packed.step.moves {
            let key = (position.source.clone(), position.partition);
            if let Some(next) = self.positions.get_mut(&key) {
                *next = position.to;
            }
        }
        Pending { packed, messages }
    }

    /// Puts a step's messages back before all that waits, to be packed again.
    pub(super) fn take_back(&mut self, pending: Pending) {
        self.assembler().abandoned(&pending.packed.step);
        for position in &pending.packed.step.moves {
            let key = (position.source.clone(), position.partition);
            if let Some(next) = self.positions.get_mut(&key) {
                *next = position.from;
            }
        }
        self.waiting.splice(..0, pending.messages);
        self.count_waiting();
    }

    /// Has the store make and read what a step needs.
    pub(super) async fn meet(&mut self, needs: Needs) -> Result<(), Leave> {
        while !needs.requirements.is_empty() {
            let assembler = self.assembler.as_mut().expect("it was given back");
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

    pub(super) fn assembler(&mut self) -> &mut Assembler {
        self.assembler.as_mut().expect("it was given back")
    }
}
