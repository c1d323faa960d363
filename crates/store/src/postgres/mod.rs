//! PostgreSQL 14 or newer, without extensions: steps by binary COPY into partitions by time (S3).
//!
//! | file | holds |
//! |---|---|
//! | `url`, `libpq`, `tls`, `connect`, `pooler` | from a URL to a connection, deadlines |
//! | `errors`, `values` | SQLSTATE to whose fault; names, times, JSON |
//! | `migrate` | bookkeeping tables, the lock of all schema changes |
//! | `schema`, `view`, `series`, `partitions` | what [`Store::ensure`] makes |
//! | `schema_text` | all of that as SQL, for an administrator |
//! | `apply`, `ahead`, `send`, `copy`, `staging`, `bookkeeping`, `dead_letters` | the step |
//! | `settle`, `upkeep` | settled partitions, retention |
//! | `read`, `account` | queries |
//!
//! Everything lies in the first schema of the search path; a role that owns it is enough.

mod account;
mod ahead;
mod apply;
mod bookkeeping;
mod check_views;
mod condition;
mod connect;
mod copy;
mod dead_letters;
mod errors;
mod libpq;
mod migrate;
mod partitions;
mod pooler;
mod read;
mod schema;
mod schema_text;
mod send;
mod series;
mod settle;
mod staging;
mod tls;
mod upkeep;
mod url;
mod values;
mod view;

use self::ahead::{Ahead, Ended};
use crate::letters::{self, HeldBytes, Measured, Shelf};
use crate::phases::Phases;
use crate::seen::SeenSeries;
use crate::{
    Applied, Catalog, DeadLetterBounds, DeadLetterFilter, DeadLetterRow, ErrorClass, LedgerKey,
    LedgerRow, LetterBound, MeasurementNeed, OpenOptions, Protection, Reader, RemovedLetters,
    Requirements, RetentionReport, RetentionRequest, RowBlock, SettleReport, SettleRequest,
    SourceId, Step, Store, StoreError, StoreUrl, StoredPosition,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Opens it for writing.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_store(url: &StoreUrl, options: &OpenOptions) -> Result<Box<dyn Store>, StoreError> {
    let target = url::Target::parse(url, options)?;
    Ok(Box::new(PostgresStore {
        link: connect::Link::new(target),
        applier: apply::Applier::default(),
        ahead: None,
        seen: SeenSeries::default(),
        held: HeldBytes::default(),
    }))
}

/// Opens it for reading.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_reader(url: &StoreUrl, options: &OpenOptions) -> Result<Arc<dyn Reader>, StoreError> {
    let target = url::Target::parse(url, options)?;
    Ok(Arc::new(read::PostgresReader::new(target)))
}

/// How its connection is protected.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn protection(url: &StoreUrl, options: &OpenOptions) -> Result<Protection, StoreError> {
    Ok(url::Target::parse(url, options)?.protection())
}

pub use libpq::LibpqFiles;
pub use schema_text::schema_sql;

/// A writer. Every call takes the connection out and gives it back when all went well.
struct PostgresStore {
    link: connect::Link,
    applier: apply::Applier,
    /// The step that comes next. Whatever else is done ends it first: its locks must not be in the way.
    ahead: Option<Ahead>,
    seen: SeenSeries,
    held: HeldBytes,
}

impl PostgresStore {
    /// The connection, with nothing written ahead on another.
    async fn session(&mut self) -> Result<connect::Session, StoreError> {
        self.ahead = None;
        self.link.take().await
    }

    /// Commits a step; meanwhile the one that comes next may be written.
    async fn commit(
        &mut self,
        step: &Step,
        next: Option<oneshot::Receiver<Arc<Step>>>,
    ) -> Result<Applied, StoreError> {
        let ahead = self.ahead.take();
        // Ended again if this step is not committed: it was packed as if it were.
        let next = next.map(|next| {
            let (target, session) = self.link.second(ahead.is_some());
            Ahead::begin(target, session, self.applier.last_leaves(), next)
        });
        let written = match ahead {
            Some(ahead) => self.commit_written(step, ahead).await,
            None => None,
        };
        let applied = match written {
            Some(applied) => applied,
            None => {
                let mut session = self.link.take().await?;
                let applied = self.applier.apply(&mut session, step).await;
                self.keep_after(session, applied.as_ref().err()).await;
                applied
            }
        };
        match &applied {
            Ok(Applied::Committed { .. }) => {
                if self.seen.see(&step.blocks) {
                    self.note_seen().await;
                }
                self.ahead = next;
            }
            Err(error) if error.code() == Some("55P03") => self.end_frozen_sessions().await,
            _ => {}
        }
        applied
    }

    /// Commits a step if its rows were written ahead; `None`: they were not, or are of no use.
    async fn commit_written(
        &mut self,
        step: &Step,
        ahead: Ahead,
    ) -> Option<Result<Applied, StoreError>> {
        let mut phases = Phases::begin();
        let mut written = match ahead.end().await {
            Ended::Written(written) => written,
            Ended::Nothing(session) => {
                session
                    .into_iter()
                    .for_each(|session| self.link.keep(session));
                return None;
            }
        };
        if !written.is_of(step) {
            // It was packed anew.
            if written.session.rollback().await.is_ok() {
                self.link.keep(written.session);
            }
            return None;
        }
        phases.end("copy");
        let committed = self
            .applier
            .commit_written(&mut written, step, &mut phases)
            .await;
        match committed {
            Ok(applied) => {
                let error = applied.as_ref().err();
                self.keep_after(written.session, error).await;
                Some(applied)
            }
            Err(error) => {
                tracing::debug!(%error, "what was written ahead is of no use");
                None
            }
        }
    }

    /// Runs a call on the connection.
    async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut connect::Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut session = self.session().await?;
        let answer = call(&mut session).await?;
        self.link.keep(session);
        Ok(answer)
    }

    /// A step waited in vain for a lock. A program that is frozen in the middle of a COPY holds its
    /// positions for as long as its host answers, and no timeout of the server ends a COPY that waits
    /// for its client. A living program gives up by itself at its deadline; so whoever feeds nothing
    /// for longer is ended, and the step of the one that took over can be written.
    async fn end_frozen_sessions(&mut self) {
        let sql = "select pg_terminate_backend(a.pid) from pg_stat_activity a
                   where a.datname = current_database() and a.usename = current_user
                   and a.pid <> pg_backend_pid() and a.wait_event_type = 'Client'
                   and a.state in ('active', 'idle in transaction')
                   and a.state_change < now() - make_interval(secs => $1)
                   and exists (select from pg_locks l where l.pid = a.pid and l.granted
                               and l.relation = 'position'::regclass
                               and l.mode = 'RowExclusiveLock')";
        let Ok(mut session) = self.session().await else {
            return;
        };
        let seconds = session.deadline.as_secs_f64() + 1.0;
        let ended = session
            .query("ending sessions of frozen programs", sql, &[&seconds])
            .await;
        match &ended {
            Ok(ended) if ended.is_empty() => {}
            Ok(ended) => tracing::warn!(
                sessions = ended.len(),
                "a program held positions and fed its step nothing for too long: its session was ended"
            ),
            Err(error) => tracing::debug!(%error, "looking for frozen programs"),
        }
        self.keep_after(session, ended.as_ref().err()).await;
    }

    /// Keeps a connection on which rows were written, if it is of use after this outcome.
    async fn keep_after(&mut self, session: connect::Session, error: Option<&StoreError>) {
        let usable = match error {
            None => true,
            // The server refused a row and is well: the search for it needs no new connections.
            Some(error) if error.class() == ErrorClass::Data => session.rollback().await.is_ok(),
            Some(_) => {
                // What was known of partitions may be wrong, if tables are missing.
                self.applier.partitions.forget();
                false
            }
        };
        if usable {
            self.link.keep(session);
        }
    }

    /// Notes how fresh hosts without an agent are. It is of no step, so it never fails one.
    async fn note_seen(&mut self) {
        let seen = self.seen.take();
        if seen.is_empty() {
            return;
        }
        let noted = self.call(async |session| series::note_seen(session, &seen).await);
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the freshness of hosts was not noted");
        }
    }
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn migrate(&mut self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        pooler::refuse_transaction_mode(&session, &self.link).await?;
        let manages_schema = session.manages_schema;
        migrate::migrate(&mut session).await?;
        match manages_schema {
            true => {
                self.call(async |session| check_views::refresh(session).await)
                    .await
            }
            false => Ok(()),
        }
    }

    async fn positions(
        &mut self,
        source: &SourceId,
        partitions: &[(i32, i64)],
    ) -> Result<Vec<StoredPosition>, StoreError> {
        self.call(async |session| bookkeeping::positions(session, source, partitions).await)
            .await
    }

    async fn known_positions(
        &mut self,
        source: &SourceId,
    ) -> Result<Vec<StoredPosition>, StoreError> {
        self.call(async |session| bookkeeping::known_positions(session, source).await)
            .await
    }

    async fn ledger(
        &mut self,
        keys: &[LedgerKey],
    ) -> Result<HashMap<LedgerKey, LedgerRow>, StoreError> {
        self.call(async |session| bookkeeping::ledger(session, keys).await)
            .await
    }

    async fn ensure(
        &mut self,
        needs: &Requirements,
        catalog: &mut Catalog,
    ) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        // A series may need a measurement that nobody asked for.
        let none = MeasurementNeed::default();
        let mut measurements: BTreeMap<&str, &MeasurementNeed> = needs
            .series
            .keys()
            .filter(|need| catalog.measurement(&need.measurement).is_none())
            .map(|need| (need.measurement.as_str(), &none))
            .collect();
        measurements.extend(
            needs
                .measurements
                .iter()
                .map(|(name, need)| (name.as_str(), need)),
        );
        series::ensure_hosts(&mut session, needs, catalog).await?;
        schema::ensure(&mut session, &measurements, catalog).await?;
        series::ensure_series(&mut session, &needs.series, catalog).await?;
        self.link.keep(session);
        Ok(())
    }

    async fn apply(&mut self, step: &Step) -> Result<Applied, StoreError> {
        self.commit(step, None).await
    }

    async fn apply_before(
        &mut self,
        step: &Step,
        next: oneshot::Receiver<Arc<Step>>,
    ) -> Result<Applied, StoreError> {
        self.commit(step, Some(next)).await
    }

    async fn try_rows(&mut self, rows: Vec<RowBlock>) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        let tried = self.applier.try_rows(&mut session, rows).await;
        self.keep_after(session, tried.as_ref().err()).await;
        tried
    }

    async fn housekeep(&mut self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        // Summaries of indexes, new partitions and views are for the owner of the tables.
        if session.manages_schema {
            self.applier.partitions.housekeep(&mut session).await?;
        }
        self.link.keep(session);
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        self.note_seen().await;
        Ok(())
    }

    // The sessions of these two have other settings than the steps want: they are not kept.
    async fn settle(&mut self, request: &SettleRequest) -> Result<SettleReport, StoreError> {
        let mut session = self.session().await?;
        match session.manages_schema {
            true => settle::settle(&mut session, request).await,
            false => Ok(SettleReport::default()),
        }
    }

    async fn retain(&mut self, request: &RetentionRequest) -> Result<RetentionReport, StoreError> {
        let mut session = self.session().await?;
        match session.manages_schema {
            true => upkeep::retain(&mut session, request).await,
            false => Ok(RetentionReport::default()),
        }
    }

    async fn dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        self.call(async |session| dead_letters::list(session, filter).await)
            .await
    }

    async fn delete_dead_letters(&mut self, ids: &[i64]) -> Result<u64, StoreError> {
        self.call(async |session| dead_letters::delete(session, ids).await)
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
        self.call(async |session| bookkeeping::ledger_rows(session).await)
            .await
    }
}

#[async_trait::async_trait]
impl Shelf for PostgresStore {
    async fn measure(&mut self, above: i64) -> Result<(i64, u64), StoreError> {
        self.call(async |session| dead_letters::measure(session, above).await)
            .await
    }

    async fn oldest(&mut self, at_most: usize) -> Result<Vec<Measured>, StoreError> {
        self.call(async |session| dead_letters::oldest(session, at_most).await)
            .await
    }

    async fn remove(
        &mut self,
        ids: &[i64],
        bound: LetterBound,
    ) -> Result<Option<Vec<RemovedLetters>>, StoreError> {
        self.call(async |session| dead_letters::remove(session, ids, bound).await)
            .await
    }
}
