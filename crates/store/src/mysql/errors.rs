//! From what the driver and the server say to a [`StoreError`]: the one place that knows error
//! numbers (MySQL "Server Error Message Reference", MariaDB "Error Codes").
//!
//! What is not known is an outage: waiting loses nothing, a wrong dead letter loses data (D8).

use crate::refused::{Names, explained};
use crate::{ErrorClass, StoreError};
use mysql_async::{Error as Driver, IoError, ServerError};
use std::error::Error;

/// What the URL's parameters are called, for what is said of TLS.
const NAMES: Names = Names {
    authorities: "ssl-ca",
    certificate: "ssl-cert",
    key: "ssl-key",
    without: "ssl-mode=disabled",
};

/// What was under way when an error came, which decides what is known of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum During {
    /// Anything before COMMIT was sent: whatever the error, nothing is committed.
    Statement,
    /// COMMIT: a connection that breaks leaves the outcome open.
    Commit,
}

/// A lock was not had in time.
pub(super) const LOCK_WAIT_TIMEOUT: &str = "1205";

/// The server, or a proxy before it, takes no LOAD DATA LOCAL (MySQL before 8, MySQL, MariaDB).
pub(super) const LOAD_IS_REFUSED: [&str; 3] = ["1148", "3948", "4166"];

/// Whose fault an error is, by its number and SQLSTATE.
pub(super) fn class_of(code: u16, state: &str) -> ErrorClass {
    match code {
        // A value that a column does not take, a constraint (3819 MySQL, 4025 MariaDB), a row
        // that is too large for a page.
        1048 | 1062 | 1118 | 1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 1690 | 3819
        | 4025 => ErrorClass::Data,
        // The row that a foreign key needs is missing: never in a step.
        1216 | 1217 | 1451 | 1452 => ErrorClass::Outage,
        // Data exceptions and broken constraints, by the standard's classes. All else is
        // an outage: deadlock (1213), locks (1205), connections (1040, 1053, 1927), rights, missing
        // tables, read-only (1290, 1792, 1836), full disks (1021, 1114), and what is not in this list.
        _ if state.starts_with("22") || state.starts_with("23") => ErrorClass::Data,
        _ => ErrorClass::Outage,
    }
}

/// What a person can do about an error, where the server's own text does not say it.
fn advice(code: u16) -> Option<&'static str> {
    Some(match code {
        1021 | 1114 => "the server's disk, or its limit of a table, is full",
        1040 | 1203 | 1226 => {
            "the server has no connection left: raise max_connections or use fewer"
        }
        1044 | 1142 | 1143 | 1227 | 1370 => {
            "the user lacks a right: it must be granted all on its database, or with \
             `store.manage_schema = false` SELECT, INSERT and UPDATE"
        }
        1045 | 1698 => {
            "check user and password in the store's URL; or the user must come over TLS (ssl-mode), with a certificate \
             (ssl-cert, ssl-key), or from another host"
        }
        1049 => "create the database first",
        1053 | 1927 => "the server is going down, or somebody ended the connection",
        1054 | 1146 => {
            "tables are missing or older than this program: run `tidegauge store migrate` or start a \
             sink"
        }
        1153 => "raise max_allowed_packet",
        1290 | 1792 | 1836 => {
            "the server takes no writes: is it a replica, or is a failover under way?"
        }
        _ => return None,
    })
}

/// Whether an answer to COMMIT with this number says for certain that nothing was committed.
const fn commit_was_refused(code: u16) -> bool {
    // The victim of a deadlock (with Galera also at COMMIT) is rolled back.
    matches!(code, 1213)
}

/// Makes the error of `doing` from the driver's.
pub(super) fn from_driver(doing: impl Into<String>, during: During, error: Driver) -> StoreError {
    let outage = |doing: String, cause: Box<dyn Error + Send + Sync>| {
        let made = StoreError::new(doing, ErrorClass::Outage);
        let made = match explained(cause.as_ref(), &NAMES) {
            Some(text) => made.caused_by(text),
            None => made.caused_by(cause),
        };
        known_outcome(made, during == During::Statement)
    };
    match error {
        Driver::Server(said) => from_server(doing, during, &said),
        // The driver's own wrappers repeat their causes.
        Driver::Io(IoError::Io(error)) => outage(doing.into(), error.into()),
        Driver::Io(IoError::Tls(error)) => outage(doing.into(), error.into()),
        Driver::Driver(error) => outage(doing.into(), error.into()),
        Driver::Other(error) => outage(doing.into(), error),
        // Its text may hold a piece of the URL.
        Driver::Url(_) => outage(doing.into(), "the URL is malformed".into()),
    }
}

fn from_server(doing: impl Into<String>, during: During, said: &ServerError) -> StoreError {
    let ServerError {
        code,
        message,
        state,
    } = said;
    let mut text = message.clone();
    if let Some(advice) = advice(*code) {
        text.push_str("; ");
        text.push_str(advice);
    }
    text.push_str(&format!(" (error {code}, SQLSTATE {state})"));
    let class = class_of(*code, state);
    let made = StoreError::new(doing, class)
        .caused_by(text)
        .with_code(code.to_string());
    let made = match class {
        ErrorClass::Data => made.with_refusal(format!("error {code}: {message}")),
        _ => made,
    };
    known_outcome(
        made,
        during == During::Statement || commit_was_refused(*code),
    )
}

fn known_outcome(error: StoreError, rolled_back: bool) -> StoreError {
    match rolled_back {
        true => error.rolled_back(),
        false => error,
    }
}

/// The error of a wait that was longer than its deadline. The connection is of no use any more.
pub(super) fn deadline_elapsed(doing: impl Into<String>, during: During) -> StoreError {
    let made =
        StoreError::new(doing, ErrorClass::Outage).caused_by("no answer within the deadline");
    known_outcome(made, during == During::Statement)
}

/// An answer that has another form than was asked for: the schema was changed by hand.
pub(super) fn unexpected(doing: impl Into<String>, what: impl Into<String>) -> StoreError {
    StoreError::new(doing, ErrorClass::Outage).caused_by(what.into())
}

/// The error of a row whose time no column of the database takes.
pub(super) fn time_out_of_range() -> StoreError {
    let why = "a time lies beyond the years 1 to 9999";
    StoreError::new("encoding rows", ErrorClass::Data)
        .caused_by(why)
        .with_refusal(why)
        .with_code("1292")
        .rolled_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_is_the_datas_fault_d8() {
        for (code, state, class) in [
            (1048, "23000", ErrorClass::Data),
            (1062, "23000", ErrorClass::Data),
            (1264, "22003", ErrorClass::Data),
            (1292, "22007", ErrorClass::Data),
            (1366, "22007", ErrorClass::Data),
            (1366, "HY000", ErrorClass::Data),
            (1406, "22001", ErrorClass::Data),
            (3819, "HY000", ErrorClass::Data),
            (4025, "23000", ErrorClass::Data),
            (1021, "HY000", ErrorClass::Outage),
            (1040, "08004", ErrorClass::Outage),
            (1044, "42000", ErrorClass::Outage),
            (1045, "28000", ErrorClass::Outage),
            (1053, "08S01", ErrorClass::Outage),
            (1054, "42S22", ErrorClass::Outage),
            (1114, "HY000", ErrorClass::Outage),
            (1142, "42000", ErrorClass::Outage),
            (1146, "42S02", ErrorClass::Outage),
            (1205, "HY000", ErrorClass::Outage),
            (1213, "40001", ErrorClass::Outage),
            (1290, "HY000", ErrorClass::Outage),
            (1317, "70100", ErrorClass::Outage),
            (1452, "23000", ErrorClass::Outage),
            (1792, "25006", ErrorClass::Outage),
            (1927, "70100", ErrorClass::Outage),
            (65_000, "HY000", ErrorClass::Outage),
        ] {
            assert_eq!(class_of(code, state), class, "{code} {state}");
        }
    }

    #[test]
    fn a_connection_that_ends_during_commit_leaves_the_outcome_open() {
        let said = |code| {
            Driver::Server(ServerError {
                code,
                message: "said".to_owned(),
                state: "HY000".to_owned(),
            })
        };
        for code in [1053, 1180, 1317, 1927] {
            let error = from_driver("committing", During::Commit, said(code));
            assert!(!error.is_certainly_rolled_back(), "{code}");
            let error = from_driver("inserting", During::Statement, said(code));
            assert!(error.is_certainly_rolled_back(), "{code}");
        }
        let error = from_driver("committing", During::Commit, said(1213));
        assert!(error.is_certainly_rolled_back() && error.is_retryable());
        assert!(!deadline_elapsed("committing", During::Commit).is_certainly_rolled_back());
    }
}
