//! The Rust files of the workspace, read once.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::run::root;

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    /// From the workspace's folder, as `crates/wire/src/lib.rs`.
    pub(super) path: String,
    pub(super) text: String,
}

/// All files, by path.
#[derive(Debug)]
pub(super) struct Sources(pub(super) Vec<Source>);

impl Sources {
    pub(super) fn read() -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for folder in ["crates", "examples"] {
            let path = root().join(folder);
            if path.is_dir() {
                read_folder(&path, folder, &mut files)?;
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self(files))
    }

    /// The files below a folder, given with a slash at its end.
    pub(super) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a Source> {
        self.0
            .iter()
            .filter(move |source| source.path.starts_with(folder))
    }

    pub(super) fn get(&self, path: &str) -> Option<&Source> {
        self.0.iter().find(|source| source.path == path)
    }
}

impl Source {
    /// Numbered lines of code: no comments, and the part from `#[cfg(test)]` on only as asked.
    pub(super) fn code(&self, part: Part) -> impl Iterator<Item = (usize, &str)> {
        let whole_is_test = self.is_test();
        let mut in_test = whole_is_test;
        self.text
            .lines()
            .enumerate()
            .filter_map(move |(index, line)| {
                if line.trim_start().starts_with("#[cfg(test)]") && !line.starts_with(' ') {
                    in_test = true;
                }
                let wanted = match part {
                    Part::Production => !in_test,
                    Part::Tests => in_test,
                    Part::Both => true,
                };
                let is_comment = line.trim_start().starts_with("//");
                // `#[cfg(test)] mod tests;` ends at its own semicolon; a block goes to the file's end.
                if in_test && !whole_is_test && line.starts_with("mod ") && line.ends_with(';') {
                    in_test = false;
                }
                (wanted && !is_comment).then_some((index + 1, line))
            })
    }

    /// Whether the whole file is test code.
    pub(super) fn is_test(&self) -> bool {
        let path = &self.path;
        path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs")
    }
}

/// Which part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Production,
    Tests,
    Both,
}

fn read_folder(folder: &Path, name: &str, files: &mut Vec<Source>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("read {}", folder.display()))?
            .path();
        let Some(file_name) = path.file_name().and_then(|file_name| file_name.to_str()) else {
            continue;
        };
        let name = format!("{name}/{file_name}");
        if path.is_dir() {
            if file_name != "target" && file_name != "node_modules" {
                read_folder(&path, &name, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
            files.push(Source { path: name, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_from_production() {
        let source = Source {
            path: "crates/a/src/b.rs".to_owned(),
            text: "//! Head.\nuse a;\n#[cfg(test)]\nmod tests;\nuse b;\n#[cfg(test)]\nmod tests {\n}\n"
                .to_owned(),
        };
        let lines = |part| source.code(part).map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(lines(Part::Production), [2, 5]);
        assert_eq!(lines(Part::Tests), [3, 4, 6, 7, 8]);
        assert_eq!(lines(Part::Both), [2, 3, 4, 5, 6, 7, 8]);
    }
}
