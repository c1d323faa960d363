//! The example file, made from the settings table: every setting, commented out, with its default.

use super::table::SETTINGS;
use super::tables::{TABLES, TableKey};
use super::value::Type;
use std::fmt::Write;

/// Columns of a line at most, unless one word is longer.
const WIDTH: usize = 110;

const HEAD: &str = "\
# The settings of tidegauge with their defaults; those that have none show what a value looks like.
# Take out the `#` before what you set. `tidegauge config example` prints this file, `tidegauge config check --config FILE`
# checks yours, `tidegauge config show` says what is in effect and where it comes from.
# A flag goes before an environment variable, which goes before this file. The variable of `interval` in [agent] is
# TIDEGAUGE_AGENT_INTERVAL, and so on.
";

/// The text of `config/example.toml`.
pub(crate) fn example() -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        let (own, key) = setting.key.rsplit_once('.').unwrap_or_default();
        if own != section {
            section = own;
            write!(text, "\n[{section}]\n").expect("into memory");
        }
        let mut help = setting.help.to_owned();
        if let Some(flag) = setting.flag {
            write!(help, " Flag --{flag}.").expect("into memory");
        }
        add(&mut text, key, setting.kind, &help, setting.default);
    }
    for table in TABLES {
        write!(
            text,
            "\n# Each of these is {}; there may be many.\n# [[{}]]\n",
            table.what, table.key
        )
        .expect("into memory");
        for TableKey { key, kind, help } in (table.keys)() {
            add(&mut text, key, kind, help, None);
        }
    }
    text
}

fn add(text: &mut String, key: &str, kind: Type, help: &str, default: Option<&str>) {
    let mut help = help.to_owned();
    if let Type::Choice(words) = kind {
        write!(help, " One of {}.", words.join(", ")).expect("into memory");
    }
    let mut line = "#".to_owned();
    for word in help.split(' ') {
        if line.len() + word.len() >= WIDTH {
            writeln!(text, "{line}").expect("into memory");
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(text, "{line}\n# {key} = {}", value(kind, default)).expect("into memory");
}

/// A default, or what a value looks like, as TOML has it.
fn value(kind: Type, default: Option<&str>) -> String {
    let looks_like = match kind {
        Type::Text | Type::List => "text",
        Type::Secret => "secret",
        Type::Path => "/a/path",
        Type::Count | Type::Percent => "1",
        Type::Duration => "10s",
        Type::Bytes => "1MiB",
        Type::Flag => "true",
        Type::Urls => "https://example.org/",
        Type::Pairs => "name",
        Type::Address => "127.0.0.1:7700",
        Type::Levels => "info,tidegauge_sink=debug",
        Type::Choice(words) => words.first().copied().unwrap_or_default(),
    };
    let text = default.unwrap_or(looks_like);
    match kind {
        Type::Count | Type::Percent | Type::Flag => text.to_owned(),
        Type::List | Type::Urls => format!("[\"{text}\"]"),
        Type::Pairs => format!("{{ {text} = \"text\" }}"),
        _ => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn the_example_file_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/example.toml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, example()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            example(),
            "write it anew by `UPDATE_GOLDEN=1 cargo xtask test cli example`"
        );
    }

    #[test]
    fn the_example_is_sound_as_it_is_and_with_every_setting_taken() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let (path, mut problems) = (folder.path().join("t.toml"), Vec::new());
            std::fs::write(&path, text).unwrap();
            let values = file::read(&path, &mut problems);
            assert_eq!(problems, [""; 0]);
            values
        };
        assert!(read(&example()).values.is_empty());
        // A setting is the line before the next help, a table or the end.
        let is_setting = |line: &str| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| !key.contains(' '))
        };
        let lines = example();
        let taken: Vec<&str> = lines
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with("[[") || is_setting(rest) => rest,
                _ => line,
            })
            .collect();
        let found = read(&taken.join("\n"));
        assert_eq!(found.values.len(), SETTINGS.len());
        for table in TABLES {
            assert_eq!(found.tables[table.key].len(), 1, "{}", table.key);
            let keys = found.tables[table.key][0].values.len();
            assert_eq!(keys, (table.keys)().len(), "{}", table.key);
        }
    }
}
