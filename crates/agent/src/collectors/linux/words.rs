//! The words of a line.
//!
//! Not their meaning. They are found byte by byte, since most are short numbers.

/// The words of a line, the same as those of [`str::split_ascii_whitespace`], which takes longer where many
/// blanks are between them.
#[inline]
pub(super) const fn words(line: &str) -> Words<'_> {
    Words(line)
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// What is left, from its first word on.
    pub(super) fn rest(self) -> &'a str {
        self.0.trim_ascii_start()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        if text.is_empty() {
            return None;
        }
        let end = text.bytes().position(|byte| byte.is_ascii_whitespace());
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_standard_library() {
        for line in [
            "",
            " ",
            "a",
            " a",
            "a ",
            "a  b\tc\r",
            "\u{b}a\u{c}é\u{a0}ü  \n1",
            "é",
        ] {
            let expected: Vec<_> = line.split_ascii_whitespace().collect();
            assert_eq!(words(line).collect::<Vec<_>>(), expected, "{line:?}");
        }
    }
}
