//! What can go wrong with a question: the question itself, or the database.

use tidegauge_store::{ErrorClass, StoreError};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No host has this identity or name.
    #[error("no host has the identity or name {host:?}")]
    UnknownHost {
        /// What was asked for.
        host: String,
    },
    /// Nothing of this name was ever stored.
    #[error("no measurement is called {measurement:?}")]
    UnknownMeasurement {
        /// What was asked for.
        measurement: String,
    },
    /// The measurement has no such field.
    #[error("the measurement {measurement} has no field {field:?}")]
    UnknownField {
        /// The measurement.
        measurement: String,
        /// What was asked for.
        field: String,
    },
    /// A text was asked for where numbers are needed.
    #[error("the field {measurement}.{field} holds texts, which have no range of values")]
    TextField {
        /// The measurement.
        measurement: String,
        /// What was asked for.
        field: String,
    },
    /// The range holds no time, or no point may be answered.
    #[error("the range from {from_us} to {to_us} with at most {max_points} points is empty")]
    EmptyRange {
        /// Begin in microseconds since 1970 UTC, inclusive.
        from_us: i64,
        /// End in microseconds since 1970 UTC, exclusive.
        to_us: i64,
        /// Points that the answer may have.
        max_points: u32,
    },
    /// A quantile outside of 0 to 1.
    #[error("a quantile lies between 0 and 1, this one is {quantile}")]
    Quantile {
        /// What was asked for.
        quantile: f64,
    },
    /// The database did not answer.
    #[error("reading {what}")]
    Store {
        /// What was read.
        what: String,
        /// The database's error.
        #[source]
        source: StoreError,
    },
}

impl QueryError {
    /// Whether the same question may have an answer later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_retryable())
    }

    /// Whether the question names something that is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::UnknownHost { .. } | Self::UnknownMeasurement { .. } | Self::UnknownField { .. }
        )
    }

    /// Whether the question is at fault, not the database.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Store { source, .. } => matches!(source.class(), ErrorClass::Usage),
            _ => true,
        }
    }

    pub(crate) fn reading(what: impl Into<String>) -> impl FnOnce(StoreError) -> Self {
        |source| Self::Store {
            what: what.into(),
            source,
        }
    }
}
