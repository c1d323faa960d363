//! The text of a file of the kernel: its lines and numbers, and errors that name the place.
//!
//! Not what a line says: that is known to the collector that asked.

use super::CollectError;
use memchr::memchr;
use std::path::Path;

/// The text of a [`SourceFile`], with the path that its errors name.
#[derive(Debug, Clone, Copy)]
pub struct SourceText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> SourceText<'a> {
    pub(super) const fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text }
    }

    /// The whole text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The lines with their numbers, counted from 1.
    pub fn lines(self) -> impl Iterator<Item = (usize, &'a str)> {
        (1..).zip(Lines(self.text))
    }

    /// The first line.
    ///
    /// # Errors
    /// [`CollectError::Parse`] when there is none.
    pub fn first_line(self) -> Result<&'a str, CollectError> {
        let first = Lines(self.text).next();
        first.ok_or_else(|| self.error(1, "it is empty"))
    }

    /// The number that the file is.
    ///
    /// # Errors
    /// [`CollectError::Parse`] when it is none.
    pub fn only_number<T: std::str::FromStr>(self) -> Result<T, CollectError> {
        self.number(1, Some(self.first_line()?.trim()))
    }

    /// The error for a line that is not as documented.
    #[must_use]
    pub fn error(self, line: usize, what: &'static str) -> CollectError {
        CollectError::Parse {
            path: self.path.to_owned(),
            line,
            what,
        }
    }

    /// The number that `word` of a line is.
    ///
    /// # Errors
    /// [`CollectError::Parse`] when the word is missing or is no such number.
    pub fn number<T: std::str::FromStr>(
        self,
        line: usize,
        word: Option<&str>,
    ) -> Result<T, CollectError> {
        word.and_then(|word| word.parse().ok())
            .ok_or_else(|| self.error(line, "a number is missing or malformed"))
    }

    /// The number that `word` of a line is in hexadecimal digits.
    ///
    /// # Errors
    /// As [`SourceText::number`].
    pub fn hexadecimal(self, line: usize, word: Option<&str>) -> Result<u64, CollectError> {
        word.and_then(|word| u64::from_str_radix(word, 16).ok())
            .ok_or_else(|| self.error(line, "a number is missing or malformed"))
    }
}

/// The lines of a text, the same as those of [`str::lines`], whose search for their ends takes longer.
#[derive(Debug, Clone, Copy)]
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest) = divided_at(self.0, memchr(b'\n', self.0.as_bytes()));
        self.0 = rest;
        Some(line)
    }
}

/// The first line, which ends at `end`, and what follows it.
#[inline]
pub(super) fn divided_at(text: &str, end: Option<usize>) -> (&str, &str) {
    let Some(end) = end else {
        return (text, "");
    };
    let line = &text[..end];
    (line.strip_suffix('\r').unwrap_or(line), &text[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_standard_library() {
        for text in [
            "",
            "\n",
            "a",
            "a\n",
            "a\nb",
            "\n\nb\n\n",
            "a\r\nb\r",
            "\r\n",
            "é\nü\r\n",
        ] {
            let expected: Vec<_> = text.lines().collect();
            assert_eq!(Lines(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}
