//! From what the driver and the server say to a [`StoreError`]: the one place that knows SQLSTATE
//! codes (PostgreSQL manual, appendix A).
//!
//! What is not known is an outage: waiting loses nothing, a wrong dead letter loses data (D8).

use crate::refused::{Names, explained};
use crate::{ErrorClass, StoreError};
use std::error::Error;
use std::fmt;

/// What the URL's parameters are called, for what is said of TLS.
const NAMES: Names = Names {
    authorities: "sslrootcert",
    certificate: "sslcert",
    key: "sslkey",
    without: "sslmode=disable",
};

/// What was under way when an error came, which decides what is known of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum During {
    /// Anything before COMMIT was sent: whatever the error, nothing is committed.
    Statement,
    /// COMMIT: a connection that breaks leaves the outcome open.
    Commit,
}

/// What the server said, with its detail and hint and our advice; its own cause is the end.
#[derive(Debug)]
struct ServerSaid {
    text: String,
}

impl fmt::Display for ServerSaid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Error for ServerSaid {}

/// Whose fault an SQLSTATE is.
pub(super) fn class_of(code: &str) -> ErrorClass {
    match code.as_bytes() {
        // Data exceptions, broken constraints, a row larger than a page: this very data.
        [b'2', b'2' | b'3', ..] | b"54000" => ErrorClass::Data,
        // Everything else: connection (08), authorization (28), rights and missing or unfit
        // objects (42, 3D, 3F), resources (53), deadlock and serialization (40), locks (55),
        // operator (57), system (58, XX), read-only (25006), and what is not in this list.
        _ => ErrorClass::Outage,
    }
}

/// Whether an answer to COMMIT with this code says for certain that nothing was committed: the
/// server decided so itself. A connection that ended (08, 57, 58) may have ended after the fact.
fn commit_was_refused(code: &str) -> bool {
    !matches!(
        code.as_bytes(),
        [b'0', b'8', ..] | [b'5', b'7' | b'8', ..] | [b'X', ..]
    )
}

/// What a person can do about a code, where the server's own text does not say it.
fn advice(code: &str, message: &str) -> Option<&'static str> {
    Some(match code {
        "28000" if message.contains("client certificate") => {
            "say sslcert and sslkey in the store's URL: a certificate by the authority of the server's ssl_ca_file"
        }
        "28000" | "28P01" if message.starts_with("certificate authentication failed") => {
            "the common name of our certificate (sslcert) must be that user, or the server's pg_ident map it to them"
        }
        "42P01" | "42703" | "3F000" => {
            "tables are missing or older than this program: run `tidegauge store migrate` or start \
             a sink"
        }
        "42501" => {
            "the role lacks a right: it must own its schema, or be granted SELECT, INSERT and UPDATE \
             on all of its tables"
        }
        "25006" => "the server takes no writes: is it a standby, or is a failover under way?",
        "28000" | "28P01" => "check user and password in the store's URL, and the server's pg_hba",
        "3D000" => "create the database first",
        "53100" => "the server's disk is full",
        "53300" => "the server has no connection left: raise max_connections or use fewer",
        "42883" => "PostgreSQL 14 or newer is needed",
        _ => return None,
    })
}

/// Makes the error of `doing` from the driver's.
pub(super) fn from_driver(
    doing: impl Into<String>,
    during: During,
    error: tokio_postgres::Error,
) -> StoreError {
    let Some(said) = error.as_db_error() else {
        // The connection broke or was never made.
        let made = StoreError::new(doing, ErrorClass::Outage);
        let made = match explained(&error, &NAMES) {
            Some(text) => made.caused_by(text),
            None => made.caused_by(error),
        };
        return match during {
            During::Statement => made.rolled_back(),
            During::Commit => made,
        };
    };
    let code = said.code().code().to_owned();
    let mut text = said.message().to_owned();
    for more in [said.detail(), said.hint(), advice(&code, said.message())]
        .into_iter()
        .flatten()
    {
        text.push_str("; ");
        text.push_str(more);
    }
    let made = StoreError::new(doing, class_of(&code)).caused_by(ServerSaid {
        text: format!("{text} (SQLSTATE {code})"),
    });
    let made = match during == During::Statement || commit_was_refused(&code) {
        true => made.rolled_back(),
        false => made,
    };
    let made = match made.class() {
        ErrorClass::Data => made.with_refusal(refusal(said)),
        _ => made,
    };
    made.with_code(code)
}

/// What is said of a refused row in its dead letter. The server's detail is left out: it may hold
/// the whole row.
fn refusal(said: &tokio_postgres::error::DbError) -> String {
    let mut text = format!("SQLSTATE {}: {}", said.code().code(), said.message());
    let column = said.column().or_else(|| column_of(said.where_()?));
    if let Some(column) = column {
        text.push_str(&format!(" (column {column})"));
    }
    text
}

/// The column in the context of an error of COPY: `COPY p_1_0, line 3, column x: "..."`.
fn column_of(context: &str) -> Option<&str> {
    let (_, rest) = context.strip_prefix("COPY ")?.split_once(", column ")?;
    rest.split([':', '\n', ',']).next()
}

/// The error of a wait that was longer than its deadline. The connection is of no use any more.
pub(super) fn deadline_elapsed(doing: impl Into<String>, during: During) -> StoreError {
    let made =
        StoreError::new(doing, ErrorClass::Outage).caused_by("no answer within the deadline");
    match during {
        During::Statement => made.rolled_back(),
        During::Commit => made,
    }
}

/// An answer that has another form than was asked for: the schema was changed by hand.
pub(super) fn unexpected(doing: impl Into<String>, what: impl Into<String>) -> StoreError {
    StoreError::new(doing, ErrorClass::Outage).caused_by(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_is_the_datas_fault_d8() {
        for (code, class) in [
            ("22003", ErrorClass::Data),
            ("22021", ErrorClass::Data),
            ("23505", ErrorClass::Data),
            ("54000", ErrorClass::Data),
            ("08006", ErrorClass::Outage),
            ("25006", ErrorClass::Outage),
            ("28P01", ErrorClass::Outage),
            ("3D000", ErrorClass::Outage),
            ("40001", ErrorClass::Outage),
            ("40P01", ErrorClass::Outage),
            ("42501", ErrorClass::Outage),
            ("42P01", ErrorClass::Outage),
            ("53100", ErrorClass::Outage),
            ("53300", ErrorClass::Outage),
            ("55P03", ErrorClass::Outage),
            ("57014", ErrorClass::Outage),
            ("57P01", ErrorClass::Outage),
            ("57P03", ErrorClass::Outage),
            ("58030", ErrorClass::Outage),
            ("XX001", ErrorClass::Outage),
            ("P0001", ErrorClass::Outage),
        ] {
            assert_eq!(class_of(code), class, "{code}");
        }
    }

    #[test]
    fn the_column_is_read_from_the_context_of_copy() {
        for (context, column) in [
            ("COPY p_1_0, line 3, column x", Some("x")),
            ("COPY p_1_0, line 3, column x: \"1, column y\"", Some("x")),
            ("COPY p_1_0, line 3: \"1\"", None),
            ("SQL statement \"select 1\"", None),
        ] {
            assert_eq!(column_of(context), column, "{context}");
        }
    }

    #[test]
    fn a_server_that_ends_during_commit_leaves_the_outcome_open() {
        for code in ["57P01", "57P02", "08006", "58030", "XX000"] {
            assert!(!commit_was_refused(code), "{code}");
        }
        for code in ["40001", "23505", "53100"] {
            assert!(commit_was_refused(code), "{code}");
        }
        assert!(!deadline_elapsed("committing", During::Commit).is_certainly_rolled_back());
        assert!(deadline_elapsed("copying", During::Statement).is_certainly_rolled_back());
    }
}
