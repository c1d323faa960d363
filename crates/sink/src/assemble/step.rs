//! A step while it is being packed: positions, dead letters and what was seen.

use super::Tally;
use crate::Message;
use std::collections::{BTreeMap, HashMap};
use tidegauge_model::{MOST_REJECTED, Reason};
use tidegauge_store::{
    DeadLetter, FurtherLetters, LedgerChange, PositionMove, RowBlock, SourceId, Step,
};
use tidegauge_wire::DecodeError;

/// The longest detail of a dead letter in bytes.
const DETAIL_BYTES: usize = 500;

#[derive(Debug, Default)]
pub(super) struct StepDraft {
    pub(super) tally: Tally,
    moves: Vec<PositionMove>,
    dead_letters: Vec<DeadLetter>,
    further_letters: BTreeMap<(u32, Reason), u64>,
}

impl StepDraft {
    /// Bytes of the messages so far.
    pub(super) fn bytes(&self) -> usize {
        self.tally.bytes as usize
    }

    /// Moves the partition past the message. `None` when it was applied before.
    pub(super) fn begin_message(
        &mut self,
        message: &Message,
        stored: &HashMap<(SourceId, i32), i64>,
    ) -> Option<u32> {
        let same = |known: &PositionMove| {
            known.partition == message.partition && known.source == message.source
        };
        let slot = match self.moves.iter().rposition(same) {
            Some(slot) => slot,
            None => {
                // A partition that has no position here was taken away meanwhile: its messages
                // belong to whoever has it now.
                let from = *stored.get(&(message.source.clone(), message.partition))?;
                self.moves.push(PositionMove {
                    source: message.source.clone(),
                    partition: message.partition,
                    from,
                    to: from,
                    messages: 0,
                    points: 0,
                    duplicate_points: 0,
                    dead_letters: 0,
                    left_out_values: 0,
                });
                self.moves.len() - 1
            }
        };
        let position = &mut self.moves[slot];
        if message.offset < position.to {
            return None;
        }
        position.to = message.offset + 1;
        position.messages += 1;
        self.tally.messages += 1;
        self.tally.bytes += message.payload.len() as u64;
        Some(slot as u32)
    }

    /// Counts points that will be rows.
    pub(super) fn accepted(&mut self, slot: u32, points: u64, newest_us: Option<i64>) {
        self.moves[slot as usize].points += points;
        self.tally.newest_us = self.tally.newest_us.max(newest_us);
    }

    /// Counts values that are missing in the rows of a batch.
    pub(super) fn left_out(&mut self, slot: u32, values: u64) {
        self.moves[slot as usize].left_out_values += values;
        self.tally.left_out += values;
    }

    /// Counts a batch that came again.
    pub(super) fn repeated(&mut self, slot: u32, points: u64) {
        self.moves[slot as usize].duplicate_points += points;
        self.tally.repeated_batches += 1;
        self.tally.repeated_points += points;
    }

    /// Makes a dead letter of a whole message that cannot be decoded.
    pub(super) fn reject_message(
        &mut self,
        slot: u32,
        message: &Message,
        error: &DecodeError,
        encoding: &str,
    ) {
        self.reject(
            slot,
            message,
            None,
            error.reason,
            &error.to_string(),
            encoding,
        );
    }

    /// Counts points that cannot be stored, of a message that has as many dead letters as it gets.
    pub(super) fn reject_further(&mut self, slot: u32, reason: Reason, points: u64) {
        *self.further_letters.entry((slot, reason)).or_default() += points;
        self.moves[slot as usize].dead_letters += points;
        *self.tally.dead_letters.entry(reason).or_default() += points;
    }

    /// Makes a dead letter. Of several of one message only the first holds the bytes, and there are
    /// [`MOST_REJECTED`] at most; further ones are counted.
    pub(super) fn reject(
        &mut self,
        slot: u32,
        message: &Message,
        index: Option<u32>,
        reason: Reason,
        detail: &str,
        encoding: &str,
    ) {
        let of_message = self.dead_letters.iter().rev();
        let of_message = of_message
            .take_while(|last| last.slot == slot && last.offset == message.offset)
            .count();
        if of_message >= MOST_REJECTED {
            return self.reject_further(slot, reason, 1);
        }
        let held = of_message > 0;
        self.dead_letters.push(DeadLetter {
            slot,
            offset: message.offset,
            index,
            reason,
            detail: bounded(detail),
            encoding: bounded(encoding),
            payload: if held {
                bytes::Bytes::new()
            } else {
                message.payload.clone()
            },
        });
        self.moves[slot as usize].dead_letters += 1;
        *self.tally.dead_letters.entry(reason).or_default() += 1;
    }

    pub(super) fn finish(self, blocks: Vec<RowBlock>, ledger: Vec<LedgerChange>) -> (Step, Tally) {
        let Self {
            tally,
            moves,
            dead_letters,
            further_letters,
        } = self;
        let further = |((slot, reason), letters)| FurtherLetters {
            slot,
            reason,
            letters,
        };
        (
            Step {
                moves,
                blocks,
                dead_letters,
                further_letters: further_letters.into_iter().map(further).collect(),
                ledger,
                ..Step::default()
            },
            tally,
        )
    }
}

/// Cut to a bound, without characters that a database or a terminal stumbles over.
pub(crate) fn bounded(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(DETAIL_BYTES));
    for character in text.chars() {
        if kept.len() + character.len_utf8() > DETAIL_BYTES {
            break;
        }
        kept.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    kept
}
