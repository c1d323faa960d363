//! The pieces of JSON that decoding asks for: a scalar, an object, a list, a key. Each accepts
//! *any* JSON value, and says what it found instead, so that a value of a wrong type can be
//! stepped over and reading goes on behind it.
//!
//! Not a document tree: nothing is kept but the scalar at hand, and texts are borrowed.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// How serde_json says that a number is beyond a double; it has no code for it.
pub(crate) const OUT_OF_RANGE: &str = "number out of range";

/// The most characters of serde's text that are told: it may quote a whole value.
const MAX_TEXT_CHARS: usize = 160;

/// serde_json's text without the place at its end, which the error has in fields of its own.
pub(crate) fn without_place(text: &str) -> String {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A JSON value; of a list or an object only that it was one.
#[derive(Debug)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// With a point or an exponent, or outside the range of `i64`; infinite only where
    /// [`ScalarSeed::huge_numbers`] is set.
    Float(f64),
    Text(Cow<'a, str>),
    List,
    Object,
}

impl Scalar<'_> {
    /// What it is, for "expected a text, found …".
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number that is no integer of 64 bits",
            Self::Text(_) => "a text",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// Reads any value as a [`Scalar`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScalarSeed {
    /// Reads numbers beyond the range of a double as infinite, at the price of a second pass;
    /// without it serde_json refuses them and the text with them.
    pub(crate) huge_numbers: bool,
}

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        if !self.huge_numbers {
            return deserializer.deserialize_any(self);
        }
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            let integer = text.parse().map(Scalar::Integer);
            return integer.or_else(|_| text.parse().map(Scalar::Float).map_err(Error::custom));
        }
        let mut inner = serde_json::Deserializer::from_str(text);
        let value = inner.deserialize_any(self);
        value.map_err(|_| Error::custom("a text that is not well-formed"))
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Scalar::Float(number as f64), Scalar::Integer))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        skip_rest(&mut object)?;
        Ok(Scalar::Object)
    }
}

/// Steps over the rest of an object.
pub(crate) fn skip_rest<'de, A: MapAccess<'de>>(object: &mut A) -> Result<(), A::Error> {
    while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// What to do with an object or a list.
pub(crate) trait Read<'de>: Sized {
    /// "an object" or "a list", for error texts.
    const EXPECTED: &'static str;

    /// Reads an object; without this, an object is of the wrong kind.
    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        skip_rest(&mut object)?;
        Ok(Found::Other(Scalar::Object.kind()))
    }

    /// Reads a list; without this, a list is of the wrong kind.
    fn read_list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other(Scalar::List.kind()))
    }
}

/// Whether the value was of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was, and was read.
    Expected,
    /// It was this instead, and was stepped over.
    Other(&'static str),
}

/// Reads any value, objects or lists with the [`Read`] inside.
#[derive(Debug)]
pub(crate) struct ReadSeed<R>(pub(crate) R);

impl<'de, R: Read<'de>> DeserializeSeed<'de> for ReadSeed<R> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Read<'de>> Visitor<'de> for ReadSeed<R> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(R::EXPECTED)
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(Found::Other("null"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Other("a truth value"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Found, E> {
        Ok(Found::Other("a text"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Found, A::Error> {
        self.0.read_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Found, A::Error> {
        self.0.read_object(object)
    }
}

/// Reads a key as the text that it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
