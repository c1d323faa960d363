//! Names of measurements, tags and fields.
//!
//! Names from the wire become column and view names, so the pattern is strict: one lower-case
//! ASCII letter, then lower-case letters, digits and underscores, 60 bytes at most. Lower case
//! alone, because two of the three databases do not tell `A` from `a` in a column name.

use std::borrow::Cow;
use std::fmt;

/// A checked name of a measurement, a tag or a field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Cow<'static, str>);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than [`Name::MAX_BYTES`].
    #[error("a name has at most {max} bytes, this one has {bytes}", max = Name::MAX_BYTES)]
    TooLong {
        /// Length of the refused text in bytes.
        bytes: usize,
    },
    /// The text has a character that names do not have.
    #[error("a name matches [a-z][a-z0-9_]*, but this one has {character:?} at byte {at}")]
    Character {
        /// The first character that does not belong.
        character: char,
        /// Its offset in bytes.
        at: usize,
    },
}

impl Name {
    /// The longest name in bytes: a table name adds two to it, and PostgreSQL allows 63.
    pub const MAX_BYTES: usize = 60;

    /// Checks `text` and keeps a copy of it.
    ///
    /// # Errors
    /// [`NameError`] when the text does not follow the pattern of the module head.
    pub fn new(text: &str) -> Result<Self, NameError> {
        Self::check(text)?;
        Ok(Self(Cow::Owned(text.to_owned())))
    }

    /// A name that is written in the program; a bad one does not compile when this is called in a
    /// `const` context, as the [`name!`](crate::name!) macro does.
    #[must_use]
    pub const fn literal(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= Self::MAX_BYTES,
            "a name has 1 to 60 bytes"
        );
        assert!(
            bytes[0].is_ascii_lowercase(),
            "a name begins with a lower-case letter"
        );
        let mut at = 1;
        while at < bytes.len() {
            assert!(
                is_inner(bytes[at]),
                "a name has lower-case letters, digits and underscores"
            );
            at += 1;
        }
        Self(Cow::Borrowed(text))
    }

    /// Checks `text` without keeping it: the hot path of decoding.
    ///
    /// # Errors
    /// As [`Name::new`].
    pub fn check(text: &str) -> Result<(), NameError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong { bytes: bytes.len() });
        }
        let bad = match bytes.iter().position(|&byte| !is_inner(byte)) {
            None if bytes[0].is_ascii_lowercase() => return Ok(()),
            None => 0,
            Some(at) => at,
        };
        let character = text[bad..].chars().next().unwrap_or('?');
        Err(NameError::Character { character, at: bad })
    }

    /// One bit of 64, the same for equal names: where it is missing among the marks of some names,
    /// this one is none of them.
    #[inline]
    pub(crate) fn mark(&self) -> u64 {
        // Enough to tell most names of a measurement apart, and quicker than a hash of them.
        let bytes = self.0.as_bytes();
        let (first, middle) = (bytes[0], bytes[bytes.len() / 2]);
        let mixed = bytes.len() + 7 * usize::from(middle) + 19 * usize::from(first);
        1 << (mixed % 64)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_inner(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A [`Name`](crate::Name) that is checked while compiling: `name!("user_percent")`.
#[macro_export]
macro_rules! name {
    ($text:expr) => {
        const { $crate::Name::literal($text) }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_pattern() {
        for good in ["a", "cpu", "disk_io", "x1_", &"a".repeat(60)] {
            assert_eq!(Name::new(good).expect("valid").as_str(), good);
        }
        assert_eq!(Name::check(""), Err(NameError::Empty));
        assert_eq!(
            Name::check(&"a".repeat(61)),
            Err(NameError::TooLong { bytes: 61 })
        );
        assert_eq!(
            Name::check("1a"),
            Err(NameError::Character {
                character: '1',
                at: 0
            })
        );
        assert_eq!(
            Name::check("_a"),
            Err(NameError::Character {
                character: '_',
                at: 0
            })
        );
        assert_eq!(
            Name::check("cPu"),
            Err(NameError::Character {
                character: 'P',
                at: 1
            })
        );
        assert_eq!(
            Name::check("aé"),
            Err(NameError::Character {
                character: 'é',
                at: 1
            })
        );
        assert_eq!(
            Name::check("a\";drop table cpu"),
            Err(NameError::Character {
                character: '"',
                at: 1
            })
        );
    }

    #[test]
    fn literals_are_names() {
        assert_eq!(
            name!("user_percent"),
            Name::new("user_percent").expect("valid")
        );
    }
}
