//! What the lines of a text begin with, remembered from reading to reading.
//!
//! Not what follows: that is different each time. The kernel lists the same names in the same order
//! each time it is asked, so one comparison with what the line began with the last time tells which
//! it is, and no name is searched for. From the first line that begins otherwise on, all is learned anew.

use super::{SourceText, words};
use crate::collectors::text::divided_at;

/// Longer texts are not remembered, in bytes: those that are read this way have some kilobytes.
const MOST_BYTES: usize = 64 * 1024;

/// The beginnings of the lines of one text, and what each stands for; `None` for what is not wanted.
#[derive(Debug)]
pub(super) struct Heads<T> {
    /// One behind the other, each with the sign that ends it.
    text: String,
    /// Where each ends.
    known: Vec<(usize, Option<T>)>,
}

impl<T> Default for Heads<T> {
    fn default() -> Self {
        Self {
            text: String::new(),
            known: Vec::new(),
        }
    }
}

impl<T: Copy> Heads<T> {
    /// The lines of a text with their numbers: what the beginning of each stands for, and its rest,
    /// perhaps with blanks before it.
    ///
    /// A line that did not begin so the last time is divided by `divide` into its name, at least one
    /// sign that ends it, and the rest; what the name stands for is looked up. `None` for a line that it
    /// does not divide.
    pub(super) fn lines<'h, 't, D, L>(
        &'h mut self,
        text: SourceText<'t>,
        divide: D,
        look_up: L,
    ) -> Lines<'h, 't, T, D, L>
    where
        D: Fn(&'t str) -> Option<(&'t str, &'t str)>,
        L: Fn(&'t str) -> Option<T>,
    {
        Lines {
            heads: self,
            at: 0,
            begin: 0,
            text: text.as_str(),
            number: 0,
            divide,
            look_up,
        }
    }
}

/// The lines of a text that is being read.
#[derive(Debug)]
pub(super) struct Lines<'h, 't, T, D, L> {
    heads: &'h mut Heads<T>,
    /// The next beginning that is known.
    at: usize,
    begin: usize,
    /// What was not read yet.
    text: &'t str,
    number: usize,
    divide: D,
    look_up: L,
}

impl<'t, T, D, L> Iterator for Lines<'_, 't, T, D, L>
where
    T: Copy,
    D: Fn(&'t str) -> Option<(&'t str, &'t str)>,
    L: Fn(&'t str) -> Option<T>,
{
    type Item = (usize, Option<(Option<T>, &'t str)>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.text.is_empty() {
            return None;
        }
        self.number += 1;
        if let Some((end, wanted)) = self.heads.known.get(self.at)
            && let Some(behind) = self.text.strip_prefix(&self.heads.text[self.begin..*end])
        {
            (self.at, self.begin) = (self.at + 1, *end);
            let wanted = *wanted;
            return Some((self.number, Some((wanted, self.go_over(behind)))));
        }
        let line = self.go_over(self.text);
        Some((self.number, self.learn(line)))
    }
}

impl<'t, T, D, L> Lines<'_, 't, T, D, L>
where
    T: Copy,
    D: Fn(&'t str) -> Option<(&'t str, &'t str)>,
    L: Fn(&'t str) -> Option<T>,
{
    /// What is left of the line, which ends after a number: too soon for a search by vectors to pay.
    #[inline]
    fn go_over(&mut self, behind: &'t str) -> &'t str {
        let (rest, next) = divided_at(behind, behind.bytes().position(|byte| byte == b'\n'));
        self.text = next;
        rest
    }

    #[cold]
    fn learn(&mut self, line: &'t str) -> Option<(Option<T>, &'t str)> {
        let (name, rest) = (self.divide)(line)?;
        let wanted = (self.look_up)(name);
        let head = &line[..line.len() - rest.len()];
        // Where nothing follows there may be no sign that ends the name.
        if !rest.is_empty() {
            let heads = &mut *self.heads;
            heads.known.truncate(self.at);
            heads.text.truncate(self.begin);
            if self.begin + head.len() <= MOST_BYTES {
                heads.text.push_str(head);
                self.begin = heads.text.len();
                heads.known.push((self.begin, wanted));
                self.at += 1;
            }
        }
        Some((wanted, rest))
    }
}

/// Divides a line into its first word and what is behind the blanks that follow.
pub(super) fn first_word(line: &str) -> Option<(&str, &str)> {
    let mut words = words(line);
    let word = words.next()?;
    Some((word, words.rest()))
}

/// Divides a line at its first colon.
pub(super) fn before_colon(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::*;

    type Told = Vec<(usize, Option<(Option<usize>, String)>)>;

    fn read(heads: &mut Heads<usize>, text: &str) -> Told {
        let look_up = |name: &str| ["a", "ab", "b"].iter().position(|known| *known == name);
        let file = SourceFile::holding(text);
        let lines = heads.lines(file.as_text(), first_word, look_up);
        let owned = |(wanted, rest): (_, &str)| (wanted, rest.to_owned());
        lines.map(|(line, told)| (line, told.map(owned))).collect()
    }

    #[test]
    fn what_was_learned_makes_no_difference() {
        let texts = [
            "a 1\nab 2\nb 3",
            "a 1\nab 2\nb 3\n",
            "ab 1\na 2\nb 3",
            "a 1\nx 2\nab 3\nb 4\ny 5",
            "a 1\nx\nab 3\n\nb 4",
            "x 1\na 2",
            "a",
            "a \nab\t\n",
            "ab\na\n  b\t7",
            "a 1\n \nabc 2\nab c",
            "a\rb\r\nab\r\nb \r\n",
            "",
            "\n\n",
            "b  1\r\na",
        ];
        let mut heads = Heads::default();
        for first in texts {
            for second in texts {
                for text in [first, second, second, first] {
                    let expected = read(&mut Heads::default(), text);
                    assert_eq!(read(&mut heads, text), expected, "{text:?}");
                }
            }
        }
        let told = |wanted, rest: &str| Some((wanted, rest.to_owned()));
        assert_eq!(
            read(&mut heads, "a 1\nabc 2\n\nb\r\n b \t x y"),
            [
                (1, told(Some(0), "1")),
                (2, told(None, "2")),
                (3, None),
                (4, told(Some(2), "")),
                (5, told(Some(2), "x y")),
            ]
        );
    }

    #[test]
    fn names_are_not_looked_up_again() {
        let mut heads = Heads::default();
        let text = "a 1\nx 2\nab   345";
        let expected = read(&mut heads, text);
        let file = SourceFile::holding(text);
        let lines = heads.lines(
            file.as_text(),
            |_| panic!("divided"),
            |_| panic!("looked up"),
        );
        for ((line, told), (expected_line, expected)) in lines.zip(expected) {
            let owned = told.map(|(wanted, rest)| (wanted, rest.to_owned()));
            assert_eq!((line, owned), (expected_line, expected));
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut heads = Heads::default();
        let long = "x".repeat(MOST_BYTES / 2);
        let text = format!("a 1\n{long} 2\n{long} 3\nb 4");
        for _ in 0..2 {
            let found: Vec<_> = read(&mut heads, &text)
                .into_iter()
                .map(|(_, told)| told.expect("divided").0)
                .collect();
            assert_eq!(found, [Some(0), None, None, Some(2)]);
            assert!(heads.text.len() <= MOST_BYTES);
        }
    }
}
