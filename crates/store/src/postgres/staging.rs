//! Rows that may be there already go through a temporary table and `on conflict do nothing`.
//!
//! The table is made outside of the step (D9), once per connection, measurement and number of
//! columns, and is empty again after each commit.

use super::connect::Session;
use super::copy::CopyPlan;
use super::values::{data_table, quoted, unsigned};
use crate::{RowBlock, StoreError};
use std::collections::BTreeMap;

/// Repeated rows per slot of the step's moves.
#[derive(Debug, Default)]
pub(super) struct Repeats(BTreeMap<u32, u64>);

impl Repeats {
    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Slots with repeats, and how many.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = (u32, u64)> {
        self.0
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(slot, count)| (*slot, *count))
    }

    fn add(&mut self, slot: u32, count: u64) {
        *self.0.entry(slot).or_default() += count;
    }
}

/// The name of the staging table of a block's measurement and width.
fn name(block: &RowBlock) -> String {
    let measurement = block.measurement();
    format!(
        "tidegauge_stage_{}_{}",
        measurement.id,
        measurement.fields.len()
    )
}

/// The staging table of a block, quoted.
pub(super) fn table(block: &RowBlock) -> String {
    format!("pg_temp.{}", quoted(&name(block)))
}

/// Makes the staging table, outside of a transaction.
pub(super) async fn prepare(session: &mut Session, block: &RowBlock) -> Result<(), StoreError> {
    let name = name(block);
    if session.staging_tables.contains(&name) {
        return Ok(());
    }
    let sql = format!(
        "create temporary table if not exists {} (like {}, \"slot\" integer not null)
         on commit delete rows",
        quoted(&name),
        data_table(&block.measurement().name)
    );
    session.batch("making a staging table", &sql).await?;
    session.staging_tables.insert(name);
    Ok(())
}

/// The rows of a block without those that repeat a key within it; the first one stays.
pub(super) fn first_of_each_key(block: &RowBlock, repeats: &mut Repeats) -> Vec<u32> {
    let mut last = None;
    let mut first = block.sorted().into_owned();
    first.retain(|&row| {
        let key = block.key(row as usize);
        let is_new = last.replace(key) != Some(key);
        if !is_new {
            repeats.add(block.origin(row as usize).slot, 1);
        }
        is_new
    });
    first
}

/// Moves staged rows into the data table; those whose key is there already are counted as
/// repeats. Answers how many are new.
pub(super) async fn insert(
    session: &Session,
    block: &RowBlock,
    plan: &CopyPlan,
    rows: &[u32],
    repeats: &mut Repeats,
) -> Result<u64, StoreError> {
    let doing = format!("storing staged rows of {}", block.measurement().name);
    let (table, list) = (table(block), plan.column_list(block));
    let parent = data_table(&block.measurement().name);
    let sql = format!(
        "with fresh as (
             insert into {parent} ({list}) select {list} from {table} order by series_id, time
             on conflict do nothing returning series_id, time)
         select s.\"slot\", count(*) from {table} s join fresh using (series_id, time)
         group by s.\"slot\""
    );
    let mut staged: BTreeMap<u32, u64> = BTreeMap::new();
    for &row in rows {
        *staged.entry(block.origin(row as usize).slot).or_default() += 1;
    }
    let mut new_rows = 0;
    for row in session.query_once(&doing, &sql, &[]).await? {
        let slot = u32::try_from(row.get::<_, i32>(0)).unwrap_or(u32::MAX);
        let fresh = unsigned(row.get(1));
        new_rows += fresh;
        if let Some(staged) = staged.get_mut(&slot) {
            *staged = staged.saturating_sub(fresh);
        }
    }
    for (slot, repeated) in staged {
        repeats.add(slot, repeated);
    }
    // Another block of this width may follow in the same step.
    session
        .batch(&doing, &format!("delete from {table}"))
        .await?;
    Ok(new_rows)
}
