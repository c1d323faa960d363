//! A1: a crate imports only from lower layers, and the map of the crates is true.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Findings;
use super::sources::Sources;
use crate::run::root;

/// One crate: what it may import, and what its tests may import besides.
struct Arrows {
    name: &'static str,
    imports: &'static [&'static str],
    tests_import: &'static [&'static str],
}

/// The table of the design. Siblings never import each other.
const TABLE: &[Arrows] = &[
    Arrows {
        name: "model",
        imports: &[],
        tests_import: &[],
    },
    Arrows {
        name: "wire",
        imports: &["model"],
        tests_import: &[],
    },
    Arrows {
        name: "spool",
        imports: &[],
        tests_import: &[],
    },
    Arrows {
        name: "kafka",
        imports: &[],
        tests_import: &["testkit"],
    },
    Arrows {
        name: "serve",
        imports: &[],
        tests_import: &["testkit"],
    },
    Arrows {
        name: "store",
        imports: &["model"],
        tests_import: &["testkit"],
    },
    Arrows {
        name: "agent",
        imports: &["model", "wire", "spool", "kafka", "serve"],
        tests_import: &["testkit"],
    },
    Arrows {
        name: "sink",
        imports: &["model", "wire", "spool", "kafka", "store"],
        tests_import: &["testkit"],
    },
    Arrows {
        name: "query",
        imports: &["model", "store"],
        tests_import: &["testkit"],
    },
    // Its tests serve a real store.
    Arrows {
        name: "dashboard",
        imports: &["model", "query", "serve"],
        tests_import: &["store", "testkit"],
    },
    Arrows {
        name: "cli",
        imports: &[
            "model",
            "wire",
            "spool",
            "kafka",
            "serve",
            "store",
            "agent",
            "sink",
            "query",
            "dashboard",
        ],
        tests_import: &["testkit"],
    },
    Arrows {
        name: "examples",
        imports: &["model", "wire", "spool", "agent", "sink", "store"],
        tests_import: &["query"],
    },
    Arrows {
        name: "testkit",
        imports: &[],
        tests_import: &[],
    },
    Arrows {
        name: "xtask",
        imports: &["agent", "kafka", "model", "spool", "testkit", "wire"],
        tests_import: &[],
    },
];

/// Compares `cargo metadata` with the table.
pub(super) fn crate_arrows(_sources: &Sources) -> anyhow::Result<Findings> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .context("ask cargo for the crates")?;
    let mut findings = Findings::new();
    for package in &metadata.packages {
        let name = short_name(&package.name);
        let Some(row) = TABLE.iter().find(|row| row.name == name) else {
            findings.push(format!(
                "{name} is not in the table of crates/xtask/src/tidy/arrows.rs"
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some())
        {
            let target = short_name(&dependency.name);
            let for_tests = dependency.kind == DependencyKind::Development;
            let allowed =
                row.imports.contains(&target) || (for_tests && row.tests_import.contains(&target));
            if !allowed {
                let who = if for_tests { "the tests of " } else { "" };
                findings.push(format!("{who}{name} must not import {target}"));
            }
        }
    }
    Ok(findings)
}

fn short_name(package: &str) -> &str {
    package.strip_prefix("tidegauge-").unwrap_or(package)
}

/// The rows of the table in ARCHITECTURE.md that begin with a crate's name are exactly the folders.
pub(super) fn architecture_names(_sources: &Sources) -> anyhow::Result<Findings> {
    let mut folders = BTreeSet::new();
    for entry in fs::read_dir(root().join("crates")).context("read crates/")? {
        let entry = entry.context("read crates/")?;
        if entry.path().join("Cargo.toml").is_file() {
            folders.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let page =
        fs::read_to_string(root().join("ARCHITECTURE.md")).context("read ARCHITECTURE.md")?;
    let named = crates_named_in(&page);
    let missing = folders
        .difference(&named)
        .map(|name| format!("it lacks a row for {name}"));
    let extra = named
        .difference(&folders)
        .map(|name| format!("it has a row for {name}"));
    let mut findings: Findings = missing.chain(extra).collect();
    let lines = page.lines().count();
    if lines > 150 {
        findings.push(format!("it has {lines} lines, at most 150 are read"));
    }
    Ok(findings)
}

/// Names in the first column of the table below the heading that speaks of crates.
fn crates_named_in(page: &str) -> BTreeSet<String> {
    page.lines()
        .skip_while(|line| !(line.starts_with('#') && line.to_lowercase().contains("crates")))
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_once_in_the_table_and_only_by_lower_ones() {
        for (index, row) in TABLE.iter().enumerate() {
            for target in row.imports.iter().chain(row.tests_import) {
                let place = TABLE
                    .iter()
                    .position(|other| other.name == *target)
                    .unwrap();
                assert!(
                    place < index || *target == "testkit",
                    "{} -> {target}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn only_the_table_under_the_crates_heading_counts() {
        let page = "# T\n| `x` | |\n## Crates and arrows\n| crate | |\n| `model` | 0 |\n## More\n| `y` | |\n";
        assert_eq!(crates_named_in(page), BTreeSet::from(["model".to_owned()]));
    }
}
