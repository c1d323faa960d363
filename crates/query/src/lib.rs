//! Series, ranges, rates, states and down-sampling over a [`Reader`]; no SQL, no HTTP.
//!
//! [`Query`] answers in columns: one time axis per [`Frame`] and one column per series and field,
//! which is what charts, tables and JSON want. It decides by itself whether rows or buckets are
//! read, so that an answer never has more times than it was asked for.

mod error;
mod frame;
mod percentiles;
mod query;
mod range;
mod rate;
mod states;
mod step;
mod uptime;

pub use error::QueryError;
pub use frame::{Column, Envelope, Frame};
pub use percentiles::{PercentilesRequest, SeriesPercentiles};
pub use query::Query;
pub use range::{Counters, RangeRequest};
pub use states::{SeriesStates, StateRun, StatesRequest};
pub use tidegauge_store::{
    FieldInfo, HostId, HostInfo, MeasurementInfo, Reader, SeriesId, SeriesInfo, StoreSummary,
};
pub use uptime::{CheckDay, CheckDays, CheckPhase, ChecksRequest};
