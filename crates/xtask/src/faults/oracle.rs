//! The judge: compares what the agents spooled with what the topic and the tables hold.
//!
//! It knows no processes and no servers, only evidence. Three accounts of the same samples are
//! compared: the spools (which numbers were given out) and the producers' journals (which samples
//! these were), the topic (what the broker has), and the tables with their bookkeeping.
//!
//! 1. Every number that a spool gave out is in the topic, or told as dropped with a reason that
//!    this run allows its agent.
//! 2. The tables hold the points of the topic's batches, each batch once, and nothing else.
//! 3. Every sample of a journal that was spooled is in the tables once, or its batch is told as
//!    dropped; one that was under way when its producer was killed is there once or not at all.
//! 4. The ledger says the same: nothing is missing, and its counts are those of the topic.
//! 5. Positions are at the ends of the partitions, their counts are those of the topic and of the
//!    tables, and there are no dead letters.
//!
//! A message behind the position of its partition waits: its rows are not lost, they are not there
//! in time. That is a failure too, but another one ([`verdict`]): each partition that is not read to
//! its end is found as `stuck`, and all other accounts are compared as far as the positions go.

use super::journal::{Outcome, Written};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// Agent and epoch.
pub(super) type Numbering = (String, i64);

/// One point, as the topic and the tables have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) host: String,
    pub(super) measurement: String,
    pub(super) time_us: i64,
    /// Tags and fields, as [`value_text`] writes them.
    pub(super) values: BTreeMap<String, String>,
}

/// A value so that the same number has the same text, wherever it comes from.
pub(super) fn value_text(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) => format!("{number:?}"),
        Err(_) => text.to_owned(),
    }
}

/// One message of the topic.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) partition: i32,
    pub(super) offset: u64,
    pub(super) numbering: Numbering,
    pub(super) sequence: u64,
    pub(super) rows: Vec<Row>,
}

/// One row of the ledger.
#[derive(Debug, Clone, Default)]
pub(super) struct LedgerRow {
    pub(super) next_sequence: u64,
    pub(super) missing: String,
    pub(super) missing_batches: u64,
    pub(super) dropped_batches: u64,
    pub(super) batches: u64,
    pub(super) points: u64,
    pub(super) duplicate_batches: u64,
    pub(super) conflicts: u64,
    /// First, last and reason of what was told to be given up.
    pub(super) dropped: Vec<(u64, u64, String)>,
}

/// The bookkeeping of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) next_offset: u64,
    pub(super) messages: u64,
    pub(super) points: u64,
    pub(super) duplicate_points: u64,
}

/// All that is known after a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// How many numbers each spool gave out in each epoch.
    pub(super) numbered: BTreeMap<Numbering, u64>,
    /// What the producers wrote down, by agent.
    pub(super) journals: BTreeMap<String, Vec<Written>>,
    /// For which reasons an agent may have given batches up.
    pub(super) allowed: BTreeMap<String, BTreeSet<String>>,
    pub(super) topic: Vec<Sent>,
    /// The ends of the topic's partitions, the empty ones left out.
    pub(super) ends: BTreeMap<i32, u64>,
    pub(super) tables: Vec<Row>,
    pub(super) ledger: BTreeMap<Numbering, LedgerRow>,
    pub(super) positions: BTreeMap<i32, Position>,
    pub(super) dead_letters: Vec<String>,
}

impl Evidence {
    /// Whether the position of its partition is beyond it.
    fn is_applied(&self, sent: &Sent) -> bool {
        let position = self.positions.get(&sent.partition);
        position.is_some_and(|position| sent.offset < position.next_offset)
    }
}

/// Something that must not be.
#[derive(Debug, Clone, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    /// `lost`, `doubled`, `invented`, `untold`, `ledger`, `position`, `dead_letter`, `stuck`, or of
    /// the run itself `ended`, `slow_stop`, `panic`.
    pub(super) kind: &'static str,
    pub(super) detail: String,
}

/// What a run was made of.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq, Eq)]
pub(super) struct Counts {
    /// Batches that the spools gave numbers to.
    pub(super) batches: u64,
    /// Points in the tables.
    pub(super) points: u64,
    /// Messages that repeated a batch.
    pub(super) repeated: u64,
    /// Batches that were given up and told.
    pub(super) dropped: u64,
    /// Epochs of all agents.
    pub(super) epochs: u64,
}

/// The findings in one word: `lost` if something is neither there nor told and will not come,
/// `doubled` if something is there that must not be, `failed` for what is wrong besides, `stuck` if
/// everything is right as far as it goes but waits in a spool or the topic, `ok` if nothing was found.
pub(super) fn verdict(findings: &[Finding]) -> &'static str {
    let has = |kinds: &[&str]| findings.iter().any(|found| kinds.contains(&found.kind));
    match findings {
        [] => "ok",
        _ if has(&["lost", "untold"]) => "lost",
        _ if has(&["doubled", "invented"]) => "doubled",
        _ if findings.iter().all(|found| found.kind == "stuck") => "stuck",
        _ => "failed",
    }
}

/// Judges.
pub(super) fn judge(evidence: &Evidence) -> (Vec<Finding>, Counts) {
    let mut judge = Judge {
        evidence,
        batches: BTreeMap::new(),
        waiting: BTreeSet::new(),
        findings: Vec::new(),
        counts: Counts::default(),
    };
    judge.take_topic();
    judge.compare_numbers();
    judge.compare_rows();
    judge.compare_journals();
    judge.compare_ledger();
    judge.compare_positions();
    let mut findings = judge.findings;
    findings.sort();
    (findings, judge.counts)
}

/// One batch of the topic.
#[derive(Debug, Clone, Copy)]
struct InTopic<'e> {
    rows: &'e [Row],
    /// How many of its copies are before the positions of their partitions.
    applied: u64,
}

struct Judge<'e> {
    evidence: &'e Evidence,
    batches: BTreeMap<&'e Numbering, BTreeMap<u64, InTopic<'e>>>,
    /// Those of which a message waits.
    waiting: BTreeSet<&'e Numbering>,
    findings: Vec<Finding>,
    counts: Counts,
}

impl<'e> Judge<'e> {
    fn found(&mut self, kind: &'static str, detail: String) {
        self.findings.push(Finding { kind, detail });
    }

    fn take_topic(&mut self) {
        for sent in &self.evidence.topic {
            let of = self.batches.entry(&sent.numbering).or_default();
            let batch = of.entry(sent.sequence).or_insert(InTopic {
                rows: &sent.rows,
                applied: 0,
            });
            if self.evidence.is_applied(sent) {
                batch.applied += 1;
            } else {
                self.waiting.insert(&sent.numbering);
            }
            let same = batch.rows == sent.rows;
            if !same {
                let (agent, epoch) = &sent.numbering;
                let sequence = sent.sequence;
                let detail =
                    format!("{agent} {epoch}/{sequence} is in the topic with two contents");
                self.found("invented", detail);
            }
        }
    }

    /// The kind of a batch that is neither stored nor told: it may be told by one that waits.
    fn untold(&self, numbering: &Numbering) -> &'static str {
        match self.waiting.contains(numbering) {
            true => "stuck",
            false => "untold",
        }
    }

    fn dropped(&self, numbering: &Numbering) -> BTreeMap<u64, &'e str> {
        let row = self.evidence.ledger.get(numbering);
        let ranges = row.into_iter().flat_map(|row| &row.dropped);
        ranges
            .flat_map(|(first, last, reason)| (*first..=*last).map(|at| (at, reason.as_str())))
            .collect()
    }

    fn compare_numbers(&mut self) {
        let nothing = BTreeMap::new();
        for (numbering, &next) in &self.evidence.numbered {
            let (agent, epoch) = numbering;
            let in_topic = self.batches.get(numbering).unwrap_or(&nothing).clone();
            let dropped = self.dropped(numbering);
            self.counts.batches += next;
            self.counts.epochs += 1;
            for sequence in 0..next {
                let name = format!("{agent} {epoch}/{sequence}");
                match (in_topic.contains_key(&sequence), dropped.get(&sequence)) {
                    (true, None) => {}
                    (true, Some(reason)) => {
                        self.found(
                            "ledger",
                            format!("{name} is told as {reason} and in the topic"),
                        );
                    }
                    (false, None) => {
                        self.found(
                            self.untold(numbering),
                            format!("{name} is neither in the topic nor told as dropped"),
                        );
                    }
                    (false, Some(&reason)) => {
                        self.counts.dropped += 1;
                        let allowed = self.evidence.allowed.get(agent);
                        if !allowed.is_some_and(|reasons| reasons.contains(reason)) {
                            self.found(
                                "lost",
                                format!("{name} was dropped as {reason} without need"),
                            );
                        }
                    }
                }
            }
            for sequence in in_topic
                .keys()
                .chain(dropped.keys())
                .filter(|at| **at >= next)
            {
                let detail =
                    format!("{agent} {epoch}/{sequence}: the spool gave out {next} numbers only");
                self.found("invented", detail);
            }
        }
        let unknown: Vec<String> = self
            .batches
            .keys()
            .filter(|numbering| !self.evidence.numbered.contains_key(**numbering))
            .map(|(agent, epoch)| format!("{agent} {epoch}: an epoch that no spool began"))
            .collect();
        for detail in unknown {
            self.found("invented", detail);
        }
    }

    /// Rows as multisets: those of the topic's batches, each once, against those of the tables.
    fn compare_rows(&mut self) {
        let mut wanted: BTreeMap<&Row, i64> = BTreeMap::new();
        let mut waiting: BTreeMap<&Row, i64> = BTreeMap::new();
        for batch in self.batches.values().flat_map(BTreeMap::values) {
            for row in batch.rows {
                *wanted.entry(row).or_default() += 1;
                *waiting.entry(row).or_default() += i64::from(batch.applied == 0);
            }
        }
        let mut differences = wanted.clone();
        for row in &self.evidence.tables {
            *differences.entry(row).or_default() -= 1;
        }
        self.counts.points = self.evidence.tables.len() as u64;
        for (row, difference) in differences {
            let late = waiting.get(row).copied().unwrap_or(0);
            let difference = difference - difference.clamp(0, late);
            let kind = match difference {
                0 => continue,
                1.. => "lost",
                _ if wanted.contains_key(row) => "doubled",
                _ => "invented",
            };
            let Row {
                host,
                measurement,
                time_us,
                values,
            } = row;
            let times = difference.abs();
            let detail = format!("{times} times: {host} {measurement} {time_us} {values:?}");
            self.found(kind, detail);
        }
    }

    fn compare_journals(&mut self) {
        let mut stored: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for row in &self.evidence.tables {
            let number = row
                .values
                .get("n")
                .and_then(|text| text.parse::<f64>().ok());
            if let Some(number) = number.filter(|_| row.measurement == "numbered") {
                *stored.entry((&row.host, number as u64)).or_default() += 1;
            }
        }
        for (agent, batches) in &self.evidence.journals {
            for batch in batches {
                let numbering = (agent.clone(), batch.epoch);
                let told = self.dropped(&numbering).contains_key(&batch.sequence);
                let in_topic = self.batches.get(&numbering);
                let in_topic = in_topic.and_then(|batches| batches.get(&batch.sequence));
                let late = match in_topic {
                    Some(batch) => batch.applied == 0,
                    None => self.waiting.contains(&numbering),
                };
                let numbers = batch.first_number..batch.first_number + batch.numbers;
                for number in numbers {
                    let times = stored.remove(&(agent, number)).unwrap_or(0);
                    let name =
                        format!("{agent} {}/{} sample {number}", batch.epoch, batch.sequence);
                    match (batch.outcome, told, times) {
                        (Outcome::Unstored, true, 0)
                        | (Outcome::Unknown, _, 0)
                        | (Outcome::Unknown, false, 1)
                        | (Outcome::Spooled, true, 0)
                        | (Outcome::Spooled, false, 1) => {}
                        (Outcome::Spooled, false, 0) if late => {}
                        (Outcome::Spooled, false, 0) => {
                            self.found("lost", format!("{name} was spooled"));
                        }
                        (Outcome::Unstored, false, 0) => {
                            self.found(self.untold(&numbering), format!("{name} was not spooled"));
                        }
                        (Outcome::Unstored, ..) => {
                            self.found("invented", format!("{name} was not spooled"));
                        }
                        (_, true, 1) => {
                            self.found("ledger", format!("{name} is told as dropped and stored"));
                        }
                        _ => self.found("doubled", format!("{name} is stored {times} times")),
                    }
                }
            }
        }
        for ((agent, number), times) in stored {
            let detail = format!("{agent} sample {number} is stored {times} times, in no journal");
            self.found("invented", detail);
        }
    }

    fn compare_ledger(&mut self) {
        let nothing = BTreeMap::new();
        for (numbering, &next) in &self.evidence.numbered {
            let (agent, epoch) = numbering;
            let batches = self.batches.get(numbering).unwrap_or(&nothing).values();
            let applied: Vec<_> = batches.filter(|batch| batch.applied > 0).collect();
            // What is missing may be among the batches that wait.
            let waits = self.waiting.contains(numbering);
            let Some(row) = self.evidence.ledger.get(numbering) else {
                if next > 0 && (!waits || !applied.is_empty()) {
                    self.found("ledger", format!("{agent} {epoch} has no row"));
                }
                continue;
            };
            let copies: u64 = applied.iter().map(|batch| batch.applied).sum();
            let points: usize = applied.iter().map(|batch| batch.rows.len()).sum();
            let (different, dropped) = (applied.len() as u64, self.dropped(numbering).len() as u64);
            if !waits {
                if !row.missing.is_empty() {
                    let detail = format!("{agent} {epoch}: missing is {}", row.missing);
                    self.found("ledger", detail);
                }
                self.compare_counts(
                    numbering,
                    &[
                        ("next_sequence", row.next_sequence, next),
                        ("missing_batches", row.missing_batches, 0),
                    ],
                );
            }
            let pairs = [
                ("dropped_batches", row.dropped_batches, dropped),
                ("batches", row.batches, different),
                ("points", row.points, points as u64),
                (
                    "duplicate_batches",
                    row.duplicate_batches,
                    copies - different,
                ),
                ("conflicts", row.conflicts, 0),
            ];
            self.counts.repeated += copies - different;
            self.compare_counts(numbering, &pairs);
        }
        let unknown: Vec<String> = self
            .evidence
            .ledger
            .keys()
            .filter(|numbering| !self.evidence.numbered.contains_key(*numbering))
            .map(|(agent, epoch)| {
                format!("{agent} {epoch}: a row for an epoch that no spool began")
            })
            .collect();
        for detail in unknown {
            self.found("ledger", detail);
        }
    }

    fn compare_counts(&mut self, (agent, epoch): &Numbering, pairs: &[(&str, u64, u64)]) {
        for (column, found, expected) in pairs.iter().filter(|(_, a, b)| a != b) {
            let detail = format!("{agent} {epoch}: {column} is {found}, expected {expected}");
            self.found("ledger", detail);
        }
    }

    fn compare_positions(&mut self) {
        let mut total = Position::default();
        for (partition, position) in &self.evidence.positions {
            total.messages += position.messages;
            total.points += position.points;
            total.duplicate_points += position.duplicate_points;
            let end = self.evidence.ends.get(partition).copied().unwrap_or(0);
            let at = position.next_offset;
            if at > end {
                let detail = format!("partition {partition} is at {at}, its end is {end}");
                self.found("position", detail);
            }
        }
        for (partition, &end) in &self.evidence.ends {
            let at = self.evidence.positions.get(partition);
            let at = at.map_or(0, |position| position.next_offset);
            if at < end {
                let detail =
                    format!("partition {partition} is stored up to {at}, its end is {end}");
                self.found("stuck", detail);
            }
        }
        let batches = self.batches.values().flat_map(BTreeMap::values);
        let repeated =
            batches.map(|batch| batch.applied.saturating_sub(1) * batch.rows.len() as u64);
        let applied = self.evidence.topic.iter();
        let applied = applied.filter(|sent| self.evidence.is_applied(sent));
        let pairs = [
            ("messages", total.messages, applied.count() as u64),
            ("points", total.points, self.evidence.tables.len() as u64),
            ("duplicate_points", total.duplicate_points, repeated.sum()),
        ];
        for (column, found, expected) in pairs {
            if found != expected {
                let detail = format!("{column} is {found} in all, expected {expected}");
                self.found("position", detail);
            }
        }
        for letter in &self.evidence.dead_letters {
            self.found("dead_letter", letter.clone());
        }
    }
}
