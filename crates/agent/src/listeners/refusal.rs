//! Why a listener refused something: the reasons of dead letters, and those that only listeners have.

use std::fmt;
use tidegauge_model::Reason;

/// Why something was refused. The words are values of labels and of a tag, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// What would be a dead letter at the sink, or exceeds a limit.
    Bad(Reason),
    /// The spool did not keep up, and the listener cannot make its sender wait.
    QueueFull,
    /// The spool could not store it; the sender was told to try again.
    NotStored,
    /// A part of the format that is not a measurement, such as an event.
    Unsupported,
    /// The token is missing or wrong.
    Unauthorized,
    /// One more connection than the limit.
    TooManyConnections,
    /// The sender took longer than the deadline, or gave up in the middle.
    Incomplete,
    /// The source could not be read, or did not answer in time.
    Unavailable,
}

impl Refusal {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bad(reason) => reason.as_str(),
            Self::QueueFull => "queue_full",
            Self::NotStored => "not_stored",
            Self::Unsupported => "unsupported",
            Self::Unauthorized => "unauthorized",
            Self::TooManyConnections => "too_many_connections",
            Self::Incomplete => "incomplete",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Bad(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
