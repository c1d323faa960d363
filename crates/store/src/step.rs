//! A step: what the sink commits at once (D3), and its parts.

use crate::{LedgerChange, RowBlock};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use tidegauge_model::Reason;

/// The identity of what positions count in: `kafka:<topic id>` or `spool:<spool id>`.
///
/// A recreated topic is a new topic, so its id is used, not its name (D5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    id: Arc<str>,
    label: Arc<str>,
}

impl SourceId {
    /// A topic of Kafka by its topic id, with its name for people.
    #[must_use]
    pub fn kafka(topic_id: &str, topic: &str) -> Self {
        Self {
            id: format!("kafka:{topic_id}").into(),
            label: topic.into(),
        }
    }

    /// A spool that is read directly, by the id of its file.
    #[must_use]
    pub fn spool(spool_id: &str) -> Self {
        Self {
            id: format!("spool:{spool_id}").into(),
            label: "spool".into(),
        }
    }

    /// A source as a store has it, by the texts of [`SourceId::as_str`] and [`SourceId::label`].
    #[must_use]
    pub fn stored(id: &str, label: &str) -> Self {
        Self {
            id: id.into(),
            label: label.into(),
        }
    }

    /// The identity.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// The name for people: the topic, or `spool`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.label)
    }
}

/// One partition's part of a step, with what its bookkeeping row is to be increased by.
///
/// Where `from` equals `to` nothing of the log is applied: the partition must be known, its position
/// is neither looked at nor moved, and the numbers are added. That is how dead letters are replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionMove {
    /// What the partition belongs to.
    pub source: SourceId,
    /// The partition; 0 for a spool.
    pub partition: i32,
    /// The stored position that the step was built from.
    pub from: i64,
    /// The position afterwards: one more than the last offset that was read.
    pub to: i64,
    /// Messages between them.
    pub messages: u64,
    /// Points in them that are to be rows.
    pub points: u64,
    /// Points of batches that the ledger knows already, which are not in the step's rows.
    pub duplicate_points: u64,
    /// Dead letters among them.
    pub dead_letters: u64,
    /// Values that were not finite, and are missing in their rows.
    pub left_out_values: u64,
}

/// A message or point that cannot be stored, with its origin (D7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Index into [`Step::moves`]: source and partition.
    pub slot: u32,
    /// The message's offset.
    pub offset: i64,
    /// The point's place in the message; `None` for the whole message.
    pub index: Option<u32>,
    /// Why.
    pub reason: Reason,
    /// What was wrong, for a person; bounded.
    pub detail: String,
    /// The encoding that was assumed, such as `json/1`.
    pub encoding: String,
    /// The whole message as it came.
    pub payload: Bytes,
}

/// Points of messages that have so many dead letters already that further ones are only counted: they
/// are noted with the letters that were removed for their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FurtherLetters {
    /// Index into [`Step::moves`]: source and partition.
    pub slot: u32,
    /// Why they cannot be stored.
    pub reason: Reason,
    /// How many.
    pub letters: u64,
}

/// Why messages that were in the log cannot be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// They were removed before they were read.
    Retention,
    /// The end of the log was cut. They had been applied; what came after them nobody knows.
    Truncated,
}

impl GapReason {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Truncated => "truncated",
        }
    }
}

/// Offsets that were in the log and cannot be read any more, found out when a position was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Index into [`Step::moves`]: source and partition.
    pub slot: u32,
    /// The first offset that is missing.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
    /// Why.
    pub reason: GapReason,
}

/// What the sink commits at once.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// One entry per partition; never two of one partition.
    pub moves: Vec<PositionMove>,
    /// The rows by measurement. A measurement that got new columns while the step was built has
    /// one block for each width.
    pub blocks: Vec<RowBlock>,
    /// What cannot be stored.
    pub dead_letters: Vec<DeadLetter>,
    /// What cannot be stored and gets no letter of its own, one for each slot and reason.
    pub further_letters: Vec<FurtherLetters>,
    /// Ledger rows to be written.
    pub ledger: Vec<LedgerChange>,
    /// What is missing of the log, told with the move that goes past it.
    pub gaps: Vec<Gap>,
    /// Numbers of dead letters that this step does away with, each once. If one of them is not
    /// there any more the step is [`Applied::Fenced`](crate::Applied::Fenced): somebody else
    /// replayed or deleted it.
    pub resolves: Vec<i64>,
}

impl Step {
    /// Points and messages that cannot be stored.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        let further = self.further_letters.iter().map(|further| further.letters);
        self.dead_letters.len() as u64 + further.sum::<u64>()
    }

    /// Rows of all blocks.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.blocks.iter().map(RowBlock::len).sum()
    }
}

/// Which dead letters to list.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Only these numbers; all if there is none.
    pub ids: Vec<i64>,
    /// Only with this reason.
    pub reason: Option<Reason>,
    /// Only of this topic (the source's label).
    pub topic: Option<String>,
    /// Only those stored at or after this time, microseconds since 1970 UTC.
    pub since_us: Option<i64>,
    /// Only those stored before this time, microseconds since 1970 UTC.
    pub until_us: Option<i64>,
    /// Only numbers below this one: the next page.
    pub below: Option<i64>,
    /// At most so many; 0 means 100.
    pub limit: usize,
}

/// A dead letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Its number.
    pub id: i64,
    /// When it was stored, microseconds since 1970 UTC.
    pub stored_us: i64,
    /// The source's identity.
    pub source: String,
    /// The source's label, for Kafka the topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The message's offset.
    pub offset: i64,
    /// The point's place in the message; `None` for the whole message.
    pub index: Option<u32>,
    /// The word of the reason.
    pub reason: String,
    /// What was wrong.
    pub detail: String,
    /// The encoding that was assumed.
    pub encoding: String,
    /// The whole message, also where another dead letter of the same message holds its bytes.
    pub payload: Vec<u8>,
}
