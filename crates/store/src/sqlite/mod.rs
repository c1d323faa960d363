//! SQLite: one file, one writer, any number of readers (S6). Not for network file systems, whose
//! locks and shared memory SQLite cannot rely on.
//!
//! # The URL
//! `sqlite:PATH`, where PATH is relative to the working folder or absolute; `sqlite://PATH` is the
//! same, so that `sqlite:///var/lib/tidegauge.db` works as elsewhere. PATH is taken as it is: no
//! query, no escapes. The folder must be there; the file is made by [`Store::migrate`].
//!
//! # The rules
//! 1. A step is durable when it is committed: the spool forgets its batches afterwards (D2), so
//!    `synchronous=FULL`, with a write-ahead log.
//! 2. The writer's connection lives on a thread of its own; async callers hand it one job at a
//!    time and await the answer, with a deadline. A caller that goes away stops the
//!    statement that its job is at; whether a step was committed, the positions tell.
//! 3. Every transaction that writes begins with `begin immediate`: a second writer on the file
//!    waits for its turn, then its step meets the fence (D5).
//! 4. Readers have connections of their own, read-only, and see whole steps only.
//! 5. A file of another program, or of a newer version of this one, is refused untouched.

mod account;
mod apply;
mod bookkeeping;
mod check_views;
mod connection;
mod dead_letters;
mod ensure;
mod errors;
mod interrupt;
mod migrate;
mod queries;
mod reader;
mod retention;
mod schema_text;
mod tables;
mod writer;

use crate::{ErrorClass, OpenOptions, Reader, Store, StoreError, StoreUrl};
use std::path::PathBuf;
use std::sync::Arc;

/// Opens it for writing.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_store(url: &StoreUrl, options: &OpenOptions) -> Result<Box<dyn Store>, StoreError> {
    let file = connection::File::new(path(url)?, options);
    Ok(Box::new(writer::SqliteStore::new(file)))
}

/// Opens it for reading.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_reader(url: &StoreUrl, options: &OpenOptions) -> Result<Arc<dyn Reader>, StoreError> {
    let file = connection::File::new(path(url)?, options);
    Ok(Arc::new(reader::SqliteReader::new(file)))
}

pub use schema_text::schema_sql;

fn path(url: &StoreUrl) -> Result<PathBuf, StoreError> {
    let rest = url.rest();
    let path = rest.strip_prefix("//").unwrap_or(rest);
    match path {
        "" | ":memory:" => Err(StoreError::new(
            format!(
                "reading the store's URL {url}: it must name a file, as sqlite:path/to/file.db does"
            ),
            ErrorClass::Usage,
        )),
        path => Ok(PathBuf::from(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file() {
        for (text, expected) in [
            ("sqlite:x.db", "x.db"),
            ("sqlite:a b/x?y#z%20.db", "a b/x?y#z%20.db"),
            ("sqlite:/var/x.db", "/var/x.db"),
            ("sqlite:///var/x.db", "/var/x.db"),
            ("sqlite://x/y.db", "x/y.db"),
        ] {
            let url = StoreUrl::parse(text).expect("the scheme is known");
            assert_eq!(
                path(&url).expect("a path"),
                PathBuf::from(expected),
                "{text}"
            );
        }
        for text in ["sqlite:", "sqlite://", "sqlite::memory:"] {
            let url = StoreUrl::parse(text).expect("the scheme is known");
            let error = path(&url).expect_err("no file");
            assert_eq!(error.class(), ErrorClass::Usage, "{text}");
        }
    }
}
