//! The limit: what the database takes when nothing is in its way. The very rows that the sink
//! wrote, held in memory in the form that goes in fastest, into the same tables, emptied, over one
//! connection, in transactions of the size that the sink used.

mod mysql;
mod postgres;
mod sqlite;

use crate::bench::process::ProcessUse;
use crate::bench::target::Target;
use anyhow::ensure;
use std::time::Instant;

/// What the limit was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// In which way the rows went in.
    pub(super) way: &'static str,
    rows: u64,
    seconds: f64,
    pub(super) server_cpu_seconds: f64,
    /// Of this process, which for SQLite is all there is.
    pub(super) client_cpu_seconds: f64,
}

impl Limit {
    pub(super) fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.seconds
    }
}

/// How much is to go in, and in how many parts.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rows: u64,
    transactions: usize,
}

/// Measures it with the rows that are in `target`.
pub(super) fn limit(target: &Target, rows_per_step: f64) -> anyhow::Result<Limit> {
    let rows = target.number("select sum(points) from position")?;
    let plan = Plan {
        rows,
        transactions: (rows as f64 / rows_per_step).ceil().max(1.0) as usize,
    };
    match target {
        Target::Postgres { database, .. } => postgres::copy(target, &database.url, plan),
        Target::Mysql { database, .. } => mysql::better_one(target, &database.url, plan),
        Target::Sqlite(file) => sqlite::inserts(target, &file.path, plan),
    }
}

/// Cuts `rows` into parts that differ by one at most: where each one ends.
fn ends(rows: usize, parts: usize) -> impl Iterator<Item = usize> {
    (1..=parts).map(move |part| rows * part / parts)
}

/// A measurement that is under way.
struct Meter<'a> {
    target: &'a Target,
    server_before: f64,
    client_before: f64,
    begin: Instant,
}

impl<'a> Meter<'a> {
    fn start(target: &'a Target) -> anyhow::Result<Self> {
        Ok(Self {
            target,
            server_before: target.server_cpu_seconds()?,
            client_before: own_cpu_seconds()?,
            begin: Instant::now(),
        })
    }

    fn stop(self, way: &'static str, rows: usize, plan: Plan) -> anyhow::Result<Limit> {
        let seconds = self.begin.elapsed().as_secs_f64();
        let rows = rows as u64;
        ensure!(
            rows == plan.rows,
            "the limit wrote {rows} of {} rows",
            plan.rows
        );
        Ok(Limit {
            way,
            rows,
            seconds,
            server_cpu_seconds: self.target.server_cpu_seconds()? - self.server_before,
            client_cpu_seconds: own_cpu_seconds()? - self.client_before,
        })
    }
}

fn own_cpu_seconds() -> anyhow::Result<f64> {
    Ok(ProcessUse::of(std::process::id())?.cpu_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_all_rows_and_differ_by_one() {
        assert_eq!(ends(10, 3).collect::<Vec<_>>(), [3, 6, 10]);
        assert_eq!(ends(1, 3).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(ends(0, 2).collect::<Vec<_>>(), [0, 0]);
    }
}
