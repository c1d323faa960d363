//! Why a message or a point became a dead letter: a closed list.

use std::fmt;

macro_rules! reasons {
    ($($variant:ident $word:literal $text:literal,)+) => {
        /// Why something could not be stored (D7, D14). The words are kept in `dead_letter.reason`
        /// and in metric labels, so they never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = $text] $variant,)+
        }

        impl Reason {
            /// All reasons, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in the database and in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// One sentence for a person.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    Empty "empty" "The message has no bytes.",
    Syntax "syntax" "The message is not well-formed in its encoding.",
    NotAnObject "not_an_object" "The JSON text is not an object.",
    UnknownVersion "unknown_version" "The encoding's version is not known to this program.",
    UnknownEncoding "unknown_encoding" "The header names an encoding that this program does not have.",
    MissingKey "missing_key" "A key that must be there is missing.",
    UnknownKey "unknown_key" "A key that the format does not have.",
    DuplicateKey "duplicate_key" "A key is there twice.",
    WrongType "wrong_type" "A value has another type than the format asks for.",
    BadIdentity "bad_identity" "Agent, epoch and sequence do not go together or break their pattern.",
    BadHost "bad_host" "The host name is empty, too long or has control characters.",
    BadName "bad_name" "The name of a measurement, tag or field breaks the pattern.",
    ReservedName "reserved_name" "The name is one that the store keeps for itself.",
    BadTime "bad_time" "The time is missing, not an integer, or outside the years 1 to 9999.",
    BadText "bad_text" "A text has a character that databases cannot hold, such as U+0000.",
    NoFields "no_fields" "The point has no field that can be stored.",
    TypeConflict "type_conflict" "The field was first seen with another type, which stays.",
    TooOld "too_old" "The sample is older than the accepted window.",
    TooFarAhead "too_far_ahead" "The sample lies further in the future than the accepted window.",
    MessageTooLarge "message_too_large" "The message is larger than the limit.",
    TextTooLong "text_too_long" "A text value is longer than the limit.",
    TagTooLong "tag_too_long" "A tag's text is longer than the limit.",
    TooManyTags "too_many_tags" "The point has more tags than the limit.",
    TooManyMeasurements "too_many_measurements" "One more measurement than the limit.",
    TooManyFields "too_many_fields" "One more field of this measurement than the limit.",
    TooManySeries "too_many_series" "One more series of this host than the limit.",
    NotInSchema "not_in_schema" "There is no table or column for it, and the sink makes none (`store.manage_schema`).",
    RefusedByDatabase "refused_by_database" "The database refused the row for a reason of its own.",
}

impl Reason {
    /// The reason behind a word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_leads_back_to_its_reason() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert!(
                crate::Name::check(reason.as_str()).is_ok(),
                "{reason} is a label"
            );
        }
    }
}
