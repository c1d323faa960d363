//! A1 and A2 inside of crates: who imports whom between modules, and tables against files.

use std::collections::BTreeSet;

use super::Findings;
use super::sources::{Part, Source, Sources};

/// Crate paths that a collector or a probe may name: the host roots and its parent, whose trait it
/// implements.
const AGENT_SEAMS: &[(&str, &[&str])] = &[
    (
        "crates/agent/src/collectors/",
        &["crate::roots", "crate::collectors"],
    ),
    (
        "crates/agent/src/probes/",
        &["crate::roots", "crate::probes"],
    ),
    ("crates/agent/src/listeners/", &["crate::listeners"]),
];

/// Collectors and probes import the model, their parent and the roots; no schedule, no spool. The
/// parent itself is the seam to the rest of the crate.
pub(super) fn agent(sources: &Sources) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for (folder, allowed) in AGENT_SEAMS {
        let parent = format!("{folder}mod.rs");
        for source in sources.below(folder).filter(|source| source.path != parent) {
            for (line, code) in source.code(Part::Production) {
                for path in paths_from(code, "crate::") {
                    if !allowed.iter().any(|seam| is_within(path, seam)) {
                        findings.push(format!("{}:{line} names {path}", source.path));
                    }
                }
                for path in paths_from(code, "tidegauge_") {
                    // Listeners read what others send, as the sink does, and serve.
                    let of_listeners = ["tidegauge_wire", "tidegauge_serve"];
                    let reads = folder.ends_with("/listeners/")
                        && of_listeners.iter().any(|seam| is_within(path, seam));
                    // The probe of Kafka asks by the only crate that knows librdkafka.
                    let asks = source.path.ends_with("/probes/kafka.rs")
                        && is_within(path, "tidegauge_kafka");
                    if !reads && !asks && !is_within(path, "tidegauge_model") {
                        findings.push(format!("{}:{line} names {path}", source.path));
                    }
                }
            }
        }
    }
    Ok(findings)
}

/// No database module names another.
pub(super) fn stores(sources: &Sources) -> anyhow::Result<Findings> {
    let databases = ["postgres", "mysql", "sqlite"];
    let mut findings = Findings::new();
    for database in databases {
        let folder = format!("crates/store/src/{database}/");
        for source in sources.below(&folder) {
            for (line, code) in source.code(Part::Both) {
                for other in databases.iter().filter(|other| **other != database) {
                    let named = ["crate::", "super::"]
                        .iter()
                        .any(|start| code.contains(&format!("{start}{other}")));
                    if named {
                        findings.push(format!("{}:{line} names {other}", source.path));
                    }
                }
            }
        }
    }
    Ok(findings)
}

/// A table of extensions: the constant, the file it is in, the folder of its modules.
const TABLES: &[(&str, &str, &str)] = &[
    (
        "COLLECTORS",
        "crates/agent/src/collectors/linux/mod.rs",
        "crates/agent/src/collectors/linux/",
    ),
    (
        "COLLECTORS",
        "crates/agent/src/collectors/macos/mod.rs",
        "crates/agent/src/collectors/macos/",
    ),
    (
        "PROBES",
        "crates/agent/src/probes/mod.rs",
        "crates/agent/src/probes/",
    ),
    (
        "LISTENERS",
        "crates/agent/src/listeners/mod.rs",
        "crates/agent/src/listeners/",
    ),
    (
        "ENCODINGS",
        "crates/wire/src/encoding.rs",
        "crates/wire/src/",
    ),
    ("STORES", "crates/store/src/open.rs", "crates/store/src/"),
];

/// Each module that a row of a table names is a file or folder beside the table.
pub(super) fn tables_and_files(sources: &Sources) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for (table, file, folder) in TABLES {
        let modules = sources
            .get(file)
            .map(|source| modules_of_table(source, table));
        match modules {
            None => findings.push(format!("{file} with {table} is missing")),
            Some(modules) if modules.is_empty() => {
                findings.push(format!("{file} has no rows of {table}"));
            }
            Some(modules) => {
                for module in modules {
                    let file = format!("{folder}{module}.rs");
                    let nested = format!("{folder}{module}/mod.rs");
                    if sources.get(&file).is_none() && sources.get(&nested).is_none() {
                        findings.push(format!("{table} names {module}, and {file} is missing"));
                    }
                }
            }
        }
    }
    Ok(findings)
}

/// What the rows of `const TABLE` name: the module before `::`, or for a bare type (`&Json`) the
/// module of that name in lower case.
fn modules_of_table(source: &Source, table: &str) -> BTreeSet<String> {
    let head = format!("const {table}:");
    let code: Vec<&str> = source
        .code(Part::Production)
        .map(|(_, code)| code)
        .collect();
    let code = code.join("\n");
    let Some((_, after_head)) = code.split_once(&head) else {
        return BTreeSet::new();
    };
    // Before the equals sign is the type.
    let rows = after_head.split_once('=').map_or("", |(_, rows)| rows);
    let rows = rows.split_once("];").map_or(rows, |(rows, _)| rows);
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut modules = BTreeSet::new();
    for (position, _) in rows.match_indices("::") {
        let name = rows[..position]
            .rsplit(|letter| !is_word(letter))
            .next()
            .unwrap_or("");
        let is_module = name.starts_with(|letter: char| letter.is_ascii_lowercase());
        if is_module && !["crate", "self", "super", "std"].contains(&name) {
            modules.insert(name.to_owned());
        }
    }
    for (position, _) in rows.match_indices('&') {
        let name = rows[position + 1..]
            .split(|letter| !is_word(letter))
            .next()
            .unwrap_or("");
        if name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            modules.insert(name.to_lowercase());
        }
    }
    modules
}

/// Every path in a line that begins with `start` at the beginning of a word.
fn paths_from<'a>(code: &'a str, start: &str) -> Vec<&'a str> {
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    code.match_indices(start)
        .filter(|(position, _)| {
            // In quotes it is the name of a number of /metrics.
            let before = &code[..*position];
            !before.ends_with(is_path) && !before.ends_with('"')
        })
        .map(|(position, _)| {
            let rest = &code[position..];
            let end = rest.find(|letter| !is_path(letter)).unwrap_or(rest.len());
            &rest[..end]
        })
        .collect()
}

fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(path: &str, text: &str) -> Sources {
        let (path, text) = (path.to_owned(), text.to_owned());
        Sources(vec![Source { path, text }])
    }

    #[test]
    fn a_collector_that_reaches_for_the_schedule_is_found() {
        let path = "crates/agent/src/collectors/linux/cpu.rs";
        let good =
            "use crate::roots::HostRoots;\nuse super::Collector;\nuse tidegauge_model::Point;\n";
        assert!(agent(&sources(path, good)).unwrap().is_empty());
        for bad in [
            "use crate::schedule::Tick;",
            "fn f(s: tidegauge_spool::Spool) {}",
        ] {
            assert_eq!(agent(&sources(path, bad)).unwrap().len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_database_that_imports_another_is_found() {
        let path = "crates/store/src/postgres/read.rs";
        assert!(
            stores(&sources(path, "use super::copy;\n"))
                .unwrap()
                .is_empty()
        );
        for bad in ["use crate::sqlite::x;", "use super::super::sqlite;"] {
            assert_eq!(stores(&sources(path, bad)).unwrap().len(), 1, "{bad}");
        }
    }

    #[test]
    fn modules_are_read_from_all_forms_of_a_table() {
        let text = "pub const A: &[x::Entry] = &[cpu::ENTRY];\npub const B: &[Entry] = &[\n    Entry { open: sqlite::open },\n    http::ENTRY,\n];\nconst C: &[&dyn Encoding] = &[&Json];\nuse other::x;\n";
        let source = Source {
            path: String::new(),
            text: text.to_owned(),
        };
        let names = |table| {
            modules_of_table(&source, table)
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(names("A"), ["cpu"]);
        assert_eq!(names("B"), ["http", "sqlite"]);
        assert_eq!(names("C"), ["json"]);
        assert!(names("D").is_empty());
    }
}
