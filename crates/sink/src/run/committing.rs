//! Committing: one step is committed while the next one is being packed.
//!
//! The next step is packed as if the one before were committed already: its positions begin where
//! that one's end, and the ledger book holds its changes. The store is told of it, and may write its
//! rows ahead. If it turns out otherwise (fenced, a ledger row was moved, or the end had been reached
//! already), what was packed ahead is thrown away, and the book forgets the rows of both. So nothing
//! that is committed was ever built from something that is not.

use super::packing::Pending;
use super::{Leave, Sink};
use crate::assemble::{Assembled, Packed};
use crate::bisect::set_refused_rows_aside;
use crate::status::{fenced, phase_took};
use std::sync::Arc;
use std::time::Instant;
use tidegauge_store::{Applied, ErrorClass, Step};
use tokio::sync::oneshot;

impl Sink {
    /// Packs and commits what waits, until nothing does or there is something else to look after.
    pub(super) async fn steps(&mut self) -> Result<(), Leave> {
        let mut pending = self.pack().await?;
        loop {
            self.gather().await?;
            let has_more = !self.waiting.is_empty();
            let begun = has_more.then(|| {
                let (tell, told) = oneshot::channel();
                (self.begin_packing(Some(tell)), told)
            });
            let (ahead, told) = begun.unzip();
            let applied = self.apply(&mut pending, told).await;
            let next = match ahead {
                Some(packing) => Some(self.end_packing(packing).await?),
                None => None,
            };
            match applied? {
                Applied::Committed { rows, duplicates } => {
                    self.committed(pending, rows, duplicates).await?;
                }
                Applied::Already => {
                    tracing::info!("the step had been committed already, its answer was lost");
                    // Or another sink came to the same end by other steps. Then the ledger may
                    // hold something else under the versions that the book expects.
                    self.forget(next);
                    self.assembler().abandoned(&pending.packed.step);
                    return self.committed(pending, 0, 0).await;
                }
                Applied::LedgerMoved => {
                    tracing::debug!("another sink changed a ledger row meanwhile, packing again");
                    self.forget(next);
                    self.take_back(pending);
                    return Ok(());
                }
                Applied::Fenced => {
                    fenced();
                    self.forget(next);
                    return self.read_positions_again(&pending).await;
                }
            }
            match next {
                None => return Ok(()),
                Some(Assembled::Needs(needs)) => return self.meet(needs).await,
                Some(Assembled::Packed(packed)) => pending = self.pending(*packed),
            }
            if self.cancel.is_cancelled() || self.is_last_cycle() {
                // Packed ahead, but not to be committed any more: it is read again next time.
                self.take_back(pending);
                return Ok(());
            }
        }
    }

    /// Has the store commit a step, waiting out outages and setting refused rows aside. It is told
    /// the next one as soon as that is packed.
    async fn apply(
        &mut self,
        pending: &mut Pending,
        mut next: Option<oneshot::Receiver<Arc<Step>>>,
    ) -> Result<Applied, Leave> {
        let Pending { packed, messages } = pending;
        if packed.step.moves.is_empty() {
            // Nothing of it was ours or new.
            return Ok(Applied::Committed {
                rows: 0,
                duplicates: 0,
            });
        }
        let began = Instant::now();
        loop {
            let applied = match next.take() {
                Some(next) => self.store.apply_before(&packed.step, next).await,
                None => self.store.apply(&packed.step).await,
            };
            match applied {
                Ok(applied) => {
                    phase_took("apply", began.elapsed());
                    let (rows, seconds) = (packed.step.rows(), began.elapsed().as_secs_f64());
                    tracing::debug!(rows, seconds, "applied a step");
                    return Ok(applied);
                }
                Err(error) if error.class() == ErrorClass::Data => {
                    let (store, encoding) = (self.store.as_mut(), self.settings.encoding);
                    match set_refused_rows_aside(store, packed, messages, encoding).await {
                        Ok(0) => self.wait_out("committing a step", error).await?,
                        Ok(_) => {}
                        Err(error) => self.wait_out("finding refused rows", error).await?,
                    }
                }
                Err(error) => self.wait_out("committing a step", error).await?,
            }
        }
    }

    async fn committed(
        &mut self,
        pending: Pending,
        rows: u64,
        duplicates: u64,
    ) -> Result<(), Leave> {
        let Packed { step, tally, .. } = pending.packed;
        if step.moves.is_empty() {
            return Ok(());
        }
        self.steps += 1;
        self.backoff.reset();
        self.status.store_is_back(self.clock.as_ref());
        self.status
            .committed(self.clock.now_us(), rows, duplicates, &tally);
        self.source.acknowledge(&step.moves).await?;
        self.assembler().recycle(step);
        let sizes = self.assembler().sizes();
        self.status.cached(sizes);
        self.report();
        Ok(())
    }

    /// Throws away what was packed ahead; its messages wait still.
    fn forget(&mut self, ahead: Option<Assembled>) {
        if let Some(Assembled::Packed(packed)) = ahead {
            self.assembler().abandoned(&packed.step);
        }
    }

    /// The step was fenced: somebody else moved a position. Everything that waits of its
    /// partitions is read again from where the database stands.
    async fn read_positions_again(&mut self, pending: &Pending) -> Result<(), Leave> {
        let step = &pending.packed.step;
        self.assembler().abandoned(step);
        let mut found = Vec::new();
        for position in &step.moves {
            let (source, partition) = (&position.source, position.partition);
            loop {
                match self
                    .store
                    .positions(source, &[(partition, position.from)])
                    .await
                {
                    Ok(stored) => {
                        let stored = stored.iter();
                        found.extend(stored.map(|s| (source.clone(), s.partition, s.next_offset)));
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
}
