//! One line of a page of metrics: a sample, a type, the end, or nothing of interest.
//!
//! Not the meaning of a sample, which depends on the types of the page: see the parent.

use crate::check::{Checked, wrong};
use crate::error::quote;
use std::borrow::Cow;
use tidegauge_model::Reason;

/// So many labels of one sample are read at most.
const MOST_LABELS: usize = 128;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Sample(Sample<'a>),
    Type(Cow<'a, str>, Type),
    End,
    /// A blank line, a help text, a unit, a comment.
    Other,
}

/// One number of a page.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    /// In the order of the line; the empty ones too.
    pub(super) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) value: f64,
    /// As it is written: its unit depends on the format.
    pub(super) time: Option<&'a str>,
}

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Unknown,
}

impl Type {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" | "info" | "stateset" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "untyped" | "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

/// Reads a line without its end.
pub(super) fn read(line: &str) -> Checked<Line<'_>> {
    let mut cursor = Cursor { rest: line };
    cursor.blanks();
    match cursor.rest.strip_prefix('#') {
        Some(comment) => comment_of(comment),
        None if cursor.rest.is_empty() => Ok(Line::Other),
        None => cursor.sample().map(Line::Sample),
    }
}

fn comment_of(text: &str) -> Checked<Line<'_>> {
    let mut cursor = Cursor { rest: text };
    cursor.blanks();
    match cursor.word() {
        "EOF" if cursor.rest.is_empty() => Ok(Line::End),
        "TYPE" => {
            cursor.blanks();
            let family = match cursor.rest.starts_with('"') {
                true => cursor.quoted()?,
                false => Cow::Borrowed(cursor.name()?),
            };
            cursor.blanks();
            let word = cursor.rest.trim_end();
            match Type::parse(word) {
                Some(kind) => Ok(Line::Type(family, kind)),
                None => syntax(format!("there is no type {}", quote(word))),
            }
        }
        _ => Ok(Line::Other),
    }
}

fn syntax<T>(detail: impl Into<Cow<'static, str>>) -> Checked<T> {
    wrong(Reason::Syntax, detail)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// What comes before the next blank.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find([' ', '\t']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn sign(&mut self, sign: char) -> bool {
        let found = self.rest.strip_prefix(sign);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// A name without quotes.
    fn name(&mut self) -> Checked<&'a str> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        let end = self.rest.bytes().take_while(|byte| inner(*byte)).count();
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return syntax(format!("expected a name, found {}", quote(self.rest)));
        }
        self.rest = rest;
        Ok(name)
    }

    /// A text in quotes, where `\\`, `\"` and `\n` stand for one character.
    fn quoted(&mut self) -> Checked<Cow<'a, str>> {
        if !self.sign('"') {
            return syntax(format!("expected a quote, found {}", quote(self.rest)));
        }
        let mut text = Cow::Borrowed("");
        loop {
            let Some(end) = self.rest.find(['"', '\\']) else {
                return syntax("a text has no end");
            };
            let (plain, rest) = self.rest.split_at(end);
            match text.is_empty() {
                true => text = Cow::Borrowed(plain),
                false => text.to_mut().push_str(plain),
            }
            self.rest = &rest[1..];
            if rest.starts_with('"') {
                return Ok(text);
            }
            let Some(escaped) = self.rest.chars().next() else {
                return syntax("a text has no end");
            };
            self.rest = &self.rest[escaped.len_utf8()..];
            match escaped {
                'n' => text.to_mut().push('\n'),
                '"' | '\\' => text.to_mut().push(escaped),
                other => text.to_mut().extend(['\\', other]),
            }
        }
    }

    fn sample(&mut self) -> Checked<Sample<'a>> {
        let mut name = match self.rest.starts_with('{') {
            true => None,
            false => Some(Cow::Borrowed(self.name()?)),
        };
        self.blanks();
        let mut labels = Vec::new();
        if self.sign('{') {
            self.labels(&mut name, &mut labels)?;
        }
        let Some(name) = name else {
            return syntax("the sample has no name");
        };
        self.blanks();
        let word = self.word();
        let Ok(value) = word.parse::<f64>() else {
            return syntax(format!("expected a number, found {}", quote(word)));
        };
        self.blanks();
        let mut time = None;
        if !self.rest.is_empty() && !self.rest.starts_with('#') {
            time = Some(self.word());
            self.blanks();
        }
        // Behind this sign is an exemplar, which names one event and is no measurement.
        if !self.rest.is_empty() && !self.rest.starts_with('#') {
            return syntax(format!(
                "expected the line's end, found {}",
                quote(self.rest)
            ));
        }
        Ok(Sample {
            name,
            labels,
            value,
            time,
        })
    }

    /// What is in braces; a quoted text alone is the sample's name.
    fn labels(
        &mut self,
        name: &mut Option<Cow<'a, str>>,
        labels: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
    ) -> Checked {
        loop {
            self.blanks();
            if self.sign('}') {
                return Ok(());
            }
            let is_quoted = self.rest.starts_with('"');
            let label = match is_quoted {
                true => self.quoted()?,
                false => Cow::Borrowed(self.name()?),
            };
            self.blanks();
            if self.sign('=') {
                self.blanks();
                labels.push((label, self.quoted()?));
            } else if is_quoted && name.is_none() && labels.is_empty() {
                *name = Some(label);
            } else {
                return syntax(format!("expected = after the label {}", quote(&label)));
            }
            if labels.len() > MOST_LABELS {
                return wrong(
                    Reason::TooManyTags,
                    format!("more than {MOST_LABELS} labels"),
                );
            }
            self.blanks();
            if !self.sign(',') && !self.rest.starts_with('}') {
                return syntax(format!("expected `,` or `}}`, found {}", quote(self.rest)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(line: &str) -> (String, Vec<(String, String)>, f64, Option<String>) {
        match read(line).expect(line) {
            Line::Sample(sample) => (
                sample.name.into_owned(),
                (sample.labels.into_iter())
                    .map(|(name, text)| (name.into_owned(), text.into_owned()))
                    .collect(),
                sample.value,
                sample.time.map(str::to_owned),
            ),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn samples_are_read_in_all_their_forms() {
        assert_eq!(sample("up 1"), ("up".into(), vec![], 1.0, None));
        assert_eq!(
            sample("  a:b{} \t-1.5e3  1700000000 "),
            ("a:b".into(), vec![], -1500.0, Some("1700000000".into()))
        );
        assert_eq!(
            sample(r#"a {x="1", y = "b\\\"c\nd\q" ,} +Inf # {trace="}"} 1 2"#),
            (
                "a".into(),
                labels(&[("x", "1"), ("y", "b\\\"c\nd\\q")]),
                f64::INFINITY,
                None
            )
        );
        assert_eq!(
            sample(r#"{"my.metric", "a.b"="é", c=""} 2 3 # {} 1"#),
            (
                "my.metric".into(),
                labels(&[("a.b", "é"), ("c", "")]),
                2.0,
                Some("3".into())
            )
        );
        assert!(sample("a NaN").2.is_nan());
    }

    #[test]
    fn comments_are_stepped_over_except_for_types_and_the_end() {
        let family = Cow::Borrowed("a_b");
        assert_eq!(
            read("# TYPE a_b histogram "),
            Ok(Line::Type(family.clone(), Type::Histogram))
        );
        assert_eq!(
            read("#\tTYPE \"a_b\" untyped"),
            Ok(Line::Type(family, Type::Unknown))
        );
        assert_eq!(read("# EOF"), Ok(Line::End));
        for other in [
            "",
            "  ",
            "#",
            "# HELP a_b TYPE",
            "# UNIT a s",
            "# EOF or not",
            "#TYPES",
        ] {
            assert_eq!(read(other), Ok(Line::Other), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("1a 2", "expected a name, found \"1a 2\""),
            ("a", "expected a number, found \"\""),
            ("a x", "expected a number, found \"x\""),
            ("a 1 2 3", "expected the line's end, found \"3\""),
            ("a{b=\"c\" 1", "expected `,` or `}`, found \"1\""),
            ("a{b=c} 1", "expected a quote, found \"c} 1\""),
            ("a{b=\"c} 1", "a text has no end"),
            ("a{b=\"c\\", "a text has no end"),
            ("a{\"b\"} 1", "expected = after the label \"b\""),
            ("{a=\"b\"} 1", "the sample has no name"),
            ("# TYPE a b", "there is no type \"b\""),
            ("é 1", "expected a name, found \"é 1\""),
        ] {
            let wrong = read(line).expect_err(line);
            assert_eq!(
                (wrong.reason, &*wrong.detail),
                (Reason::Syntax, said),
                "{line}"
            );
        }
        let many: String = (0..200).map(|number| format!("l{number}=\"\",")).collect();
        let wrong = read(&format!("a{{{many}}} 1")).expect_err("too many");
        assert_eq!(wrong.reason, Reason::TooManyTags);
    }
}
