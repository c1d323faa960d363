//! The metrics of a message, read one by one into [`ForeignPoints`].
//!
//! A metric that breaks the format is stepped over to its end and rejected alone; an error of the
//! visitors here is always one of the JSON text itself.

use crate::TimeUnit;
use crate::check::{Checked, Wrong, wrong};
use crate::error::quote;
use crate::foreign::points::ForeignPoints;
use crate::json::value::{Found, KeySeed, Read, ReadSeed, Scalar, ScalarSeed, skip_rest};
use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use std::borrow::Cow;
use tidegauge_model::{Reason, ValueRef};

/// What the metrics of one message are read into.
#[derive(Debug)]
pub(super) struct Metrics<'c, 'a> {
    pub(super) points: ForeignPoints<'c, 'a>,
    pub(super) scalar: ScalarSeed,
    pub(super) unit: TimeUnit,
    /// The metric of the list that is being read; `None` where there is no list.
    pub(super) index: Option<u32>,
}

impl<'de> Metrics<'_, 'de> {
    /// The keys that lead to the metric that is being read.
    pub(super) fn path(&self) -> String {
        self.index
            .map_or_else(String::new, |index| format!("metrics[{index}]"))
    }

    fn reject(&mut self, key: &str, wrong: &Wrong) {
        let path = self.path();
        let dot = if path.is_empty() || key.is_empty() {
            ""
        } else {
            "."
        };
        let at = match (path.as_str(), key) {
            ("", "") => "the top".to_owned(),
            _ => format!("{path}{dot}{key}"),
        };
        self.points.reject(self.index.unwrap_or(0), &at, wrong);
    }

    /// Reads the form with a list, whose key was read.
    pub(super) fn read_batch<A: MapAccess<'de>>(
        &mut self,
        mut object: A,
    ) -> Result<Found, A::Error> {
        self.index = Some(0);
        let found = object.next_value_seed(ReadSeed(&mut *self))?;
        self.index = None;
        if let Found::Other(found) = found {
            let detail = format!("expected a list, found {found}").into();
            let reason = Reason::WrongType;
            self.reject("metrics", &Wrong { reason, detail });
        }
        if let Some(key) = object.next_key_seed(KeySeed)? {
            object.next_value::<IgnoredAny>()?;
            skip_rest(&mut object)?;
            let detail = format!("the key {} beside metrics", quote(&key)).into();
            let reason = Reason::UnknownKey;
            self.reject("", &Wrong { reason, detail });
        }
        Ok(Found::Expected)
    }
}

/// Reads the list of metrics.
impl<'de> Read<'de> for &mut Metrics<'_, 'de> {
    const EXPECTED: &'static str = "a list";

    fn read_list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        while let Some(found) = list.next_element_seed(ReadSeed(Metric::new(self)))? {
            if let Found::Other(found) = found {
                let detail = format!("expected an object, found {found}").into();
                let reason = Reason::WrongType;
                self.reject("", &Wrong { reason, detail });
            }
            self.index = self.index.map(|index| index.saturating_add(1));
        }
        Ok(Found::Expected)
    }
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric<'m, 'c, 'a> {
    metrics: &'m mut Metrics<'c, 'a>,
    name: Option<Cow<'a, str>>,
    time_us: Option<i64>,
    has_tags: bool,
    has_fields: bool,
    /// What is wrong with it, and the key.
    problem: Option<(String, Wrong)>,
}

impl<'m, 'c, 'de> Metric<'m, 'c, 'de> {
    pub(super) fn new(metrics: &'m mut Metrics<'c, 'de>) -> Self {
        Self {
            metrics,
            name: None,
            time_us: None,
            has_tags: false,
            has_fields: false,
            problem: None,
        }
    }

    /// Notes what is wrong at a key; the first of a metric stays. True when nothing is.
    fn note(&mut self, key: impl FnOnce() -> String, checked: Checked) -> bool {
        if let Err(wrong) = checked {
            self.problem.get_or_insert_with(|| (key(), wrong));
            return false;
        }
        true
    }

    fn wrong_type(&mut self, key: &str, expected: &str, found: &str) {
        let detail = format!("expected {expected}, found {found}");
        self.note(|| key.to_owned(), wrong(Reason::WrongType, detail));
    }

    /// Reads the metric whose first key was read.
    pub(super) fn read_from<A: MapAccess<'de>>(
        mut self,
        first: Option<Cow<'de, str>>,
        mut object: A,
    ) -> Result<Found, A::Error> {
        let mut next = first;
        while let Some(key) = next {
            let twice = match key.as_ref() {
                "name" => self.name.is_some(),
                "timestamp" => self.time_us.is_some(),
                "tags" => std::mem::replace(&mut self.has_tags, true),
                "fields" => std::mem::replace(&mut self.has_fields, true),
                _ => {
                    let detail = format!("the key {}", quote(&key));
                    self.note(String::new, wrong(Reason::UnknownKey, detail))
                }
            };
            if twice {
                let detail = format!("{} is there twice", quote(&key));
                self.note(String::new, wrong(Reason::DuplicateKey, detail));
            }
            if self.problem.is_some() {
                object.next_value::<IgnoredAny>()?;
                skip_rest(&mut object)?;
                break;
            }
            let scalar = self.metrics.scalar;
            match key.as_ref() {
                "name" => match object.next_value_seed(scalar)? {
                    Scalar::Text(name) => self.name = Some(name),
                    other => self.wrong_type("name", "a text", other.kind()),
                },
                "timestamp" => {
                    let time = object.next_value_seed(scalar)?;
                    self.read_time(&time);
                }
                "tags" => {
                    if let Found::Other(found) =
                        object.next_value_seed(ReadSeed(Tags(&mut self)))?
                    {
                        self.wrong_type("tags", "an object", found);
                    }
                }
                _ => {
                    if let Found::Other(found) =
                        object.next_value_seed(ReadSeed(Fields(&mut self)))?
                    {
                        self.wrong_type("fields", "an object", found);
                    }
                }
            }
            next = object.next_key_seed(KeySeed)?;
        }
        self.close();
        Ok(Found::Expected)
    }

    fn read_time(&mut self, time: &Scalar<'_>) {
        let detail = match time {
            Scalar::Integer(time) => {
                self.time_us = self.metrics.unit.microseconds(*time);
                format!("{time} is beyond 64 bits in microseconds")
            }
            other => format!("expected an integer of 64 bits, found {}", other.kind()),
        };
        if self.time_us.is_none() {
            self.note(|| "timestamp".to_owned(), wrong(Reason::BadTime, detail));
        }
    }

    fn close(mut self) {
        let index = self.metrics.index.unwrap_or(0);
        let missing = || wrong(Reason::MissingKey, "the key is missing");
        if self.problem.is_none() {
            match (self.name.take(), self.time_us) {
                (None, _) => self.note(|| "name".to_owned(), missing()),
                (_, None) => {
                    let missing = wrong(Reason::BadTime, "the key is missing");
                    self.note(|| "timestamp".to_owned(), missing)
                }
                _ if !self.has_fields => self.note(|| "fields".to_owned(), missing()),
                (Some(name), Some(time_us)) => {
                    let finished = self.metrics.points.finish(index, name, time_us);
                    self.note(String::new, finished)
                }
            };
        }
        if let Some((key, wrong)) = self.problem {
            self.metrics.reject(&key, &wrong);
        }
    }
}

impl<'de> Read<'de> for Metric<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let first = object.next_key_seed(KeySeed)?;
        self.read_from(first, object)
    }
}

#[derive(Debug)]
struct Tags<'p, 'm, 'c, 'a>(&'p mut Metric<'m, 'c, 'a>);

impl<'de> Read<'de> for Tags<'_, '_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let metric = self.0;
        while let Some(name) = object.next_key_seed(KeySeed)? {
            let Scalar::Text(text) = object.next_value_seed(metric.metrics.scalar)? else {
                let detail = format!("the tag {} is no text", quote(&name));
                metric.note(|| "tags".to_owned(), wrong(Reason::WrongType, detail));
                break;
            };
            // An empty text is what Telegraf writes for a tag that is not there.
            if text.is_empty() {
                continue;
            }
            let checked = metric.metrics.points.tag(name, text);
            if !metric.note(|| "tags".to_owned(), checked) {
                break;
            }
        }
        skip_rest(&mut object)?;
        Ok(Found::Expected)
    }
}

#[derive(Debug)]
struct Fields<'p, 'm, 'c, 'a>(&'p mut Metric<'m, 'c, 'a>);

impl<'de> Read<'de> for Fields<'_, '_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let metric = self.0;
        while let Some(name) = object.next_key_seed(KeySeed)? {
            let value = match object.next_value_seed(metric.metrics.scalar)? {
                Scalar::Integer(number) => ValueRef::Float(number as f64),
                Scalar::Float(number) => ValueRef::Float(number),
                Scalar::Bool(truth) => ValueRef::Bool(truth),
                Scalar::Text(text) => ValueRef::Text(text),
                Scalar::Null => continue,
                value @ (Scalar::List | Scalar::Object) => {
                    let found = value.kind();
                    let detail = format!("expected a scalar as {}, found {found}", quote(&name));
                    metric.note(|| "fields".to_owned(), wrong(Reason::WrongType, detail));
                    break;
                }
            };
            let checked = metric.metrics.points.field(name, value);
            if !metric.note(|| "fields".to_owned(), checked) {
                break;
            }
        }
        skip_rest(&mut object)?;
        Ok(Found::Expected)
    }
}
