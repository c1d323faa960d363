//! The database that a bench writes to: a fresh one on a server of this run, or a fresh file.

use super::process::tree_cpu_seconds;
use crate::services::Servers;
use anyhow::Context;
use rusqlite::OpenFlags;
use rusqlite::types::ValueRef;
use std::path::{Path, PathBuf};
use tidegauge_testkit::{Database, MysqlDatabase, random_hex};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Postgres,
    Mysql,
    Sqlite,
}

impl Kind {
    /// The words of the command line.
    pub(super) const WORDS: [&str; 3] = ["postgres", "mysql", "sqlite"];

    pub(super) fn by_word(word: &str) -> anyhow::Result<Self> {
        match word {
            "postgres" => Ok(Self::Postgres),
            "mysql" => Ok(Self::Mysql),
            "sqlite" => Ok(Self::Sqlite),
            _ => anyhow::bail!("there is no store {word}"),
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }
}

/// A fresh, empty database. It goes when this value does.
#[derive(Debug)]
pub(super) enum Target {
    Postgres {
        database: Database,
        server: u32,
    },
    Mysql {
        database: MysqlDatabase,
        server: u32,
    },
    Sqlite(SqliteFile),
}

/// A file in a folder of this run.
#[derive(Debug)]
pub(super) struct SqliteFile {
    pub(super) path: PathBuf,
}

impl Target {
    pub(super) fn create(kind: Kind, servers: &Servers, folder: &Path) -> anyhow::Result<Self> {
        let environment = servers.environment();
        let server = |name: &str| environment.get(name).with_context(|| missing(kind));
        Ok(match kind {
            Kind::Postgres => Self::Postgres {
                database: Database::create(server("TEST_POSTGRES")?)?,
                server: servers
                    .postgres_process_id()
                    .with_context(|| missing(kind))?,
            },
            Kind::Mysql => Self::Mysql {
                database: MysqlDatabase::create(server("TEST_MYSQL")?)?,
                server: servers
                    .mariadb_process_id()
                    .with_context(|| missing(kind))?,
            },
            Kind::Sqlite => Self::Sqlite(SqliteFile {
                path: folder.join(format!("bench-{}.db", random_hex(8))),
            }),
        })
    }

    /// As `--store` takes it.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Postgres { database, .. } => database.url.clone(),
            Self::Mysql { database, .. } => database.url.clone(),
            Self::Sqlite(file) => format!("sqlite:{}", file.path.display()),
        }
    }

    /// The CPU time that the server has used; SQLite has none of its own.
    pub(super) fn server_cpu_seconds(&self) -> anyhow::Result<f64> {
        match self {
            Self::Postgres { server, .. } | Self::Mysql { server, .. } => tree_cpu_seconds(*server),
            Self::Sqlite(_) => Ok(0.0),
        }
    }

    /// The one number of a query, 0 for null.
    pub(super) fn number(&self, sql: &str) -> anyhow::Result<u64> {
        let rows = self.query(sql)?;
        let text = rows.first().and_then(|row| row.first()).cloned().flatten();
        let text = text.unwrap_or_else(|| "0".to_owned());
        text.parse()
            .with_context(|| format!("read {text:?}, the answer of {sql}"))
    }

    /// The rows of a query, each value as text.
    pub(super) fn query(&self, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        match self {
            Self::Postgres { database, .. } => database.query(sql),
            Self::Mysql { database, .. } => database.query(sql),
            Self::Sqlite(file) => file.query(sql),
        }
    }
}

fn missing(kind: Kind) -> String {
    format!("no server for {} runs here", kind.word())
}

impl SqliteFile {
    fn query(&self, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(&self.path, flags)
            .with_context(|| format!("open {}", self.path.display()))?;
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns)
                .map(|at| row.get_ref(at).map(text))
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>();
        rows.with_context(|| format!("run {sql}"))
    }
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

impl Drop for SqliteFile {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(end);
            // What is left lies in this run's own folder, which goes as a whole.
            let _gone = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_database() {
        for word in Kind::WORDS {
            assert_eq!(Kind::by_word(word).expect("a database").word(), word);
        }
        assert!(Kind::by_word("oracle").is_err());
    }

    #[test]
    fn a_file_answers_as_a_server_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        rusqlite::Connection::open(&path)
            .and_then(|connection| {
                connection.execute_batch("create table t (n); insert into t values (7)")
            })
            .expect("a file");
        let target = Target::Sqlite(SqliteFile { path: path.clone() });
        assert_eq!(target.number("select sum(n) from t").expect("a number"), 7);
        assert_eq!(
            target
                .number("select sum(n) from t where n > 7")
                .expect("null"),
            0
        );
        let row = target
            .query("select n, null, 'a', 1.5 from t")
            .expect("rows");
        let texts = ["7", "a", "1.5"].map(|text| Some(text.to_owned()));
        assert_eq!(
            row,
            [[texts[0].clone(), None, texts[1].clone(), texts[2].clone()]]
        );
        drop(target);
        assert!(!path.exists());
    }
}
