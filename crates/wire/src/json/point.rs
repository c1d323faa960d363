//! The points of a message, pushed straight into the [`BatchRef`]: the hot path of the sink.
//!
//! A point that breaks the format is stepped over to its end and rejected alone; an error of the
//! visitors here is always one of the JSON text itself.

use super::value::{Found, KeySeed, Read, ReadSeed, Scalar, ScalarSeed, skip_rest};
use crate::error::quote;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use std::borrow::Cow;
use std::collections::HashSet;
use tidegauge_model::{BatchRef, Name, Reason, ValueRef};

/// The first microsecond of the year 1.
const FIRST_TIME_US: i64 = -62_135_596_800_000_000;
/// The last microsecond of the year 9999.
const LAST_TIME_US: i64 = 253_402_300_799_999_999;

/// Up to so many names of one object are compared one by one, more with a set, so that a message
/// of a million fields takes linear time.
const COMPARED_NAMES: usize = 64;

/// What the points of one message are read into.
#[derive(Debug)]
pub(super) struct Points<'c, 'a> {
    pub(super) batch: &'c mut BatchRef<'a>,
    pub(super) scalar: ScalarSeed,
    /// Index of the point that is being read.
    pub(super) index: u32,
    problem: Option<Problem>,
    left_out: u64,
    names: HashSet<Cow<'a, str>>,
}

/// What is wrong with the point that is being read.
#[derive(Debug)]
struct Problem {
    reason: Reason,
    key: Cow<'static, str>,
    detail: String,
}

impl<'c, 'a> Points<'c, 'a> {
    pub(super) fn new(batch: &'c mut BatchRef<'a>, scalar: ScalarSeed) -> Self {
        Self {
            batch,
            scalar,
            index: 0,
            problem: None,
            left_out: 0,
            names: HashSet::new(),
        }
    }

    /// Notes a problem at `key`; the first of a point stays.
    #[cold]
    fn note(&mut self, reason: Reason, key: impl Into<Cow<'static, str>>, detail: String) {
        let key = key.into();
        self.problem.get_or_insert(Problem {
            reason,
            key,
            detail,
        });
    }

    fn wrong_type(&mut self, key: &'static str, expected: &str, found: &str) {
        let detail = format!("expected {expected}, found {found}");
        self.note(Reason::WrongType, key, detail);
    }

    /// Closes the point, or rejects it.
    fn close(&mut self, measurement: Cow<'a, str>, time_us: i64) {
        let left_out = std::mem::take(&mut self.left_out);
        let Some(problem) = self.problem.take() else {
            self.batch.left_out += left_out;
            self.batch.finish_point(self.index, measurement, time_us);
            return;
        };
        let dot = if problem.key.is_empty() { "" } else { "." };
        let (index, key, detail) = (self.index, problem.key, problem.detail);
        let detail = format!("at points[{index}]{dot}{key}: {detail}");
        self.batch.reject_point(index, problem.reason, detail);
    }

    /// True when the name fits and was not there before.
    fn accept_name(&mut self, pairs: &'static str, name: &str, seen: bool) -> bool {
        let (reason, detail) = match Name::check(name) {
            Ok(()) if !seen => return true,
            Ok(()) => (
                Reason::DuplicateKey,
                format!("{} is there twice", quote(name)),
            ),
            Err(error) => (Reason::BadName, error.to_string()),
        };
        self.note(reason, pairs, detail);
        false
    }

    /// True when databases can hold the text. Only an escaped text can have a U+0000, and an
    /// escaped text is never borrowed.
    #[expect(clippy::ptr_arg, reason = "whether it is borrowed is the point")]
    fn accept_text(&mut self, pairs: &'static str, name: &str, text: &Cow<'_, str>) -> bool {
        if matches!(text, Cow::Owned(text) if text.contains('\0')) {
            self.note(
                Reason::BadText,
                format!("{pairs}.{name}"),
                "a text has U+0000".to_owned(),
            );
            return false;
        }
        true
    }

    /// Whether `name` is among `count` names already, which are those of `compare`.
    #[expect(clippy::ptr_arg, reason = "a borrowed name stays borrowed in the set")]
    fn seen(&mut self, name: &Cow<'a, str>, count: usize, pairs: Pairs) -> bool {
        let open = |batch: &BatchRef<'a>| match pairs {
            Pairs::Tags => batch.open_tags().iter().any(|(known, _)| known == name),
            Pairs::Fields => batch.open_fields().iter().any(|(known, _)| known == name),
        };
        if count < COMPARED_NAMES {
            return open(self.batch);
        }
        if count == COMPARED_NAMES {
            self.names.clear();
            match pairs {
                Pairs::Tags => {
                    (self.names).extend(self.batch.open_tags().iter().map(|t| t.0.clone()))
                }
                Pairs::Fields => {
                    (self.names).extend(self.batch.open_fields().iter().map(|f| f.0.clone()));
                }
            }
        }
        !self.names.insert(name.clone())
    }
}

#[derive(Debug, Clone, Copy)]
enum Pairs {
    Tags,
    Fields,
}

/// Reads the list of points.
impl<'de> Read<'de> for &mut Points<'_, 'de> {
    const EXPECTED: &'static str = "a list";

    fn read_list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        while let Some(found) = list.next_element_seed(ReadSeed(OnePoint(self)))? {
            if let Found::Other(found) = found {
                self.wrong_type("", "an object", found);
                self.close(Cow::Borrowed(""), 0);
            }
            self.index = self.index.saturating_add(1);
        }
        Ok(Found::Expected)
    }
}

#[derive(Debug)]
struct OnePoint<'p, 'c, 'a>(&'p mut Points<'c, 'a>);

impl<'de> Read<'de> for OnePoint<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let points = self.0;
        let mut measurement = None;
        let mut time_us = None;
        let (mut has_tags, mut has_fields) = (false, false);
        while let Some(key) = object.next_key_seed(KeySeed)? {
            let twice = match key.as_ref() {
                "measurement" => measurement.is_some(),
                "time_us" => time_us.is_some(),
                "tags" => std::mem::replace(&mut has_tags, true),
                "fields" => std::mem::replace(&mut has_fields, true),
                _ => {
                    points.note(Reason::UnknownKey, "", format!("the key {}", quote(&key)));
                    false
                }
            };
            if twice {
                let detail = format!("{} is there twice", quote(&key));
                points.note(Reason::DuplicateKey, "", detail);
            }
            if points.problem.is_some() {
                object.next_value::<IgnoredAny>()?;
                break;
            }
            match key.as_ref() {
                "measurement" => {
                    measurement = points.measurement(object.next_value_seed(points.scalar)?);
                }
                "time_us" => time_us = points.time_us(object.next_value_seed(points.scalar)?),
                "tags" => {
                    if let Found::Other(found) = object.next_value_seed(ReadSeed(Tags(points)))? {
                        points.wrong_type("tags", "an object", found);
                    }
                }
                _ => {
                    if let Found::Other(found) = object.next_value_seed(ReadSeed(Fields(points)))? {
                        points.wrong_type("fields", "an object", found);
                    }
                }
            }
        }
        if points.problem.is_some() {
            skip_rest(&mut object)?;
        } else if measurement.is_none() {
            points.note(
                Reason::MissingKey,
                "measurement",
                "the key is missing".to_owned(),
            );
        } else if time_us.is_none() {
            points.note(Reason::BadTime, "time_us", "the key is missing".to_owned());
        } else if !has_fields {
            points.note(
                Reason::MissingKey,
                "fields",
                "the key is missing".to_owned(),
            );
        } else if points.batch.open_fields().is_empty() {
            points.note(
                Reason::NoFields,
                "fields",
                "no field has a value".to_owned(),
            );
        }
        points.close(measurement.unwrap_or_default(), time_us.unwrap_or_default());
        Ok(Found::Expected)
    }
}

impl<'a> Points<'_, 'a> {
    fn measurement(&mut self, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        match value {
            Scalar::Text(name) => match Name::check(&name) {
                Ok(()) => return Some(name),
                Err(error) => self.note(Reason::BadName, "measurement", error.to_string()),
            },
            other => self.wrong_type("measurement", "a text", other.kind()),
        }
        None
    }

    fn time_us(&mut self, value: Scalar<'a>) -> Option<i64> {
        let detail = match value {
            Scalar::Integer(time_us @ FIRST_TIME_US..=LAST_TIME_US) => return Some(time_us),
            Scalar::Integer(time_us) => {
                format!("{time_us} microseconds since 1970 are outside the years 1 to 9999")
            }
            other => format!("expected microseconds since 1970, found {}", other.kind()),
        };
        self.note(Reason::BadTime, "time_us", detail);
        None
    }
}

#[derive(Debug)]
struct Tags<'p, 'c, 'a>(&'p mut Points<'c, 'a>);

impl<'de> Read<'de> for Tags<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let points = self.0;
        let mut count = 0;
        while let Some(name) = object.next_key_seed(KeySeed)? {
            let value = object.next_value_seed(points.scalar)?;
            let seen = points.seen(&name, count, Pairs::Tags);
            if !points.accept_name("tags", &name, seen) {
                break;
            }
            let Scalar::Text(text) = value else {
                let detail = format!("expected a text, found {}", value.kind());
                points.note(Reason::WrongType, format!("tags.{name}"), detail);
                break;
            };
            if !points.accept_text("tags", &name, &text) {
                break;
            }
            points.batch.push_tag(name, text);
            count += 1;
        }
        skip_rest(&mut object)?;
        Ok(Found::Expected)
    }
}

#[derive(Debug)]
struct Fields<'p, 'c, 'a>(&'p mut Points<'c, 'a>);

impl<'de> Read<'de> for Fields<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let points = self.0;
        let mut count = 0;
        while let Some(name) = object.next_key_seed(KeySeed)? {
            let value = object.next_value_seed(points.scalar)?;
            let seen = points.seen(&name, count, Pairs::Fields);
            if !points.accept_name("fields", &name, seen) {
                break;
            }
            let value = match value {
                Scalar::Integer(number) => ValueRef::Float(number as f64),
                Scalar::Float(number) if number.is_finite() => ValueRef::Float(number),
                Scalar::Float(_) => {
                    points.left_out += 1;
                    continue;
                }
                Scalar::Bool(truth) => ValueRef::Bool(truth),
                Scalar::Text(text) if points.accept_text("fields", &name, &text) => {
                    ValueRef::Text(text)
                }
                Scalar::Text(_) => break,
                Scalar::Null => continue,
                Scalar::List | Scalar::Object => {
                    let detail = format!("expected a scalar, found {}", value.kind());
                    points.note(Reason::WrongType, format!("fields.{name}"), detail);
                    break;
                }
            };
            points.batch.push_field(name, value);
            count += 1;
        }
        skip_rest(&mut object)?;
        Ok(Found::Expected)
    }
}
