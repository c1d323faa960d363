//! From SQLite's result codes (<https://sqlite.org/rescode.html>) to [`StoreError`]: the one place.

use crate::{ErrorClass, StoreError};
use rusqlite::ErrorCode;
use std::path::Path;

/// An error while `doing` something with the file at `path`, such as `writing a step to`.
///
/// A constraint, a type or a length that the database refuses is the data's fault. All else is an
/// outage (D8): a full disk, a lock, a right, an I/O error, a missing table, and a damaged file
/// too, for somebody can put a copy in its place.
pub(super) fn failed(doing: &str, path: &Path, error: rusqlite::Error) -> StoreError {
    let class = match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            ErrorClass::Data
        }
        _ => ErrorClass::Outage,
    };
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            ", which is damaged or no SQLite database"
        }
        _ => "",
    };
    let doing = StoreError::new(format!("{doing} {}{hint}", path.display()), class);
    let doing = match error.sqlite_error() {
        Some(failure) => doing.with_code(failure.extended_code.to_string()),
        None => doing,
    };
    let refusal = match (class, &error) {
        (ErrorClass::Data, rusqlite::Error::SqliteFailure(failure, said)) => {
            let said = said.as_deref().unwrap_or("refused");
            Some(format!("SQLite {}: {said}", failure.extended_code))
        }
        _ => None,
    };
    let doing = match refusal {
        Some(said) => doing.with_refusal(said),
        None => doing,
    };
    doing.caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn an_outage_is_not_bad_data() {
        for (code, class) in [
            (ffi::SQLITE_CONSTRAINT_TRIGGER, ErrorClass::Data),
            (ffi::SQLITE_CONSTRAINT_DATATYPE, ErrorClass::Data),
            (ffi::SQLITE_MISMATCH, ErrorClass::Data),
            (ffi::SQLITE_TOOBIG, ErrorClass::Data),
            (ffi::SQLITE_FULL, ErrorClass::Outage),
            (ffi::SQLITE_BUSY, ErrorClass::Outage),
            (ffi::SQLITE_IOERR_FSYNC, ErrorClass::Outage),
            (ffi::SQLITE_READONLY_DBMOVED, ErrorClass::Outage),
            (ffi::SQLITE_CORRUPT, ErrorClass::Outage),
            (ffi::SQLITE_NOTADB, ErrorClass::Outage),
            (ffi::SQLITE_INTERRUPT, ErrorClass::Outage),
            (ffi::SQLITE_ERROR, ErrorClass::Outage),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = failed("writing a step to", Path::new("/x/y.db"), error);
            assert_eq!(error.class(), class, "{code}");
            assert_eq!(error.code(), Some(code.to_string().as_str()));
            assert!(error.to_string().starts_with("writing a step to /x/y.db"));
            assert!(!error.is_certainly_rolled_back());
        }
    }

    /// What SQLite says of a real file: full, without writes, of a wrong type.
    #[test]
    fn errors_of_a_real_file_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        let connection = rusqlite::Connection::open(&path).expect("opened");
        let run = |sql: &str| {
            let error = connection.execute_batch(sql).expect_err("refused");
            let error = failed("writing a step to", &path, error);
            (error.class(), error.code().expect("a code").to_owned())
        };
        let table = "create table t (n integer check (n < 10), b blob) strict";
        connection.execute_batch(table).expect("made");
        let full = "pragma max_page_count = 4; insert into t (b) values (zeroblob(100000))";
        assert_eq!(run(full), (ErrorClass::Outage, "13".to_owned()));
        let constraint = run("insert into t (n) values (10)");
        assert_eq!(constraint, (ErrorClass::Data, "275".to_owned()));
        let wrong_type = run("insert into t (n) values ('ten')");
        assert_eq!(wrong_type, (ErrorClass::Data, "3091".to_owned()));
        let missing = run("insert into u (n) values (1)");
        assert_eq!(missing, (ErrorClass::Outage, "1".to_owned()));
        let without_writes = run("pragma query_only = 1; insert into t (n) values (1)");
        assert_eq!(without_writes, (ErrorClass::Outage, "8".to_owned()));
    }
}
