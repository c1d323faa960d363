//! The rules that no compiler knows, as tests and as `cargo xtask tidy`.
//!
//! A rule is one function: it takes the sources and gives what breaks it. It reads text, not
//! syntax: simple enough to see through, and strict enough for code that passed rustfmt.

mod arrows;
mod imports;
mod sources;
mod text;

use sources::Sources;

/// What breaks a rule: place and what is wrong, ready to print.
type Findings = Vec<String>;

/// One row of [`RULES`].
struct Rule {
    name: &'static str,
    check: fn(&Sources) -> anyhow::Result<Findings>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "crates import only what the table allows (A1)",
        check: arrows::crate_arrows,
    },
    Rule {
        name: "ARCHITECTURE.md names the folders of crates/",
        check: arrows::architecture_names,
    },
    Rule {
        name: "collectors, probes and listeners import their seam only (A1)",
        check: imports::agent,
    },
    Rule {
        name: "no database imports another (A1)",
        check: imports::stores,
    },
    Rule {
        name: "each row of a table has its file (A2)",
        check: imports::tables_and_files,
    },
    Rule {
        name: "each file begins with //!",
        check: text::heads,
    },
    Rule {
        name: "production files have up to 500 lines",
        check: text::lengths,
    },
    Rule {
        name: "unsafe is in four files",
        check: text::unsafety,
    },
    Rule {
        name: "no test is ignored, and none sleeps",
        check: text::tests_that_wait,
    },
    Rule {
        name: "libraries do not print",
        check: text::prints,
    },
    Rule {
        name: "nothing is left to do",
        check: text::left_to_do,
    },
    Rule {
        name: "generated pages are up to date",
        check: generated_pages,
    },
];

/// Checks all rules; `false` when one is broken.
pub(crate) fn tidy() -> anyhow::Result<bool> {
    let sources = Sources::read()?;
    let mut good = true;
    for rule in RULES {
        for finding in (rule.check)(&sources)? {
            eprintln!("tidy: {}: {finding}", rule.name);
            good = false;
        }
    }
    eprintln!(
        "tidy: {} rules, {}",
        RULES.len(),
        if good { "all kept" } else { "some broken" }
    );
    Ok(good)
}

fn generated_pages(_sources: &Sources) -> anyhow::Result<Findings> {
    let stale = crate::docs::stale_pages()?;
    Ok(stale
        .into_iter()
        .map(|(path, _)| format!("{path} is out of date: run `cargo xtask docs`"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test per rule would build the same list again; the output names the rule.
    #[test]
    fn the_tree_is_tidy() {
        let sources = Sources::read().unwrap();
        let findings: Vec<String> = RULES
            .iter()
            .flat_map(|rule| {
                let findings = (rule.check)(&sources).unwrap();
                findings
                    .into_iter()
                    .map(|finding| format!("{}: {finding}", rule.name))
            })
            .collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
