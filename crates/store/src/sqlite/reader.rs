//! Readers: a few read-only connections, each used by one query at a time on a blocking thread.

use super::account;
use super::connection::{File, Role, schema_version};
use super::interrupt::Interrupter;
use super::migrate::latest_version;
use super::queries::{self, Failure};
use crate::{
    Buckets, BucketsRequest, ErrorClass, HostFreshness, HostInfo, Loss, MeasurementInfo,
    PartitionProgress, Reader, RowsRequest, SeriesFilter, SeriesInfo, SeriesRows, StoreCondition,
    StoreError, StoreSummary,
};
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Queries at once; more of them wait, within their deadline.
const CONNECTIONS: usize = 4;

/// A SQLite file as a [`Reader`].
pub(super) struct SqliteReader {
    file: File,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl SqliteReader {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Arc::default(),
        }
    }

    /// Asks `question` on a blocking thread, stopped when the caller goes away or waits too long.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let interrupter = Interrupter::default();
        let interruptible = interrupter.interruptible();
        let (file, idle) = (self.file.clone(), Arc::clone(&self.idle));
        let permits = Arc::clone(&self.permits);
        let asked = tokio::time::timeout(self.file.deadline, async move {
            let permit = permits.acquire_owned().await.ok()?;
            let blocking = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let mut connection = match lock(&idle).pop() {
                    Some(connection) => connection,
                    None => file.open(Role::Read)?,
                };
                let answer = interruptible.run(&mut connection, |connection| {
                    // One transaction: all statements of a question see the same steps.
                    let snapshot = connection.transaction()?;
                    question(&snapshot)
                });
                // After an error of the database it is opened anew by the next question.
                if !matches!(answer, Err(Failure::Database(_))) {
                    lock(&idle).push(connection);
                }
                answer.map_err(|failure| match failure {
                    Failure::Database(error) => file.failed("reading from", error),
                    Failure::Usage(what) => {
                        let path = file.path.display();
                        let doing = format!("reading {what} from {path}");
                        StoreError::new(doing, ErrorClass::Usage)
                    }
                })
            });
            blocking.await.ok()
        });
        let outcome = asked.await;
        drop(interrupter);
        let path = self.file.path.display();
        let doing = match outcome {
            Ok(Some(result)) => return result,
            Ok(None) => format!("reading from {path}, on a thread that came to an end"),
            Err(_) => {
                let seconds = self.file.deadline.as_secs_f32();
                format!("reading from {path} for {seconds} s")
            }
        };
        Err(StoreError::new(doing, ErrorClass::Outage))
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait::async_trait]
impl Reader for SqliteReader {
    async fn summary(&self) -> Result<StoreSummary, StoreError> {
        self.ask(queries::summary).await
    }

    async fn condition(&self) -> Result<StoreCondition, StoreError> {
        let path = self.file.path.clone();
        self.ask(move |connection| {
            Ok(StoreCondition {
                version: format!("SQLite {}", rusqlite::version()),
                schema: schema_version(connection)?,
                schema_needed: latest_version(),
                is_read_only: std::fs::metadata(&path)
                    .is_ok_and(|file| file.permissions().readonly()),
                may_create: true,
                ..StoreCondition::default()
            })
        })
        .await
    }

    async fn hosts(&self) -> Result<Vec<HostInfo>, StoreError> {
        self.ask(queries::hosts).await
    }

    async fn measurements(&self) -> Result<Vec<MeasurementInfo>, StoreError> {
        self.ask(queries::measurements).await
    }

    async fn series(&self, filter: &SeriesFilter) -> Result<Vec<SeriesInfo>, StoreError> {
        let filter = filter.clone();
        self.ask(move |connection| queries::series(connection, &filter))
            .await
    }

    async fn rows(&self, request: &RowsRequest) -> Result<Vec<SeriesRows>, StoreError> {
        let request = request.clone();
        self.ask(move |connection| queries::rows(connection, &request))
            .await
    }

    async fn buckets(&self, request: &BucketsRequest) -> Result<Buckets, StoreError> {
        let request = request.clone();
        self.ask(move |connection| queries::buckets(connection, &request))
            .await
    }

    async fn losses(&self) -> Result<Vec<Loss>, StoreError> {
        self.ask(account::losses).await
    }

    async fn freshness(&self) -> Result<Vec<HostFreshness>, StoreError> {
        self.ask(account::freshness).await
    }

    async fn progress(&self) -> Result<Vec<PartitionProgress>, StoreError> {
        self.ask(account::progress).await
    }
}
