//! What every encoding asks of names, texts, times and identities, so that a message means the
//! same and fails for the same reason in all of them.
//!
//! Not the limits of the store (D14): the sink has those.

use crate::error::quote;
use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::Hash;
use tidegauge_model::{AgentId, Host, Kind, Name, Origin, Reason};

/// The first microsecond of the year 1.
const FIRST_TIME_US: i64 = -62_135_596_800_000_000;
/// The last microsecond of the year 9999.
const LAST_TIME_US: i64 = 253_402_300_799_999_999;

/// Up to so many names of one object are compared one by one, more with a set, so that a message
/// of a million fields takes linear time.
const COMPARED_NAMES: usize = 64;

/// What is wrong, without its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) reason: Reason,
    pub(crate) detail: Cow<'static, str>,
}

/// A value that was checked, or what is wrong with it.
pub(crate) type Checked<T = ()> = Result<T, Wrong>;

#[cold]
pub(crate) fn wrong<T>(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Checked<T> {
    let detail = detail.into();
    Err(Wrong { reason, detail })
}

/// The name of a measurement, tag, field or label.
pub(crate) fn name(name: &str) -> Checked {
    Name::check(name).or_else(|error| wrong(Reason::BadName, error.to_string()))
}

/// The name of a tag or a field, and whether one of that name was there before.
pub(crate) fn new_name(text: &str, seen: bool) -> Checked {
    name(text)?;
    if seen {
        return wrong(
            Reason::DuplicateKey,
            format!("{} is there twice", quote(text)),
        );
    }
    Ok(())
}

/// A text that databases can hold.
pub(crate) fn text(text: &str) -> Checked {
    if text.contains('\0') {
        return wrong(Reason::BadText, "a text has U+0000");
    }
    Ok(())
}

/// The time of a point.
pub(crate) fn time_us(time_us: i64) -> Checked {
    if (FIRST_TIME_US..=LAST_TIME_US).contains(&time_us) {
        return Ok(());
    }
    wrong(
        Reason::BadTime,
        format!("{time_us} microseconds since 1970 are outside the years 1 to 9999"),
    )
}

pub(crate) fn host(host: &str) -> Checked {
    Host::check(host).or_else(|error| wrong(Reason::BadHost, error.to_string()))
}

pub(crate) fn agent(agent: impl Into<String>) -> Checked<AgentId> {
    AgentId::new(agent).or_else(|error| wrong(Reason::BadIdentity, error.to_string()))
}

/// The kind of a measurement.
pub(crate) fn kind(word: &str) -> Checked<Kind> {
    match Kind::parse(word) {
        Some(kind) => Ok(kind),
        None => {
            let detail = format!("expected gauge, counter or timer, found {}", quote(word));
            wrong(Reason::WrongType, detail)
        }
    }
}

/// An epoch or a sequence, from `least` to 2^63 - 1.
pub(crate) fn count(number: i128, least: u64) -> Checked<u64> {
    match i64::try_from(number).map(u64::try_from) {
        Ok(Ok(number)) if number >= least => Ok(number),
        Err(_) if number > 0 => {
            let detail = format!("expected at most {}, found {number}", i64::MAX);
            wrong(Reason::BadIdentity, detail)
        }
        _ => {
            let detail = format!("expected at least {least}, found {number}");
            wrong(Reason::BadIdentity, detail)
        }
    }
}

/// A range of sequences that were dropped.
pub(crate) fn drop_range(first: u64, last: u64) -> Checked {
    if first > last {
        let detail = format!("the range {first} to {last} is empty");
        return wrong(Reason::BadIdentity, detail);
    }
    Ok(())
}

/// Only an agent can tell drops.
pub(crate) fn drops_of(origin: Option<&Origin>, has_drops: bool) -> Checked {
    if origin.is_none() && has_drops {
        return wrong(Reason::BadIdentity, "drops can be told by an agent only");
    }
    Ok(())
}

/// Finds names that are there twice in one list.
#[derive(Debug)]
pub(crate) struct SeenNames<N>(HashSet<N>);

impl<N> Default for SeenNames<N> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<N: Clone + Eq + Hash> SeenNames<N> {
    /// Begins a list.
    #[inline]
    pub(crate) fn begin(&mut self) {
        if !self.0.is_empty() {
            self.0.clear();
        }
    }

    /// Whether `name` is among those of `known`, which are the different names of the list so far,
    /// whether or not they were asked for here.
    pub(crate) fn seen<T>(&mut self, name: &N, known: &[(N, T)]) -> bool {
        if known.len() < COMPARED_NAMES {
            return known.iter().any(|(known, _)| known == name);
        }
        if self.0.len() < known.len() {
            self.0.extend(known.iter().map(|(name, _)| name.clone()));
        }
        !self.0.insert(name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_ranges_are_inside() {
        for (fine, beyond) in [
            (FIRST_TIME_US, FIRST_TIME_US - 1),
            (LAST_TIME_US, LAST_TIME_US + 1),
        ] {
            assert_eq!(time_us(fine), Ok(()));
            assert_eq!(time_us(beyond).expect_err("beyond").reason, Reason::BadTime);
        }
        let largest = i128::from(i64::MAX);
        assert_eq!(count(1, 1), Ok(1));
        assert_eq!(count(largest, 0), Ok(i64::MAX.cast_unsigned()));
        for beyond in [0, -1, largest + 1, i128::from(u64::MAX), i128::MIN] {
            let refused = count(beyond, 1).expect_err("beyond");
            assert_eq!(refused.reason, Reason::BadIdentity);
        }
        assert_eq!(
            (drop_range(3, 3), drop_range(4, 3).is_err()),
            (Ok(()), true)
        );
    }

    #[test]
    fn names_are_seen_however_many_there_are() {
        let mut seen = SeenNames::default();
        // The first `unasked` names of a list are known without having been asked for.
        for unasked in [0, 1, COMPARED_NAMES, COMPARED_NAMES + 1] {
            seen.begin();
            let mut known = Vec::new();
            for number in 0..3 * COMPARED_NAMES {
                let name = format!("f{number}");
                if number >= unasked {
                    assert!(!seen.seen(&name, &known), "{name} with {unasked}");
                }
                known.push((name, ()));
                if number >= unasked && number % COMPARED_NAMES < 2 {
                    // Asking again for a name that is there does not add it.
                    assert!(seen.seen(&"f0".to_owned(), &known));
                }
            }
        }
    }
}
