//! The ledger's rows: per agent and epoch, what came, what is missing, what was given up (D6, D10).
//!
//! Only data: the rules by which a batch changes a row are the sink's.

use tidegauge_model::{AgentId, DropReason, SequenceRanges};

/// Which ledger row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerKey {
    /// The agent.
    pub agent: AgentId,
    /// Its epoch.
    pub epoch: i64,
}

/// Batches that the agent gave up, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldDrop {
    /// Sequence of the first.
    pub first: u64,
    /// Sequence of the last.
    pub last: u64,
    /// Why.
    pub reason: DropReason,
}

/// One ledger row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerRow {
    /// 0 for a row that was never stored; else the number of changes to it.
    pub version: i64,
    /// The sequence after the greatest that was seen or told.
    pub next_sequence: u64,
    /// Sequences below `next_sequence` that neither came nor were told to be given up.
    pub missing: SequenceRanges,
    /// Sequences that did not come because the agent gave them up: sorted, disjoint.
    pub dropped: Vec<ToldDrop>,
    /// The youngest sample of all that was applied, microseconds since 1970 UTC.
    pub last_time_us: i64,
    /// Batches that were applied.
    pub batches: u64,
    /// Points that were applied.
    pub points: u64,
    /// Batches that came again and were left out.
    pub duplicate_batches: u64,
    /// Batches whose sequence was known but whose samples were younger than all before: stored.
    pub conflicts: u64,
}

/// A ledger row as a step changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerChange {
    /// Which row.
    pub key: LedgerKey,
    /// The version that must be stored now; 0: no row may be there.
    pub expected_version: i64,
    /// The new row; its version is `expected_version + 1`.
    pub row: LedgerRow,
}

impl LedgerRow {
    /// How many batches were told to be given up and did not come.
    #[must_use]
    pub fn dropped_batches(&self) -> u64 {
        self.dropped
            .iter()
            .map(|drop| drop.last - drop.first + 1)
            .sum()
    }

    /// The text form of `dropped`: `12-40:spool_full,44:refused`.
    #[must_use]
    pub fn dropped_text(&self) -> String {
        let parts: Vec<String> = self
            .dropped
            .iter()
            .map(|drop| match drop.first == drop.last {
                true => format!("{}:{}", drop.first, drop.reason.as_str()),
                false => format!("{}-{}:{}", drop.first, drop.last, drop.reason.as_str()),
            })
            .collect();
        parts.join(",")
    }

    /// Reads the text form; `None` when it is not one.
    #[must_use]
    pub fn parse_dropped(text: &str) -> Option<Vec<ToldDrop>> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (range, reason) = part.split_once(':')?;
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                Some(ToldDrop {
                    first: first.parse().ok()?,
                    last: last.parse().ok()?,
                    reason: DropReason::parse(reason)?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_drops_as_text_and_back() {
        let dropped = vec![
            ToldDrop {
                first: 12,
                last: 40,
                reason: DropReason::SpoolFull,
            },
            ToldDrop {
                first: 44,
                last: 44,
                reason: DropReason::Refused,
            },
        ];
        let row = LedgerRow {
            dropped: dropped.clone(),
            ..LedgerRow::default()
        };
        assert_eq!(row.dropped_text(), "12-40:spool_full,44:refused");
        assert_eq!(row.dropped_batches(), 30);
        assert_eq!(LedgerRow::parse_dropped(&row.dropped_text()), Some(dropped));
        assert_eq!(LedgerRow::parse_dropped(""), Some(Vec::new()));
        assert_eq!(LedgerRow::parse_dropped("1-2:nothing"), None);
    }
}
