//! The configuration file: TOML, read with the place of every key.

use super::Place;
use super::nearest::did_you_mean;
use super::table::{SETTINGS, setting};
use super::tables::{TABLES, TableSetting};
use super::value::{self, Type};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct FileValues {
    pub(crate) values: HashMap<&'static str, (Vec<String>, Place)>,
    pub(crate) tables: HashMap<&'static str, Vec<FileTable>>,
}

/// One table of those that may be there many times.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileTable {
    pub(crate) place: Option<Place>,
    /// Each key once.
    pub(crate) values: Vec<(&'static str, (Vec<String>, Place))>,
}

impl FileTable {
    /// What is said for a key, and where.
    pub(crate) fn said(&self, key: &str) -> Option<&(Vec<String>, Place)> {
        let found = self.values.iter().find(|(known, _)| *known == key);
        found.map(|(_, said)| said)
    }

    /// A list, or the parts of pairs.
    pub(crate) fn list(&self, key: &str) -> &[String] {
        self.said(key).map_or(&[], |(texts, _)| texts)
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.list(key).first().map(String::as_str)
    }

    /// Where a value stands, or the table.
    pub(crate) fn place(&self, key: &str) -> Place {
        let own = self.said(key).map(|(_, place)| place);
        own.or(self.place.as_ref())
            .cloned()
            .unwrap_or(Place::Default)
    }

    /// Whether it has the values of `other`, wherever they stand.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let said = |table: &Self| -> BTreeMap<_, _> {
            let values = table.values.iter();
            values
                .map(|(key, (texts, _))| (*key, texts.clone()))
                .collect()
        };
        said(self) == said(other)
    }

    /// A duration.
    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        self.text(key).and_then(|text| value::duration(text).ok())
    }
}

/// Reads a file; problems are added to `problems`, each with its line.
pub(crate) fn read(path: &Path, problems: &mut Vec<String>) -> FileValues {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&path.display().to_string(), &text, problems),
        Err(error) => {
            problems.push(format!(
                "{}: the configuration file cannot be read: {error}",
                path.display()
            ));
            FileValues::default()
        }
    }
}

fn parse(path: &str, text: &str, problems: &mut Vec<String>) -> FileValues {
    let reader = Reader::new(path, text);
    let mut found = FileValues::default();
    let Some(document) = reader.document(problems) else {
        return found;
    };
    for (section, content) in document.get_ref() {
        let place = reader.place(section);
        let Some(table) = content.get_ref().as_table() else {
            problems.push(format!(
                "{place}: `{}` stands outside of a [section]{}",
                section.get_ref(),
                nearest(section.get_ref())
            ));
            continue;
        };
        if !SETTINGS
            .iter()
            .any(|s| s.key.split('.').next() == Some(section.get_ref()))
        {
            problems.push(format!(
                "{place}: unknown section [{}]{}",
                section.get_ref(),
                nearest(section.get_ref())
            ));
            continue;
        }
        reader.section(section.get_ref(), table, &mut found, problems);
    }
    found
}

/// Knows the lines of a text.
pub(super) struct Reader<'a> {
    /// All places of the file share it.
    path: Arc<str>,
    pub(super) text: &'a str,
    /// Where lines end.
    ends: Vec<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &str, text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self {
            path: path.into(),
            text,
            ends,
        }
    }

    /// The text as TOML, or its problems.
    pub(super) fn document(&self, problems: &mut Vec<String>) -> Option<Spanned<DeTable<'a>>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            let place = self.at_line(self.line(at));
            problems.push(format!("{place}: {}", error.message()));
        }
        errors.is_empty().then_some(document)
    }

    /// The line of a byte.
    pub(super) fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at) + 1
    }

    pub(super) fn at_line(&self, line: usize) -> Place {
        Place::File {
            path: Arc::clone(&self.path),
            line,
        }
    }

    /// The keys of [section] and of the sections in it.
    fn section(
        &self,
        section: &str,
        table: &DeTable<'_>,
        found: &mut FileValues,
        problems: &mut Vec<String>,
    ) {
        for (key, value) in table {
            let key_text = format!("{section}.{}", key.get_ref());
            if let Some(known) = TABLES.iter().find(|known| known.key == key_text) {
                let tables = self.tables(known, value, problems);
                found.tables.insert(known.key, tables);
                continue;
            }
            let place = self.place(key);
            let Some(known) = setting(&key_text) else {
                let inner = format!("{key_text}.");
                let is_section = SETTINGS.iter().any(|s| s.key.starts_with(&inner));
                match value.get_ref().as_table().filter(|_| is_section) {
                    Some(table) => self.section(&key_text, table, found, problems),
                    None => problems.push(format!(
                        "{place}: unknown key `{key_text}`{}",
                        nearest(&key_text)
                    )),
                }
                continue;
            };
            match texts(value.get_ref(), known.kind) {
                Ok(texts) => {
                    found.values.insert(known.key, (texts, place));
                }
                Err(problem) => problems.push(format!("{place}: {}: {problem}", known.key)),
            }
        }
    }

    pub(super) fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        self.at_line(self.line(spanned.span().start))
    }

    /// Tables with their keys, each checked.
    pub(super) fn tables(
        &self,
        known: &TableSetting,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<String>,
    ) -> Vec<FileTable> {
        let key = known.key;
        let expected = |place| format!("{place}: {key}: expected tables, as [[{key}]]");
        let Some(tables) = value.get_ref().as_array() else {
            problems.push(expected(self.place(value)));
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in tables.iter() {
            let place = self.place(item);
            let Some(table) = item.get_ref().as_table() else {
                problems.push(expected(place));
                continue;
            };
            let mut read = FileTable {
                place: Some(place.clone()),
                ..FileTable::default()
            };
            let known_keys = (known.keys)();
            let problems_before = problems.len();
            for (key, value) in table {
                let place = self.place(key);
                let Some(key) = known_keys.iter().find(|known| known.key == key.get_ref()) else {
                    problems.push(unknown(&place, key.get_ref(), known));
                    continue;
                };
                match texts(value.get_ref(), key.kind) {
                    Ok(texts) => {
                        read.values.push((key.key, (texts, place)));
                    }
                    Err(problem) => problems.push(format!("{place}: {}: {problem}", key.key)),
                }
            }
            need(known, &read, &place, problems);
            if problems.len() == problems_before {
                found.push(read);
            }
        }
        found
    }
}

/// A key that tables of this kind do not have.
pub(super) fn unknown(place: &Place, key: &str, known: &TableSetting) -> String {
    let keys: Vec<_> = (known.keys)().iter().map(|known| known.key).collect();
    let mut hint = did_you_mean(key, keys.iter().copied());
    if hint.is_empty() {
        hint = format!("; there are {}", keys.join(", "));
    }
    format!("{place}: unknown key `{key}` of {}{hint}", known.what)
}

/// Asks for the keys that a table needs.
pub(super) fn need(
    known: &TableSetting,
    read: &FileTable,
    place: &Place,
    problems: &mut Vec<String>,
) {
    for key in known.required {
        if read.said(key).is_none() {
            problems.push(format!("{place}: {} needs a `{key}`", known.what));
        }
    }
}

/// The texts of a value, each checked by the setting's type.
fn texts(value: &DeValue<'_>, kind: Type) -> Result<Vec<String>, String> {
    let texts = match value {
        DeValue::Array(items) if matches!(kind, Type::List | Type::Urls) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Result<Vec<_>, _>>()?,
        DeValue::Table(pairs) if kind == Type::Pairs => {
            let mut found = Vec::new();
            flatten("", pairs, &mut found)?;
            found
        }
        _ if kind == Type::Pairs => {
            return Err("expected a table, as { name = \"text\" }".to_owned());
        }
        other => vec![scalar(other)?],
    };
    checked(texts, kind)
}

/// Texts that are what the setting's type expects.
pub(super) fn checked(texts: Vec<String>, kind: Type) -> Result<Vec<String>, String> {
    for text in &texts {
        kind.check(text).map_err(|problem| match kind {
            Type::Secret => problem,
            _ => format!("`{text}`: {problem}"),
        })?;
    }
    Ok(texts)
}

/// Pairs of a table; a name with dots that was not quoted is a table in a table.
fn flatten(before: &str, table: &DeTable<'_>, found: &mut Vec<String>) -> Result<(), String> {
    for (name, value) in table {
        let name = format!("{before}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&format!("{name}."), inner, found)?,
            other => found.push(format!("{name}={}", scalar(other)?)),
        }
    }
    Ok(())
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.as_str().replace('_', "")),
        DeValue::Float(number) => Ok(number.as_str().replace('_', "")),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        other => Err(format!("a {} does not belong here", other.type_str())),
    }
}

/// A hint at the section or the key that was probably meant.
fn nearest(key: &str) -> String {
    let keys = SETTINGS.iter().map(|setting| setting.key);
    let sections = keys.clone().filter_map(|key| key.split('.').next());
    let tables = TABLES.iter().map(|table| table.key);
    did_you_mean(key, keys.chain(sections).chain(tables))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_reported_with_their_lines() {
        let text = "[kafka]\nbrokers = \"a:1,b:2\"\ntopci = \"x\"\n\n[agent]\ninterval = 10\n\
                    spool_bytes = \"1XB\"\n[nothing]\n[[agent.checks]]\nname = \"x\"\nurll = \"y\"\n";
        let mut problems = Vec::new();
        let found = parse("t.toml", text, &mut problems);
        let all = problems.join("\n");
        for expected in [
            "t.toml:3: unknown key `kafka.topci`; did you mean `kafka.topic`?",
            "t.toml:6: agent.interval: `10`: expected a duration",
            "t.toml:7: agent.spool_bytes: `1XB`: expected a size",
            "t.toml:8: unknown section [nothing]",
            "t.toml:11: unknown key `urll` of a check",
            "a check needs a `url`",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
        assert_eq!(problems.len(), 6, "{all}");
        assert_eq!(found.values["kafka.brokers"].0, ["a:1,b:2"]);
    }

    #[test]
    fn sections_may_have_sections_and_names_may_have_dots() {
        let text = "[kafka.tls]\nca_file = \"ca.pem\"\nkey_flie = \"x\"\n[kafka.properties]\n\
                    socket.timeout.ms = 1000\n\"fetch.min.bytes\" = 1\n";
        let mut problems = Vec::new();
        let found = parse("t.toml", text, &mut problems);
        assert_eq!(
            problems,
            ["t.toml:3: unknown key `kafka.tls.key_flie`; did you mean `kafka.tls.key_file`?"]
        );
        assert_eq!(found.values["kafka.tls.ca_file"].0, ["ca.pem"]);
        let mut pairs = found.values["kafka.properties"].0.clone();
        pairs.sort();
        assert_eq!(pairs, ["fetch.min.bytes=1", "socket.timeout.ms=1000"]);
    }

    #[test]
    fn syntax_errors_have_lines_too() {
        let mut problems = Vec::new();
        parse("t.toml", "[agent]\ninterval = \n", &mut problems);
        assert!(problems[0].starts_with("t.toml:2: "), "{problems:?}");
    }

    #[test]
    fn a_secret_is_not_quoted_in_an_error() {
        let mut problems = Vec::new();
        parse(
            "t.toml",
            "[store]\nurl = [\"postgres://me:s3cret@h/d\"]\n",
            &mut problems,
        );
        assert!(
            !problems.is_empty() && !problems.join("").contains("s3cret"),
            "{problems:?}"
        );
    }
}
