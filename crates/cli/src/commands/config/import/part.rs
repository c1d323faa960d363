//! Taking an object of a file apart, key by key: each key is asked for by its name and its type, what has no
//! counterpart is noted, and so is whatever nobody asked for.
//!
//! A note names places and keys, never values: a value may be a password.

use crate::settings::did_you_mean;
use crate::settings::targets::{Node, NodeValue};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something that was not taken over, or not as it stood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Note {
    /// The file.
    pub(super) file: Arc<str>,
    pub(super) line: usize,
    /// The key with those that it is in, as `http.tls_config.ca_file`; empty for all of it.
    pub(super) key: String,
    pub(super) text: String,
}

/// An object, and where it stands.
pub(super) struct Part<'a> {
    file: Arc<str>,
    /// The keys that it is in, each with a dot behind it.
    path: String,
    pub(super) line: usize,
    object: &'a BTreeMap<String, Node>,
    /// The keys that were asked for.
    asked: Vec<&'static str>,
    pub(super) notes: Vec<Note>,
}

impl<'a> Part<'a> {
    pub(super) fn new(
        file: &Arc<str>,
        path: &str,
        line: usize,
        object: &'a BTreeMap<String, Node>,
    ) -> Self {
        Self {
            file: Arc::clone(file),
            path: path.to_owned(),
            line,
            object,
            asked: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let node = self.object.get(key);
        node.filter(|node| node.value != NodeValue::Null)
    }

    /// Notes something about a key.
    pub(super) fn note(&mut self, key: &str, text: impl Into<String>) {
        let line = self.object.get(key).map_or(self.line, |node| node.line);
        self.notes.push(Note {
            file: Arc::clone(&self.file),
            line,
            key: format!("{}{key}", self.path),
            text: text.into(),
        });
    }

    /// A text, a number or a truth value, as it is written.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        match &self.get(key)?.value {
            NodeValue::Text(text) | NodeValue::Bare(text) => Some(text),
            _ => {
                self.note(key, "left out: a text was expected");
                None
            }
        }
    }

    /// Bytes, where they are written as such; else it is a text.
    pub(super) fn bytes(&mut self, key: &'static str) -> Option<&'a [u8]> {
        match &self.get(key)?.value {
            NodeValue::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A truth value.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.get(key).map(|node| &node.value) {
            None => default,
            Some(NodeValue::Bare(text) | NodeValue::Text(text)) if text == "true" => true,
            Some(NodeValue::Bare(text) | NodeValue::Text(text)) if text == "false" => false,
            Some(_) => {
                self.note(key, "left out: true or false was expected");
                default
            }
        }
    }

    /// Texts; one alone is a list of one.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<&'a str> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let texts: Option<Vec<&str>> = match &node.value {
            NodeValue::Text(text) | NodeValue::Bare(text) => Some(vec![text]),
            NodeValue::List(items) => items.iter().map(scalar).collect(),
            _ => None,
        };
        texts.unwrap_or_else(|| {
            self.note(key, "left out: a list of texts was expected");
            Vec::new()
        })
    }

    /// Names with texts.
    pub(super) fn pairs(&mut self, key: &'static str) -> Vec<(&'a str, &'a str)> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let NodeValue::Object(pairs) = &node.value else {
            self.note(key, "left out: names with texts were expected");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, node) in pairs {
            match scalar(node) {
                Some(text) => found.push((name.as_str(), text)),
                None => self.note(key, format!("left out: {name}: a text was expected")),
            }
        }
        found
    }

    /// An object in this one. What is noted there is handed back by [`Self::take_back`].
    pub(super) fn part(&mut self, key: &'static str) -> Option<Self> {
        let node = self.get(key)?;
        let NodeValue::Object(object) = &node.value else {
            self.note(key, "left out: keys with values were expected");
            return None;
        };
        let path = format!("{}{key}.", self.path);
        Some(Part::new(&self.file, &path, node.line, object))
    }

    /// The objects of a list.
    pub(super) fn parts(&mut self, key: &'static str) -> Vec<Self> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let NodeValue::List(items) = &node.value else {
            self.note(key, "left out: a list was expected");
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items {
            match &item.value {
                NodeValue::Object(object) => {
                    let path = format!("{}{key}.", self.path);
                    found.push(Part::new(&self.file, &path, item.line, object));
                }
                _ => self.note(key, "left out: keys with values were expected in the list"),
            }
        }
        found
    }

    /// The objects by name, as `http_headers` has them.
    pub(super) fn named_parts(&mut self, key: &'static str) -> Vec<(&'a str, Self)> {
        let Some(whole) = self.part(key) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, node) in whole.object {
            match &node.value {
                NodeValue::Object(object) => {
                    let path = format!("{}{name}.", whole.path);
                    found.push((
                        name.as_str(),
                        Part::new(&self.file, &path, node.line, object),
                    ));
                }
                _ => self.note(
                    key,
                    format!("left out: {name}: keys with values were expected"),
                ),
            }
        }
        found
    }

    /// A key that has no counterpart; it says why, unless it has the value that changes nothing.
    pub(super) fn without_counterpart(&mut self, key: &'static str, unless: &str, why: &str) {
        let Some(node) = self.get(key) else { return };
        let is_empty = match &node.value {
            NodeValue::List(items) => items.is_empty(),
            NodeValue::Object(object) => object.is_empty(),
            NodeValue::Text(text) => text.is_empty() || text == unless,
            NodeValue::Bare(text) => text == unless,
            NodeValue::Bytes(_) => false,
            NodeValue::Null => true,
        };
        if !is_empty {
            self.note(key, why);
        }
    }

    /// Ends a part of this one.
    pub(super) fn take_back(&mut self, part: Self) {
        self.notes.extend(part.into_notes());
    }

    /// All notes, also of the keys that nobody asked for.
    pub(super) fn into_notes(mut self) -> Vec<Note> {
        let unknown = self
            .object
            .keys()
            .filter(|key| !self.asked.contains(&key.as_str()));
        for key in unknown.cloned().collect::<Vec<_>>() {
            let hint = did_you_mean(&key, self.asked.iter().copied());
            self.note(&key, format!("left out: this key is not known{hint}"));
        }
        self.notes
    }
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        NodeValue::Text(text) | NodeValue::Bare(text) => Some(text),
        _ => None,
    }
}
