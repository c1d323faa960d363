//! The step: one transaction, few round trips (D3 to D6).
//!
//! Positions, ledger and the locks on the partitions go out together right behind BEGIN; then
//! come one COPY per block and partition, straight into the leaf, the dead letters, and COMMIT.
//! What was counted against what was asked decides between commit, fence and a moved ledger.
//!
//! Where the rows are on their way already (`ahead`), the same questions are asked behind them instead
//! of before them: it is one transaction, so they decide as well.
//!
//! COPY is optimistic (S5): only when a row is met that is there already, under a unique key, is
//! the step done again with that measurement going through a staging table.

use super::ahead::Written;
use super::bookkeeping;
use super::connect::Session;
use super::copy::{CopyEncoder, CopyPlan, time_out_of_range};
use super::dead_letters;
use super::errors::During;
use super::partitions::{self, Leaf, LeafKeys, Partitions, State, Wanted};
use super::send::{Load, send};
use super::staging::{self, Repeats};
use super::values::{data_table, quoted, wire_time};
use crate::phases::Phases;
use crate::{Applied, RowBlock, Step, StoreError};
use futures_util::future;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// How often a step is begun again because partitions changed or rows were repeated.
const ATTEMPTS: usize = 10;

/// What is kept between steps.
#[derive(Default)]
pub(super) struct Applier {
    pub(super) partitions: Partitions,
    encoder: CopyEncoder,
    /// The partitions into which the last committed step went, and most likely the next one does.
    last_leaves: Vec<Leaf>,
}

/// What becomes of the transaction when all is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    /// The rows are only tried.
    RollBack,
}

/// How an attempt ended that did not fail.
enum Attempt {
    Done(Applied),
    /// A partition is not what was known of it.
    PartitionsMoved,
    /// A row of this measurement is there already.
    Repeated(i32),
}

/// The rows of one block that belong to one partition, in the order in which they are sent.
pub(super) struct Portion<'a> {
    pub(super) block: &'a RowBlock,
    pub(super) leaf: Leaf,
    pub(super) rows: Cow<'a, [u32]>,
}

impl Portion<'_> {
    /// The COPY of it, straight into its partition.
    pub(super) fn load(&self) -> Load<'_> {
        let plan = CopyPlan::of(self.block, false);
        Load {
            block: self.block,
            rows: &self.rows,
            statement: plan.statement(self.block, &quoted(&self.leaf.name)),
            plan,
        }
    }
}

impl Applier {
    /// Commits a step, whole or not at all. After an error of class `Data` the transaction is
    /// still open.
    pub(super) async fn apply(
        &mut self,
        session: &mut Session,
        step: &Step,
    ) -> Result<Applied, StoreError> {
        self.run(session, step, Ending::Commit).await
    }

    /// Commits a step whose rows are written already. `Err`: it is not committed, and may be applied
    /// as if nothing had been written; what is inside is the outcome.
    pub(super) async fn commit_written(
        &mut self,
        written: &mut Written,
        step: &Step,
        phases: &mut Phases,
    ) -> Result<Result<Applied, StoreError>, StoreError> {
        let session = &mut written.session;
        match ask(session, step, None, &[]).await? {
            Some(Attempt::Done(applied)) => return Ok(Ok(applied)),
            Some(_) => return Err(partitions::vanished()),
            None => phases.end("fence"),
        }
        let ended = end(session, step, Ending::Commit, phases).await;
        Ok(ended.map(|()| {
            self.committed(written.leaves.drain(..).collect());
            Applied::Committed {
                rows: written.rows,
                duplicates: 0,
            }
        }))
    }

    /// The partitions into which the last committed step went.
    pub(super) fn last_leaves(&self) -> Vec<Leaf> {
        self.last_leaves.clone()
    }

    fn committed(&mut self, leaves: Vec<Leaf>) {
        for leaf in &leaves {
            self.partitions.note_written(leaf);
        }
        self.last_leaves = leaves;
    }

    /// Writes rows and rolls back. After an error of class `Data` the transaction is still open.
    pub(super) async fn try_rows(
        &mut self,
        session: &mut Session,
        blocks: Vec<RowBlock>,
    ) -> Result<(), StoreError> {
        let step = Step {
            blocks,
            ..Step::default()
        };
        self.run(session, &step, Ending::RollBack).await.map(|_| ())
    }

    async fn run(
        &mut self,
        session: &mut Session,
        step: &Step,
        ending: Ending,
    ) -> Result<Applied, StoreError> {
        // Measurements whose rows go through staging.
        let mut staged = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let portions = self.portions(session, step).await?;
            let is_settled = |portion: &&Portion<'_>| portion.leaf.state == State::Settled;
            for portion in portions.iter().filter(is_settled) {
                staged.insert(portion.block.measurement().id);
            }
            match self
                .attempt(session, step, &portions, &staged, ending)
                .await?
            {
                Attempt::Done(applied) => {
                    if ending == Ending::Commit && matches!(applied, Applied::Committed { .. }) {
                        let leaves = distinct_leaves(&portions).into_iter().cloned();
                        self.committed(leaves.collect());
                    }
                    return Ok(applied);
                }
                Attempt::PartitionsMoved => self.partitions.forget(),
                Attempt::Repeated(measurement) => {
                    // The others that are keyed may well be repeated too.
                    let measurements = step.blocks.iter().map(RowBlock::measurement);
                    let keyed = measurements.filter(|measurement| measurement.keyed);
                    staged.extend(keyed.map(|measurement| measurement.id));
                    staged.insert(measurement);
                }
            }
        }
        Err(partitions::vanished())
    }

    /// Divides the rows among partitions; makes those that are missing.
    async fn portions<'a>(
        &mut self,
        session: &mut Session,
        step: &'a Step,
    ) -> Result<Vec<Portion<'a>>, StoreError> {
        let spans = step
            .blocks
            .iter()
            .filter_map(|block| Some((block, block.times_us()?)));
        let spans: Vec<_> = spans.collect();
        // The partitions of a beginning are made all at once.
        let mut wanted = Vec::new();
        for (block, times) in &spans {
            let (measurement, time_us) = (block.measurement(), *times.start());
            if self.partitions.find(measurement.id, time_us).is_none() {
                wanted.push(wanted_leaf(block, time_us)?);
            }
        }
        if !wanted.is_empty() {
            self.partitions.require(session, &wanted).await?;
        }
        let mut portions = Vec::new();
        for (block, times) in spans {
            let measurement = block.measurement();
            let order = block.sorted();
            // Nearly always all rows are of one day.
            let leaf = self.leaf(session, block, *times.start()).await?;
            if *times.end() < leaf.to_us {
                portions.push(Portion {
                    block,
                    leaf,
                    rows: order,
                });
                continue;
            }
            let mut by_leaf: BTreeMap<i64, Portion<'a>> = BTreeMap::new();
            let mut current: Option<(i64, i64)> = None;
            for &row in order.iter() {
                let time_us = block.key(row as usize).time_us;
                let inside = |(from, to): (i64, i64)| (from..to).contains(&time_us);
                let from_us = match current.filter(|&range| inside(range)) {
                    Some((from_us, _)) => from_us,
                    None => {
                        let leaf = self.leaf(session, block, time_us).await?;
                        current = Some((leaf.from_us, leaf.to_us));
                        let from_us = leaf.from_us;
                        by_leaf.entry(from_us).or_insert_with(|| Portion {
                            block,
                            leaf,
                            rows: Cow::Owned(Vec::new()),
                        });
                        from_us
                    }
                };
                if let Some(portion) = by_leaf.get_mut(&from_us) {
                    portion.rows.to_mut().push(row);
                }
            }
            tracing::trace!(
                measurement = measurement.name,
                partitions = by_leaf.len(),
                "divided rows"
            );
            portions.extend(by_leaf.into_values());
        }
        Ok(portions)
    }

    async fn leaf(
        &mut self,
        session: &mut Session,
        block: &RowBlock,
        time_us: i64,
    ) -> Result<Leaf, StoreError> {
        let measurement = block.measurement();
        if let Some(leaf) = self.partitions.find(measurement.id, time_us) {
            return Ok(leaf.clone());
        }
        let wanted = wanted_leaf(block, time_us)?;
        self.partitions.require(session, &[wanted]).await?;
        let leaf = self.partitions.find(measurement.id, time_us);
        leaf.cloned().ok_or_else(partitions::vanished)
    }

    async fn attempt(
        &mut self,
        session: &mut Session,
        step: &Step,
        portions: &[Portion<'_>],
        staged: &BTreeSet<i32>,
        ending: Ending,
    ) -> Result<Attempt, StoreError> {
        let is_staged = |block: &RowBlock| staged.contains(&block.measurement().id);
        for block in step.blocks.iter().filter(|block| is_staged(block)) {
            staging::prepare(session, block).await?;
        }
        let leaves = distinct_leaves(portions);
        let mut phases = Phases::begin();
        let begin = begin_statement(step, &[]);
        if let Some(ended) = ask(session, step, Some(&begin), &leaves).await? {
            return Ok(ended);
        }
        if !dead_letters::take_out_all(session, &step.resolves).await? {
            session.rollback().await?;
            return Ok(Attempt::Done(Applied::Fenced));
        }
        phases.end("fence");
        let direct = portions.iter().filter(|portion| !is_staged(portion.block));
        let loads: Vec<_> = direct.map(Portion::load).collect();
        let mut new_rows = match send(&mut self.encoder, session, &loads).await {
            Ok(rows) => rows,
            Err(failed) if failed.error.code() == Some("23505") => {
                session.rollback().await?;
                return Ok(Attempt::Repeated(failed.measurement));
            }
            Err(failed) => return Err(failed.error),
        };
        let mut repeats = Repeats::default();
        for block in step.blocks.iter().filter(|block| is_staged(block)) {
            new_rows += self.stage(session, block, &mut repeats).await?;
        }
        let duplicates = repeats.total();
        if duplicates > 0 {
            bookkeeping::count_repeats(session, step, &repeats).await?;
        }
        phases.end("copy");
        end(session, step, ending, &mut phases).await?;
        Ok(Attempt::Done(Applied::Committed {
            rows: new_rows,
            duplicates,
        }))
    }

    /// Sends a block's rows through its staging table; answers how many are new.
    async fn stage(
        &mut self,
        session: &mut Session,
        block: &RowBlock,
        repeats: &mut Repeats,
    ) -> Result<u64, StoreError> {
        let rows = staging::first_of_each_key(block, repeats);
        let plan = CopyPlan::of(block, true);
        let load = Load {
            block,
            rows: &rows,
            statement: plan.statement(block, &staging::table(block)),
            plan,
        };
        let sent = send(&mut self.encoder, session, std::slice::from_ref(&load)).await;
        sent.map_err(|failed| failed.error)?;
        staging::insert(session, block, &load.plan, &rows, repeats).await
    }
}

/// The partition that a row of the block needs.
fn wanted_leaf(block: &RowBlock, time_us: i64) -> Result<Wanted<'_>, StoreError> {
    wire_time(time_us).ok_or_else(time_out_of_range)?;
    let measurement = block.measurement();
    Ok(Wanted {
        measurement: measurement.id,
        name: &measurement.name,
        time_us,
    })
}

/// What is beside the rows, and the end of the transaction.
async fn end(
    session: &mut Session,
    step: &Step,
    ending: Ending,
    phases: &mut Phases,
) -> Result<(), StoreError> {
    dead_letters::insert(session, step).await?;
    dead_letters::count_further(session, step).await?;
    bookkeeping::note_gaps(session, step).await?;
    match ending {
        Ending::Commit => {
            session.commit().await?;
            phases.end("commit");
        }
        Ending::RollBack => {
            // What COMMIT would have checked.
            let check = "set constraints all immediate";
            session.batch("trying rows", check).await?;
            session.rollback().await?;
        }
    }
    Ok(())
}

/// BEGIN, with locks on tables: COPY into a leaf locks the leaf and then looks at its parent, a schema
/// change the other way round, so the parents are locked first.
pub(super) fn begin_statement(step: &Step, others: &[&str]) -> String {
    let parents: BTreeSet<String> = step
        .blocks
        .iter()
        .map(|block| data_table(&block.measurement().name))
        .collect();
    let others = others.iter().map(|table| (*table).to_owned());
    let tables: Vec<String> = others.chain(parents).collect();
    let mut begin = "begin isolation level read committed".to_owned();
    if !tables.is_empty() {
        let tables = tables.join(", only ");
        begin.push_str(&format!("; lock table only {tables} in row exclusive mode"));
    }
    begin
}

/// All that decides whether the step may be written, in one round trip, with `begin` before it and the
/// locks on the partitions, unless they are held already. `Some`: it may not, and the transaction is
/// rolled back.
async fn ask(
    session: &mut Session,
    step: &Step,
    begin: Option<&str>,
    leaves: &[&Leaf],
) -> Result<Option<Attempt>, StoreError> {
    let doing = "checking the positions of a step";
    let moves = bookkeeping::Moves::of(step);
    let (updates, inserts) = bookkeeping::LedgerColumns::of(step);
    let statements = [
        session.prepared(doing, bookkeeping::MOVE_POSITIONS).await?,
        session.prepared(doing, bookkeeping::UPDATE_LEDGER).await?,
        session.prepared(doing, bookkeeping::INSERT_LEDGER).await?,
        session.prepared(doing, partitions::LOCK_LEAVES).await?,
    ];
    let leaf_keys = LeafKeys::of(leaves);
    let [move_positions, update_ledger, insert_ledger, lock_leaves] = &statements;
    let client = session.client();
    // The futures are first polled in this order, so that is the order on the wire; what is not
    // needed is not sent.
    let answers = future::try_join5(
        async {
            match begin {
                None => Ok(()),
                Some(begin) => client.batch_execute(begin).await,
            }
        },
        async {
            let moves = moves.parameters();
            client.execute(move_positions, &moves).await
        },
        async {
            match updates.is_empty() {
                true => Ok(0),
                false => client.execute(update_ledger, &updates.parameters()).await,
            }
        },
        async {
            match inserts.is_empty() {
                true => Ok(0),
                false => client.execute(insert_ledger, &inserts.parameters()).await,
            }
        },
        async {
            match leaves.is_empty() {
                true => Ok(Vec::new()),
                false => client.query(lock_leaves, &leaf_keys.parameters()).await,
            }
        },
    );
    let ((), moved, updated, inserted, locked) =
        session.within(doing, During::Statement, answers).await?;
    if moved == step.moves.len() as u64
        && updated + inserted == step.ledger.len() as u64
        && partitions::are_as_known(&locked, leaves)
    {
        return Ok(None);
    }
    // First back, so that what is read below is not what this very transaction moved.
    session.rollback().await?;
    if moved != step.moves.len() as u64 {
        let at_end = step.resolves.is_empty() && bookkeeping::stand_at_end(session, step).await?;
        let applied = match at_end {
            true => Applied::Already,
            false => Applied::Fenced,
        };
        return Ok(Some(Attempt::Done(applied)));
    }
    if updated + inserted != step.ledger.len() as u64 {
        return Ok(Some(Attempt::Done(Applied::LedgerMoved)));
    }
    Ok(Some(Attempt::PartitionsMoved))
}

/// Each partition once, in one order for all writers.
pub(super) fn distinct_leaves<'a>(portions: &'a [Portion<'_>]) -> Vec<&'a Leaf> {
    let mut leaves: Vec<&Leaf> = portions.iter().map(|portion| &portion.leaf).collect();
    leaves.sort_by_key(|leaf| (leaf.measurement, leaf.from_us));
    leaves.dedup();
    leaves
}
