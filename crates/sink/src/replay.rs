//! Replaying dead letters: the stored bytes go the way that every message goes, and the letter is
//! taken out in the transaction that stores them ([`Step::resolves`]). Replayed twice, also by two
//! at once, a letter is stored once.
//!
//! 1. A letter of a whole message is judged by the ledger like the message itself: it may be one that
//!    came late, or one that is known already, which then only takes the letter out. Points of it that
//!    cannot be stored become letters of their own.
//! 2. A letter of one point brings back this point alone, past the ledger: its batch was booked there
//!    when its neighbours were stored.
//! 3. Positions are not moved. Ages are judged as of the time when the letter was stored.
//! 4. What still cannot be stored stays as it is.

use crate::assemble::{Assembled, Assembler, Packed};
use crate::bisect::set_refused_rows_aside;
use crate::{Message, SinkSettings};
use std::collections::HashMap;
use std::sync::Arc;
use tidegauge_model::ManualClock;
use tidegauge_store::{
    Applied, DeadLetter, DeadLetterFilter, DeadLetterRow, ErrorClass, SourceId, Step, Store,
    StoreError,
};

/// Rounds of asking the store for what a letter needs, and of building its step again.
const MOST_ROUNDS: usize = 10;

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// It is stored, and the letter is gone.
    Stored {
        /// Rows that are new.
        rows: u64,
        /// Points of its message that became letters of their own.
        rejected: u64,
    },
    /// It still cannot be stored; the letter stays. Why.
    Refused(String),
    /// The letter was not there any more.
    Gone,
}

/// Replays dead letters into the store that they lie in.
pub struct Replayer {
    store: Box<dyn Store>,
    settings: SinkSettings,
    clock: ManualClock,
    /// Packs whole messages; knows the ledger.
    messages: Assembler,
    /// Packs single points; every batch is new to it, and what it would book is thrown away.
    points: Assembler,
}

impl Replayer {
    /// A replayer; of the settings it uses the limits and the default encoding.
    #[must_use]
    pub fn new(store: Box<dyn Store>, settings: SinkSettings) -> Self {
        let clock = ManualClock::default();
        let assembler = || Assembler::new(&settings, Arc::new(clock.clone()));
        Self {
            store,
            messages: assembler(),
            points: assembler(),
            settings,
            clock,
        }
    }

    /// The store.
    pub fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut()
    }

    /// Replays one letter.
    ///
    /// # Errors
    /// [`StoreError`]. If its answer was lost the letter may be gone: asking again tells.
    pub async fn replay(&mut self, letter: &DeadLetterRow) -> Result<Replayed, StoreError> {
        self.clock.set(letter.stored_us);
        let message = Message {
            source: SourceId::stored(&letter.source, &letter.topic),
            partition: letter.partition,
            offset: letter.offset,
            // A letter does not have it; a point without a time of its own stays a letter.
            received_us: None,
            encoding: Some(letter.encoding.clone().into()),
            payload: letter.payload.clone().into(),
        };
        // A letter of a point goes past the ledger, and what others wrote meanwhile is read again.
        self.points.forget_ledger();
        self.messages.forget_ledger();
        for _ in 0..MOST_ROUNDS {
            let Some(mut packed) = self.pack(letter, &message).await? else {
                continue;
            };
            if let Err(why) = prepare(Arc::make_mut(&mut packed.step), letter) {
                return Ok(Replayed::Refused(why));
            }
            if let Some(replayed) = self.apply(letter, &message, packed).await? {
                return Ok(replayed);
            }
            self.points.forget_ledger();
            self.messages.forget_ledger();
        }
        let doing = format!("replaying dead letter {}", letter.id);
        Err(StoreError::new(doing, ErrorClass::Outage)
            .caused_by("what it needs was changed by others again and again"))
    }

    /// Packs the message; `None` when the store had to be asked for something first.
    async fn pack(
        &mut self,
        letter: &DeadLetterRow,
        message: &Message,
    ) -> Result<Option<Packed>, StoreError> {
        let assembler = match letter.index {
            None => &mut self.messages,
            Some(_) => &mut self.points,
        };
        let from = HashMap::from([((message.source.clone(), message.partition), message.offset)]);
        match assembler.assemble(std::slice::from_ref(message), &from) {
            Assembled::Packed(packed) => Ok(Some(*packed)),
            Assembled::Needs(needs) => {
                if !needs.requirements.is_empty() {
                    let catalog = &mut assembler.catalog;
                    self.store.ensure(&needs.requirements, catalog).await?;
                }
                let keys: Vec<_> = needs.ledger.into_iter().collect();
                let rows = match letter.index {
                    None if !keys.is_empty() => self.store.ledger(&keys).await?,
                    _ => HashMap::new(),
                };
                assembler.learn_ledger(&keys, rows);
                Ok(None)
            }
        }
    }

    /// Applies the step of a letter; `None` when it has to be built again.
    async fn apply(
        &mut self,
        letter: &DeadLetterRow,
        message: &Message,
        mut packed: Packed,
    ) -> Result<Option<Replayed>, StoreError> {
        loop {
            match self.store.apply(&packed.step).await {
                Ok(Applied::Committed { rows, .. }) => {
                    // The ledger is read again for the next letter: others write meanwhile.
                    self.messages.forget_ledger();
                    let rejected = packed.step.rejected();
                    return Ok(Some(Replayed::Stored { rows, rejected }));
                }
                Ok(Applied::LedgerMoved) => return Ok(None),
                Ok(Applied::Fenced | Applied::Already) => {
                    self.messages.forget_ledger();
                    return self.gone(letter).await.map(Some);
                }
                Err(error) if error.class() == ErrorClass::Data => {
                    let messages = std::slice::from_ref(message);
                    let encoding = self.settings.encoding;
                    let store = self.store.as_mut();
                    if set_refused_rows_aside(store, &mut packed, messages, encoding).await? == 0 {
                        return Err(error);
                    }
                    if packed.step.rows() == 0 {
                        self.messages.forget_ledger();
                        let why = packed.step.dead_letters.last().map(why);
                        return Ok(Some(Replayed::Refused(why.unwrap_or_default())));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A step was refused as if the letter were gone: is it?
    async fn gone(&mut self, letter: &DeadLetterRow) -> Result<Replayed, StoreError> {
        let filter = DeadLetterFilter {
            ids: vec![letter.id],
            ..DeadLetterFilter::default()
        };
        if self.store.dead_letters(&filter).await?.is_empty() {
            return Ok(Replayed::Gone);
        }
        let doing = format!(
            "replaying dead letter {}: the store has no position of {} partition {}",
            letter.id, letter.topic, letter.partition
        );
        Err(StoreError::new(doing, ErrorClass::Usage))
    }
}

/// Makes of the step of a message the step of its letter, or says why there is none.
fn prepare(step: &mut Step, letter: &DeadLetterRow) -> Result<(), String> {
    step.resolves = vec![letter.id];
    if let Some(whole) = step.dead_letters.iter().find(|l| l.index.is_none()) {
        return Err(why(whole));
    }
    if let Some(index) = letter.index {
        if let Some(again) = step.dead_letters.iter().find(|l| l.index == Some(index)) {
            return Err(why(again));
        }
        step.dead_letters.clear();
        step.further_letters.clear();
        step.ledger.clear();
        for block in &mut step.blocks {
            let row = (0..block.len()).filter(|&row| block.origin(row).index == index);
            *block = block.select(row);
        }
        step.blocks.retain(|block| !block.is_empty());
        if step.blocks.is_empty() {
            return Err(format!("the message has no point {index}"));
        }
    } else if let (0, Some(first)) = (step.rows(), step.dead_letters.first()) {
        return Err(why(first));
    }
    let (points, rejected) = (step.rows() as u64, step.rejected());
    for moved in &mut step.moves {
        // Nothing of the log is applied.
        moved.to = moved.from;
        moved.messages = 0;
        moved.points = points;
        moved.dead_letters = rejected;
        if letter.index.is_some() {
            moved.duplicate_points = 0;
            moved.left_out_values = 0;
        }
    }
    Ok(())
}

fn why(letter: &DeadLetter) -> String {
    format!("{}: {}", letter.reason, letter.detail)
}
