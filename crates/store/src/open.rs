//! From a URL to a database: the table [`STORES`], one row per kind.
//!
//! Opening checks the URL and connects to nothing: the first call does, and it may be repeated
//! for as long as the database is away (D8).

use crate::postgres::LibpqFiles;
use crate::{ErrorClass, Protection, Reader, Store, StoreError, mysql, postgres, sqlite};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What all kinds of databases take.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// How the program names itself to the server.
    pub application_name: String,
    /// The longest that making a connection may take.
    pub connect_deadline: Duration,
    /// The longest that one statement or one COPY may take.
    pub statement_deadline: Duration,
    /// Whether tables, columns, views and partitions are made. If not they must be there, and what
    /// is not is said as an outage, or as the reason of a dead letter
    /// ([`Reason::NotInSchema`](tidegauge_model::Reason::NotInSchema)).
    pub manage_schema: bool,
    /// From so many rows of a measurement in a step on they are loaded in bulk, where that is another
    /// way than for few rows (MySQL: LOAD DATA LOCAL).
    pub bulk_load_rows: usize,
    /// Where PostgreSQL's files of passwords and services are; by default nowhere.
    pub libpq: LibpqFiles,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            application_name: "tidegauge".to_owned(),
            connect_deadline: Duration::from_secs(10),
            statement_deadline: Duration::from_secs(60),
            manage_schema: true,
            // For fewer the round trips cost more than is saved.
            bulk_load_rows: 100,
            libpq: LibpqFiles::default(),
        }
    }
}

/// A store's URL. Printing it never shows its password (D13).
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

type OpenStore = fn(&StoreUrl, &OpenOptions) -> Result<Box<dyn Store>, StoreError>;
type ProtectionOf = fn(&StoreUrl, &OpenOptions) -> Result<Protection, StoreError>;
type OpenReader = fn(&StoreUrl, &OpenOptions) -> Result<Arc<dyn Reader>, StoreError>;

/// One kind of database.
pub struct StoreEntry {
    /// The schemes of its URLs.
    pub schemes: &'static [&'static str],
    /// The form of its URL, for help texts.
    pub form: &'static str,
    /// Opens it for writing.
    pub store: OpenStore,
    /// Opens it for reading.
    pub reader: OpenReader,
    /// How its connection is protected.
    pub protection: ProtectionOf,
    /// The SQL that makes the whole schema, built-in measurements included, for a database
    /// administrator.
    pub schema_sql: fn() -> String,
}

/// The kinds of databases.
pub const STORES: &[StoreEntry] = &[
    StoreEntry {
        schemes: &["postgres", "postgresql"],
        form: "postgres://user:password@host:5432/database",
        store: postgres::open_store,
        reader: postgres::open_reader,
        protection: postgres::protection,
        schema_sql: postgres::schema_sql,
    },
    StoreEntry {
        schemes: &["mysql"],
        form: "mysql://user:password@host:3306/database",
        store: mysql::open_store,
        reader: mysql::open_reader,
        protection: mysql::protection,
        schema_sql: mysql::schema_sql,
    },
    StoreEntry {
        schemes: &["sqlite"],
        form: "sqlite:path/to/file.db",
        store: sqlite::open_store,
        reader: sqlite::open_reader,
        protection: |_, _| Ok(Protection::Local),
        schema_sql: sqlite::schema_sql,
    },
];

impl StoreUrl {
    /// Takes a URL whose scheme is known.
    ///
    /// # Errors
    /// [`ErrorClass::Usage`] with the known forms.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let url = Self(text.to_owned());
        entry(&url).map(|_| url)
    }

    /// The same URL with the password of its user, which came from elsewhere.
    ///
    /// # Errors
    /// [`ErrorClass::Usage`] when it names no user, or has a password of its own.
    pub fn with_password(&self, password: &str) -> Result<Self, StoreError> {
        let refused = |why| {
            let doing = format!("putting the password into the store's URL {self}");
            Err(StoreError::new(doing, ErrorClass::Usage).caused_by(why))
        };
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return refused("a database in a file has no password");
        };
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        match rest
            .split_once('?')
            .map_or(rest, |(rest, _)| rest)
            .rsplit_once('@')
        {
            None | Some(("", _)) => refused("it names no user, as in user@host"),
            Some((user, _)) if user.contains(':') => {
                refused("it has a password already: take one of them")
            }
            _ if query.split('&').any(|part| part.starts_with("password=")) => {
                refused("it has a password already: take one of them")
            }
            Some((user, _)) => {
                let after = &rest[user.len()..];
                Ok(Self(format!(
                    "{scheme}://{user}:{}{after}",
                    percent_encoded(password)
                )))
            }
        }
    }

    /// The whole text, password and all: for drivers only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What follows the scheme and its colon.
    #[must_use]
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }
}

/// A text with all but letters, digits and `-._~` as `%XX` (RFC 3986, section 2).
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return formatter.write_str(&self.0);
        };
        // Everything between `//` and the last `@` may hold a password; so may the query.
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, ""), |(rest, _)| (rest, "?***"));
        let Some((user, host)) = rest.rsplit_once('@') else {
            return write!(formatter, "{scheme}://{rest}{query}");
        };
        match user.split_once(':') {
            Some((name, _)) => write!(formatter, "{scheme}://{name}:***@{host}{query}"),
            None => write!(formatter, "{scheme}://{user}@{host}{query}"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreUrl({self})")
    }
}

/// Opens a database for writing, by its URL.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_store(url: &StoreUrl, options: &OpenOptions) -> Result<Box<dyn Store>, StoreError> {
    (entry(url)?.store)(url, options)
}

/// Opens a database for reading, by its URL.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_reader(url: &StoreUrl, options: &OpenOptions) -> Result<Arc<dyn Reader>, StoreError> {
    (entry(url)?.reader)(url, options)
}

/// How the connection to a database is protected, by its URL; nothing is connected.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn protection(url: &StoreUrl, options: &OpenOptions) -> Result<Protection, StoreError> {
    (entry(url)?.protection)(url, options)
}

/// The SQL that makes the whole schema in the kind of database that the URL names.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn schema_sql(url: &StoreUrl) -> Result<String, StoreError> {
    Ok((entry(url)?.schema_sql)())
}

fn entry(url: &StoreUrl) -> Result<&'static StoreEntry, StoreError> {
    let scheme = url.0.split_once(':').map_or("", |(scheme, _)| scheme);
    STORES
        .iter()
        .find(|entry| entry.schemes.contains(&scheme))
        .ok_or_else(|| {
            let forms: Vec<&str> = STORES.iter().map(|entry| entry.form).collect();
            StoreError::new(
                format!(
                    "reading the store's URL: its form is one of {}",
                    forms.join(", ")
                ),
                ErrorClass::Usage,
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        for (text, shown) in [
            (
                "postgres://me:s3cr@t@db:5432/x",
                "postgres://me:***@db:5432/x",
            ),
            (
                "postgres://me@db/x?password=s3cret",
                "postgres://me@db/x?***",
            ),
            ("postgres://db/x", "postgres://db/x"),
            ("sqlite:/var/lib/t.db", "sqlite:/var/lib/t.db"),
        ] {
            let url = StoreUrl::parse(text).expect("known scheme");
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("s3c"));
        }
    }

    #[test]
    fn a_password_from_elsewhere_goes_behind_the_user() {
        let with = |text: &str| {
            StoreUrl::parse(text)
                .expect("known scheme")
                .with_password("a@b:/%é ")
        };
        for (text, expected) in [
            (
                "postgres://me@db:5432/x?sslmode=disable",
                "postgres://me:a%40b%3A%2F%25%C3%A9%20@db:5432/x?sslmode=disable",
            ),
            ("mysql://me@db/x", "mysql://me:a%40b%3A%2F%25%C3%A9%20@db/x"),
        ] {
            assert_eq!(with(text).expect("a user").expose(), expected);
        }
        for text in [
            "postgres://db/x",
            "postgres://me:s3c@db/x",
            "postgres://me@db/x?password=s3c",
            "sqlite:x",
        ] {
            let error = with(text).expect_err("refused");
            assert_eq!(error.class(), ErrorClass::Usage);
            assert!(!format!("{error} {error:?}").contains("s3c"), "{error}");
        }
    }

    #[test]
    fn an_unknown_scheme_lists_the_known_ones() {
        let error = StoreUrl::parse("oracle://x").expect_err("unknown");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.to_string().contains("postgres://") && error.to_string().contains("sqlite:"));
    }
}
