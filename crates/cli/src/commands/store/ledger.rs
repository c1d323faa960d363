//! `tidegauge store ledger`: did anything get lost? What came per agent and per partition, all that
//! was not stored, and the answer in words.

use super::super::{dead_letters::one_line, table, time};
use comfy_table::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use tidegauge_store::{LedgerKey, LedgerRow, Loss, PartitionProgress};

/// What there is of each kind of loss, in words.
const WORDS: &[(&str, &str)] = &[
    ("missing_batches", "batches of agents never came"),
    ("dropped_batches", "batches were given up by their agents"),
    ("lost_spools", "spools of agents were lost whole"),
    (
        "unread_messages",
        "messages were gone from the log before they were read",
    ),
    (
        "dead_letters",
        "dead letters are held: see `tidegauge dead-letters list`",
    ),
    (
        "removed_dead_letters",
        "dead letters were removed, for their age or their bytes",
    ),
    (
        "left_out_values",
        "values were no finite numbers and were left out of their points",
    ),
];

/// All that the bookkeeping knows.
pub(super) struct Account {
    pub(super) agents: Vec<(LedgerKey, LedgerRow)>,
    pub(super) partitions: Vec<PartitionProgress>,
    pub(super) losses: Vec<Loss>,
}

impl Account {
    /// Prints it. The exit status says that it was read, not what it says.
    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<ExitCode> {
        if as_json {
            say!("{}", serde_json::to_string_pretty(&self.object())?)?;
            return Ok(ExitCode::SUCCESS);
        }
        for rows in [self.agents(), self.partitions(), self.losses()] {
            if !rows.is_empty() {
                say!("{rows}\n")?;
            }
        }
        for line in self.answer() {
            say!("{line}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn agents(&self) -> Table {
        let mut rows = table();
        rows.set_header([
            "agent",
            "epoch",
            "sequences",
            "batches",
            "points",
            "missing",
            "given up",
            "repeated",
            "conflicts",
            "youngest sample",
        ]);
        for (key, row) in &self.agents {
            rows.add_row([
                key.agent.to_string(),
                time(key.epoch),
                sequences(row)
                    .map_or_else(|| "-".to_owned(), |(first, last)| format!("{first}-{last}")),
                row.batches.to_string(),
                row.points.to_string(),
                row.missing.to_text(),
                row.dropped_text(),
                row.duplicate_batches.to_string(),
                row.conflicts.to_string(),
                time(row.last_time_us),
            ]);
        }
        rows
    }

    fn partitions(&self) -> Table {
        let mut rows = table();
        rows.set_header([
            "topic",
            "partition",
            "next offset",
            "messages",
            "points",
            "repeated",
            "dead letters",
            "left out",
            "moved",
        ]);
        for partition in &self.partitions {
            rows.add_row([
                one_line(&partition.topic),
                partition.partition.to_string(),
                partition.next_offset.to_string(),
                partition.messages.to_string(),
                partition.points.to_string(),
                partition.duplicate_points.to_string(),
                partition.dead_letters.to_string(),
                partition.left_out_values.to_string(),
                time(partition.updated_us),
            ]);
        }
        rows
    }

    fn losses(&self) -> Table {
        let mut rows = table();
        rows.set_header(["not stored", "of", "partition", "reason", "count", "last"]);
        for loss in &self.losses {
            let of = match (&loss.topic, loss.epoch) {
                (Some(topic), _) => one_line(topic),
                (None, Some(epoch)) => format!("{}, epoch {}", one_line(&loss.source), time(epoch)),
                (None, None) => one_line(&loss.source),
            };
            rows.add_row([
                loss.what.replace('_', " "),
                of,
                loss.partition.map_or_else(String::new, |n| n.to_string()),
                loss.reason.clone(),
                loss.count.to_string(),
                loss.last_us.map_or_else(String::new, time),
            ]);
        }
        rows
    }

    /// The answer in words.
    fn answer(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for loss in &self.losses {
            *counts.entry(&loss.what).or_default() += loss.count;
        }
        if counts.is_empty() {
            return vec!["nothing is missing".to_owned()];
        }
        let words = WORDS.iter().filter_map(|(what, words)| {
            let count = counts.get(what)?;
            Some(format!("{count} {words}"))
        });
        words.collect()
    }

    fn object(&self) -> Value {
        let agents: Vec<Value> = self
            .agents
            .iter()
            .map(|(key, row)| {
                let sequences = sequences(row);
                json!({
                    "agent": key.agent.as_str(),
                    "epoch": key.epoch,
                    "first_sequence": sequences.map(|(first, _)| first),
                    "last_sequence": sequences.map(|(_, last)| last),
                    "batches": row.batches,
                    "points": row.points,
                    "missing": row.missing.to_text(),
                    "missing_batches": row.missing.count(),
                    "dropped": row.dropped_text(),
                    "dropped_batches": row.dropped_batches(),
                    "duplicate_batches": row.duplicate_batches,
                    "conflicts": row.conflicts,
                    "last_sample": time(row.last_time_us),
                })
            })
            .collect();
        let partitions: Vec<Value> = self
            .partitions
            .iter()
            .map(|partition| {
                json!({
                    "source": partition.source,
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "next_offset": partition.next_offset,
                    "messages": partition.messages,
                    "points": partition.points,
                    "duplicate_points": partition.duplicate_points,
                    "dead_letters": partition.dead_letters,
                    "left_out_values": partition.left_out_values,
                    "updated": time(partition.updated_us),
                })
            })
            .collect();
        let losses: Vec<Value> = self
            .losses
            .iter()
            .map(|loss| {
                json!({
                    "what": loss.what,
                    "source": loss.source,
                    "epoch": loss.epoch,
                    "topic": loss.topic,
                    "partition": loss.partition,
                    "reason": loss.reason,
                    "count": loss.count,
                    "first": loss.first_us.map(time),
                    "last": loss.last_us.map(time),
                })
            })
            .collect();
        json!({
            "nothing_is_missing": losses.is_empty(),
            "agents": agents,
            "partitions": partitions,
            "losses": losses,
        })
    }
}

/// The first and the last sequence that came or may still come: an epoch begins at 0, but its first
/// batches may be missing or given up.
fn sequences(row: &LedgerRow) -> Option<(u64, u64)> {
    let last = row.next_sequence.checked_sub(1)?;
    let mut absent: Vec<(u64, u64)> = row.missing.ranges().to_vec();
    absent.extend(row.dropped.iter().map(|drop| (drop.first, drop.last)));
    absent.sort_unstable();
    let mut first = 0;
    for (from, to) in absent {
        if from > first {
            break;
        }
        first = first.max(to + 1);
    }
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::{DropReason, SequenceRanges};
    use tidegauge_store::ToldDrop;

    fn loss(what: &str, count: u64) -> Loss {
        Loss {
            what: what.to_owned(),
            source: "a".to_owned(),
            epoch: None,
            topic: None,
            partition: None,
            reason: "unknown".to_owned(),
            count,
            first_us: None,
            last_us: None,
        }
    }

    #[test]
    fn the_answer_is_in_words() {
        let mut account = Account {
            agents: Vec::new(),
            partitions: Vec::new(),
            losses: Vec::new(),
        };
        assert_eq!(account.answer(), ["nothing is missing"]);
        assert_eq!(account.object()["nothing_is_missing"], true);
        account.losses = vec![
            loss("dead_letters", 2),
            loss("dead_letters", 5),
            loss("missing_batches", 3),
        ];
        assert_eq!(
            account.answer(),
            [
                "3 batches of agents never came",
                "7 dead letters are held: see `tidegauge dead-letters list`"
            ]
        );
        assert_eq!(account.object()["nothing_is_missing"], false);
    }

    #[test]
    fn the_first_sequence_is_the_first_that_came() {
        let mut row = LedgerRow::default();
        assert_eq!(sequences(&row), None);
        row.next_sequence = 10;
        assert_eq!(sequences(&row), Some((0, 9)));
        let mut missing = SequenceRanges::default();
        missing.insert(0, 1);
        missing.insert(7, 7);
        row.missing = missing;
        row.dropped = vec![ToldDrop {
            first: 2,
            last: 3,
            reason: DropReason::SpoolFull,
        }];
        assert_eq!(sequences(&row), Some((4, 9)));
        row.dropped[0].last = 9;
        assert_eq!(sequences(&row), None);
    }
}
