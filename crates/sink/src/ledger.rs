//! The ledger's rules: which batch is new, which was seen, what is missing (D6).
//!
//! The book holds the rows as the database has them and, above them, what the step that is being
//! built changes. A packed step's changes are assumed for the next one; if it is not committed,
//! [`LedgerBook::forget`] drops its rows, so that they are read again. A step that was built from
//! a wrong assumption cannot be committed: it names the versions that it expects.
//!
//! 1. A sequence that is `next_sequence` or greater is new; what lies between is missing.
//! 2. A sequence that is missing, or was told to be given up, is new: it came late.
//! 3. Any other sequence is known. If its samples are younger than all that was applied of its
//!    epoch it cannot be a repeat (a cloned machine, a restored snapshot): it is stored, and the
//!    conflict is counted. Else it is a repeat: left out, and counted.
//! 4. A new batch of an epoch that is not the agent's newest, with samples that are younger than all
//!    that was applied of the newest one, is of a second machine with the same id: an agent begins a
//!    new epoch only when the old one has ended. It is stored, and the conflict is counted.
//! 5. Batches that the agent tells to be given up are moved from missing to dropped; told twice
//!    counts once.

use hashbrown::{HashMap, HashSet};
use std::ops::RangeInclusive;
use tidegauge_model::{AgentId, DropNotice};
use tidegauge_store::{LedgerChange, LedgerKey, LedgerRow, ToldDrop};

/// What a batch is, by the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not seen before.
    New,
    /// Seen before; it is not stored again.
    Repeat,
    /// Two machines send under one id; it is stored.
    Conflict,
}

/// What is known of the ledger, and what the step changes.
#[derive(Debug, Default)]
pub(crate) struct LedgerBook {
    known: HashMap<LedgerKey, LedgerRow>,
    changed: HashMap<LedgerKey, LedgerRow>,
    /// The newest epoch of each agent that was seen here. An agent's batches are in one partition, so
    /// one sink sees all of them.
    newest: HashMap<AgentId, i64>,
    /// Agents whose conflict was told, each once.
    told: HashSet<AgentId>,
}

impl LedgerBook {
    /// Rows kept above which those that the step does not need are forgotten (D11).
    const MOST_ROWS: usize = 100_000;

    /// Whether the row of this key was read, or is known not to be there.
    pub(crate) fn knows(&self, key: &LedgerKey) -> bool {
        self.known.contains_key(key)
    }

    /// Rows that are kept.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Learns what the database has for these keys; what is not in `rows` is not there.
    pub(crate) fn learn(
        &mut self,
        keys: &[LedgerKey],
        mut rows: std::collections::HashMap<LedgerKey, LedgerRow>,
    ) {
        if self.known.len() > Self::MOST_ROWS {
            self.known.clear();
            self.newest.clear();
            self.told.clear();
        }
        for key in keys {
            let row = rows.remove(key).unwrap_or_default();
            self.known.insert(key.clone(), row);
        }
    }

    /// Begins a step: what an abandoned one changed is gone.
    pub(crate) fn begin_step(&mut self) {
        self.changed.clear();
    }

    /// Judges a batch and notes it. `times_us` spans its accepted samples, `points` is their
    /// number. The key must be known.
    pub(crate) fn judge(
        &mut self,
        key: &LedgerKey,
        sequence: u64,
        times_us: Option<RangeInclusive<i64>>,
        points: u64,
    ) -> Verdict {
        let is_overlapping = self.overlaps(key, times_us.as_ref());
        let row = self.row(key);
        let verdict = if sequence >= row.next_sequence {
            if sequence > row.next_sequence {
                row.missing.insert(row.next_sequence, sequence - 1);
            }
            row.next_sequence = sequence + 1;
            Verdict::New
        } else if row.missing.remove(sequence, sequence) == 1
            || take_dropped(&mut row.dropped, sequence)
        {
            Verdict::New
        } else if times_us
            .as_ref()
            .is_some_and(|times| *times.start() > row.last_time_us)
        {
            row.conflicts += 1;
            Verdict::Conflict
        } else {
            row.duplicate_batches += 1;
            return Verdict::Repeat;
        };
        row.batches += 1;
        row.points += points;
        if let Some(times) = times_us {
            row.last_time_us = row.last_time_us.max(*times.end());
        }
        if verdict == Verdict::New && is_overlapping {
            row.conflicts += 1;
            return Verdict::Conflict;
        }
        match self.newest.get_mut(&key.agent) {
            Some(newest) => *newest = key.epoch.max(*newest),
            None => {
                self.newest.insert(key.agent.clone(), key.epoch);
            }
        }
        verdict
    }

    /// Whether the agent has begun a newer epoch, and these samples are younger than all of it.
    fn overlaps(&self, key: &LedgerKey, times_us: Option<&RangeInclusive<i64>>) -> bool {
        let newest = self.newest.get(&key.agent).copied();
        let (Some(newest), Some(times)) = (newest.filter(|newest| *newest > key.epoch), times_us)
        else {
            return false;
        };
        let newest = LedgerKey {
            agent: key.agent.clone(),
            epoch: newest,
        };
        let row = self
            .changed
            .get(&newest)
            .or_else(|| self.known.get(&newest));
        // A newer epoch that was seen only in an abandoned step has no samples yet: the older one is
        // read again before it, and is not late.
        row.is_some_and(|row| row.last_time_us != 0 && *times.start() > row.last_time_us)
    }

    /// Whether the conflict of this agent is to be told, which is so once.
    pub(crate) fn is_to_be_told(&mut self, agent: &AgentId) -> bool {
        !self.told.contains(agent) && self.told.insert(agent.clone())
    }

    /// Notes batches that the agent gave up. The key (agent and the notice's epoch) must be known.
    pub(crate) fn note_drop(&mut self, key: &LedgerKey, notice: &DropNotice) {
        let row = self.row(key);
        if key.epoch == 0 {
            // A spool was lost whole: of unknown epoch and size, told once per incident, and
            // nothing is known to be missing before it.
            let (first, last, reason) =
                (notice.first_sequence, notice.last_sequence, notice.reason);
            if !row
                .dropped
                .iter()
                .any(|known| known.first <= first && last <= known.last)
            {
                row.dropped.push(ToldDrop {
                    first,
                    last,
                    reason,
                });
                merge_dropped(&mut row.dropped);
                row.next_sequence = row.next_sequence.max(last + 1);
            }
            return;
        }
        if notice.last_sequence >= row.next_sequence {
            row.missing.insert(row.next_sequence, notice.last_sequence);
            row.next_sequence = notice.last_sequence + 1;
        }
        let mut told = Vec::new();
        for &(first, last) in row.missing.ranges() {
            let (first, last) = (
                first.max(notice.first_sequence),
                last.min(notice.last_sequence),
            );
            if first <= last {
                told.push(ToldDrop {
                    first,
                    last,
                    reason: notice.reason,
                });
            }
        }
        if told.is_empty() {
            return;
        }
        row.missing
            .remove(notice.first_sequence, notice.last_sequence);
        row.dropped.extend(told);
        merge_dropped(&mut row.dropped);
    }

    /// The rows that the step changes.
    pub(crate) fn changes(&self) -> Vec<LedgerChange> {
        let mut changes: Vec<LedgerChange> = self
            .changed
            .iter()
            .map(|(key, row)| LedgerChange {
                key: key.clone(),
                expected_version: row.version,
                row: LedgerRow {
                    version: row.version + 1,
                    ..row.clone()
                },
            })
            .collect();
        // One order for all sinks, so that two of them never wait for each other's rows.
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        changes
    }

    /// The step is packed: the next one is built as if its changes were the known state.
    pub(crate) fn assume(&mut self) {
        for (key, mut row) in self.changed.drain() {
            row.version += 1;
            self.known.insert(key, row);
        }
    }

    /// These rows are not what was assumed: they are read again.
    pub(crate) fn forget<'a>(&mut self, keys: impl Iterator<Item = &'a LedgerKey>) {
        for key in keys {
            self.known.remove(key);
        }
    }

    fn row(&mut self, key: &LedgerKey) -> &mut LedgerRow {
        self.changed
            .entry(key.clone())
            .or_insert_with(|| self.known.get(key).cloned().unwrap_or_default())
    }
}

fn take_dropped(dropped: &mut Vec<ToldDrop>, sequence: u64) -> bool {
    let Some(at) = dropped
        .iter()
        .position(|drop| (drop.first..=drop.last).contains(&sequence))
    else {
        return false;
    };
    let ToldDrop {
        first,
        last,
        reason,
    } = dropped.remove(at);
    if first < sequence {
        dropped.push(ToldDrop {
            first,
            last: sequence - 1,
            reason,
        });
    }
    if sequence < last {
        dropped.push(ToldDrop {
            first: sequence + 1,
            last,
            reason,
        });
    }
    merge_dropped(dropped);
    true
}

fn merge_dropped(dropped: &mut Vec<ToldDrop>) {
    dropped.sort_by_key(|drop| drop.first);
    dropped.dedup_by(|next, kept| {
        let joins = kept.reason == next.reason && kept.last.checked_add(1) == Some(next.first);
        if joins {
            kept.last = next.last;
        }
        joins
    });
}

#[cfg(test)]
mod tests;
