//! MariaDB (tested on 11.4) and MySQL 8.4, by the SQL that both understand: rows clustered by series
//! and time in InnoDB, steps by LOAD DATA LOCAL or multi-row INSERT (S6).
//!
//! | file | holds |
//! |---|---|
//! | `url`, `connect` | from a URL to a connection, deadlines |
//! | `errors`, `values` | error numbers to whose fault; names, literals, times, JSON |
//! | `migrate` | bookkeeping tables, the lock of all schema changes |
//! | `schema`, `view`, `series` | what [`Store::ensure`] makes |
//! | `schema_text` | all of that as SQL, for an administrator |
//! | `apply`, `rows`, `load`, `bookkeeping`, `dead_letters` | the step |
//! | `read`, `account` | queries |
//! | `retention` | old rows go |
//!
//! Everything lies in the database that the URL names; a user who may do all in it is enough. All
//! times are in UTC and to the microsecond, all texts in utf8mb4.

mod account;
mod apply;
mod bookkeeping;
mod check_views;
mod condition;
mod connect;
mod dead_letters;
mod errors;
mod load;
mod migrate;
mod read;
mod retention;
mod rows;
mod schema;
mod schema_text;
mod series;
mod url;
mod values;
mod view;

use crate::letters::{self, HeldBytes, Measured, Shelf};
use crate::seen::SeenSeries;
use crate::{
    Applied, Catalog, DeadLetterBounds, DeadLetterFilter, DeadLetterRow, ErrorClass, LedgerKey,
    LedgerRow, LetterBound, MeasurementNeed, OpenOptions, Protection, Reader, RemovedLetters,
    Requirements, RetentionReport, RetentionRequest, RowBlock, SourceId, Step, Store, StoreError,
    StoreUrl, StoredPosition,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Opens it for writing.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_store(url: &StoreUrl, options: &OpenOptions) -> Result<Box<dyn Store>, StoreError> {
    let target = url::Target::parse(url, options)?;
    Ok(Box::new(MysqlStore {
        link: connect::Link::new(target),
        a_view_lacks: false,
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
    Ok(Arc::new(read::MysqlReader::new(target)))
}

/// How its connection is protected.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn protection(url: &StoreUrl, options: &OpenOptions) -> Result<Protection, StoreError> {
    Ok(url::Target::parse(url, options)?.protection())
}

pub use schema_text::schema_sql;

/// A writer. Every call takes the connection out and gives it back when all went well.
struct MysqlStore {
    link: connect::Link,
    /// Some view could not be brought up to date, because somebody was reading it.
    a_view_lacks: bool,
    seen: SeenSeries,
    held: HeldBytes,
}

impl MysqlStore {
    /// Runs a call on the connection.
    async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut connect::Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut session = self.link.take().await?;
        let answer = call(&mut session).await?;
        self.link.keep(session);
        Ok(answer)
    }

    /// Runs a transaction on the connection, which stays of use when the server refused a row: the
    /// search for it needs no new connections.
    async fn write<T>(
        &mut self,
        write: impl AsyncFnOnce(&mut connect::Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut session = self.link.take().await?;
        let written = write(&mut session).await;
        let usable = match &written {
            Ok(_) => true,
            Err(error) if error.class() == ErrorClass::Data => session.rollback().await.is_ok(),
            Err(_) => false,
        };
        if usable {
            self.link.keep(session);
        }
        written
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
impl Store for MysqlStore {
    async fn migrate(&mut self) -> Result<(), StoreError> {
        self.a_view_lacks |= self
            .call(async |session| {
                migrate::migrate(session).await?;
                match session.manages_schema {
                    true => check_views::refresh(session).await,
                    false => Ok(false),
                }
            })
            .await?;
        Ok(())
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
        // A series may need a measurement that nobody asked for.
        let none = MeasurementNeed::default();
        let mut measurements: BTreeMap<&str, &MeasurementNeed> = needs
            .series
            .keys()
            .filter(|need| catalog.measurement(&need.measurement).is_none())
            .map(|need| (need.measurement.as_str(), &none))
            .collect();
        let asked = needs.measurements.iter();
        measurements.extend(asked.map(|(name, need)| (name.as_str(), need)));
        let mut session = self.link.take().await?;
        series::ensure_hosts(&mut session, needs, catalog).await?;
        self.a_view_lacks |= schema::ensure(&mut session, &measurements, catalog).await?;
        series::ensure_series(&mut session, &needs.series, catalog).await?;
        self.link.keep(session);
        Ok(())
    }

    async fn apply(&mut self, step: &Step) -> Result<Applied, StoreError> {
        let applied = self
            .write(async |session| apply::apply(session, step).await)
            .await;
        if matches!(applied, Ok(Applied::Committed { .. })) && self.seen.see(&step.blocks) {
            self.note_seen().await;
        }
        applied
    }

    async fn try_rows(&mut self, rows: Vec<RowBlock>) -> Result<(), StoreError> {
        self.write(async |session| apply::try_rows(session, &rows).await)
            .await
    }

    async fn housekeep(&mut self) -> Result<(), StoreError> {
        if self.a_view_lacks {
            self.a_view_lacks = self
                .call(async |session| schema::refresh_views(session).await)
                .await?;
        }
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        self.note_seen().await;
        Ok(())
    }

    async fn retain(&mut self, request: &RetentionRequest) -> Result<RetentionReport, StoreError> {
        self.call(async |session| retention::retain(session, request).await)
            .await
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
impl Shelf for MysqlStore {
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
