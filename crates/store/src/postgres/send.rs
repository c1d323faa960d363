//! Sending rows: one COPY after the other, over one connection.
//!
//! The server never waits for us to make up our mind: while it is at the last rows of a COPY, the
//! first chunk of the next one is made, and its statement is on the way.

use super::connect::Session;
use super::copy::{CopyEncoder, CopyPlan};
use super::errors::{self, During};
use crate::{RowBlock, StoreError};
use bytes::Bytes;
use futures_util::{SinkExt, future};
use std::pin::Pin;
use std::time::Duration;
use tokio_postgres::CopyInSink;

/// The rows of one COPY.
pub(super) struct Load<'a> {
    pub(super) block: &'a RowBlock,
    /// In the order in which they are sent.
    pub(super) rows: &'a [u32],
    pub(super) plan: CopyPlan,
    pub(super) statement: String,
}

/// A COPY that did not come to its end. The transaction is still open, and of no use.
pub(super) struct CopyFailed {
    pub(super) measurement: i32,
    pub(super) error: StoreError,
}

/// A COPY whose rows are all sent.
struct Sent {
    measurement: i32,
    doing: String,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

/// Sends all loads; answers how many rows the server took.
pub(super) async fn send(
    encoder: &mut CopyEncoder,
    session: &mut Session,
    loads: &[Load<'_>],
) -> Result<u64, CopyFailed> {
    let deadline = session.deadline;
    let mut rows = 0;
    let mut before = None;
    for load in loads {
        let measurement = load.block.measurement().id;
        let doing = format!("copying rows of {}", load.block.measurement().name);
        let failed = |error| CopyFailed { measurement, error };
        let mut left = load.rows.iter();
        encoder.begin();
        let mut chunk = encoder.chunk(load, &mut left).map_err(failed)?;
        // Polled in this order: the end of the one before is on the wire first.
        let (ended, begun) = future::join(end(before.take(), deadline), async {
            let statement = session.prepared(&doing, &load.statement).await?;
            let begun = session.client().copy_in(&statement);
            session.within(&doing, During::Statement, begun).await
        })
        .await;
        rows += ended?;
        let mut sink = Box::pin(begun.map_err(failed)?);
        // COPY knows no statement_timeout: it has our deadline.
        let sending = async {
            loop {
                let sent = sink.send(chunk).await;
                sent.map_err(|error| {
                    errors::from_driver(doing.as_str(), During::Statement, error)
                })?;
                if left.as_slice().is_empty() {
                    return Ok(());
                }
                chunk = encoder.chunk(load, &mut left)?;
            }
        };
        let sent = tokio::time::timeout(deadline, sending).await;
        sent.unwrap_or_else(|_| Err(errors::deadline_elapsed(doing.as_str(), During::Statement)))
            .map_err(failed)?;
        before = Some(Sent {
            measurement,
            doing,
            sink,
        });
    }
    Ok(rows + end(before, deadline).await?)
}

/// Waits until the server has taken all rows of a COPY; answers how many.
async fn end(sent: Option<Sent>, deadline: Duration) -> Result<u64, CopyFailed> {
    let Some(mut sent) = sent else {
        return Ok(0);
    };
    let doing = sent.doing.as_str();
    let ended = tokio::time::timeout(deadline, sent.sink.as_mut().finish()).await;
    let ended = match ended {
        Ok(ended) => ended.map_err(|error| errors::from_driver(doing, During::Statement, error)),
        Err(_) => Err(errors::deadline_elapsed(doing, During::Statement)),
    };
    ended.map_err(|error| CopyFailed {
        measurement: sent.measurement,
        error,
    })
}
