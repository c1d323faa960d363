//! Values of fields: float64, boolean or text.

use std::borrow::Cow;
use std::fmt;

/// The value of one field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number. Integers are numbers too, so that no integer/float conflict can arise (S1);
    /// they are exact up to 2^53. Never NaN or infinite inside a [`Point`](crate::Point).
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(Cow<'static, str>),
}

/// A borrowed [`Value`], as decoding gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueRef<'a> {
    /// A finite number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text, borrowed from the message where it had no escapes.
    Text(Cow<'a, str>),
}

/// The type of a field; the first one seen stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// [`Value::Float`]
    Float,
    /// [`Value::Bool`]
    Bool,
    /// [`Value::Text`]
    Text,
}

impl ValueType {
    /// The word for it in the database's `field` table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Text => "text",
        }
    }

    /// The type behind a word of the `field` table.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Float, Self::Bool, Self::Text]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl ValueRef<'_> {
    /// The type of this value.
    #[must_use]
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::Float(_) => ValueType::Float,
            Self::Bool(_) => ValueType::Bool,
            Self::Text(_) => ValueType::Text,
        }
    }

    /// A copy that owns its text.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Float(number) => Value::Float(*number),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Text(text) => Value::Text(Cow::Owned(text.clone().into_owned())),
        }
    }
}

impl Value {
    /// The type of this value.
    #[must_use]
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::Float(_) => ValueType::Float,
            Self::Bool(_) => ValueType::Bool,
            Self::Text(_) => ValueType::Text,
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Float(number as f64)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}
