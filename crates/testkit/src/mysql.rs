//! A scratch database per test on the shared server that speaks the MySQL protocol.
//!
//! Blocking on purpose, as the one for PostgreSQL. It touches no database but the ones it made.

use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};

use crate::services::{TOKEN, variable};
use crate::skips::skip;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A fresh, empty database. It is dropped when this value is.
#[derive(Debug)]
pub struct MysqlDatabase {
    /// Where it is: `mysql://…/<name>`.
    pub url: String,
    /// Its name.
    pub name: String,
    server: String,
}

/// A fresh database on the server of `TEST_MYSQL`, or `None` after recording the skip of `test`.
///
/// # Panics
/// When the server does not answer, is not the one of this run, or refuses.
#[must_use]
pub fn mysql_database(test: &str) -> Option<MysqlDatabase> {
    let Some(server) = variable("TEST_MYSQL") else {
        skip(
            test,
            "no MySQL or MariaDB: TEST_MYSQL is not set (cargo xtask test sets it on Linux x86-64)",
        );
        return None;
    };
    if let Some(token) = variable(TOKEN) {
        let found = mysql_query(&server, "select token from tidegauge_services")
            .unwrap_or_else(|error| panic!("TEST_MYSQL cannot be checked: {error:#}"));
        assert_eq!(
            found,
            [[Some(token)]],
            "the database of TEST_MYSQL is not the one that was started for this run"
        );
    }
    Some(
        MysqlDatabase::create(&server)
            .unwrap_or_else(|error| panic!("a scratch database cannot be made: {error:#}")),
    )
}

impl MysqlDatabase {
    /// Makes a database with a random name on the server at `server` (a URL).
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn create(server: &str) -> anyhow::Result<Self> {
        let name = format!("tidegauge_test_{}", crate::random_hex(12));
        let (rest, query) = server.split_once('?').unwrap_or((server, ""));
        let (authority, _) = rest
            .rsplit_once('/')
            .context("TEST_MYSQL is not a URL like mysql://user:password@host:port/database")?;
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{authority}/{name}{mark}{query}");
        mysql_query(server, &format!("create database {name}"))?;
        Ok(Self {
            url,
            name,
            server: server.to_owned(),
        })
    }

    /// Runs SQL in it; the rows of all its statements, each value as text.
    ///
    /// # Errors
    /// As [`mysql_query`].
    pub fn query(&self, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        mysql_query(&self.url, sql)
    }
}

impl Drop for MysqlDatabase {
    fn drop(&mut self) {
        let sql = format!("drop database if exists {}", self.name);
        // A server that is gone takes its databases with it.
        drop(mysql_query(&self.server, &sql));
    }
}

/// Runs SQL on an own connection and gives the rows of all its statements, each value as text.
/// Times are in UTC.
///
/// # Errors
/// When the server cannot be reached, refuses, or takes longer than 30 s.
pub fn mysql_query(url: &str, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
    // Parameters are the store's own; tests talk to loopback.
    let base = url.split('?').next().unwrap_or(url);
    let options = Opts::from_url(base).context("parse the URL of the database")?;
    let options = OptsBuilder::from_opts(options).prefer_socket(false);
    let sql = sql.to_owned();
    // An own thread with its own runtime: the caller may be inside of one already.
    let worker = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime")?;
        runtime.block_on(async {
            tokio::time::timeout(ANSWER_WITHIN, run(options.into(), &sql))
                .await
                .unwrap_or_else(|_| bail!("no answer within {ANSWER_WITHIN:?}"))
        })
    });
    worker.join().expect("the query thread does not panic")
}

async fn run(options: Opts, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
    let mut connection = Conn::new(options).await.context("connect")?;
    connection
        .query_drop("set time_zone = '+00:00'")
        .await
        .context("set the time zone")?;
    let mut rows = Vec::new();
    let mut answers = connection
        .query_iter(sql)
        .await
        .with_context(|| format!("run {sql:?}"))?;
    while !answers.is_empty() {
        while let Some(row) = answers
            .next()
            .await
            .with_context(|| format!("run {sql:?}"))?
        {
            rows.push(texts(row));
        }
    }
    connection.disconnect().await.context("disconnect")?;
    Ok(rows)
}

/// The text protocol sends every value as text.
fn texts(row: Row) -> Vec<Option<String>> {
    let text = |value| match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    };
    row.unwrap().into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_database_comes_and_goes() {
        let Some(database) = mysql_database("testkit: a scratch MySQL database comes and goes")
        else {
            return;
        };
        let sql = "create table t (n int); insert into t values (1), (null); select n from t";
        let rows = database.query(sql).unwrap();
        assert_eq!(rows, [[Some("1".to_owned())], [None]]);
        let (server, name) = (database.server.clone(), database.name.clone());
        drop(database);
        let sql = format!("show databases like '{name}'");
        assert!(mysql_query(&server, &sql).unwrap().is_empty());
    }
}
