//! Rows that the database refuses (D7): found by bisection, made dead letters, left out of the step.
//!
//! [`Store::apply`] is all or nothing, so one bad row takes its step back. The search asks
//! [`Store::try_rows`] about halves of what was refused, then halves of the refused halves, down to
//! single rows. Of `n` rows with `b` bad ones that is at most `2 * b * (floor(log2(n)) + 1)`
//! questions, and never more than `2 * n`; nothing is written meanwhile, so the search may be
//! abandoned and begun again at any time.
//!
//! Rows that are refused only together (a constraint over several rows) are searched for by
//! prefixes: the row with which the refusal begins is the bad one. If the database cannot be brought
//! to refuse any row again, none is suspected and none is dropped: the caller waits, as in an outage.

use crate::Message;
use crate::assemble::Packed;
use crate::assemble::step::bounded;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use tidegauge_model::Reason;
use tidegauge_store::{DeadLetter, ErrorClass, RowBlock, Step, Store, StoreError};
use tidegauge_wire::{Encoding, header_value};

/// A row that the database refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    /// Its number, counted over the blocks of the step.
    row: usize,
    /// What the database said.
    why: String,
}

/// Finds the rows of a step that the database refuses, and makes them dead letters; answers how
/// many. `messages` are those that the step was packed from.
///
/// # Errors
/// [`StoreError`] of any class but [`ErrorClass::Data`]; the step is as it was.
pub(crate) async fn set_refused_rows_aside(
    store: &mut dyn Store,
    packed: &mut Packed,
    messages: &[Message],
    default_encoding: &dyn Encoding,
) -> Result<usize, StoreError> {
    let refused = search(store, &packed.step.blocks).await?;
    if refused.is_empty() {
        return Ok(0);
    }
    tracing::warn!(
        rows = refused.len(),
        of = packed.step.rows(),
        first = refused[0].why,
        "the database refuses rows, they become dead letters"
    );
    let counted = packed
        .tally
        .dead_letters
        .entry(Reason::RefusedByDatabase)
        .or_default();
    *counted += refused.len() as u64;
    bury(
        Arc::make_mut(&mut packed.step),
        &refused,
        messages,
        default_encoding,
    );
    Ok(refused.len())
}

/// Finds the bad rows among rows that were refused together; ordered by their numbers.
async fn search(store: &mut dyn Store, blocks: &[RowBlock]) -> Result<Vec<Refused>, StoreError> {
    let mut questions = Questions { store, blocks };
    let rows = blocks.iter().map(RowBlock::len).sum();
    let mut found = Vec::new();
    // Ranges that were refused, with what was said. The whole was: that is why we are here; only a
    // single row has to be asked for.
    let mut refused: Vec<(Range<usize>, String)> = Vec::new();
    match rows {
        0 => {}
        1 => refused.extend(questions.ask(0..1).await?.map(|why| (0..1, why))),
        _ => refused.push((0..rows, String::new())),
    }
    while let Some((range, why)) = refused.pop() {
        if range.len() == 1 {
            let row = range.start;
            found.push(Refused { row, why });
            continue;
        }
        let middle = range.start + range.len() / 2;
        let before = refused.len();
        for half in [middle..range.end, range.start..middle] {
            let answer = questions.ask(half.clone()).await?;
            refused.extend(answer.map(|why| (half, why)));
        }
        if refused.len() == before {
            found.extend(questions.first_refused(range, middle).await?);
        }
    }
    found.sort_by_key(|refused| refused.row);
    Ok(found)
}

/// Questions to the database about ranges of rows.
struct Questions<'a> {
    store: &'a mut dyn Store,
    blocks: &'a [RowBlock],
}

impl Questions<'_> {
    /// Whether the database refuses these rows; what it said of it.
    async fn ask(&mut self, range: Range<usize>) -> Result<Option<String>, StoreError> {
        match self.store.try_rows(cut(self.blocks, &range)).await {
            Ok(()) => Ok(None),
            Err(error) if error.class() == ErrorClass::Data => Ok(Some(said(&error))),
            Err(error) => Err(error),
        }
    }

    /// The row with which the refusal of a range begins, whose rows up to `taken` are taken and
    /// whose rows from there on are too, but not all together.
    async fn first_refused(
        &mut self,
        range: Range<usize>,
        mut taken: usize,
    ) -> Result<Option<Refused>, StoreError> {
        let Some(mut why) = self.ask(range.clone()).await? else {
            return Ok(None);
        };
        let mut end = range.end;
        while end - taken > 1 {
            let middle = taken + (end - taken) / 2;
            match self.ask(range.start..middle).await? {
                None => taken = middle,
                Some(said) => (end, why) = (middle, said),
            }
        }
        Ok(Some(Refused { row: end - 1, why }))
    }
}

/// The blocks with the rows of a range only, numbered over all of them.
fn cut(blocks: &[RowBlock], range: &Range<usize>) -> Vec<RowBlock> {
    let mut begin = 0;
    let mut cut = Vec::new();
    for block in blocks {
        let (from, to) = (range.start.max(begin), range.end.min(begin + block.len()));
        if from < to {
            cut.push(block.select(from - begin..to - begin));
        }
        begin += block.len();
    }
    cut
}

fn said(error: &StoreError) -> String {
    let text = error.refusal().map(str::to_owned);
    text.unwrap_or_else(|| tidegauge_model::chain(error))
}

/// Takes refused rows out of the step's blocks and adds their dead letters. The ledger rows stay as
/// they are: the batch came, and its points are counted there whether they are rows or dead letters.
fn bury(
    step: &mut Step,
    refused: &[Refused],
    messages: &[Message],
    default_encoding: &dyn Encoding,
) {
    let rows: BTreeSet<usize> = refused.iter().map(|refused| refused.row).collect();
    let mut origins = Vec::with_capacity(refused.len());
    let mut begin = 0;
    for block in &mut step.blocks {
        let (first, length) = (begin, block.len());
        begin += length;
        let gone = rows.range(first..first + length);
        let before = origins.len();
        origins.extend(gone.map(|row| block.origin(row - first)));
        if origins.len() > before {
            *block = block.select((0..length).filter(|row| !rows.contains(&(row + first))));
        }
    }
    step.blocks.retain(|block| !block.is_empty());
    let mut wanted: HashMap<(u32, i64), Option<&Message>> = origins
        .iter()
        .map(|origin| ((origin.slot, origin.offset), None))
        .collect();
    for message in messages {
        let slot = step.moves.iter().position(|moved| {
            moved.partition == message.partition && moved.source == message.source
        });
        let key = slot.map(|slot| (slot as u32, message.offset));
        if let Some(found) = key.and_then(|key| wanted.get_mut(&key)) {
            *found = Some(message);
        }
    }
    // Of several dead letters of one message only the first holds the bytes.
    let mut held: BTreeSet<(u32, i64)> = step
        .dead_letters
        .iter()
        .map(|letter| (letter.slot, letter.offset))
        .collect();
    let mut letters: Vec<_> = origins.into_iter().zip(refused).collect();
    letters.sort_by_key(|(origin, _)| (origin.slot, origin.offset, origin.index));
    for (origin, refused) in letters {
        let key = (origin.slot, origin.offset);
        let message = wanted.get(&key).copied().flatten();
        let encoding = message.and_then(|message| message.encoding.as_deref());
        let encoding = match encoding {
            Some(header) => bounded(&String::from_utf8_lossy(header)),
            None => header_value(default_encoding),
        };
        let payload = match message {
            Some(message) if held.insert(key) => message.payload.clone(),
            _ => bytes::Bytes::new(),
        };
        step.dead_letters.push(DeadLetter {
            slot: origin.slot,
            offset: origin.offset,
            index: Some(origin.index),
            reason: Reason::RefusedByDatabase,
            detail: bounded(&refused.why),
            encoding,
            payload,
        });
        let moved = &mut step.moves[origin.slot as usize];
        moved.points = moved.points.saturating_sub(1);
        moved.dead_letters += 1;
    }
}

#[cfg(test)]
mod tests;
