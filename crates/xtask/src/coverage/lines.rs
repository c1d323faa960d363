//! How many lines ran, by crate, from a file in the form of lcov (geninfo(1)).
//!
//! Not counted: tests that stand at the end of a file, `#[cfg(test)] mod tests { … }`. They always run, and
//! would make every figure better than it is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// Crates that ship nothing: they are told, and not in the sum.
const NOT_SHIPPED: &[&str] = &["examples", "testkit", "xtask"];

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    lines: u64,
    ran: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.ran += other.ran;
    }

    fn percent(self) -> f64 {
        100.0 * self.ran as f64 / self.lines.max(1) as f64
    }
}

/// The lines of each crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary(BTreeMap<String, Count>);

impl Summary {
    /// Counts the lines of files below `root`.
    ///
    /// # Errors
    /// When a file that is named cannot be read, or a line has another form.
    pub(super) fn of(lcov: &str, root: &Path) -> anyhow::Result<Self> {
        let mut summary = Self::default();
        let mut file: Option<(String, usize)> = None;
        for record in lcov.lines() {
            if let Some(path) = record.strip_prefix("SF:") {
                file = Path::new(path)
                    .strip_prefix(root)
                    .ok()
                    .and_then(crate_of)
                    .map(|name| tests_begin(Path::new(path)).map(|line| (name, line)))
                    .transpose()?;
            }
            let (Some(counted), Some((name, end))) = (record.strip_prefix("DA:"), &file) else {
                continue;
            };
            let parsed = counted.split_once(',').and_then(|(line, times)| {
                Some((line.parse::<usize>().ok()?, times.parse::<u64>().ok()?))
            });
            let (line, times) = parsed.with_context(|| format!("lcov: {record}"))?;
            if line < *end {
                let count = summary.0.entry(name.clone()).or_default();
                count.add(Count {
                    lines: 1,
                    ran: u64::from(times > 0),
                });
            }
        }
        Ok(summary)
    }
}

/// `agent` of `crates/agent/src/lib.rs`, `examples` of `examples/src/…`.
fn crate_of(path: &Path) -> Option<String> {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    match parts.next()? {
        "crates" => parts.next().map(str::to_owned),
        "examples" => Some("examples".to_owned()),
        _ => None,
    }
}

/// The line from which on a file holds its tests only, from 1 on.
fn tests_begin(path: &Path) -> anyhow::Result<usize> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lines: Vec<&str> = text.lines().collect();
    let is_begin = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    let begin = lines.windows(2).position(is_begin);
    Ok(begin.map_or(usize::MAX, |index| index + 1))
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: Count| {
            writeln!(
                formatter,
                "{name:<10} {:>6} of {:>6} lines ran {:>6.1} %",
                count.ran,
                count.lines,
                count.percent()
            )
        };
        let mut shipped = Count::default();
        let is_shipped = |name: &str| !NOT_SHIPPED.contains(&name);
        for (name, count) in self.0.iter().filter(|(name, _)| is_shipped(name)) {
            row(name, *count)?;
            shipped.add(*count);
        }
        row("together", shipped)?;
        for (name, count) in self.0.iter().filter(|(name, _)| !is_shipped(name)) {
            row(&format!("({name})"), *count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_crate_and_tests_are_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let code = "fn a() {}\nfn b() {}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
        let library = write("crates/wire/src/lib.rs", code);
        // `mod tests;` is another file, and what follows it is code.
        let module = write(
            "crates/wire/src/a.rs",
            "#[cfg(test)]\nmod tests;\nfn a() {}\n",
        );
        let tool = write("crates/xtask/src/main.rs", "fn main() {}\n");
        let lcov = format!(
            "SF:{library}\nDA:1,4\nDA:2,0\nDA:6,9\nend_of_record\nSF:{module}\nDA:3,1\nend_of_record\n\
             SF:{tool}\nDA:1,0\nend_of_record\nSF:/elsewhere/lib.rs\nDA:1,0\nend_of_record\n"
        );
        let summary = Summary::of(&lcov, root.path()).unwrap().to_string();
        let expected = "\
wire            2 of      3 lines ran   66.7 %
together        2 of      3 lines ran   66.7 %
(xtask)         0 of      1 lines ran    0.0 %
";
        assert_eq!(summary, expected);
        assert!(Summary::of(&format!("SF:{library}\nDA:x"), root.path()).is_err());
    }
}
