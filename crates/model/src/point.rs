//! A point: one measurement of one series at one time, all its fields together.

use crate::{Kind, Name, Value};
use std::borrow::Cow;

/// A tag: text that identifies the series.
pub type Tag = (Name, Cow<'static, str>);
/// A field and its value.
pub type Field = (Name, Value);
/// Tags or labels.
pub type Tags = Vec<Tag>;

/// One measurement of one series at one time.
///
/// Names are checked when they are built ([`Name`]); a float that is not finite is left out and
/// counted, so that a point never holds NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    measurement: Name,
    time_us: i64,
    tags: Tags,
    fields: Vec<Field>,
    /// The marks of the fields' names ([`Name::mark`]): a name whose mark is not among them is new.
    marks: u64,
    left_out: u32,
    kind: Kind,
}

impl Point {
    /// A point without tags and fields, taken at `time_us` (microseconds since 1970 UTC).
    #[must_use]
    pub const fn new(measurement: Name, time_us: i64) -> Self {
        Self {
            measurement,
            time_us,
            tags: Vec::new(),
            fields: Vec::new(),
            marks: 0,
            left_out: 0,
            kind: Kind::Gauge,
        }
    }

    /// Makes room for so many fields at once, which is less work than to grow with them.
    #[must_use]
    pub fn with_room(mut self, fields: usize) -> Self {
        self.fields.reserve_exact(fields);
        self
    }

    /// The kind of its measurement, for one that is not in the catalog; by default a gauge.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The kind of its measurement, unless the catalog says another.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Gives the measurement another name.
    pub fn rename(&mut self, measurement: Name) {
        self.measurement = measurement;
    }

    /// Adds a tag; of two with one name the later stays.
    #[must_use]
    pub fn tag(mut self, name: Name, text: impl Into<Cow<'static, str>>) -> Self {
        match self.tags.iter_mut().find(|(known, _)| *known == name) {
            Some(slot) => slot.1 = text.into(),
            None => self.tags.push((name, text.into())),
        }
        self
    }

    /// Adds a field; see [`Point::set`].
    #[must_use]
    pub fn field(mut self, name: Name, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Adds a field that may be absent.
    #[must_use]
    pub fn field_if(mut self, name: Name, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    /// Adds a field; of two with one name the later stays. A number that is not finite is left
    /// out and counted in [`Point::left_out`].
    pub fn set(&mut self, name: Name, value: impl Into<Value>) {
        let value = value.into();
        if matches!(value, Value::Float(number) if !number.is_finite()) {
            self.left_out += 1;
            return;
        }
        let mark = name.mark();
        if self.marks & mark != 0
            && let Some(slot) = self.fields.iter_mut().find(|(known, _)| *known == name)
        {
            slot.1 = value;
            return;
        }
        self.marks |= mark;
        self.fields.push((name, value));
    }

    /// The measurement's name.
    #[must_use]
    pub const fn measurement(&self) -> &Name {
        &self.measurement
    }

    /// The time of the sample in microseconds since 1970 UTC.
    #[must_use]
    pub const fn time_us(&self) -> i64 {
        self.time_us
    }

    /// The tags in the order in which they were added.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The fields in the order in which they were added.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// How many values were left out because they were not finite.
    #[must_use]
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }

    /// The value of one field.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(known, _)| known.as_str() == name)
            .map(|(_, value)| value)
    }

    /// The text of one tag.
    #[must_use]
    pub fn tag_text(&self, name: &str) -> Option<&str> {
        self.tags
            .iter()
            .find(|(known, _)| known.as_str() == name)
            .map(|(_, text)| text.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    #[test]
    fn a_value_that_is_not_finite_is_left_out_and_counted() {
        let point = Point::new(name!("cpu"), 1)
            .field(name!("a"), f64::NAN)
            .field(name!("b"), f64::INFINITY)
            .field(name!("c"), 1.5);
        assert_eq!(point.fields(), [(name!("c"), Value::Float(1.5))]);
        assert_eq!(point.left_out(), 2);
    }

    #[test]
    fn a_name_is_there_once() {
        let point = Point::new(name!("cpu"), 1)
            .tag(name!("t"), "old")
            .tag(name!("t"), "new")
            .field(name!("f"), 1.0)
            .field(name!("f"), 2.0);
        assert_eq!(point.tag_text("t"), Some("new"));
        assert_eq!(point.value("f"), Some(&Value::Float(2.0)));
        assert_eq!((point.tags().len(), point.fields().len()), (1, 1));
    }

    #[test]
    fn each_of_many_names_is_there_once() {
        let names = || (0..300).map(|at| Name::new(&format!("n{at}")).expect("valid"));
        let mut point = Point::new(name!("cpu"), 1);
        for (name, value) in names().zip(0_u64..).chain(names().rev().zip(1_000..)) {
            point.set(name, value);
        }
        let expected: Vec<_> = names()
            .zip((1_000..1_300_u64).rev())
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
        assert_eq!(point.fields(), expected);
    }
}
