//! Databases behind two narrow traits: [`Store`] commits steps, [`Reader`] answers queries.
//!
//! A database is one folder (`postgres/`, `mysql/`, `sqlite/`) and one row in [`STORES`]; none imports
//! another, and all pass the same conformance suite (S7). The caller sees no SQL.

mod account;
mod catalog;
mod checks;
mod condition;
mod contract;
mod encrypted;
mod error;
mod identity;
mod ledger;
mod letters;
pub mod mysql;
mod open;
mod phases;
pub mod postgres;
mod reader;
mod refused;
mod rows;
mod seen;
pub mod sqlite;
mod step;
mod upkeep;

pub use account::{HostFreshness, Loss, PartitionProgress};
pub use catalog::{
    Catalog, FieldColumn, HostId, HostKey, KnownHost, Measurement, MeasurementNeed, Requirements,
    SeriesId, SeriesNeed, SeriesSlot,
};
pub use condition::StoreCondition;
pub use contract::{Applied, Store, StoredPosition};
pub use encrypted::{Protection, TlsServer};
pub use error::{ErrorClass, StoreError};
pub use ledger::{LedgerChange, LedgerKey, LedgerRow, ToldDrop};
pub use letters::{DeadLetterBounds, LetterBound, RemovedLetters};
pub use open::{
    OpenOptions, STORES, StoreEntry, StoreUrl, open_reader, open_store, protection, schema_sql,
};
pub use postgres::LibpqFiles;
pub use reader::{
    Bucket, Buckets, BucketsRequest, FieldInfo, HostInfo, MeasurementInfo, Reader, RowsRequest,
    SeriesBuckets, SeriesFilter, SeriesInfo, SeriesRows, StoreSummary,
};
pub use rows::{Cell, RowBlock, RowKey, RowOrigin};
pub use step::{
    DeadLetter, DeadLetterFilter, DeadLetterRow, FurtherLetters, Gap, GapReason, PositionMove,
    SourceId, Step,
};
pub use upkeep::{
    PostponedPartition, RemovedRows, RetentionReport, RetentionRequest, SettleReport,
    SettleRequest, SettledPartition,
};
