//! What can go wrong with a database, and whose fault it is.

use std::error::Error;

/// Whose fault an error is, which decides what the caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// An outage (D8): keep the step and try again, for ever. Connection loss, failover, deadlock,
    /// lock timeout, read-only, disk full, shutdown, a right or a table that is missing.
    Outage,
    /// A row's fault: the database refuses this very data.
    Data,
    /// The configuration's fault: trying again cannot help, before anything was begun (bad URL,
    /// unknown database kind, a schema newer than this program).
    Usage,
}

/// An error of a store: what we were doing, with the database's own error as its source.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct StoreError {
    doing: String,
    class: ErrorClass,
    certainly_rolled_back: bool,
    code: Option<String>,
    refusal: Option<String>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error while `doing` (lower case, no final dot, no cause in it).
    #[must_use]
    pub fn new(doing: impl Into<String>, class: ErrorClass) -> Self {
        let doing = doing.into();
        Self {
            doing,
            class,
            certainly_rolled_back: false,
            code: None,
            refusal: None,
            source: None,
        }
    }

    /// With its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// With the database's own code (an SQLSTATE, a result code).
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// With what the database said of the row that it refuses: its code, its words, and the column
    /// if it names one, such as `SQLSTATE 22003: numeric field overflow (column x)`.
    #[must_use]
    pub fn with_refusal(mut self, said: impl Into<String>) -> Self {
        self.refusal = Some(said.into());
        self
    }

    /// Says that nothing of the transaction can have been committed.
    #[must_use]
    pub const fn rolled_back(mut self) -> Self {
        self.certainly_rolled_back = true;
        self
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        self.class
    }

    /// Whether trying the same again may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.class, ErrorClass::Outage)
    }

    /// Whether nothing of the transaction can have been committed.
    #[must_use]
    pub const fn is_certainly_rolled_back(&self) -> bool {
        self.certainly_rolled_back
    }

    /// The database's own code, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What the database said of the row that it refuses, for its dead letter.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// The error of a database that is to be brought to a version whose own tables have the name of
/// one of its measurements.
pub(crate) fn name_is_kept(doing: &str, measurement: &str) -> StoreError {
    StoreError::new(doing, ErrorClass::Usage).caused_by(format!(
        "the database has a measurement {measurement}, a name that this version keeps for itself: \
         drop its view, and rename its table m_{measurement} and its row in the table measurement"
    ))
}

/// The error of a schema that is not managed by this program and is not of its version.
pub(crate) fn schema_lacks(doing: &str, version: u32, needed: u32) -> StoreError {
    let found = match version {
        0 => "the tables are not there".to_owned(),
        version => format!("the tables have version {version}, this program needs {needed}"),
    };
    StoreError::new(doing, ErrorClass::Outage).caused_by(format!(
        "{found}, and `store.manage_schema` is false: have the SQL run that `tidegauge store migrate \
         --print-sql` prints"
    ))
}
