//! MariaDB (tested on 11.4) and MySQL 8.4, by the SQL that both understand: rows clustered by series
//! and time in InnoDB, steps by multi-row INSERT (S6).
//!
//! | file | holds |
//! |---|---|
//! | `url`, `connect` | from a URL to a connection, deadlines |
//! | `errors`, `values` | error numbers to whose fault; names, literals, times, JSON |
//! | `migrate` | bookkeeping tables, the lock of all schema changes |
//! | `schema`, `view`, `series` | what [`Store::ensure`] makes |
//! | `apply`, `rows`, `bookkeeping`, `dead_letters` | the step |
//! | `read`, `account` | queries |
//! | `retention` | old rows go |
//!
//! Everything lies in the database that the URL names; a user who may do all in it is enough. All
//! times are in UTC and to the microsecond, all texts in utf8mb4.

mod account;
mod apply;
mod bookkeeping;
mod connect;
mod dead_letters;
mod errors;
mod migrate;
mod read;
mod retention;
mod rows;
mod schema;
mod series;
mod url;
mod values;
mod view;

use crate::{
    Applied, Catalog, DeadLetterFilter, DeadLetterRow, ErrorClass, LedgerKey, LedgerRow,
    MeasurementNeed, OpenOptions, Reader, Requirements, RetentionReport, RetentionRequest,
    RowBlock, SourceId, Step, Store, StoreError, StoreUrl, StoredPosition,
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

/// A writer. Every call takes the connection out and gives it back when all went well.
struct MysqlStore {
    link: connect::Link,
    /// Some view could not be brought up to date, because somebody was reading it.
    a_view_lacks: bool,
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
}

#[async_trait::async_trait]
impl Store for MysqlStore {
    async fn migrate(&mut self) -> Result<(), StoreError> {
        self.call(async |session| migrate::migrate(session).await)
            .await
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
        self.write(async |session| apply::apply(session, step).await)
            .await
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

    async fn ledger_rows(&mut self) -> Result<Vec<(LedgerKey, LedgerRow)>, StoreError> {
        self.call(async |session| bookkeeping::ledger_rows(session).await)
            .await
    }
}
