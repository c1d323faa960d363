//! The words that every message of `compact/1` has without saying them: names of the built-in
//! measurements as they were when the version was made. Not the catalog: that one grows, and what
//! is new in it goes into the texts of a message.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The words, one to a line; part of the version, so it never changes.
const TEXT: &str = include_str!("../../proto/compact_v1_words.txt");

/// How many there are: the text index of the first text of a message.
pub(super) const COUNT: usize = 144;

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| TEXT.lines().collect());

static INDEXES: LazyLock<HashMap<&'static str, u32>> = LazyLock::new(|| {
    (0..)
        .zip(TEXT.lines())
        .map(|(at, word)| (word, at))
        .collect()
});

/// The words, by text index.
pub(super) fn words() -> &'static [&'static str] {
    &WORDS
}

/// The text index of a word.
pub(super) fn index_of(word: &str) -> Option<u32> {
    INDEXES.get(word).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::Name;

    #[test]
    fn words_are_different_names() {
        assert_eq!((words().len(), INDEXES.len()), (COUNT, COUNT));
        for (index, word) in (0..).zip(words()) {
            Name::check(word).expect(word);
            assert_eq!(index_of(word), Some(index));
        }
        assert_eq!(index_of("humidity"), None);
    }
}
