//! A scratch database of each kind, so that a scenario runs on every one of them.

use tidegauge_testkit::{Database, MysqlDatabase, mysql_database, postgres_database};

/// A database that goes with the value.
pub(crate) enum Scratch {
    Postgres(Database),
    Mysql(MysqlDatabase),
    Sqlite(tempfile::TempDir),
}

/// The kinds of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Mysql,
    Sqlite,
}

impl Scratch {
    /// An empty one; `None` when there is no server, after the skip was recorded.
    pub(crate) fn start(kind: Kind, test: &str) -> Option<Self> {
        match kind {
            Kind::Postgres => postgres_database(test).map(Self::Postgres),
            Kind::Mysql => mysql_database(test).map(Self::Mysql),
            Kind::Sqlite => Some(Self::Sqlite(tempfile::tempdir().unwrap())),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(database) => database.url.clone(),
            Self::Mysql(database) => database.url.clone(),
            Self::Sqlite(_) => format!("sqlite:{}", self.file().display()),
        }
    }

    fn file(&self) -> std::path::PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("store.db"),
            _ => unreachable!("only SQLite has a file"),
        }
    }

    /// The rows of a query, each value as text.
    pub(crate) fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        match self {
            Self::Postgres(database) => database.query(sql).map_err(|error| format!("{error:#}")),
            Self::Mysql(database) => database.query(sql).map_err(|error| format!("{error:#}")),
            Self::Sqlite(_) => sqlite(&self.file(), sql).map_err(|error| format!("{sql}: {error}")),
        }
    }

    /// The value of `count(*)` and such; `None` while the table is not there.
    pub(crate) fn number(&self, sql: &str) -> Option<i64> {
        let rows = self.query(sql).ok()?;
        rows.first()?.first()?.as_ref()?.parse().ok()
    }
}

fn sqlite(file: &std::path::Path, sql: &str) -> rusqlite::Result<Vec<Vec<Option<String>>>> {
    use rusqlite::types::ValueRef;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let texts = (0..columns).map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => None,
                ValueRef::Integer(number) => Some(number.to_string()),
                ValueRef::Real(number) => Some(number.to_string()),
                ValueRef::Text(text) | ValueRef::Blob(text) => {
                    Some(String::from_utf8_lossy(text).into_owned())
                }
            })
        });
        texts.collect()
    })?;
    rows.collect()
}

/// Makes one test of each scenario and database; a scenario takes the database's kind and the name of
/// the test.
macro_rules! on_every_store {
    ($($scenario:ident),* $(,)?) => {
        on_every_store! { @kind postgres, Postgres, $($scenario),* }
        on_every_store! { @kind mysql, Mysql, $($scenario),* }
        on_every_store! { @kind sqlite, Sqlite, $($scenario),* }
    };
    (@kind $module:ident, $kind:ident, $($scenario:ident),*) => {
        mod $module {
            $(
                #[test]
                fn $scenario() {
                    let test = concat!(module_path!(), "::", stringify!($scenario));
                    super::$scenario($crate::stores::Kind::$kind, test);
                }
            )*
        }
    };
}
pub(crate) use on_every_store;
