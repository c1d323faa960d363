//! A scratch PostgreSQL database per test on the shared server.
//!
//! Blocking on purpose: a test makes its database in one line, inside or outside of a runtime. It
//! touches no database but the ones it made.

use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use crate::services::{TOKEN, variable};
use crate::skips::skip;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A fresh, empty database. It is dropped, with the connections that are left, when this value is.
#[derive(Debug)]
pub struct Database {
    /// Where it is: `postgres://…/<name>`.
    pub url: String,
    /// Its name.
    pub name: String,
    server: String,
}

/// A fresh database on the server of `TEST_POSTGRES`, or `None` after recording the skip of `test`.
///
/// # Panics
/// When the server does not answer, is not the one of this run, or refuses.
#[must_use]
pub fn postgres_database(test: &str) -> Option<Database> {
    let Some(server) = variable("TEST_POSTGRES") else {
        skip(
            test,
            "no PostgreSQL: TEST_POSTGRES is not set (cargo xtask test sets it)",
        );
        return None;
    };
    if let Some(token) = variable(TOKEN) {
        let found = postgres_query(&server, "select token from tidegauge_services")
            .unwrap_or_else(|error| panic!("TEST_POSTGRES cannot be checked: {error:#}"));
        assert_eq!(
            found,
            [[Some(token)]],
            "the database of TEST_POSTGRES is not the one that was started for this run"
        );
    }
    Some(
        Database::create(&server)
            .unwrap_or_else(|error| panic!("a scratch database cannot be made: {error:#}")),
    )
}

impl Database {
    /// Makes a database with a random name on the server at `server` (a URL).
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn create(server: &str) -> anyhow::Result<Self> {
        let name = format!("tidegauge_test_{}", crate::random_hex(12));
        let url = with_database(server, &name)?;
        postgres_query(server, &format!("create database {name}"))?;
        Ok(Self {
            url,
            name,
            server: server.to_owned(),
        })
    }

    /// Runs SQL in it; the rows of all its statements, each value as text.
    ///
    /// # Errors
    /// As [`postgres_query`].
    pub fn query(&self, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        postgres_query(&self.url, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("drop database if exists {} with (force)", self.name);
        // A server that a fault test has stopped takes its databases with it.
        drop(postgres_query(&self.server, &sql));
    }
}

/// Runs SQL on an own connection and gives the rows of all its statements, each value as text.
///
/// # Errors
/// When the server cannot be reached, refuses, or takes longer than 30 s.
pub fn postgres_query(url: &str, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
    let config: Config = url.parse().context("parse the URL of the database")?;
    let sql = sql.to_owned();
    // An own thread with its own runtime: the caller may be inside of one already.
    let worker = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime")?;
        runtime.block_on(async {
            tokio::time::timeout(ANSWER_WITHIN, run(&config, &sql))
                .await
                .unwrap_or_else(|_| bail!("no answer within {ANSWER_WITHIN:?}"))
        })
    });
    worker.join().expect("the query thread does not panic")
}

async fn run(config: &Config, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
    let (client, connection) = config.connect(NoTls).await.context("connect")?;
    let connection = tokio::spawn(connection);
    let messages = client
        .simple_query(sql)
        .await
        .with_context(|| format!("run {sql:?}"))?;
    drop(client);
    connection.await.context("end the connection")?.ok();
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let values = (0..row.len()).map(|column| row.get(column).map(str::to_owned));
            rows.push(values.collect());
        }
    }
    Ok(rows)
}

/// The same URL with another database.
fn with_database(url: &str, name: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url
        .split_once("://")
        .context("TEST_POSTGRES is not a URL like postgres://user@host:port/database")?;
    let (rest, options) = match rest.split_once('?') {
        Some((rest, options)) => (rest, format!("?{options}")),
        None => (rest, String::new()),
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    Ok(format!("{scheme}://{authority}/{name}{options}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_the_url_is_replaced() {
        for (url, expected) in [
            ("postgres://u:p@h:1/db", "postgres://u:p@h:1/x"),
            ("postgres://u@h:1", "postgres://u@h:1/x"),
            (
                "postgres://h/db?sslmode=disable",
                "postgres://h/x?sslmode=disable",
            ),
        ] {
            assert_eq!(with_database(url, "x").unwrap(), expected);
        }
        assert!(with_database("host=h", "x").is_err());
    }

    #[test]
    fn a_scratch_database_comes_and_goes() {
        let Some(database) = postgres_database("testkit: a scratch database comes and goes") else {
            return;
        };
        let sql = "create table t (n int); insert into t values (1), (null); select n from t";
        let rows = database.query(sql).unwrap();
        assert_eq!(rows, [[Some("1".to_owned())], [None]]);
        let (server, name) = (database.server.clone(), database.name.clone());
        drop(database);
        let sql = format!("select 1 from pg_database where datname = '{name}'");
        assert!(postgres_query(&server, &sql).unwrap().is_empty());
    }
}
