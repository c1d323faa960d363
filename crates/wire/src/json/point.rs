//! The points of a message, pushed straight into the [`BatchRef`]: the hot path of the sink.
//!
//! A point that breaks the format is stepped over to its end and rejected alone; an error of the
//! visitors here is always one of the JSON text itself.

use super::alike::Alike;
use super::value::{Found, KeySeed, Read, ReadSeed, Scalar, ScalarSeed, skip_rest};
use crate::check::{self, SeenNames, Wrong};
use crate::error::quote;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use std::borrow::Cow;
use tidegauge_model::{BatchRef, Reason, ValueRef};

/// What the points of one message are read into.
#[derive(Debug)]
pub(super) struct Points<'c, 'a> {
    pub(super) batch: &'c mut BatchRef<'a>,
    pub(super) scalar: ScalarSeed,
    /// Index of the point that is being read.
    pub(super) index: u32,
    problem: Option<Problem>,
    left_out: u64,
    names: SeenNames<Cow<'a, str>>,
    alike: Alike,
}

/// What is wrong with the point that is being read.
#[derive(Debug)]
struct Problem {
    key: Cow<'static, str>,
    wrong: Wrong,
}

impl<'c, 'a> Points<'c, 'a> {
    pub(super) fn new(batch: &'c mut BatchRef<'a>, scalar: ScalarSeed) -> Self {
        Self {
            batch,
            scalar,
            index: 0,
            problem: None,
            left_out: 0,
            names: SeenNames::default(),
            alike: Alike::default(),
        }
    }

    /// Notes a problem at `key`; the first of a point stays.
    #[cold]
    fn note(
        &mut self,
        reason: Reason,
        key: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) {
        let detail = detail.into();
        self.note_wrong(key, Wrong { reason, detail });
    }

    #[cold]
    fn note_wrong(&mut self, key: impl Into<Cow<'static, str>>, wrong: Wrong) {
        let key = key.into();
        self.problem.get_or_insert(Problem { key, wrong });
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
            match self.alike.whole(self.batch, &measurement) {
                Some(shape) => self
                    .batch
                    .finish_point_in(shape, self.index, measurement, time_us),
                None => self.batch.finish_point(self.index, measurement, time_us),
            }
            return;
        };
        let dot = if problem.key.is_empty() { "" } else { "." };
        let (index, key, wrong) = (self.index, problem.key, problem.wrong);
        let detail = format!("at points[{index}]{dot}{key}: {}", wrong.detail);
        self.batch.reject_point(index, wrong.reason, detail);
    }

    /// True when the name fits and was not there before.
    fn accept_name(&mut self, pairs: &'static str, name: &str, seen: bool) -> bool {
        match check::new_name(name, seen) {
            Ok(()) => true,
            Err(wrong) => {
                self.note_wrong(pairs, wrong);
                false
            }
        }
    }

    /// True when databases can hold the text. Only an escaped text can have a U+0000, and an
    /// escaped text is never borrowed.
    #[expect(clippy::ptr_arg, reason = "whether it is borrowed is the point")]
    fn accept_text(&mut self, pairs: &'static str, name: &str, text: &Cow<'_, str>) -> bool {
        if let Cow::Owned(text) = text
            && let Err(wrong) = check::text(text)
        {
            self.note_wrong(format!("{pairs}.{name}"), wrong);
            return false;
        }
        true
    }
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
        points.alike = Alike::expected(points.batch);
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
            points.note(Reason::MissingKey, "measurement", "the key is missing");
        } else if time_us.is_none() {
            points.note(Reason::BadTime, "time_us", "the key is missing");
        } else if !has_fields {
            points.note(Reason::MissingKey, "fields", "the key is missing");
        } else if points.batch.open_fields().is_empty() {
            points.note(Reason::NoFields, "fields", "no field has a value");
        }
        points.close(measurement.unwrap_or_default(), time_us.unwrap_or_default());
        Ok(Found::Expected)
    }
}

impl<'a> Points<'_, 'a> {
    fn measurement(&mut self, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        match value {
            Scalar::Text(name) => match check::name(&name) {
                Ok(()) => return Some(name),
                Err(wrong) => self.note_wrong("measurement", wrong),
            },
            other => self.wrong_type("measurement", "a text", other.kind()),
        }
        None
    }

    fn time_us(&mut self, value: Scalar<'a>) -> Option<i64> {
        match value {
            Scalar::Integer(time_us) => match check::time_us(time_us) {
                Ok(()) => return Some(time_us),
                Err(wrong) => self.note_wrong("time_us", wrong),
            },
            other => {
                let found = other.kind();
                let detail = format!("expected microseconds since 1970, found {found}");
                self.note(Reason::BadTime, "time_us", detail);
            }
        }
        None
    }
}

#[derive(Debug)]
struct Tags<'p, 'c, 'a>(&'p mut Points<'c, 'a>);

impl<'de> Read<'de> for Tags<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let points = self.0;
        points.names.begin();
        while let Some(name) = object.next_key_seed(KeySeed)? {
            let value = object.next_value_seed(points.scalar)?;
            if !points.alike.is_next_tag(points.batch, &name) {
                let seen = points.names.seen(&name, points.batch.open_tags());
                if !points.accept_name("tags", &name, seen) {
                    break;
                }
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
        points.names.begin();
        while let Some(name) = object.next_key_seed(KeySeed)? {
            let value = object.next_value_seed(points.scalar)?;
            if !points.alike.is_next_field(points.batch, &name) {
                let seen = points.names.seen(&name, points.batch.open_fields());
                if !points.accept_name("fields", &name, seen) {
                    break;
                }
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
        }
        skip_rest(&mut object)?;
        Ok(Found::Expected)
    }
}
