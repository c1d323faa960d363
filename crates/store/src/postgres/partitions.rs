//! Partitions by time (S3): made ahead and on demand, outside of any step (D9), and known by
//! their bookkeeping rows, which say from when to when each goes, so that their length may change.
//!
//! An open partition is appended to by COPY and found through two BRIN indexes; a partition of a
//! keyed measurement has a unique B-tree on (series, time) too. A settled one has that B-tree and
//! takes rows through staging only; one that is being settled takes none (see `settle`).

use super::connect::Session;
use super::errors;
use super::migrate::{begin_schema_change, commit_schema_change};
use super::settle;
use super::values::{DAY_US, Time, data_table, literal, quoted, time_literal, time_name};
use crate::StoreError;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;

/// The length of new partitions, aligned to UTC.
const LENGTH_US: i64 = DAY_US;

/// Pages of one BRIN entry: 32 pages are some 2,400 rows of eight numbers.
const BRIN_PAGES: u32 = 32;

/// How often new pages are summarised.
const SUMMARISE_EVERY: Duration = Duration::from_secs(30);

/// How often tomorrow's partitions are thought of, and views that could not be made.
const MAKE_AHEAD_EVERY: Duration = Duration::from_secs(600);

/// One partition, as the bookkeeping has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The measurement.
    pub(super) measurement: i32,
    /// The table's name, not quoted.
    pub(super) name: String,
    /// First microsecond.
    pub(super) from_us: i64,
    /// The microsecond after the last.
    pub(super) to_us: i64,
    /// What may be done with it.
    pub(super) state: State,
}

/// The state of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Rows are appended.
    Open,
    /// A sorted copy is being made: that has to be given up before rows are written.
    Settling,
    /// Rows have to go through staging.
    Settled,
}

impl State {
    fn parse(text: &str) -> Self {
        match text {
            "settled" => Self::Settled,
            "settling" => Self::Settling,
            _ => Self::Open,
        }
    }
}

/// A measurement and a time whose partition is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The measurement.
    pub(super) measurement: i32,
    /// Its name.
    pub(super) name: &'a str,
    /// A time in the partition.
    pub(super) time_us: i64,
}

/// What is known of partitions, and which of them wait for housekeeping.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    known: HashMap<i32, BTreeMap<i64, Leaf>>,
    written: HashSet<String>,
    summarised: Option<Instant>,
    made_ahead: Option<Instant>,
}

impl Partitions {
    /// The partition of a time, if it is known and takes rows.
    pub(super) fn find(&self, measurement: i32, time_us: i64) -> Option<&Leaf> {
        let leaf = self.find_in_any_state(measurement, time_us)?;
        (leaf.state != State::Settling).then_some(leaf)
    }

    fn find_in_any_state(&self, measurement: i32, time_us: i64) -> Option<&Leaf> {
        let leaves = self.known.get(&measurement)?;
        let (_, leaf) = leaves.range(..=time_us).next_back()?;
        (time_us < leaf.to_us).then_some(leaf)
    }

    /// Forgets what is known, after a partition was found to be another than before.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Remembers that rows were appended.
    pub(super) fn note_written(&mut self, leaf: &Leaf) {
        if !self.written.contains(&leaf.name) {
            self.written.insert(leaf.name.clone());
        }
    }

    /// Makes partitions of times known, and makes those that are not there, all in one transaction;
    /// gives up their settling if that is under way.
    pub(super) async fn require(
        &mut self,
        session: &mut Session,
        wanted: &[Wanted<'_>],
    ) -> Result<(), StoreError> {
        self.load(session, wanted).await?;
        let mut missing = Vec::new();
        let mut interrupted = false;
        for &wanted in wanted {
            match self.find_in_any_state(wanted.measurement, wanted.time_us) {
                None => missing.push(wanted),
                Some(leaf) if leaf.state == State::Settling => {
                    settle::interrupt(session, wanted.name).await?;
                    interrupted = true;
                }
                Some(_) => {}
            }
        }
        if interrupted {
            self.load(session, wanted).await?;
        }
        match missing.as_slice() {
            [] => Ok(()),
            missing => self.make(session, missing).await,
        }
    }

    async fn make(
        &mut self,
        session: &mut Session,
        missing: &[Wanted<'_>],
    ) -> Result<(), StoreError> {
        let doing = match missing {
            [one] => format!("making a partition of {}", one.name),
            all => format!(
                "making {} partitions, of {} and others",
                all.len(),
                all[0].name
            ),
        };
        if let (false, Some(first)) = (session.manages_schema, missing.first()) {
            let (table, time) = (data_table(first.name), time_literal(first.time_us));
            return Err(errors::unexpected(
                doing,
                format!(
                    "no partition of {table} holds {time}, and `store.manage_schema` is false: have \
                     tidegauge_make_partitions(from, to) make the days that are missing"
                ),
            ));
        }
        begin_schema_change(session, &doing).await?;
        // Another writer may have been first.
        self.load(session, missing).await?;
        let mut made = Vec::new();
        for wanted in missing {
            if self
                .find_in_any_state(wanted.measurement, wanted.time_us)
                .is_none()
            {
                let leaf = self.free_range(wanted.measurement, wanted.time_us);
                create(session, &doing, wanted.name, &leaf).await?;
                made.push(leaf.name.clone());
                let leaves = self.known.entry(wanted.measurement).or_default();
                leaves.insert(leaf.from_us, leaf);
            }
        }
        if made.is_empty() {
            return session.rollback().await;
        }
        commit_schema_change(session, &doing).await?;
        tracing::debug!(partitions = ?made, "made partitions");
        Ok(())
    }

    async fn load(
        &mut self,
        session: &mut Session,
        wanted: &[Wanted<'_>],
    ) -> Result<(), StoreError> {
        let measurements: Vec<i32> = wanted.iter().map(|wanted| wanted.measurement).collect();
        let sql = "select name, from_time, to_time, state, measurement_id from partition
                   where measurement_id = any($1)";
        let rows = session
            .query("reading the partitions", sql, &[&measurements])
            .await?;
        for measurement in measurements {
            self.known.insert(measurement, BTreeMap::new());
        }
        for row in &rows {
            let (from_us, measurement) = (row.get::<_, Time>(1).0, row.get(4));
            let leaf = Leaf {
                measurement,
                name: row.get(0),
                from_us,
                to_us: row.get::<_, Time>(2).0,
                state: State::parse(row.get(3)),
            };
            self.known
                .entry(measurement)
                .or_default()
                .insert(from_us, leaf);
        }
        Ok(())
    }

    /// The aligned range around a time, cut where neighbours of another length begin or end.
    fn free_range(&self, measurement: i32, time_us: i64) -> Leaf {
        let mut from_us = time_us.div_euclid(LENGTH_US) * LENGTH_US;
        let mut to_us = from_us.saturating_add(LENGTH_US);
        if let Some(leaves) = self.known.get(&measurement) {
            if let Some((_, before)) = leaves.range(..=time_us).next_back() {
                from_us = from_us.max(before.to_us);
            }
            if let Some((&next, _)) = leaves.range(time_us..).next() {
                to_us = to_us.min(next);
            }
        }
        // Two ranges that begin in one minute cannot be, as lengths are hours and days.
        let name = format!("p_{measurement}_{}", time_name(from_us));
        Leaf {
            measurement,
            name,
            from_us,
            to_us,
            state: State::Open,
        }
    }

    /// Summarises what was appended, makes tomorrow's partitions; both seldom.
    pub(super) async fn housekeep(&mut self, session: &mut Session) -> Result<(), StoreError> {
        let due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
        if !self.written.is_empty() && due(self.summarised, SUMMARISE_EVERY) {
            let written: Vec<String> = self.written.iter().cloned().collect();
            summarise(session, &written).await?;
            self.written.clear();
            self.summarised = Some(Instant::now());
        }
        if due(self.made_ahead, MAKE_AHEAD_EVERY) {
            // A measurement whose samples are of now will have samples tomorrow.
            let sql = "select m.id, m.name, now() + interval '1 day' from measurement m
                       where exists (select from partition p where p.measurement_id = m.id
                                     and p.from_time <= now() and p.to_time > now())
                       and not exists (select from partition p where p.measurement_id = m.id
                                       and p.from_time <= now() + interval '1 day'
                                       and p.to_time > now() + interval '1 day')";
            let doing = "looking for partitions to make";
            let rows = session.query(doing, sql, &[]).await?;
            let tomorrow = rows.iter().map(|row| Wanted {
                measurement: row.get(0),
                name: row.get(1),
                time_us: row.get::<_, Time>(2).0,
            });
            let tomorrow: Vec<_> = tomorrow.collect();
            self.require(session, &tomorrow).await?;
            super::schema::refresh_views(session).await?;
            self.made_ahead = Some(Instant::now());
        }
        Ok(())
    }
}

/// Makes the table on its own and attaches it, which locks the parent against schema changes
/// only. The schema lock is held.
async fn create(
    session: &mut Session,
    doing: &str,
    measurement: &str,
    leaf: &Leaf,
) -> Result<(), StoreError> {
    let keyed = "select keyed from measurement where id = $1";
    let keyed: bool = session
        .query_one(doing, keyed, &[&leaf.measurement])
        .await?
        .get(0);
    let (parent, table) = (data_table(measurement), quoted(&leaf.name));
    let mut sql = format!("create table {table} (like {parent} including constraints);");
    for column in ["series_id", "time"] {
        let index = quoted(&brin_index(&leaf.name, column));
        sql.push_str(&format!(
            "create index {index} on {table} using brin ({column})
             with (pages_per_range = {BRIN_PAGES}, autosummarize = off);"
        ));
    }
    if keyed {
        sql.push_str(&key_index(&leaf.name));
    }
    sql.push_str(&format!(
        "alter table {parent} attach partition {table} for values from ({}) to ({});",
        time_literal(leaf.from_us),
        time_literal(leaf.to_us)
    ));
    session.batch(doing, &sql).await?;
    let insert = "insert into partition (measurement_id, name, from_time, to_time, state)
                  values ($1, $2, $3, $4, 'open')";
    let (from, to) = (Time(leaf.from_us), Time(leaf.to_us));
    session
        .execute(doing, insert, &[&leaf.measurement, &leaf.name, &from, &to])
        .await?;
    Ok(())
}

fn brin_index(table: &str, column: &str) -> String {
    format!("{table}_{column}")
}

/// The name of a table's unique index, not quoted.
pub(super) fn key_index_name(table: &str) -> String {
    format!("{table}_key")
}

/// The statement that makes the unique index by which rows of a partition are known.
fn key_index(table: &str) -> String {
    let index = quoted(&key_index_name(table));
    let table = quoted(table);
    format!("create unique index if not exists {index} on {table} (series_id, time);")
}

/// Has rows of a measurement known by (series, time) from now on: an index on each partition that
/// is there, new ones get theirs. Runs inside of a schema change.
pub(super) async fn make_keyed(
    session: &mut Session,
    id: i32,
    name: &str,
) -> Result<(), StoreError> {
    let doing = format!("making rows of {name} unique");
    // Keeps steps out, which lock the parent first, but not queries.
    let lock = format!(
        "lock table only {} in share row exclusive mode",
        data_table(name)
    );
    session.batch(&doing, &lock).await?;
    let leaves = "select name from partition where measurement_id = $1 order by from_time";
    for row in session.query(&doing, leaves, &[&id]).await? {
        let leaf: &str = row.get(0);
        session.batch(&doing, "savepoint before_key").await?;
        match session.batch(&doing, &key_index(leaf)).await {
            Ok(()) => {}
            Err(error) if error.code() == Some("23505") => {
                let table = quoted(leaf);
                // One row of each key stays.
                let sql = format!(
                    "rollback to savepoint before_key;
                     delete from {table} t using
                     (select ctid, row_number() over (partition by series_id, time order by ctid) n
                      from {table}) d where d.ctid = t.ctid and d.n > 1;
                     {}",
                    key_index(leaf)
                );
                session.batch(&doing, &sql).await?;
                tracing::warn!(
                    partition = leaf,
                    "removed repeated rows to make them unique"
                );
            }
            Err(error) => return Err(error),
        }
    }
    let update = "update measurement set keyed = true where id = $1";
    session.execute(&doing, update, &[&id]).await?;
    Ok(())
}

/// Has the BRIN indexes of partitions cover their new pages. A partition that is gone is no error.
async fn summarise(session: &Session, tables: &[String]) -> Result<(), StoreError> {
    let doing = "summarising the indexes of the partitions";
    let indexes: Vec<String> = tables
        .iter()
        .flat_map(|table| ["series_id", "time"].map(|column| brin_index(table, column)))
        .collect();
    let list: Vec<String> = indexes.iter().map(|index| literal(index)).collect();
    let sql = format!(
        "select brin_summarize_new_values(c.oid) from pg_class c
         join pg_namespace n on n.oid = c.relnamespace and n.nspname = current_schema()
         where c.relkind = 'i' and c.relname in ({})",
        list.join(", ")
    );
    session.query_once(doing, &sql, &[]).await?;
    Ok(())
}

/// Locks the bookkeeping rows of partitions against settling, in the transaction of a step, and
/// says whether each is still what it was. The parameters are arrays of measurements and times.
pub(super) const LOCK_LEAVES: &str = "select p.name, p.to_time, p.state
    from unnest($1::integer[], $2::timestamptz[]) with ordinality as v(measurement_id, from_time, n)
    join partition p on p.measurement_id = v.measurement_id and p.from_time = v.from_time
    order by v.n for share of p";

/// What [`LOCK_LEAVES`] takes.
pub(super) struct LeafKeys {
    measurements: Vec<i32>,
    from: Vec<Time>,
}

impl LeafKeys {
    pub(super) fn of(leaves: &[&Leaf]) -> Self {
        Self {
            measurements: leaves.iter().map(|leaf| leaf.measurement).collect(),
            from: leaves.iter().map(|leaf| Time(leaf.from_us)).collect(),
        }
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.measurements, &self.from]
    }
}

/// Whether the rows of [`LOCK_LEAVES`] are these partitions, and all of them take rows.
pub(super) fn are_as_known(rows: &[tokio_postgres::Row], leaves: &[&Leaf]) -> bool {
    rows.len() == leaves.len()
        && rows.iter().zip(leaves).all(|(row, leaf)| {
            row.get::<_, &str>(0) == leaf.name
                && row.get::<_, Time>(1).0 == leaf.to_us
                && State::parse(row.get(2)) == leaf.state
                && leaf.state != State::Settling
        })
}

/// A partition that cannot be had, after it was made.
pub(super) fn vanished() -> StoreError {
    errors::unexpected("looking for a partition", "it vanishes again and again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_partition_fills_the_gap_between_its_neighbours() {
        let mut partitions = Partitions::default();
        let noon = DAY_US / 2;
        assert_eq!(partitions.free_range(1, 5).from_us, 0);
        assert_eq!(partitions.free_range(1, -1).from_us, -DAY_US);
        for (from_us, to_us) in [(0, DAY_US / 24), (noon, noon + DAY_US / 24)] {
            let mut leaf = partitions.free_range(1, from_us);
            (leaf.from_us, leaf.to_us) = (from_us, to_us);
            let leaves = partitions.known.entry(1).or_default();
            leaves.insert(from_us, leaf);
        }
        let gap = partitions.free_range(1, noon - 1);
        assert_eq!((gap.from_us, gap.to_us), (DAY_US / 24, noon));
        assert_eq!(gap.name, "p_1_19700101T0100");
        assert!(partitions.find(1, noon - 1).is_none());
        assert!(partitions.find(1, noon).is_some());
        assert!(partitions.find(2, noon).is_none());
        let other = partitions.free_range(2, noon);
        assert_eq!((other.from_us, other.to_us), (0, DAY_US));
    }
}
