//! Why a message could not be decoded, and where in its text.
//!
//! Not the error of one point: that is a [`tidegauge_model::RejectedPoint`] inside the batch.

use std::fmt;
use tidegauge_model::Reason;

/// How many characters of a message an error quotes at most: a message may hold anything, and
/// its bytes are kept in the dead letter anyway.
const QUOTED_CHARACTERS: usize = 40;

/// A message that could not be decoded. Trying again will not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("decoding a message failed with {reason} {at}: {detail}")]
#[non_exhaustive]
pub struct DecodeError {
    /// Why, from the closed list.
    pub reason: Reason,
    /// Where in the text.
    pub at: Place,
    /// What was wrong, for a person; it quotes a few characters of the message at most.
    pub detail: String,
}

/// A place in the text of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Where reading stopped, in bytes from 0; off by one at most.
    pub byte: usize,
    /// The same as a line, from 1; 0 where there are no lines.
    pub line: usize,
    /// The same as a byte within the line, from 1.
    pub column: usize,
    /// The keys that lead there, as in `points[3].time_us`; empty at the top.
    pub path: String,
}

impl DecodeError {
    /// An error with a reason, a place and a text for a person.
    #[must_use]
    pub fn new(reason: Reason, at: Place, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { reason, at, detail }
    }
}

impl Place {
    /// The place of a key whose offset is not known.
    #[must_use]
    pub fn key(path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            path,
            ..Self::default()
        }
    }

    /// The place `column` bytes into line `line` of `text`, both from 1, as serde_json has them.
    #[must_use]
    pub(crate) fn in_text(text: &[u8], line: usize, column: usize, path: String) -> Self {
        let newlines = || text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let line_start = match line {
            0 | 1 => 0,
            _ => newlines().nth(line - 2).map_or(0, |(at, _)| at + 1),
        };
        Self {
            byte: (line_start + column.saturating_sub(1)).min(text.len()),
            line,
            column,
            path,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => formatter.write_str("at the top")?,
            path => write!(formatter, "at {path}")?,
        }
        if self.line > 0 {
            write!(
                formatter,
                " (byte {}, line {}, column {})",
                self.byte, self.line, self.column
            )?;
        } else if self.byte > 0 {
            write!(formatter, " (byte {})", self.byte)?;
        }
        Ok(())
    }
}

/// A few characters of a message for an error's text, escaped and in quotes.
pub(crate) fn quote(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARACTERS).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_bytes_over_lines() {
        let text = b"{\n  \"v\": 1,\n  x";
        let place = Place::in_text(text, 3, 3, "v".to_owned());
        assert_eq!(text[place.byte], b'x');
        assert_eq!(place.to_string(), "at v (byte 14, line 3, column 3)");
        assert_eq!(Place::in_text(text, 1, 1, String::new()).byte, 0);
        assert_eq!(Place::in_text(text, 9, 900, String::new()).byte, text.len());
    }

    #[test]
    fn a_quotation_is_short_and_escaped() {
        assert_eq!(quote("a\"b\0"), r#""a\"b\0""#);
        assert_eq!(quote(&"é".repeat(41)).chars().count(), 43);
    }
}
