//! Texts, lists and objects with their lines, from JSON and from YAML: what a file of targets is made of.

use super::super::file::Reader;
use base64::prelude::{BASE64_STANDARD, Engine};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Deeper than any file of targets; it bounds the stack.
const DEEPEST: usize = 16;

/// A part of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing at all.
    Null,
    /// A text that is one and nothing else: with quotes, or a word.
    Text(String),
    /// A number, true or false, as it was written.
    Bare(String),
    /// Bytes that are written as base64, of YAML alone.
    Bytes(Vec<u8>),
    List(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

/// A line, and what is wrong there.
pub(crate) type Problem = (usize, String);

impl Node {
    /// Reads JSON.
    ///
    /// # Errors
    /// What is wrong with its syntax.
    pub(in crate::settings) fn from_json(reader: &Reader<'_>) -> Result<Self, Problem> {
        let root: &RawValue =
            serde_json::from_str(reader.text).map_err(|error| (error.line(), error.to_string()))?;
        Ok(of_json(root, reader))
    }

    /// Reads YAML 1.2: one document. Anchors are refused, as a few lines of them can stand for more
    /// than any memory holds.
    ///
    /// # Errors
    /// What is wrong with its syntax, or not taken here.
    pub(crate) fn from_yaml(text: &str) -> Result<Self, Problem> {
        let mut yaml = Yaml(Parser::new_from_str(text));
        let mut root = None;
        loop {
            match yaml.next()? {
                (Event::DocumentStart(_), span) if root.is_some() => {
                    return Err((span.start.line(), "a file has one document".to_owned()));
                }
                (Event::StreamEnd, span) => {
                    let line = span.start.line();
                    return Ok(root.unwrap_or(Self {
                        line,
                        value: Value::Null,
                    }));
                }
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
                (event, span) => root = Some(yaml.node(event, span, 0)?),
            }
        }
    }
}

/// JSON is known to be sound here, so whatever is no text, list or object is bare.
fn of_json(part: &RawValue, reader: &Reader<'_>) -> Node {
    let text = part.get();
    let value = if let Ok(text) = serde_json::from_str(text) {
        Value::Text(text)
    } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        Value::List(items.iter().map(|item| of_json(item, reader)).collect())
    } else if let Ok(object) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        let nodes = object.into_iter();
        Value::Object(
            nodes
                .map(|(key, part)| (key, of_json(part, reader)))
                .collect(),
        )
    } else if text == "null" {
        Value::Null
    } else {
        Value::Bare(text.to_owned())
    };
    let start = reader.text.as_ptr() as usize;
    Node {
        line: reader.line((text.as_ptr() as usize).saturating_sub(start)),
        value,
    }
}

struct Yaml<'a>(Parser<'a, saphyr_parser::StrInput<'a>>);

impl<'a> Yaml<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.0.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err((error.marker().line(), error.info().to_owned())),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let line = span.start.line();
        let refused = |problem: &str| Err((line, problem.to_owned()));
        if depth > DEEPEST {
            return refused("this is nested too deep");
        }
        let value = match event {
            Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _)
            | Event::Alias(_) => return refused("anchors and aliases are not taken here"),
            Event::Scalar(text, style, _, tag) => {
                let tag = tag.filter(|tag| tag.is_yaml_core_schema());
                match tag.as_ref().map(|tag| tag.suffix.as_str()) {
                    Some("str") => Value::Text(text.into_owned()),
                    Some("binary") => match bytes(&text) {
                        Some(bytes) => Value::Bytes(bytes),
                        None => return refused("these bytes are no base64"),
                    },
                    _ => scalar(text, style),
                }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => self.object(depth)?,
            _ => return refused("a value is missing"),
        };
        Ok(Node { line, value })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut object = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(object)),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err((line, "a key is a text".to_owned())),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if object.contains_key(&key) {
                return Err((line, format!("the key `{key}` is there twice")));
            }
            object.insert(key, node);
        }
    }
}

/// The bytes of a `!!binary`; blanks and ends of lines in it say nothing.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_whitespace().collect();
    BASE64_STANDARD.decode(text).ok()
}

/// What a scalar is by the core schema of YAML 1.2 (section 10.3.2).
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.into_owned());
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Value::Bare(text.to_lowercase()),
        number if number.parse::<f64>().is_ok() => Value::Bare(text.into_owned()),
        _ => Value::Text(text.into_owned()),
    }
}
