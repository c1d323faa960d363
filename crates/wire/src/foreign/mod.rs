//! What the encodings of other programs have in common: they are only read, their names are brought
//! into our pattern, and the host of a point is one of its tags.
//!
//! Not a format: each has a folder of its own and gathers its points by [`points::ForeignPoints`].

pub(crate) mod names;
pub(crate) mod points;

use tidegauge_model::{Host, Name};

/// A name of another program in our pattern, by the rules of `docs/wire-format.md`; `None` for one of
/// which nothing is left.
#[must_use]
pub fn clean_name(foreign: &str) -> Option<Name> {
    let ours = names::name(foreign.into()).ok()?;
    Name::new(&ours).ok()
}

/// How messages of foreign encodings are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignSettings {
    /// The tags that name the host, the best one first; `None` for those that are usual in the
    /// encoding.
    pub host_tags: Option<Vec<String>>,
    /// The host of points that have none of these tags; without it they are not stored.
    pub default_host: Option<Host>,
    /// The unit of times; `None` for the one that is usual in the encoding. Encodings whose unit is
    /// fixed do not look at it.
    pub time_unit: Option<TimeUnit>,
}

static DEFAULT_SETTINGS: ForeignSettings = ForeignSettings {
    host_tags: None,
    default_host: None,
    time_unit: None,
};

/// What is known about a message besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct DecodeContext<'a> {
    /// How messages of foreign encodings are read.
    pub foreign: &'a ForeignSettings,
    /// When the message was taken, microseconds since 1970 UTC, where that is known: the time of
    /// points that have none of their own.
    pub received_us: Option<i64>,
}

impl Default for DecodeContext<'_> {
    fn default() -> Self {
        Self {
            foreign: &DEFAULT_SETTINGS,
            received_us: None,
        }
    }
}

/// The unit in which a format counts time since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// 10^-9 s.
    Nanoseconds,
    /// 10^-6 s.
    Microseconds,
    /// 10^-3 s.
    Milliseconds,
    /// Whole seconds.
    Seconds,
}

impl TimeUnit {
    /// All words of [`TimeUnit::parse`], from the finest.
    pub const WORDS: &'static [&'static str] = &["ns", "us", "ms", "s"];

    /// The unit of this word: `ns`, `us`, `ms` or `s`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "ns" => Some(Self::Nanoseconds),
            "us" => Some(Self::Microseconds),
            "ms" => Some(Self::Milliseconds),
            "s" => Some(Self::Seconds),
            _ => None,
        }
    }

    /// A time of this unit in microseconds; what is finer is cut off towards the past. `None` when
    /// it is beyond 64 bits.
    #[must_use]
    pub fn microseconds(self, time: i64) -> Option<i64> {
        match self {
            Self::Nanoseconds => Some(time.div_euclid(1_000)),
            Self::Microseconds => Some(time),
            Self::Milliseconds => time.checked_mul(1_000),
            Self::Seconds => time.checked_mul(1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_towards_the_past() {
        let nanoseconds = |time| TimeUnit::Nanoseconds.microseconds(time);
        assert_eq!(nanoseconds(1_999), Some(1));
        assert_eq!(nanoseconds(-1), Some(-1));
        assert_eq!(TimeUnit::Seconds.microseconds(2), Some(2_000_000));
        assert_eq!(TimeUnit::Seconds.microseconds(i64::MAX), None);
        assert_eq!(TimeUnit::Milliseconds.microseconds(i64::MIN), None);
    }

    #[test]
    fn every_word_is_a_unit() {
        assert!(
            TimeUnit::WORDS
                .iter()
                .all(|word| TimeUnit::parse(word).is_some())
        );
        assert_eq!(TimeUnit::parse("m"), None);
    }
}
