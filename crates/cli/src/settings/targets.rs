//! A file of targets: what `--targets` names. Whatever its format, its targets are tables as those of
//! `[[agent.checks]]`, each with its place in the file.
//!
//! The name's ending says which format it is: `.toml`, `.json`, `.yaml` or `.yml`; all others are
//! lists of URLs.

mod node;

use super::file::{self, FileTable, Reader};
use super::tables::{TABLES, TableSetting};
use super::value::Type;
use super::{Place, UsageError};
use node::Problem;
pub(crate) use node::{Node, Value as NodeValue};
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::DeTable;

/// The key of the tables, in the formats that have keys.
const KEY: &str = "checks";
/// Labels that Prometheus keeps for itself begin so; they are no tags there either.
const INTERNAL_LABEL: &str = "__";

/// Reads the targets of a file.
///
/// # Errors
/// All problems together, each with its line.
pub(crate) fn read(path: &Path) -> Result<Vec<FileTable>, UsageError> {
    let name = path.display().to_string();
    let text = read_text(path, "the file of targets")?;
    parse(&name, &text, path.extension().and_then(|end| end.to_str()))
}

/// A file of JSON or YAML, whatever is in it; its name's ending says which, and YAML is what it is not said
/// of. `what` says what it is, for an error.
///
/// # Errors
/// When it cannot be read, or its syntax is wrong.
#[cfg(feature = "stores")]
pub(crate) fn read_node(path: &Path, what: &str) -> Result<Node, UsageError> {
    let text = read_text(path, what)?;
    let name = path.display().to_string();
    let reader = Reader::new(&name, &text);
    let root = match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => Node::from_json(&reader),
        _ => Node::from_yaml(&text),
    };
    root.map_err(|(line, problem)| UsageError::one(format!("{}: {problem}", reader.at_line(line))))
}

/// The text of a file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, UsageError> {
    std::fs::read_to_string(path).map_err(|error| {
        let name = path.display();
        UsageError::one(format!("{name}: {what} cannot be read: {error}"))
    })
}

/// Reads the targets of a text; `ending` is that of the file's name.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse(
    path: &str,
    text: &str,
    ending: Option<&str>,
) -> Result<Vec<FileTable>, UsageError> {
    let targets = Targets {
        reader: Reader::new(path, text),
        known: TableSetting {
            key: KEY,
            ..*TABLES
                .iter()
                .find(|table| table.key == "agent.checks")
                .expect("checks are in the table")
        },
    };
    let mut problems = Vec::new();
    let found = match ending {
        Some("toml") => targets.toml(&mut problems),
        Some("json") => targets.nodes(Node::from_json(&targets.reader), &mut problems),
        Some("yaml" | "yml") => targets.nodes(Node::from_yaml(text), &mut problems),
        _ => targets.list(&mut problems),
    };
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(UsageError(problems))
    }
}

struct Targets<'a> {
    reader: Reader<'a>,
    known: TableSetting,
}

impl Targets<'_> {
    /// One URL a line; `#` begins a comment where no URL goes on.
    fn list(&self, problems: &mut Vec<String>) -> Vec<FileTable> {
        let mut found = Vec::new();
        for (number, line) in (1..).zip(self.reader.text.lines()) {
            let mut words = line
                .split_whitespace()
                .take_while(|word| !word.starts_with('#'));
            let Some(url) = words.next() else { continue };
            let place = self.reader.at_line(number);
            if words.next().is_some() {
                problems.push(format!(
                    "{place}: expected one URL a line, and comments behind a `#`; more about a target is said in a file \
                     that ends with .toml, as [[{KEY}]]"
                ));
                continue;
            }
            found.push(target(url, &place));
        }
        found
    }

    fn toml(&self, problems: &mut Vec<String>) -> Vec<FileTable> {
        let Some(document) = self.reader.document(problems) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in document.get_ref() as &DeTable<'_> {
            if key.get_ref() == KEY {
                found = self.reader.tables(&self.known, value, problems);
            } else {
                let (place, key) = (self.reader.place(key), key.get_ref());
                problems.push(format!(
                    "{place}: unknown key `{key}`; a file of targets has [[{KEY}]]"
                ));
            }
        }
        found
    }

    /// A list of URLs, of checks with their keys, or of Prometheus' groups of targets with labels; or
    /// an object that has the list.
    fn nodes(&self, root: Result<Node, Problem>, problems: &mut Vec<String>) -> Vec<FileTable> {
        let items = root.and_then(|root| match root.value {
            NodeValue::Null => Ok(Vec::new()),
            NodeValue::List(items) => Ok(items),
            NodeValue::Object(mut object) if object.len() == 1 && object.contains_key(KEY) => {
                match object.remove(KEY) {
                    Some(Node {
                        value: NodeValue::List(items),
                        ..
                    }) => Ok(items),
                    other => {
                        let line = other.map_or(root.line, |other| other.line);
                        Err((line, "a list is missing".to_owned()))
                    }
                }
            }
            _ => Err((root.line, "this is none".to_owned())),
        });
        let items = match items {
            Ok(items) => items,
            Err((line, error)) => {
                let place = self.reader.at_line(line);
                problems.push(format!(
                    "{place}: expected a list, as [\"URL\"], [{{\"url\": \"URL\"}}] or [{{\"targets\": [\"URL\"]}}]: {error}"
                ));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for item in &items {
            let place = self.reader.at_line(item.line);
            match &item.value {
                NodeValue::Text(url) => found.push(target(url, &place)),
                NodeValue::Object(object) => match object.get("targets") {
                    Some(urls) => self.group(object, urls, &mut found, problems),
                    None => found.push(self.check(object, place, problems)),
                },
                _ => problems.push(format!(
                    "{place}: expected a URL, or an object with `url` or `targets`"
                )),
            }
        }
        found
    }

    /// A check with the keys of `[[agent.checks]]`.
    fn check(
        &self,
        object: &BTreeMap<String, Node>,
        place: Place,
        problems: &mut Vec<String>,
    ) -> FileTable {
        let mut read = FileTable::default();
        let keys = (self.known.keys)();
        for (key, node) in object {
            let place = self.reader.at_line(node.line);
            let Some(known) = keys.iter().find(|known| known.key == key) else {
                problems.push(file::unknown(&place, key, &self.known));
                continue;
            };
            match texts(node, known.kind).and_then(|texts| file::checked(texts, known.kind)) {
                Ok(texts) => {
                    read.values.push((known.key, (texts, place)));
                }
                Err(problem) => problems.push(format!("{place}: {key}: {problem}")),
            }
        }
        file::need(&self.known, &read, &place, problems);
        read.place = Some(place);
        read
    }

    /// Targets with labels, as Prometheus' `file_sd` has them.
    fn group(
        &self,
        object: &BTreeMap<String, Node>,
        urls: &Node,
        found: &mut Vec<FileTable>,
        problems: &mut Vec<String>,
    ) {
        let place = self.reader.at_line(urls.line);
        if let Some(key) = object
            .keys()
            .find(|key| *key != "targets" && *key != "labels")
        {
            problems.push(format!(
                "{place}: unknown key `{key}` beside `targets`; there is `labels`"
            ));
        }
        let labels = object.get("labels").map(|labels| {
            let texts = texts(labels, Type::Pairs).and_then(|all| file::checked(all, Type::Pairs));
            (texts, self.reader.at_line(labels.line))
        });
        let labels = match labels {
            None => None,
            Some((Ok(mut pairs), place)) => {
                pairs.retain(|pair| !pair.starts_with(INTERNAL_LABEL));
                Some((pairs, place))
            }
            Some((Err(problem), place)) => {
                problems.push(format!("{place}: labels: {problem}"));
                None
            }
        };
        let NodeValue::List(urls) = &urls.value else {
            problems.push(format!("{place}: targets: expected a list of URLs"));
            return;
        };
        for url in urls {
            let place = self.reader.at_line(url.line);
            let NodeValue::Text(url) = &url.value else {
                problems.push(format!("{place}: targets: expected a URL as a text"));
                continue;
            };
            let mut made = target(url, &place);
            made.values
                .extend(labels.clone().map(|labels| ("labels", labels)));
            found.push(made);
        }
    }
}

fn target(url: &str, place: &Place) -> FileTable {
    FileTable {
        place: Some(place.clone()),
        values: vec![("url", (vec![url.to_owned()], place.clone()))],
    }
}

/// The texts of a value, for a setting of this type.
fn texts(node: &Node, kind: Type) -> Result<Vec<String>, String> {
    let scalar = |node: &Node| match &node.value {
        NodeValue::Text(text) | NodeValue::Bare(text) => Ok(text.clone()),
        _ => Err("expected a text, a number, true or false".to_owned()),
    };
    match &node.value {
        NodeValue::List(items) if matches!(kind, Type::List | Type::Urls) => {
            items.iter().map(scalar).collect()
        }
        NodeValue::Object(pairs) if kind == Type::Pairs => pairs
            .iter()
            .map(|(name, text)| Ok(format!("{name}={}", scalar(text)?)))
            .collect(),
        _ if kind == Type::Pairs => Err("expected an object, as {\"name\": \"text\"}".to_owned()),
        _ => Ok(vec![scalar(node)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(found: &[FileTable]) -> Vec<&str> {
        found
            .iter()
            .filter_map(|target| target.text("url"))
            .collect()
    }

    #[test]
    fn a_list_has_a_url_a_line_and_comments() {
        let text = "# ours\nhttp://a/#part  # with a comment\n\n  http://b/\r\n#http://c/\n";
        let found = parse("t", text, None).unwrap();
        assert_eq!(urls(&found), ["http://a/#part", "http://b/"]);
        assert_eq!(found[1].place("url").to_string(), "t:4");
        let error = parse("t", "http://a/\nhttp://b/ http://c/\n", Some("txt")).unwrap_err();
        assert!(error.to_string().starts_with("t:2: expected one URL"));
    }

    #[test]
    fn toml_has_the_keys_of_checks() {
        let text = "[[checks]]\nurl = \"http://a/\"\nname = \"a\"\nlabels = { place = \"x\" }\n";
        let found = parse("t.toml", text, Some("toml")).unwrap();
        assert_eq!(urls(&found), ["http://a/"]);
        assert_eq!(found[0].list("labels"), ["place=x"]);
        let text = "[[check]]\nurl = \"http://a/\"\n[[checks]]\nname = \"a\"\nurll = \"b\"\n";
        let all = parse("t.toml", text, Some("toml")).unwrap_err().to_string();
        for expected in [
            "t.toml:1: unknown key `check`",
            "t.toml:5: unknown key `urll` of a check",
            "t.toml:3: a check needs a `url`",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
        assert!(parse("t.toml", "[[checks]\n", Some("toml")).is_err());
    }

    #[test]
    fn json_has_urls_checks_and_groups() {
        let text = r#"["http://a/",
            {"url": "http://b/", "interval": "5s", "expect_status": "2xx"},
            {"targets": ["http://c/", "http://d/"], "labels": {"place": "x", "__meta": "y"}}]"#;
        let object = format!("{{\"checks\": {text}}}");
        for text in [text, &object] {
            let found = parse("t.json", text, Some("json")).unwrap();
            assert_eq!(
                urls(&found),
                ["http://a/", "http://b/", "http://c/", "http://d/"]
            );
            assert_eq!(found[1].text("interval"), Some("5s"));
            assert_eq!(found[3].list("labels"), ["place=x"]);
            assert_eq!(found[3].place("url").to_string(), "t.json:3");
        }
    }

    #[test]
    fn yaml_has_the_same_shapes() {
        let text = "# ours\n- http://a/\n- url: http://b/\n  interval: 5s\n  attempts: 2\n  tls: true\n\
                    - targets:\n    - http://c/\n    - 'http://d/'\n  labels:\n    place: x\n    floor: 7\n    __meta: y\n";
        let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
        for (text, more) in [
            (text.to_owned(), 0),
            (format!("---\nchecks:\n{indented}"), 2),
        ] {
            let found = parse("t.yaml", &text, Some("yaml")).unwrap();
            assert_eq!(
                urls(&found),
                ["http://a/", "http://b/", "http://c/", "http://d/"]
            );
            assert_eq!(found[1].text("attempts"), Some("2"));
            assert_eq!(found[1].text("tls"), Some("true"));
            assert_eq!(found[3].list("labels"), ["floor=7", "place=x"]);
            let line = 9 + more;
            assert_eq!(found[3].place("url").to_string(), format!("t.yaml:{line}"));
        }
        let tagged = parse("t.yml", "- url: http://a/\n  name: !!str 7\n", Some("yml")).unwrap();
        assert_eq!(tagged[0].text("name"), Some("7"));
        assert!(parse("t.yml", "- url: !!binary AAAA\n", Some("yml")).is_err());
        assert_eq!(
            parse("t.yml", "# none yet\n", Some("yml")).unwrap().len(),
            0
        );
        let json = r#"[{"targets": ["http://c/"], "labels": {"place": "x"}}]"#;
        assert_eq!(
            urls(&parse("t.yml", json, Some("yml")).unwrap()),
            ["http://c/"]
        );
    }

    #[test]
    fn problems_of_yaml_have_their_lines() {
        let text = "- url: http://a/\n  interval: 5\n- name: x\n- 7\n- targets: [1]\n  label: {}\n\
                    - url: http://a/\n  urll: 1\n- url: http://b/\n  labels: [x]\n";
        let all = parse("t.yaml", text, Some("yaml")).unwrap_err().to_string();
        for expected in [
            "t.yaml:2: interval: `5`: expected a duration",
            "t.yaml:3: a check needs a `url`",
            "t.yaml:4: expected a URL, or an object",
            "t.yaml:5: unknown key `label` beside `targets`",
            "t.yaml:5: targets: expected a URL as a text",
            "t.yaml:8: unknown key `urll` of a check",
            "t.yaml:10: labels: expected an object",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
        let deep = "[".repeat(100);
        for (text, expected) in [
            ("- a\n- b: [\n", "t.yaml:3: "),
            ("a: b: c\n", "t.yaml:1: "),
            (
                "- &x http://a/\n- *x\n",
                "t.yaml:1: expected a list, as [\"URL\"], [{\"url\": \"URL\"}] or [{\"targets\": [\"URL\"]}]: anchors and aliases",
            ),
            ("- a\n---\n- b\n", "one document"),
            ("- url: a\n  url: b\n", "t.yaml:2: "),
            ("checks: 7\n", "t.yaml:1: expected a list"),
            ("http://a/\n", "this is none"),
            (deep.as_str(), "t.yaml:1: "),
        ] {
            let all = parse("t.yaml", text, Some("yaml")).unwrap_err().to_string();
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
    }

    #[test]
    fn problems_of_json_have_their_lines() {
        let text = "[\n{\"url\": \"http://a/\",\n\"interval\": 5},\n{\"name\": \"x\"},\n7,\n\
                    {\"targets\": [1], \"label\": {}},\n{\"url\": \"http://a/\", \"urll\": 1}]";
        let all = parse("t.json", text, Some("json")).unwrap_err().to_string();
        for expected in [
            "t.json:3: interval: `5`: expected a duration",
            "t.json:4: a check needs a `url`",
            "t.json:5: expected a URL, or an object",
            "t.json:6: unknown key `label` beside `targets`",
            "t.json:6: targets: expected a URL as a text",
            "t.json:7: unknown key `urll` of a check",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
        for (text, line) in [("[\n\"a\",\n", 3), ("{\n\"checks\":\n7}", 3), ("7", 1)] {
            let all = parse("t.json", text, Some("json")).unwrap_err().to_string();
            let start = format!("t.json:{line}: expected a list");
            assert!(all.starts_with(&start), "{all}");
        }
    }
}
