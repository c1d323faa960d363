//! The one list of what a test run left out, and what may be left out in CI.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::run::root;

/// Lines `test -- reason`; a skip that is not in it is a failure where `CI=true`.
const ALLOWED: &str = "crates/xtask/allowed-skips.txt";

/// Which tests were skipped, and why.
pub(crate) type Skips = BTreeMap<String, String>;

/// Reads what the tests wrote: one line per skip, test and reason with a tab in between.
pub(crate) fn read(list: &Path) -> anyhow::Result<Skips> {
    let text = fs::read_to_string(list).with_context(|| format!("read {}", list.display()))?;
    Ok(text
        .lines()
        .map(|line| line.split_once('\t').unwrap_or((line, "no reason given")))
        .map(|(test, reason)| (test.to_owned(), reason.to_owned()))
        .collect())
}

/// Prints the list; in CI says which of its entries are not allowed. `false` when there are such.
pub(crate) fn report(skips: &Skips, in_ci: bool) -> anyhow::Result<bool> {
    if skips.is_empty() {
        return Ok(true);
    }
    println!("skipped:");
    for (test, reason) in skips {
        println!("  {test}: {reason}");
    }
    if !in_ci {
        return Ok(true);
    }
    let path = root().join(ALLOWED);
    let text = fs::read_to_string(&path).with_context(|| format!("read {ALLOWED}"))?;
    let allowed = parse_allowed(&text)?;
    let forbidden: Vec<&str> = skips
        .keys()
        .map(String::as_str)
        .filter(|test| !allowed.contains(test))
        .collect();
    for test in &forbidden {
        println!("a skip that {ALLOWED} does not allow in CI: {test}");
    }
    Ok(forbidden.is_empty())
}

fn parse_allowed(text: &str) -> anyhow::Result<BTreeSet<&str>> {
    let mut allowed = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (test, reason) = line.rsplit_once(" -- ").unwrap_or((line, ""));
        ensure!(
            !reason.trim().is_empty(),
            "{ALLOWED}: {line:?} has no reason; write `test -- reason`"
        );
        allowed.insert(test.trim());
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_skip_needs_a_reason() {
        let text = "# comment\n\nkafka: a test -- the machine is too small\n";
        assert_eq!(
            parse_allowed(text).unwrap(),
            BTreeSet::from(["kafka: a test"])
        );
        assert!(parse_allowed("a test without one\n").is_err());
        let path = root().join(ALLOWED);
        parse_allowed(&fs::read_to_string(path).unwrap()).unwrap();
    }

    #[test]
    fn the_same_test_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("skips");
        fs::write(&list, "a\tno Kafka\nb\tno Node\na\tno Kafka\n").unwrap();
        assert_eq!(read(&list).unwrap().len(), 2);
    }
}
