//! From messages to a step: decode, judge by the ledger, check limits, pack rows.
//!
//! Pure: no I/O, no waiting. What is not known yet (hosts, measurements, fields, series, ledger
//! rows) is collected as [`Needs`]; the caller has the store make or read it, outside of the step
//! (D9), and calls again with the same messages. In steady state nothing is needed and a message
//! is decoded once.

mod limits;
mod points;
pub(crate) mod step;

use crate::ledger::{LedgerBook, Verdict};
use crate::{Message, SinkSettings};
use points::{Checked, Packer};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use step::StepDraft;
use tidegauge_model::{BatchRef, Clock, Origin, Reason};
use tidegauge_store::{Catalog, LedgerKey, LedgerRow, Requirements, SourceId, Step};
use tidegauge_wire::{DecodeContext, DecodeError, Encoding, ForeignSettings, header_value};

/// What must be there before the messages can be packed.
#[derive(Debug, Default)]
pub struct Needs {
    /// For [`Store::ensure`](tidegauge_store::Store::ensure).
    pub requirements: Requirements,
    /// For [`Store::ledger`](tidegauge_store::Store::ledger).
    pub ledger: BTreeSet<LedgerKey>,
}

impl Needs {
    fn is_empty(&self) -> bool {
        self.requirements.is_empty() && self.ledger.is_empty()
    }
}

/// A step, ready to be applied.
#[derive(Debug)]
pub struct Packed {
    /// The step; the store may be writing it ahead.
    pub step: Arc<Step>,
    /// How many of the messages it takes, from the first on; the others are for the next step.
    pub consumed: usize,
    /// What was seen, for metrics.
    pub tally: Tally,
}

/// What was seen while packing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Values in the rows.
    pub values: u64,
    /// Points of batches that came again.
    pub repeated_points: u64,
    /// Batches that came again.
    pub repeated_batches: u64,
    /// Batches whose known sequence had younger samples.
    pub conflicts: u64,
    /// Values that were not finite.
    pub left_out: u64,
    /// Dead letters by reason.
    pub dead_letters: HashMap<Reason, u64>,
    /// The youngest sample, microseconds since 1970 UTC.
    pub newest_us: Option<i64>,
}

/// How much an assembler keeps between steps, in entries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CacheSizes {
    /// Hosts.
    pub hosts: usize,
    /// Series.
    pub series: usize,
    /// Rows of the ledger.
    pub ledger: usize,
}

/// What came of the messages.
#[derive(Debug)]
pub enum Assembled {
    /// A step.
    Packed(Box<Packed>),
    /// Something is needed first.
    Needs(Needs),
}

/// Packs steps; knows what the database has.
pub struct Assembler {
    /// What the writer knows of the database; [`Store::ensure`](tidegauge_store::Store::ensure)
    /// teaches it.
    pub catalog: Catalog,
    ledger: LedgerBook,
    packer: Packer,
    encoding: &'static dyn Encoding,
    own_encodings: Vec<&'static dyn Encoding>,
    foreign: Arc<ForeignSettings>,
    clock: Arc<dyn Clock>,
    step_points: usize,
    step_bytes: usize,
    scratch: Option<BatchRef<'static>>,
}

impl Assembler {
    /// An assembler that knows nothing yet.
    #[must_use]
    pub fn new(settings: &SinkSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            catalog: Catalog::new(settings.limits.clone()),
            ledger: LedgerBook::default(),
            packer: Packer::default(),
            encoding: settings.encoding,
            own_encodings: settings.own_encodings.clone(),
            foreign: settings.foreign.clone(),
            clock,
            step_points: settings.step_points,
            step_bytes: settings.step_bytes,
            scratch: Some(BatchRef::default()),
        }
    }

    /// Packs as many of the messages as a step takes. `stored` gives the stored position of each
    /// partition; messages below it were applied before and are passed over.
    pub fn assemble(
        &mut self,
        messages: &[Message],
        stored: &HashMap<(SourceId, i32), i64>,
    ) -> Assembled {
        self.ledger.begin_step();
        self.packer.begin_step(self.clock.now_us());
        let mut draft = StepDraft::default();
        let mut needs = Needs::default();
        let mut consumed = 0;
        for message in messages {
            if draft.bytes() > 0 && draft.bytes() + message.payload.len() > self.step_bytes
                || self.packer.rows() >= self.step_points
            {
                break;
            }
            consumed += 1;
            if let Some(slot) = draft.begin_message(message, stored) {
                self.take(message, slot, &mut draft, &mut needs);
            }
        }
        if !needs.is_empty() {
            return Assembled::Needs(needs);
        }
        let blocks = self.packer.take_blocks();
        let (step, tally) = draft.finish(blocks, self.ledger.changes());
        self.ledger.assume();
        Assembled::Packed(Box::new(Packed {
            step: Arc::new(step),
            consumed,
            tally,
        }))
    }

    /// Learns ledger rows that were read.
    pub fn learn_ledger(&mut self, keys: &[LedgerKey], rows: HashMap<LedgerKey, LedgerRow>) {
        self.ledger.learn(keys, rows);
    }

    /// This step was not committed: what was assumed of it is read again.
    pub fn abandoned(&mut self, step: &Step) {
        self.ledger
            .forget(step.ledger.iter().map(|change| &change.key));
    }

    /// This step is committed: the memory of its rows is used again.
    pub fn recycle(&mut self, step: Arc<Step>) {
        if let Some(step) = Arc::into_inner(step) {
            self.packer.recycle(step.blocks);
        }
    }

    /// Others may have changed the ledger: all of it is read again.
    pub fn forget_ledger(&mut self) {
        self.ledger = LedgerBook::default();
    }

    /// How much is kept between steps.
    #[must_use]
    pub fn sizes(&self) -> CacheSizes {
        CacheSizes {
            hosts: self.catalog.host_count(),
            series: self.catalog.series_count(),
            ledger: self.ledger.len(),
        }
    }

    fn by_header(&self, header: &[u8]) -> Result<&'static dyn Encoding, DecodeError> {
        let own = self.own_encodings.iter().copied();
        let named = |encoding: &&dyn Encoding| header_value(*encoding).as_bytes() == header;
        (own.into_iter().find(named)).map_or_else(|| tidegauge_wire::by_header(header), Ok)
    }

    fn take(&mut self, message: &Message, slot: u32, draft: &mut StepDraft, needs: &mut Needs) {
        let encoding = match &message.encoding {
            Some(header) => self.by_header(header),
            None => Ok(self.encoding),
        };
        let encoding = match encoding {
            Ok(encoding) => encoding,
            Err(error) => {
                let shown = message
                    .encoding
                    .as_deref()
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default();
                return draft.reject_message(slot, message, &error, &shown);
            }
        };
        let named = header_value(encoding);
        if message.payload.len() > self.catalog.limits.message_bytes {
            let detail = format!(
                "{} bytes, the limit is {}",
                message.payload.len(),
                self.catalog.limits.message_bytes
            );
            return draft.reject(
                slot,
                message,
                None,
                Reason::MessageTooLarge,
                &detail,
                &named,
            );
        }
        let foreign = self.foreign.clone();
        let context = DecodeContext {
            foreign: &foreign,
            received_us: message.received_us,
        };
        let mut batch: BatchRef<'_> = self.scratch.take().unwrap_or_default().recycle();
        match encoding.decode_in(&message.payload, context, &mut batch) {
            Ok(()) => self.take_batch(message, slot, &batch, &named, draft, needs),
            Err(error) => draft.reject_message(slot, message, &error, &named),
        }
        self.scratch = Some(batch.recycle());
    }

    fn take_batch(
        &mut self,
        message: &Message,
        slot: u32,
        batch: &BatchRef<'_>,
        encoding: &str,
        draft: &mut StepDraft,
        needs: &mut Needs,
    ) {
        let hosts_are_known = self.packer.begin_batch(&self.catalog, batch, needs);
        let checked = self.packer.check_points(&mut self.catalog, batch, needs);
        for (measurement, kind) in &batch.kinds {
            let need = needs
                .requirements
                .measurements
                .get_mut(measurement.as_ref());
            if let Some(need) = need {
                need.kind.get_or_insert(*kind);
            }
        }
        let ledger_is_known = batch
            .origin
            .as_ref()
            .is_none_or(|origin| self.knows_ledger(origin, batch, needs));
        // Something is missing: this is a round of asking, and nothing of it will be packed.
        if !hosts_are_known || !ledger_is_known || !needs.is_empty() {
            return;
        }
        if let Some(origin) = &batch.origin {
            match self.judge(origin, batch, &checked) {
                Verdict::New => {}
                Verdict::Conflict => {
                    draft.tally.conflicts += 1;
                    if self.ledger.is_to_be_told(&origin.agent) {
                        let (agent, host) = (&origin.agent, &batch.host);
                        tracing::warn!(%agent, %host, "two machines send under one agent id, \
                            perhaps clones of one disk: give each its own machine id or agent.id");
                    }
                }
                Verdict::Repeat => return draft.repeated(slot, checked.accepted as u64),
            }
        }
        draft.left_out(slot, batch.left_out);
        for rejected in &batch.rejected {
            let (index, reason) = (Some(rejected.index), rejected.reason);
            draft.reject(slot, message, index, reason, &rejected.detail, encoding);
        }
        for (index, reason, detail) in &checked.rejected {
            draft.reject(slot, message, Some(*index), *reason, detail, encoding);
        }
        let further = batch.further_rejected.iter();
        for (&reason, &points) in further.chain(&checked.further_rejected) {
            draft.reject_further(slot, reason, points);
        }
        draft.accepted(slot, checked.accepted as u64, checked.newest_us());
        draft.tally.values += self.packer.pack(batch, slot, message.offset);
    }

    fn knows_ledger(&self, origin: &Origin, batch: &BatchRef<'_>, needs: &mut Needs) -> bool {
        let mut known = true;
        let epochs = std::iter::once(origin.epoch).chain(batch.drops.iter().map(|drop| drop.epoch));
        for epoch in epochs {
            let key = LedgerKey {
                agent: origin.agent.clone(),
                epoch,
            };
            if !self.ledger.knows(&key) {
                needs.ledger.insert(key);
                known = false;
            }
        }
        known
    }

    fn judge(&mut self, origin: &Origin, batch: &BatchRef<'_>, checked: &Checked) -> Verdict {
        let key = LedgerKey {
            agent: origin.agent.clone(),
            epoch: origin.epoch,
        };
        let points = checked.accepted as u64;
        let verdict = self
            .ledger
            .judge(&key, origin.sequence, checked.times_us.clone(), points);
        if verdict != Verdict::Repeat {
            for notice in &batch.drops {
                let key = LedgerKey {
                    agent: origin.agent.clone(),
                    epoch: notice.epoch,
                };
                self.ledger.note_drop(&key, notice);
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
