//! Writing ahead: the rows of the step that comes next go into a transaction of a second connection
//! while the step before is still being copied and committed. A server works on one connection with one
//! core, and waits at each commit for its disk.
//!
//! Nothing of it can be seen, and nothing is decided: positions, ledger and dead letters are written,
//! and checked, when that step is applied itself, after the one before is committed. Whatever is in
//! the way (a partition that is not known, a key that may be there already, an error) ends the attempt,
//! and the step is applied as if it had never been made.

use super::apply::{Portion, begin_statement, distinct_leaves};
use super::connect::{Purpose, Session};
use super::copy::CopyEncoder;
use super::errors::During;
use super::partitions::{self, Leaf, LeafKeys, State};
use super::send::send;
use super::url::Target;
use crate::{RowBlock, Step, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A step that is told of, or is being written. Dropped, its connection ends and with it the
/// transaction.
pub(super) struct Ahead {
    /// Dropped, a step that was not told yet is not waited for any longer.
    waits: Option<oneshot::Sender<()>>,
    task: JoinHandle<Ended>,
}

/// How it ended.
pub(super) enum Ended {
    /// Rows are written, the transaction is open.
    Written(Written),
    /// Nothing is written; the connection, if there is one, is of use.
    Nothing(Option<Session>),
}

/// A step whose rows are written.
pub(super) struct Written {
    pub(super) session: Session,
    pub(super) rows: u64,
    pub(super) leaves: Vec<Leaf>,
    step: Arc<Step>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Written {
    /// Whether it is this very step, not one that is packed alike.
    pub(super) fn is_of(&self, step: &Step) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.step), step)
    }
}

impl Ahead {
    /// Waits for the step and writes its rows, on a connection that is made if there is none.
    pub(super) fn begin(
        target: Arc<Target>,
        session: Option<Session>,
        leaves: Vec<Leaf>,
        next: oneshot::Receiver<Arc<Step>>,
    ) -> Self {
        let (waits, given_up) = oneshot::channel();
        let task = tokio::spawn(async move {
            let told = tokio::select! {
                biased;
                told = next => told.ok(),
                _ = given_up => None,
            };
            let Some(step) = told else {
                return Ended::Nothing(session);
            };
            match write(&target, session, leaves, step).await {
                Ok(ended) => ended,
                Err(error) => {
                    tracing::debug!(%error, "writing ahead was given up");
                    Ended::Nothing(None)
                }
            }
        });
        Self {
            waits: Some(waits),
            task,
        }
    }

    /// Waits until what is being written is written; a step that is not told yet is let go.
    pub(super) async fn end(mut self) -> Ended {
        self.waits = None;
        (&mut self.task).await.unwrap_or(Ended::Nothing(None))
    }
}

/// Writes the rows into an open transaction.
async fn write(
    target: &Target,
    session: Option<Session>,
    leaves: Vec<Leaf>,
    step: Arc<Step>,
) -> Result<Ended, StoreError> {
    let Some(portions) = portions(&leaves, &step) else {
        return Ok(Ended::Nothing(session));
    };
    let mut session = match session.filter(|session| !session.is_closed()) {
        Some(session) => session,
        None => Session::connect(target, Purpose::Write).await?,
    };
    let used = distinct_leaves(&portions);
    let doing = "beginning to write a step ahead";
    let lock = session.prepared(doing, partitions::LOCK_LEAVES).await?;
    let keys = LeafKeys::of(&used);
    // `position` too, though its rows are not touched yet: by that lock those who wait find the
    // session of a program that is frozen.
    let begin = begin_statement(&step, &["position"]);
    let answers = futures_util::future::try_join(session.client().batch_execute(&begin), async {
        let keys = keys.parameters();
        session.client().query(&lock, &keys).await
    });
    let ((), locked) = session.within(doing, During::Statement, answers).await?;
    if !partitions::are_as_known(&locked, &used) {
        session.rollback().await?;
        return Ok(Ended::Nothing(Some(session)));
    }
    let loads: Vec<_> = portions.iter().map(Portion::load).collect();
    let rows = send(&mut CopyEncoder::default(), &mut session, &loads)
        .await
        .map_err(|failed| failed.error)?;
    let leaves = used.into_iter().cloned().collect();
    drop(loads);
    drop(portions);
    Ok(Ended::Written(Written {
        session,
        rows,
        leaves,
        step,
    }))
}

/// The rows by partition, if all of them go straight into known open partitions without a key. Rows
/// with a key would wait for those of the step before, and those for them.
fn portions<'a>(leaves: &[Leaf], step: &'a Step) -> Option<Vec<Portion<'a>>> {
    if !step.resolves.is_empty() {
        return None;
    }
    let leaves: BTreeMap<i32, &Leaf> = leaves
        .iter()
        .filter(|leaf| leaf.state == State::Open)
        .map(|leaf| (leaf.measurement, leaf))
        .collect();
    let filled = step.blocks.iter().filter(|block| !block.is_empty());
    let portion = |block: &'a RowBlock| {
        let times = block.times_us()?;
        let leaf = leaves.get(&block.measurement().id)?;
        let is_inside = leaf.from_us <= *times.start() && *times.end() < leaf.to_us;
        (is_inside && !block.measurement().keyed).then(|| Portion {
            block,
            leaf: (*leaf).clone(),
            rows: block.sorted(),
        })
    };
    let portions: Vec<_> = filled.map(portion).collect::<Option<_>>()?;
    (!portions.is_empty()).then_some(portions)
}
