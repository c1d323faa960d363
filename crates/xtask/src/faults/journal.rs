//! The journal of a producer of numbered samples: what it was about to spool, and what the spool
//! said.
//!
//! One line before a batch is handed to the spool and one after, each written by one system call.
//! They are not synced to the disk: here processes die, not the machine, and what a process has
//! written survives it.

use anyhow::{Context, bail};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// What the spool said of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the spool, durably: from here on it may not be lost without being told.
    Spooled,
    /// The spool did not take it, and it was counted as a loss.
    Unstored,
    /// The producer was killed before it knew.
    Unknown,
}

/// One batch of consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) epoch: i64,
    pub(super) sequence: u64,
    pub(super) first_number: u64,
    pub(super) numbers: u64,
    pub(super) outcome: Outcome,
}

/// The journal that a producer writes.
pub(super) struct Journal(File);

impl Journal {
    /// Goes on with the journal at `path`, or begins it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| {
            format!("open the journal {}", path.display())
        })?))
    }

    /// Notes a batch before the spool has it.
    pub(super) fn begin(&mut self, batch: &Written) -> anyhow::Result<()> {
        let Written {
            epoch,
            sequence,
            first_number,
            numbers,
            ..
        } = batch;
        let line = format!("begin {epoch} {sequence} {first_number} {numbers}\n");
        self.0
            .write_all(line.as_bytes())
            .context("write the journal")
    }

    /// Notes what became of the batch that was begun last.
    pub(super) fn end(&mut self, spooled: bool) -> anyhow::Result<()> {
        let line: &[u8] = if spooled { b"spooled\n" } else { b"unstored\n" };
        self.0.write_all(line).context("write the journal")
    }
}

/// All batches of a journal; none when it was not begun.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Written>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Vec<Written>> {
    let mut batches: Vec<Written> = Vec::new();
    // What stands behind the last end of a line was not written whole.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let ended = match words[..] {
            ["begin", epoch, sequence, first_number, numbers] => {
                batches.push(Written {
                    epoch: epoch.parse()?,
                    sequence: sequence.parse()?,
                    first_number: first_number.parse()?,
                    numbers: numbers.parse()?,
                    outcome: Outcome::Unknown,
                });
                continue;
            }
            ["spooled"] => Outcome::Spooled,
            ["unstored"] => Outcome::Unstored,
            _ => bail!("a line of a journal that cannot be read: {line}"),
        };
        batches
            .last_mut()
            .context("an end without a begin")?
            .outcome = ended;
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_and_not_ended_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert_eq!(read(&path).unwrap(), []);
        let batch = |sequence, outcome| Written {
            epoch: 5,
            sequence,
            first_number: sequence * 3,
            numbers: 3,
            outcome,
        };
        let mut journal = Journal::open(&path).unwrap();
        let outcomes = [Outcome::Spooled, Outcome::Unstored, Outcome::Unknown];
        let mut expected = Vec::new();
        for (sequence, outcome) in (0..).zip(outcomes) {
            expected.push(batch(sequence, outcome));
            journal.begin(&expected[sequence as usize]).unwrap();
            if outcome != Outcome::Unknown {
                journal.end(outcome == Outcome::Spooled).unwrap();
            }
        }
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        expected.push(batch(3, Outcome::Spooled));
        journal.begin(&expected[3]).unwrap();
        journal.end(true).unwrap();
        assert_eq!(read(&path).unwrap(), expected);
        assert!(parse("something else\n").is_err());
        assert_eq!(parse("begin 1 2 3").unwrap(), []);
    }
}
