//! One connection: made when it is first needed, thrown away after an error, made anew by the
//! next call.
//!
//! Every wait has a deadline on our side too, because COPY knows no `statement_timeout` and a
//! machine that is gone answers nothing.

use super::errors::{self, During};
use super::url::Target;
use crate::{ErrorClass, StoreError, refused};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Statements that are kept prepared; beyond that all are forgotten and prepared anew.
const STATEMENTS_KEPT: usize = 1_000;

/// How long a lock is waited for, unless a transaction says otherwise.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Steps and schema changes.
    Write,
    /// Queries: the server itself refuses writes.
    Read,
}

/// A connection with its task and what was prepared on it.
pub(super) struct Session {
    client: Client,
    task: JoinHandle<()>,
    /// The longest that one statement or one COPY may take.
    pub(super) deadline: Duration,
    /// Whether tables, columns, views and partitions are made.
    pub(super) manages_schema: bool,
    statements: HashMap<String, Statement>,
    /// Names of the temporary tables that were made on it.
    pub(super) staging_tables: std::collections::HashSet<String>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Connects and sets up the session.
    pub(super) async fn connect(target: &Target, purpose: Purpose) -> Result<Self, StoreError> {
        let doing = "connecting to PostgreSQL";
        let driver = target.driver(ErrorClass::Outage)?;
        let tls = target.tls.as_ref().map(|tls| tls.connector());
        let opened = open(&driver, tls);
        let (client, task) = tokio::time::timeout(target.options.connect_deadline, opened)
            .await
            .map_err(|_| refused::nobody_answers(doing))?
            .map_err(|error| errors::from_driver(doing, During::Statement, error))?;
        let session = Self {
            client,
            task,
            deadline: target.options.statement_deadline,
            manages_schema: target.options.manage_schema,
            statements: HashMap::new(),
            staging_tables: std::collections::HashSet::new(),
        };
        let deadline_ms = session.deadline.as_millis().max(1);
        let mut settings = format!(
            "set time zone 'UTC'; set datestyle = 'ISO'; set client_min_messages = 'warning'; \
             set default_transaction_isolation = 'read committed'; set jit = off; \
             set statement_timeout = {deadline_ms}; \
             set idle_in_transaction_session_timeout = {deadline_ms}; \
             set lock_timeout = {}",
            LOCK_WAIT.min(session.deadline).as_millis()
        );
        if purpose == Purpose::Read {
            settings.push_str("; set default_transaction_read_only = on");
        }
        session
            .batch("setting up the connection", &settings)
            .await?;
        Ok(session)
    }

    /// Waits for the server, but no longer than the deadline.
    pub(super) async fn within<T>(
        &self,
        doing: &str,
        during: During,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        // The server's own timeout is first, so that its error is the one that is seen.
        let deadline = self.deadline + Duration::from_secs(1);
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.map_err(|error| errors::from_driver(doing, during, error)),
            Err(_) => Err(errors::deadline_elapsed(doing, during)),
        }
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, doing: &str, sql: &str) -> Result<(), StoreError> {
        self.within(doing, During::Statement, self.client.batch_execute(sql))
            .await
    }

    /// A statement, prepared once per connection.
    pub(super) async fn prepared(
        &mut self,
        doing: &str,
        sql: &str,
    ) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let prepare = self.client.prepare(sql);
        let statement = self.within(doing, During::Statement, prepare).await?;
        if self.statements.len() >= STATEMENTS_KEPT {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The rows of a query that is prepared once.
    pub(super) async fn query(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(doing, sql).await?;
        let answer = self.client.query(&statement, parameters);
        self.within(doing, During::Statement, answer).await
    }

    /// The one row of such a query.
    pub(super) async fn query_one(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, StoreError> {
        let rows = self.query(doing, sql, parameters).await?;
        rows.into_iter()
            .next()
            .ok_or_else(|| errors::unexpected(doing, "the server answered no row"))
    }

    /// Runs a statement that is prepared once; answers the number of rows.
    pub(super) async fn execute(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, StoreError> {
        let statement = self.prepared(doing, sql).await?;
        let answer = self.client.execute(&statement, parameters);
        self.within(doing, During::Statement, answer).await
    }

    /// Runs a query whose text is seldom the same, so that nothing of it is kept.
    pub(super) async fn query_once(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.within(doing, During::Statement, self.client.query(sql, parameters))
            .await
    }

    /// Commits; an error may leave the outcome open.
    pub(super) async fn commit(&self) -> Result<(), StoreError> {
        let answer = self.client.batch_execute("commit");
        self.within("committing", During::Commit, answer).await
    }

    /// Rolls back, so that the connection is of use again.
    pub(super) async fn rollback(&self) -> Result<(), StoreError> {
        self.batch("rolling back", "rollback").await
    }

    /// The driver's own handle, for COPY and for what is sent at once.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The driver's own handle, mutable, for the migrations.
    pub(super) const fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Whether the connection is known to be gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

async fn open(
    driver: &Config,
    tls: Option<MakeRustlsConnect>,
) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    // The connection's error reaches the statement that waits; between statements it is logged.
    fn log(ended: Result<(), tokio_postgres::Error>) {
        if let Err(error) = ended {
            tracing::debug!(%error, "connection to PostgreSQL ended");
        }
    }
    match tls {
        None => {
            let (client, connection) = driver.connect(NoTls).await?;
            Ok((client, tokio::spawn(async { log(connection.await) })))
        }
        Some(tls) => {
            let (client, connection) = driver.connect(tls).await?;
            Ok((client, tokio::spawn(async { log(connection.await) })))
        }
    }
}

/// A writer's connection. While a call is under way it is taken out, so that a call that fails,
/// or is given up half-way, leaves none behind.
pub(super) struct Link {
    target: Arc<Target>,
    session: Option<Session>,
    /// A second one, for what is written ahead.
    spare: Option<Session>,
}

impl Link {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target: Arc::new(target),
            session: None,
            spare: None,
        }
    }

    /// The connection, made anew if there is none; [`Link::keep`] gives it back.
    pub(super) async fn take(&mut self) -> Result<Session, StoreError> {
        match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => Ok(session),
            None => self.connect_another().await,
        }
    }

    /// One more connection, for the moment.
    pub(super) async fn connect_another(&self) -> Result<Session, StoreError> {
        Session::connect(&self.target, Purpose::Write).await
    }

    /// Keeps a connection on which nothing failed; a second one is the spare one.
    pub(super) fn keep(&mut self, session: Session) {
        self.spare = self.session.replace(session).or(self.spare.take());
    }

    /// What a second connection is made of, and one if it is there; the first one will do when it is
    /// `free`.
    pub(super) fn second(&mut self, free: bool) -> (Arc<Target>, Option<Session>) {
        let first = self.session.take_if(|_| free);
        (self.target.clone(), first.or_else(|| self.spare.take()))
    }
}

/// A few connections for queries, made when they are needed. When all are in use a query waits
/// for one, as long as a connection may take.
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
        let wait = self.target.options.statement_deadline;
        let _permit = tokio::time::timeout(wait, self.permits.acquire())
            .await
            .map_err(|_| {
                errors::deadline_elapsed("waiting for a free connection", During::Statement)
            })?
            .map_err(|error| {
                StoreError::new("waiting for a free connection", ErrorClass::Outage)
                    .caused_by(error)
            })?;
        let idle = self.locked().pop().filter(|session| !session.is_closed());
        let mut session = match idle {
            Some(session) => session,
            None => Session::connect(&self.target, Purpose::Read).await?,
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
