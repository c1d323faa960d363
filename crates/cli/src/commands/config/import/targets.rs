//! The targets that modules are to check: Prometheus' `file_sd` as JSON or YAML, or a list with a URL or a host a
//! line.

use super::part::Note;
use crate::settings::UsageError;
use crate::settings::targets::{Node, NodeValue, read_node, read_text};
use std::path::Path;
use std::sync::Arc;
use tidegauge_model::Name;

/// Labels that say how a target is checked, and that Prometheus keeps for itself, begin so.
const INTERNAL: &str = "__";
/// Labels that say which module a target is checked with.
const MODULE: [&str; 2] = ["__param_module", "module"];

/// A target.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) target: String,
    /// Names that can be tags, with their texts.
    pub(super) labels: Vec<(String, String)>,
    module: Option<String>,
    /// Where it stands.
    pub(super) place: String,
}

impl Wanted {
    /// The module that its labels name.
    pub(super) fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }
}

/// Reads the targets, and what cannot be taken over of their labels.
///
/// # Errors
/// When the file cannot be read, or is none of these.
pub(super) fn read(path: &Path) -> Result<(Vec<Wanted>, Vec<Note>), UsageError> {
    let file: Arc<str> = path.display().to_string().into();
    let mut reading = Reading {
        file,
        found: Vec::new(),
        notes: Vec::new(),
        problems: Vec::new(),
    };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json" | "yaml" | "yml") => {
            let root = read_node(path, "the file of targets")?;
            reading.nodes(&root);
        }
        _ => reading.list(&read_text(path, "the file of targets")?),
    }
    match reading.problems.is_empty() {
        true => Ok((reading.found, reading.notes)),
        false => Err(UsageError(reading.problems)),
    }
}

struct Reading {
    file: Arc<str>,
    found: Vec<Wanted>,
    notes: Vec<Note>,
    problems: Vec<String>,
}

impl Reading {
    fn list(&mut self, text: &str) {
        for (line, text) in (1..).zip(text.lines()) {
            let mut words = text
                .split_whitespace()
                .take_while(|word| !word.starts_with('#'));
            let Some(target) = words.next() else { continue };
            if words.next().is_some() {
                let problem = "expected one target a line, and comments behind a `#`";
                self.problem(line, problem);
                continue;
            }
            self.target(target, line, &[], None);
        }
    }

    fn nodes(&mut self, root: &Node) {
        let items = match &root.value {
            NodeValue::List(items) => items.as_slice(),
            NodeValue::Null => &[],
            _ => return self.problem(root.line, "expected a list, as [{\"targets\": [\"URL\"]}]"),
        };
        for item in items {
            match &item.value {
                NodeValue::Text(target) => self.target(target, item.line, &[], None),
                NodeValue::Object(object) if object.contains_key("targets") => {
                    let (labels, module) = self.labels(object.get("labels"));
                    let NodeValue::List(targets) = &object["targets"].value else {
                        self.problem(item.line, "targets: expected a list");
                        continue;
                    };
                    for node in targets {
                        match &node.value {
                            NodeValue::Text(target) | NodeValue::Bare(target) => {
                                self.target(target, node.line, &labels, module.as_deref());
                            }
                            _ => self.problem(node.line, "targets: expected a text"),
                        }
                    }
                }
                _ => self.problem(item.line, "expected a target, or an object with `targets`"),
            }
        }
    }

    fn labels(&mut self, node: Option<&Node>) -> (Vec<(String, String)>, Option<String>) {
        let (mut labels, mut module) = (Vec::new(), None);
        let object = match node.map(|node| (node, &node.value)) {
            None | Some((_, NodeValue::Null)) => return (labels, module),
            Some((_, NodeValue::Object(object))) => object,
            Some((node, _)) => {
                self.problem(node.line, "labels: expected names with texts");
                return (labels, module);
            }
        };
        for (name, node) in object {
            let (NodeValue::Text(text) | NodeValue::Bare(text)) = &node.value else {
                self.problem(node.line, &format!("labels: {name}: expected a text"));
                continue;
            };
            if MODULE.contains(&name.as_str()) {
                module = Some(text.clone());
            } else if !name.starts_with(INTERNAL) {
                match tag(name) {
                    Some(tag) => labels.push((tag, text.clone())),
                    None => self.notes.push(Note {
                        file: Arc::clone(&self.file),
                        line: node.line,
                        key: format!("labels.{name}"),
                        text: "left out: it cannot be the name of a tag".to_owned(),
                    }),
                }
            }
        }
        (labels, module)
    }

    fn target(
        &mut self,
        target: &str,
        line: usize,
        labels: &[(String, String)],
        module: Option<&str>,
    ) {
        self.found.push(Wanted {
            target: target.to_owned(),
            labels: labels.to_vec(),
            module: module.map(str::to_owned),
            place: format!("{}:{line}", self.file),
        });
    }

    fn problem(&mut self, line: usize, problem: &str) {
        self.problems
            .push(format!("{}:{line}: {problem}", self.file));
    }
}

/// The tag of a label: in lower case. Names that every point of a check has are none.
fn tag(label: &str) -> Option<String> {
    let tag = label.to_ascii_lowercase();
    (Name::check(&tag).is_ok() && tag != "target").then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_tags_where_they_can() {
        assert_eq!(tag("Env").as_deref(), Some("env"));
        for none in ["target", "a-b", "1a", ""] {
            assert_eq!(tag(none), None, "{none}");
        }
    }
}
