//! Rules about the text of single files.

use super::Findings;
use super::sources::{Part, Source, Sources};

/// Longer production files are hard to read in one go. The list of exceptions is empty.
const MOST_LINES: usize = 500;

/// Crates whose job it is to print.
const MAY_PRINT: [&str; 4] = [
    "crates/cli/",
    "crates/xtask/",
    "crates/testkit/",
    "examples/",
];

/// The only files with `unsafe`: two calls of librdkafka that its safe interface lacks, and a system call
/// that no safe crate wraps.
const MAY_BE_UNSAFE: [&str; 4] = [
    "crates/agent/src/collectors/linux/time/kernel_clock.rs",
    "crates/cli/src/startup_memory.rs",
    "crates/kafka/src/security/tokens.rs",
    "crates/kafka/src/topic_id.rs",
];

pub(super) fn heads(sources: &Sources) -> anyhow::Result<Findings> {
    Ok(sources
        .0
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect())
}

pub(super) fn lengths(sources: &Sources) -> anyhow::Result<Findings> {
    Ok(sources
        .0
        .iter()
        .filter(|source| !source.is_test())
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(source, lines)| format!("{} has {lines}", source.path))
        .collect())
}

pub(super) fn unsafety(sources: &Sources) -> anyhow::Result<Findings> {
    // The words are cut in two so that this file does not find itself.
    let words = [
        concat!("uns", "afe {"),
        concat!("uns", "afe fn"),
        concat!("uns", "afe_code"),
    ];
    Ok(find(sources, Part::Both, &words, |source| {
        !MAY_BE_UNSAFE.contains(&source.path.as_str())
    }))
}

pub(super) fn tests_that_wait(sources: &Sources) -> anyhow::Result<Findings> {
    let ignored = [concat!("#[ign", "ore"), concat!("#![ign", "ore")];
    // Waiting until a deadline beside something else is fine: that is `sleep_until` in a select.
    let sleeps = [concat!("sl", "eep(")];
    let mut findings = find(sources, Part::Both, &ignored, |_| true);
    findings.extend(find(sources, Part::Tests, &sleeps, |_| true));
    Ok(findings)
}

pub(super) fn prints(sources: &Sources) -> anyhow::Result<Findings> {
    let words = ["println!(", "print!(", concat!("db", "g!(")];
    Ok(find(sources, Part::Production, &words, |source| {
        let may = MAY_PRINT
            .iter()
            .any(|folder| source.path.starts_with(folder));
        // Cargo reads the standard output of a build script.
        !may && !source.path.ends_with("/build.rs")
    }))
}

pub(super) fn left_to_do(sources: &Sources) -> anyhow::Result<Findings> {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimple", "mented!("),
        concat!("to", "do!("),
    ];
    let mut findings = Findings::new();
    for source in &sources.0 {
        // Comments count here.
        for (index, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                findings.push(format!("{}:{} {}", source.path, index + 1, line.trim()));
            }
        }
    }
    Ok(findings)
}

fn find(
    sources: &Sources,
    part: Part,
    words: &[&str],
    concerns: impl Fn(&Source) -> bool,
) -> Findings {
    let mut findings = Findings::new();
    for source in sources.0.iter().filter(|source| concerns(source)) {
        for (line, code) in source.code(part) {
            if words.iter().any(|word| code.contains(word)) {
                findings.push(format!("{}:{line} {}", source.path, code.trim()));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> Sources {
        let (path, text) = (path.to_owned(), text.to_owned());
        Sources(vec![Source { path, text }])
    }

    #[test]
    fn each_rule_finds_what_it_forbids() {
        let wait = concat!("#[test]\nfn t() { std::thread::sl", "eep(x); }\n");
        assert_eq!(
            tests_that_wait(&one("crates/a/tests/it/main.rs", wait))
                .unwrap()
                .len(),
            1
        );
        assert!(
            tests_that_wait(&one("crates/a/src/b.rs", wait))
                .unwrap()
                .is_empty()
        );

        let print = "fn f() { println!(\"x\"); }\n";
        assert_eq!(
            prints(&one("crates/wire/src/a.rs", print)).unwrap().len(),
            1
        );
        for path in [
            "crates/cli/src/a.rs",
            "crates/wire/src/tests.rs",
            "crates/wire/build.rs",
        ] {
            assert!(prints(&one(path, print)).unwrap().is_empty(), "{path}");
        }

        let long = "//! Head.\n".repeat(MOST_LINES + 1);
        assert_eq!(lengths(&one("crates/a/src/b.rs", &long)).unwrap().len(), 1);
        assert!(
            lengths(&one("crates/a/tests/it/b.rs", &long))
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            heads(&one("crates/a/src/b.rs", "use a;\n")).unwrap().len(),
            1
        );
        let later = concat!("//! Head.\n// TO", "DO: later\n");
        assert_eq!(
            left_to_do(&one("crates/a/src/b.rs", later)).unwrap().len(),
            1
        );
        let danger = concat!("uns", "afe { x }\n");
        assert_eq!(
            unsafety(&one("crates/a/src/b.rs", danger)).unwrap().len(),
            1
        );
        for path in MAY_BE_UNSAFE {
            assert!(unsafety(&one(path, danger)).unwrap().is_empty(), "{path}");
        }
    }
}
