//! One connection: made when it is first needed, thrown away after an error, made anew by the
//! next call.
//!
//! Every wait has a deadline on our side, because the servers have none in common and a machine
//! that is gone answers nothing.

use super::errors::{self, During};
use super::load::{Data, Loads, Offer};
use super::url::Target;
use crate::{ErrorClass, StoreError, refused};
use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, OptsBuilder, Row, Value};
use std::future::Future;
use std::time::Duration;

/// How long a lock is waited for, unless a call says otherwise.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Statements are sent together up to so many bytes, far below any server's `max_allowed_packet`.
pub(super) const PACKET_BYTES: usize = 1 << 20;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Steps and schema changes.
    Write,
    /// Queries: the server itself refuses writes.
    Read,
}

/// A connection.
pub(super) struct Session {
    connection: Conn,
    /// The longest that one answer may take.
    pub(super) deadline: Duration,
    /// Whether tables, columns and views are made.
    pub(super) manages_schema: bool,
    /// What the server may ask for: nothing, but while rows are being loaded.
    offer: Offer,
    /// When rows are loaded.
    pub(super) loads: Loads,
}

/// What the server says of a statement that answers no rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Rows that it changed.
    pub(super) rows: u64,
    /// What the server changed or left out, and said so.
    pub(super) warnings: u16,
}

impl Session {
    /// Connects and sets up the session.
    pub(super) async fn connect(
        target: &Target,
        purpose: Purpose,
        loads: Loads,
    ) -> Result<Self, StoreError> {
        let doing = "connecting to MySQL";
        let offer = Offer::default();
        let driver = OptsBuilder::from_opts(target.driver.clone())
            // Options that were used keep what they read; fresh ones read the files as they are now.
            .ssl_opts(target.driver.ssl_opts().cloned())
            .local_infile_handler(Some(offer.clone()));
        let connecting = Conn::new(driver);
        let connection = tokio::time::timeout(target.options.connect_deadline, connecting)
            .await
            .map_err(|_| refused::nobody_answers(doing))?
            .map_err(|error| errors::from_driver(doing, During::Statement, error))?;
        let mut session = Self {
            connection,
            deadline: target.options.statement_deadline,
            manages_schema: target.options.manage_schema,
            offer,
            loads,
        };
        let lock_wait = LOCK_WAIT.min(session.deadline).as_secs().max(1);
        let idle = session.deadline.as_secs().max(1);
        // Nothing that the server's configuration may say otherwise is left to it.
        let mut settings = vec![
            "set names utf8mb4 collate utf8mb4_bin".to_owned(),
            "set session sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,\
             ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE'"
                .to_owned(),
            "set session time_zone = '+00:00'".to_owned(),
            // Warnings that are not kept might not be counted.
            "set session max_error_count = 64".to_owned(),
            format!("set session innodb_lock_wait_timeout = {lock_wait}"),
            // A program that is frozen within a step must not hold its positions for ever; MySQL
            // itself knows no such bound.
            format!(
                "set session lock_wait_timeout = {lock_wait}
                 /*M!100300 , idle_transaction_timeout = {idle} */"
            ),
        ];
        settings.extend(
            match purpose {
                Purpose::Write => ["set session transaction isolation level read committed"],
                Purpose::Read => {
                    ["set session transaction isolation level repeatable read, read only"]
                }
            }
            .map(str::to_owned),
        );
        session
            .affected("setting up the connection", &settings)
            .await?;
        Ok(session)
    }

    /// Runs statements in few round trips; answers how many rows each of them changed.
    pub(super) async fn affected(
        &mut self,
        doing: &str,
        statements: &[String],
    ) -> Result<Vec<u64>, StoreError> {
        let mut answers = Vec::with_capacity(statements.len());
        let mut begin = 0;
        while begin < statements.len() {
            let mut end = begin + 1;
            let mut bytes = statements[begin].len();
            while end < statements.len() && bytes + statements[end].len() < PACKET_BYTES {
                bytes += statements[end].len() + 1;
                end += 1;
            }
            let batch = statements[begin..end].join(";");
            let answer = run(&mut self.connection, &batch, &mut answers);
            within(self.deadline, doing, During::Statement, answer).await?;
            begin = end;
        }
        match answers.len() == statements.len() {
            true => Ok(answers.iter().map(|answer| answer.rows).collect()),
            false => Err(errors::unexpected(doing, "an answer is missing")),
        }
    }

    /// Runs one statement; answers how many rows it changed.
    pub(super) async fn execute(&mut self, doing: &str, sql: &str) -> Result<u64, StoreError> {
        let mut answers = Vec::with_capacity(1);
        let answer = run(&mut self.connection, sql, &mut answers);
        within(self.deadline, doing, During::Statement, answer).await?;
        Ok(answers.last().map_or(0, |answer| answer.rows))
    }

    /// Runs one statement with values in place of its question marks, in binary form.
    pub(super) async fn execute_with(
        &mut self,
        doing: &str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<(), StoreError> {
        let answer = self.connection.exec_drop(sql, values);
        within(self.deadline, doing, During::Statement, answer).await
    }

    /// Runs statements of which the last is LOAD DATA LOCAL of a file of this name, with the data in
    /// place of the file; answers what that one did.
    pub(super) async fn load(
        &mut self,
        doing: &str,
        sql: &str,
        file: &str,
        data: Data<'_>,
    ) -> Result<Answer, StoreError> {
        let mut answers = Vec::new();
        // The server reads one piece while the next one is made.
        let sending = data.send(self.offer.make(file));
        let offer = &self.offer;
        let connection = &mut self.connection;
        let answer = async {
            let answer = run(connection, sql, &mut answers).await;
            // What the server did not ask for is not made.
            offer.withdraw();
            answer
        };
        let both = async { tokio::join!(answer, sending).0 };
        let ended = within(self.deadline, doing, During::Statement, both).await;
        self.offer.withdraw();
        ended.map(|()| answers.last().copied().unwrap_or_default())
    }

    /// The rows of a query, their values in binary form: numbers come as they are stored.
    pub(super) async fn query(&mut self, doing: &str, sql: &str) -> Result<Vec<Row>, StoreError> {
        let answer = self.connection.exec(sql, ());
        within(self.deadline, doing, During::Statement, answer).await
    }

    /// The one value of a query.
    pub(super) async fn query_value<T: FromValue>(
        &mut self,
        doing: &str,
        sql: &str,
    ) -> Result<T, StoreError> {
        let rows = self.query(doing, sql).await?;
        let row = rows.first();
        let row = row.ok_or_else(|| errors::unexpected(doing, "the server answered no row"))?;
        value(doing, row, 0)
    }

    /// Commits; an error may leave the outcome open.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        let answer = self.connection.query_drop("commit");
        within(self.deadline, "committing", During::Commit, answer).await
    }

    /// Rolls back, so that the connection is of use again.
    pub(super) async fn rollback(&mut self) -> Result<(), StoreError> {
        self.execute("rolling back", "rollback").await.map(|_| ())
    }

    /// Whether the connection is known to be gone.
    fn is_closed(&self) -> bool {
        self.connection.is_disconnected()
    }
}

/// A value of a row; of another type than asked for: the schema was changed by hand.
pub(super) fn value<T: FromValue>(doing: &str, row: &Row, column: usize) -> Result<T, StoreError> {
    match row.get_opt(column) {
        Some(Ok(value)) => Ok(value),
        _ => Err(errors::unexpected(
            doing,
            format!("column {column} of the answer is not in its form"),
        )),
    }
}

/// Waits for the server, but no longer than the deadline.
async fn within<T>(
    deadline: Duration,
    doing: &str,
    during: During,
    answer: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|error| errors::from_driver(doing, during, error)),
        Err(_) => Err(errors::deadline_elapsed(doing, during)),
    }
}

/// Sends text with any number of statements, none of which answers rows, and takes all answers.
async fn run(
    connection: &mut Conn,
    sql: &str,
    answers: &mut Vec<Answer>,
) -> Result<(), mysql_async::Error> {
    let mut result = connection.query_iter(sql).await?;
    loop {
        answers.push(Answer {
            rows: result.affected_rows(),
            warnings: result.warnings(),
        });
        if result.is_empty() {
            // The error of a statement behind the first waits here, else for whoever comes next.
            result.next().await?;
            return Ok(());
        }
        // Steps to the next answer.
        while result.next().await?.is_some() {}
    }
}

/// A writer's connection. While a call is under way it is taken out, so that a call that fails,
/// or is given up half-way, leaves none behind.
pub(super) struct Link {
    target: Target,
    session: Option<Session>,
    loads: Loads,
}

impl Link {
    pub(super) fn new(target: Target) -> Self {
        let loads = Loads::from(target.options.bulk_load_rows);
        Self {
            target,
            session: None,
            loads,
        }
    }

    /// The connection, made anew if there is none; [`Link::keep`] gives it back.
    pub(super) async fn take(&mut self) -> Result<Session, StoreError> {
        match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => Ok(session),
            None => Session::connect(&self.target, Purpose::Write, self.loads.clone()).await,
        }
    }

    /// Keeps a connection on which nothing failed.
    pub(super) fn keep(&mut self, session: Session) {
        self.session = Some(session);
    }
}

/// A few connections for queries, made when they are needed. When all are in use a query waits
/// for one, as long as a statement may take.
pub(super) struct Pool {
    target: Target,
    idle: std::sync::Mutex<Vec<Session>>,
    permits: tokio::sync::Semaphore,
}

impl Pool {
    /// Connections of one pool.
    const SIZE: usize = 4;

    pub(super) const fn new(target: Target) -> Self {
        Self {
            target,
            idle: std::sync::Mutex::new(Vec::new()),
            permits: tokio::sync::Semaphore::const_new(Self::SIZE),
        }
    }

    /// Runs queries on a connection of the pool. After an error of the database the connection is
    /// thrown away.
    pub(super) async fn run<T>(
        &self,
        queries: impl AsyncFnOnce(&mut Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let doing = "waiting for a free connection";
        let wait = self.target.options.statement_deadline;
        let _permit = tokio::time::timeout(wait, self.permits.acquire())
            .await
            .map_err(|_| errors::deadline_elapsed(doing, During::Statement))?
            .map_err(|error| StoreError::new(doing, ErrorClass::Outage).caused_by(error))?;
        let idle = self.locked().pop().filter(|session| !session.is_closed());
        let mut session = match idle {
            Some(session) => session,
            None => Session::connect(&self.target, Purpose::Read, Loads::never()).await?,
        };
        let answer = queries(&mut session).await;
        if !matches!(&answer, Err(error) if error.class() == ErrorClass::Outage) {
            self.locked().push(session);
        }
        answer
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
