//! The writer: a thread that owns the one connection that writes, and the async end of it.
//!
//! Jobs go over a bounded channel and each answers over a channel of its own. After an error the
//! connection is closed, and the next job opens it anew.

use super::connection::{File, Role};
use super::ensure::{Learned, Request, ensure};
use super::interrupt::{Interrupter, Interruptible};
use super::{apply, bookkeeping, dead_letters, migrate, retention};
use crate::letters::{self, HeldBytes, Measured, Shelf};
use crate::seen::SeenSeries;
use crate::{
    Applied, Catalog, DeadLetterBounds, DeadLetterFilter, DeadLetterRow, ErrorClass, LedgerKey,
    LedgerRow, LetterBound, RemovedLetters, RemovedRows, Requirements, RetentionReport,
    RetentionRequest, RowBlock, SourceId, Step, Store, StoreError, StoredPosition,
};
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How often the statistics are looked at.
const OPTIMIZE_INTERVAL: Duration = Duration::from_secs(3_600);

/// The longest that dropping a store waits for its file to be closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// The thread's own: the connection, when there is one.
struct Session {
    file: File,
    connection: Option<Connection>,
}

/// The thread, seen from outside. It ends when `jobs` is dropped and the last job is done.
struct Thread {
    jobs: Option<mpsc::Sender<Job>>,
    /// Never sent to: its other end is dropped when the thread has closed the file.
    closed: std_mpsc::Receiver<()>,
}

/// A SQLite file as a [`Store`].
pub(super) struct SqliteStore {
    file: File,
    thread: Option<Thread>,
    optimized: Option<Instant>,
    seen: SeenSeries,
    held: HeldBytes,
}

impl Session {
    /// Does `work` on the connection, which is opened first if need be.
    fn run<T>(
        &mut self,
        role: Role,
        interruptible: &Interruptible,
        work: impl FnOnce(&File, &mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Migrating is the one job that makes a file; it always looks at it afresh.
        let connection = match self.connection.take() {
            Some(connection) if role != Role::Migrate => connection,
            _ => self.file.open(role)?,
        };
        let connection = self.connection.insert(connection);
        let result = interruptible.run(connection, |connection| work(&self.file, connection));
        if result.as_ref().is_err_and(StoreError::is_retryable) {
            self.connection = None;
        }
        result
    }
}

impl Thread {
    fn start(file: File) -> Result<Self, StoreError> {
        // One job is done and one may wait: a caller has no more than one, and those that were
        // abandoned are skipped. When it is full the caller waits, within its deadline.
        let (jobs, mut received) = mpsc::channel::<Job>(1);
        let (closing, closed) = std_mpsc::channel();
        let path = file.path.clone();
        let spawned = std::thread::Builder::new()
            .name("store-sqlite".to_owned())
            .spawn(move || {
                let _closing: std_mpsc::Sender<()> = closing;
                let mut session = Session {
                    file,
                    connection: None,
                };
                while let Some(job) = received.blocking_recv() {
                    job(&mut session);
                }
                // Before `_closing`: closing the last connection also takes in the log.
                drop(session);
            });
        spawned.map_err(|error| {
            let doing = format!("starting the writer's thread for {}", path.display());
            StoreError::new(doing, ErrorClass::Outage).caused_by(error)
        })?;
        Ok(Self {
            jobs: Some(jobs),
            closed,
        })
    }
}

impl Drop for Thread {
    /// Waits until the file is closed, so that whoever opens it next finds it at rest.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Err(std_mpsc::RecvTimeoutError::Timeout) = self.closed.recv_timeout(CLOSE_DEADLINE) {
            tracing::warn!("the database file is still busy; leaving it to its thread");
        }
    }
}

impl SqliteStore {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            thread: None,
            optimized: None,
            seen: SeenSeries::default(),
            held: HeldBytes::default(),
        }
    }

    /// Has the thread do `work` and waits for it.
    async fn run<T: Send + 'static>(
        &mut self,
        role: Role,
        work: impl FnOnce(&File, &mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let interrupter = Interrupter::default();
        let interruptible = interrupter.interruptible();
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |session| {
            // A caller that went away while its job waited: nobody wants it done.
            if !answer.is_closed()
                && answer
                    .send(session.run(role, &interruptible, work))
                    .is_err()
            {
                tracing::debug!("the caller went away before the answer");
            }
        });
        let jobs = self.jobs()?;
        let asked = tokio::time::timeout(self.file.deadline, async {
            jobs.send(job).await.ok()?;
            answered.await.ok()
        });
        // On every way out but the answer, the interrupter stops what the thread does for us.
        let outcome = asked.await;
        drop(interrupter);
        let path = self.file.path.display();
        let doing = match outcome {
            Ok(Some(result)) => return result,
            Ok(None) => {
                self.thread = None;
                format!("waiting for the writer of {path}, which came to an end")
            }
            Err(_) => {
                let seconds = self.file.deadline.as_secs_f32();
                format!("waiting for the writer of {path} for {seconds} s")
            }
        };
        Err(StoreError::new(doing, ErrorClass::Outage))
    }

    fn jobs(&mut self) -> Result<mpsc::Sender<Job>, StoreError> {
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => Thread::start(self.file.clone())?,
        };
        let jobs = self.thread.insert(thread).jobs.clone();
        Ok(jobs.expect("a thread has its channel until it is dropped"))
    }

    /// The same for work that only SQLite's own errors can end.
    async fn run_doing<T: Send + 'static>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(Role::Write, move |file, connection| {
            work(connection).map_err(|error| file.failed(doing, error))
        })
        .await
    }

    /// Notes how fresh hosts without an agent are. It is of no step, so it never fails one.
    async fn note_seen(&mut self) {
        let seen = self.seen.take();
        if seen.is_empty() {
            return;
        }
        let doing = "noting the freshness of hosts in";
        let noted = self.run_doing(doing, move |connection| {
            bookkeeping::note_seen(connection, &seen)
        });
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the freshness of hosts was not noted");
        }
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn migrate(&mut self) -> Result<(), StoreError> {
        match self.file.manages_schema {
            true => self.run(Role::Migrate, migrate::migrate).await,
            // Opening it looks at its version.
            false => self.run(Role::Write, |_, _| Ok(())).await,
        }
    }

    async fn positions(
        &mut self,
        source: &SourceId,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<StoredPosition>, StoreError> {
        let (source, partitions) = (source.clone(), partitions.to_vec());
        self.run_doing("reading positions from", move |connection| {
            bookkeeping::positions(connection, &source, &partitions)
        })
        .await
    }

    async fn known_positions(
        &mut self,
        source: &SourceId,
    ) -> Result<Vec<StoredPosition>, StoreError> {
        let source = source.clone();
        self.run_doing("reading positions from", move |connection| {
            bookkeeping::known_positions(connection, &source)
        })
        .await
    }

    async fn ledger(
        &mut self,
        keys: &[LedgerKey],
    ) -> Result<HashMap<LedgerKey, LedgerRow>, StoreError> {
        let keys = keys.to_vec();
        self.run_doing("reading the ledger from", move |connection| {
            bookkeeping::ledger(connection, &keys)
        })
        .await
    }

    async fn ensure(
        &mut self,
        needs: &Requirements,
        catalog: &mut Catalog,
    ) -> Result<(), StoreError> {
        let request = Request::new(needs, catalog, self.file.manages_schema);
        let learned: Learned = self
            .run_doing("making tables and series in", move |connection| {
                ensure(connection, &request)
            })
            .await?;
        learned.teach(catalog);
        Ok(())
    }

    async fn apply(&mut self, step: &Step) -> Result<Applied, StoreError> {
        // The thread may outlive this call, so it needs a step of its own; copying the packed
        // rows costs a fraction of inserting them.
        let own = step.clone();
        let applied = self
            .run(Role::Write, move |file, connection| {
                apply::apply(file, connection, &own)
            })
            .await;
        if matches!(applied, Ok(Applied::Committed { .. })) && self.seen.see(&step.blocks) {
            self.note_seen().await;
        }
        applied
    }

    async fn try_rows(&mut self, rows: Vec<RowBlock>) -> Result<(), StoreError> {
        self.run(Role::Write, move |file, connection| {
            apply::try_rows(file, connection, &rows)
        })
        .await
    }

    async fn housekeep(&mut self) -> Result<(), StoreError> {
        let due = |optimized: Instant| optimized.elapsed() >= OPTIMIZE_INTERVAL;
        let optimize = self.optimized.is_none_or(due);
        self.run_doing("tidying up", move |connection| {
            if optimize {
                connection.execute_batch("pragma optimize")?;
            }
            // Passive: takes in what it can without waiting for readers.
            connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))
        })
        .await?;
        if optimize {
            self.optimized = Some(Instant::now());
        }
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        self.note_seen().await;
        Ok(())
    }

    /// One transaction is one job: steps of other writers come between them.
    async fn retain(&mut self, request: &RetentionRequest) -> Result<RetentionReport, StoreError> {
        let doing = "removing old rows of";
        let mut report = RetentionReport::default();
        let measurements = self
            .run_doing(doing, |connection| retention::measurements(connection))
            .await?;
        for (id, measurement) in measurements {
            let Some(before_us) = request.before_us(&measurement) else {
                continue;
            };
            let mut rows = 0;
            loop {
                let (name, dry_run) = (measurement.clone(), request.dry_run);
                let work = move |connection: &mut Connection| match dry_run {
                    true => retention::count_before(connection, (id, &name), before_us),
                    false => retention::delete_before(connection, (id, &name), before_us),
                };
                let removed = self.run_doing(doing, work).await?;
                rows += removed;
                if dry_run || removed < retention::MOST_ROWS {
                    break;
                }
            }
            if rows > 0 {
                report.removed.push(RemovedRows {
                    measurement,
                    partition: None,
                    before_us,
                    rows,
                });
            }
        }
        Ok(report)
    }

    async fn dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        let filter = filter.clone();
        self.run_doing("listing dead letters of", move |connection| {
            dead_letters::list(connection, &filter)
        })
        .await
    }

    async fn delete_dead_letters(&mut self, ids: &[i64]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.run_doing("deleting dead letters of", move |connection| {
            dead_letters::delete(connection, &ids)
        })
        .await
    }

    async fn bound_dead_letters(
        &mut self,
        bounds: &DeadLetterBounds,
    ) -> Result<Vec<RemovedLetters>, StoreError> {
        let mut held = std::mem::take(&mut self.held);
        let removed = letters::keep_bounds(self, &mut held, bounds).await;
        self.held = held;
        removed
    }

    async fn ledger_rows(&mut self) -> Result<Vec<(LedgerKey, LedgerRow)>, StoreError> {
        self.run_doing("reading the ledger from", |connection| {
            bookkeeping::ledger_rows(connection)
        })
        .await
    }
}

/// One transaction is one job: steps of other writers come between them.
#[async_trait::async_trait]
impl Shelf for SqliteStore {
    async fn measure(&mut self, above: i64) -> Result<(i64, u64), StoreError> {
        self.run_doing("measuring dead letters of", move |connection| {
            dead_letters::measure(connection, above)
        })
        .await
    }

    async fn oldest(&mut self, at_most: usize) -> Result<Vec<Measured>, StoreError> {
        self.run_doing("reading the oldest dead letters of", move |connection| {
            dead_letters::oldest(connection, at_most)
        })
        .await
    }

    async fn remove(
        &mut self,
        ids: &[i64],
        bound: LetterBound,
    ) -> Result<Option<Vec<RemovedLetters>>, StoreError> {
        let ids = ids.to_vec();
        self.run_doing("removing dead letters of", move |connection| {
            dead_letters::remove(connection, &ids, bound)
        })
        .await
    }
}
