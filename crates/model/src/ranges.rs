//! A set of sequence numbers as sorted, disjoint, inclusive ranges.
//!
//! The ledger keeps what is missing of an epoch in this form (D6): a handful of ranges, however
//! many batches went by.

use std::fmt;

/// Sorted, disjoint ranges of sequence numbers that do not touch each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SequenceRanges(Vec<(u64, u64)>);

impl SequenceRanges {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// True when nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The ranges, sorted, both ends inclusive.
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether `sequence` is in it.
    #[must_use]
    pub fn contains(&self, sequence: u64) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < sequence);
        self.0.get(at).is_some_and(|&(first, _)| first <= sequence)
    }

    /// Adds `first..=last`; merges what touches.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let begin = self
            .0
            .partition_point(|&(_, end)| end.saturating_add(1) < first);
        let end = self
            .0
            .partition_point(|&(start, _)| start <= last.saturating_add(1));
        let (mut first, mut last) = (first, last);
        for &(a, b) in &self.0[begin..end] {
            first = first.min(a);
            last = last.max(b);
        }
        self.0.splice(begin..end, [(first, last)]);
    }

    /// Takes `first..=last` out and returns how many numbers of it were in the set.
    pub fn remove(&mut self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let begin = self.0.partition_point(|&(_, end)| end < first);
        let end = self.0.partition_point(|&(start, _)| start <= last);
        if begin >= end {
            return 0;
        }
        let mut kept = Vec::with_capacity(2);
        let mut removed = 0;
        for &(a, b) in &self.0[begin..end] {
            removed += b.min(last) - a.max(first) + 1;
            if a < first {
                kept.push((a, first - 1));
            }
            if b > last {
                kept.push((last + 1, b));
            }
        }
        self.0.splice(begin..end, kept);
        removed
    }

    /// The text form, `0-4,7,9-12`: short, and readable in SQL.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.to_string()
    }

    /// Reads the text form; `None` when it is not sorted, disjoint ranges.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut ranges = Self::new();
        let mut least = 0;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || first < least {
                return None;
            }
            least = last;
            ranges.insert(first, last);
        }
        Some(ranges)
    }
}

impl fmt::Display for SequenceRanges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            if at > 0 {
                formatter.write_str(",")?;
            }
            if first == last {
                write!(formatter, "{first}")?;
            } else {
                write!(formatter, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..8), 1..60)) {
            let mut ranges = SequenceRanges::new();
            let mut model = BTreeSet::new();
            for (insert, first, length) in steps {
                let last = first + length;
                if insert {
                    ranges.insert(first, last);
                    model.extend(first..=last);
                } else {
                    let before = model.len();
                    model.retain(|n| !(first..=last).contains(n));
                    prop_assert_eq!(ranges.remove(first, last), (before - model.len()) as u64);
                }
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert!((0..60).all(|n| ranges.contains(n) == model.contains(&n)));
                prop_assert!(ranges.ranges().windows(2).all(|w| w[0].1 + 1 < w[1].0));
                prop_assert_eq!(SequenceRanges::parse(&ranges.to_text()), Some(ranges.clone()));
            }
        }
    }

    #[test]
    fn text_that_is_not_ranges_is_refused() {
        for bad in ["x", "3-1", "5,1", "1-2-3", "-"] {
            assert_eq!(SequenceRanges::parse(bad), None, "{bad}");
        }
        assert_eq!(SequenceRanges::parse(""), Some(SequenceRanges::new()));
    }
}
