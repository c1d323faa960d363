//! `THIRD-PARTY`: who made what the program holds, and under which terms, with the texts that their licences
//! want to be passed on. From the crates' own files and those of the page's library.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use super::PACKAGE;
use crate::run::root;

/// Below a crate's folder are the sources of the C libraries that it builds.
const DEEPEST: usize = 2;
const STARTS: &[&str] = &["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
/// What the page's build puts into it; its other dependencies only build.
const PAGE: &[&str] = &["uplot"];

/// One thing that others made.
struct Part {
    name: String,
    terms: String,
    source: String,
    folder: PathBuf,
}

/// The text of the file; `build` is the target folder in which the page was built.
pub(super) fn page(build: &Path) -> anyhow::Result<String> {
    let mut parts = crates()?;
    parts.extend(of_the_page(build)?);
    let mut text = "What the program tidegauge holds that others made. The texts of the licences are at the end, each \
                    once.\nBesides: Rust's standard library (MIT OR Apache-2.0, https://www.rust-lang.org/).\n\n"
        .to_owned();
    let mut texts: BTreeMap<String, usize> = BTreeMap::new();
    for part in &parts {
        writeln!(
            text,
            "{}\n  terms: {}\n  from: {}",
            part.name, part.terms, part.source
        )?;
        let mut numbers = BTreeSet::new();
        for file in licence_files(&part.folder, DEEPEST)? {
            let words = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let words = String::from_utf8_lossy(&words).trim().replace('\r', "");
            let next = texts.len() + 1;
            numbers.insert(*texts.entry(words).or_insert(next));
        }
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        writeln!(text, "  texts: {}\n", numbers.join(", "))?;
    }
    let mut texts: Vec<(String, usize)> = texts.into_iter().collect();
    texts.sort_by_key(|(_, number)| *number);
    for (words, number) in texts {
        writeln!(text, "======== text {number} ========\n\n{words}\n")?;
    }
    Ok(text)
}

/// The crates that are linked; those that only build or test are not.
fn crates() -> anyhow::Result<Vec<Part>> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".into(), "--filter-platform".into(), host])
        .exec()
        .context("ask cargo for the dependencies")?;
    let mut parts: Vec<Part> = linked(&metadata)?
        .into_iter()
        .filter(|package| package.source.is_some())
        .map(|package| Part {
            name: format!("{} {}", package.name, package.version),
            terms: package
                .license
                .clone()
                .unwrap_or_else(|| "see its text".to_owned()),
            source: package
                .repository
                .clone()
                .unwrap_or_else(|| "crates.io".to_owned()),
            folder: package
                .manifest_path
                .parent()
                .expect("a manifest lies in a folder")
                .into(),
        })
        .collect();
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

fn linked(metadata: &Metadata) -> anyhow::Result<Vec<&Package>> {
    let graph = metadata
        .resolve
        .as_ref()
        .context("cargo resolves dependencies")?;
    let nodes: BTreeMap<&PackageId, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
    let program = metadata
        .packages
        .iter()
        .find(|package| package.name == PACKAGE);
    let mut open = vec![&program.context("the program is in the workspace")?.id];
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            let dependencies = &nodes.get(id).context("each crate is in the graph")?.deps;
            open.extend(dependencies.iter().filter_map(|dependency| {
                let kinds = &dependency.dep_kinds;
                let is_linked = kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                is_linked.then_some(&dependency.pkg)
            }));
        }
    }
    Ok(found.into_iter().map(|id| &metadata[id]).collect())
}

/// The libraries in the page, from the folder into which the dashboard's build script installed them.
fn of_the_page(build: &Path) -> anyhow::Result<Vec<Part>> {
    let scripts = build.join("release/build");
    let mut parts = Vec::new();
    for name in PAGE {
        let mut folder = None;
        for entry in fs::read_dir(&scripts).context("look for the page's build")? {
            let inner = entry?.path().join("out/web/node_modules").join(name);
            if inner.is_dir() {
                folder = Some(inner);
            }
        }
        let folder = folder.with_context(|| {
            format!("{name} was not installed: the page was not built, is Node 20 or newer there?")
        })?;
        let about =
            fs::read(folder.join("package.json")).context("read about a library of the page")?;
        let about: serde_json::Value = serde_json::from_slice(&about)?;
        let word = |key: &str| about[key].as_str().unwrap_or("see its text").to_owned();
        parts.push(Part {
            name: format!("{name} {} (in the page)", word("version")),
            terms: word("license"),
            source: format!("npm, {name}"),
            folder,
        });
    }
    ensure!(
        parts.len() == PAGE.len(),
        "each library of the page is found once"
    );
    Ok(parts)
}

/// Files whose names say that they are licences.
fn licence_files(folder: &Path, deeper: usize) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("look into {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let kind = entry.file_type()?;
        if kind.is_dir() && deeper > 0 {
            found.extend(licence_files(&entry.path(), deeper - 1)?);
        } else if kind.is_file()
            && STARTS.iter().any(|start| name.starts_with(start))
            && ![".RS", ".C", ".H", ".GO", ".PY", ".JSON"]
                .iter()
                .any(|end| name.ends_with(end))
        {
            found.insert(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_named_and_what_only_builds_or_tests_is_not() {
        let parts = crates().unwrap();
        let has = |name: &str| parts.iter().any(|part| part.name.starts_with(name));
        for linked in ["rdkafka-sys ", "libsqlite3-sys ", "rustls ", "zstd-sys "] {
            assert!(has(linked), "{linked}");
        }
        for not_linked in ["proptest ", "rcgen ", "cc ", "tidegauge-"] {
            assert!(!has(not_linked), "{not_linked}");
        }
        let text_of = |name: &str| {
            let part = parts
                .iter()
                .find(|part| part.name.starts_with(name))
                .unwrap();
            let files = licence_files(&part.folder, DEEPEST).unwrap();
            let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
            texts.collect::<String>()
        };
        assert!(text_of("rdkafka-sys ").contains("Magnus Edenhill"));
        assert!(text_of("zstd-sys ").contains("Meta Platforms"));
    }
}
