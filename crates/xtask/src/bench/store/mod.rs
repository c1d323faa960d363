//! `bench store` (P5): bytes on disk per value after a day of the default collectors, indexes and
//! page headers included, in every database.
//!
//! A topic holds one whole day of a few hosts, two days ago, so that it may be settled; `tidegauge
//! sink --until-end` writes it as it writes everything. PostgreSQL is looked at twice: as the
//! sink left it, with open partitions, and after `tidegauge store settle`. A null is no value.

mod sizes;

use super::fleet::Shape;
use super::load::{Fleet, fill};
use super::run_sink::{self, Source};
use super::target::{Kind, Target};
use crate::interrupt;
use crate::run::{command, stage};
use anyhow::{Context, ensure};
use serde::Serialize;
use sizes::{Size, sizes};
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_testkit::{random_hex, random_topic};

const DAY_US: i64 = 86_400_000_000;

/// What to measure.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) program: PathBuf,
    pub(super) hosts: u64,
    pub(super) interval_seconds: u64,
    pub(super) stores: Vec<Kind>,
    pub(super) json: bool,
}

/// The figures of one database in one state.
#[derive(Debug, Serialize)]
struct Layout {
    store: &'static str,
    state: &'static str,
    values: u64,
    bytes: u64,
    bytes_per_value: f64,
    measurements: Vec<Measured>,
    /// Hosts, series, positions, the ledger: once, not per day.
    bookkeeping_bytes: u64,
}

/// One measurement's part.
#[derive(Debug, Serialize)]
struct Measured {
    measurement: String,
    rows: u64,
    values: u64,
    table_bytes: u64,
    index_bytes: u64,
    bytes_per_row: f64,
    bytes_per_value: f64,
}

pub(super) fn store(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let program = options.program.as_path();
    let (folder, servers) = super::servers(&options.stores)?;
    let brokers = servers.environment()["TEST_KAFKA"].clone();
    let topic = random_topic("bench-store");
    let fleet = day(options, SystemClock.now_us())?;
    eprintln!("=== filling a topic with {} points", fleet.points);
    let encoding = tidegauge_wire::by_name("compact")
        .and_then(|encoding| encoding.encoder())
        .context("the encoding compact")?;
    let sent = fill(&brokers, &topic, 1, encoding, fleet)?;
    ensure!(
        sent.points == fleet.points,
        "a day is a whole number of collections"
    );
    let mut layouts = Vec::new();
    for &kind in &options.stores {
        interrupt::check()?;
        eprintln!("=== {}", kind.word());
        let target = Target::create(kind, &servers, folder.path())?;
        let group = format!("bench-{}", random_hex(8));
        let source = Source {
            program,
            brokers: &brokers,
            topic: &topic,
            group: &group,
        };
        let ran = run_sink::to_the_end(source, &target, None)?;
        ensure!(
            ran.rows == sent.points,
            "{} rows of {} points arrived",
            ran.rows,
            sent.points
        );
        let is_postgres = kind == Kind::Postgres;
        let state = if is_postgres { "open" } else { "as written" };
        layouts.push(layout(&target, kind, state)?);
        if is_postgres {
            settle(program, &target, folder.path())?;
            layouts.push(layout(&target, kind, "settled")?);
        }
    }
    for layout in &layouts {
        ensure!(
            layout.values == sent.values,
            "{} values of {}",
            layout.values,
            sent.values
        );
    }
    if options.json {
        println!("{}", serde_json::to_string(&layouts)?);
        return Ok(true);
    }
    for layout in &layouts {
        layout.print();
    }
    Ok(true)
}

/// The day that ended a day before today began (UTC).
fn day(options: &Options, now_us: i64) -> anyhow::Result<Fleet> {
    let interval_us = i64::try_from(options.interval_seconds * 1_000_000)?;
    let collections = u64::try_from(DAY_US / interval_us)?;
    let end_us = now_us.div_euclid(DAY_US) * DAY_US - DAY_US;
    Ok(Fleet {
        shape: Shape::Host,
        hosts: options.hosts,
        points: collections * options.hosts * Shape::Host.points_per_batch(),
        interval_us,
        until_us: end_us - DAY_US % interval_us - interval_us,
    })
}

fn settle(program: &Path, target: &Target, folder: &Path) -> anyhow::Result<()> {
    let mut settle = command(program);
    settle
        .args(["store", "settle", "--all", "--store", &target.url()])
        .current_dir(folder)
        // What is printed here is this bench's.
        .stdout(std::process::Stdio::null());
    ensure!(stage("settle", &mut settle)?, "settling failed");
    let open = "select count(*) from partition where state <> 'settled' and to_time < now()";
    let open = target.number(open)?;
    ensure!(open == 0, "{open} partitions were not settled");
    Ok(())
}

fn layout(target: &Target, kind: Kind, state: &'static str) -> anyhow::Result<Layout> {
    let sizes = sizes(target)?;
    let mut measurements = Vec::new();
    for (name, size) in sizes.measurements {
        measurements.push(measured(target, kind, name, size)?);
    }
    let bytes = measurements
        .iter()
        .map(|row| row.table_bytes + row.index_bytes)
        .sum();
    let values = measurements.iter().map(|row| row.values).sum();
    Ok(Layout {
        store: kind.word(),
        state,
        values,
        bytes,
        bytes_per_value: bytes as f64 / values as f64,
        measurements,
        bookkeeping_bytes: sizes.bookkeeping_bytes,
    })
}

fn measured(target: &Target, kind: Kind, name: String, size: Size) -> anyhow::Result<Measured> {
    let quote = if kind == Kind::Mysql { '`' } else { '"' };
    let quoted = |name: &str| format!("{quote}{name}{quote}");
    let fields = format!(
        "select f.name from field f join measurement m on m.id = f.measurement_id \
         where m.name = '{name}' order by 1"
    );
    let fields = target.query(&fields)?.into_iter().flatten().flatten();
    let counts: Vec<String> = fields
        .map(|field| format!("count({})", quoted(&field)))
        .collect();
    let sql = format!(
        "select count(*), {} from {}",
        counts.join(" + "),
        quoted(&format!("m_{name}"))
    );
    let counted = target.query(&sql)?;
    let number = |at: usize| -> anyhow::Result<u64> {
        let text = counted.first().and_then(|row| row.get(at)?.as_deref());
        text.context("a count")?.parse().context("read a count")
    };
    let (rows, values) = (number(0)?, number(1)?);
    let bytes = (size.table_bytes + size.index_bytes) as f64;
    Ok(Measured {
        measurement: name,
        rows,
        values,
        table_bytes: size.table_bytes,
        index_bytes: size.index_bytes,
        bytes_per_row: bytes / rows as f64,
        bytes_per_value: bytes / values as f64,
    })
}

impl Layout {
    fn print(&self) {
        println!("{}, {}", self.store, self.state);
        println!(
            "  {:<12} {:>9} {:>10} {:>12} {:>12} {:>10} {:>12}",
            "measurement", "rows", "values/row", "table", "indexes", "bytes/row", "bytes/value"
        );
        for row in &self.measurements {
            println!(
                "  {:<12} {:>9} {:>10.1} {:>12} {:>12} {:>10.1} {:>12.2}",
                row.measurement,
                row.rows,
                row.values as f64 / row.rows as f64,
                row.table_bytes,
                row.index_bytes,
                row.bytes_per_row,
                row.bytes_per_value,
            );
        }
        println!(
            "  all: {} values in {} bytes, {:.2} bytes per value; bookkeeping {} bytes beside them",
            self.values, self.bytes, self.bytes_per_value, self.bookkeeping_bytes
        );
    }
}

/// Databases by their words; all of them when there is none.
pub(super) fn kinds(words: &[String]) -> anyhow::Result<Vec<Kind>> {
    match words {
        [] => Kind::WORDS.into_iter().map(Kind::by_word).collect(),
        words => words.iter().map(|word| Kind::by_word(word)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lies_between_two_midnights() {
        let options = Options {
            program: PathBuf::new(),
            hosts: 2,
            interval_seconds: 10,
            stores: Vec::new(),
            json: false,
        };
        let fleet = day(&options, 3 * DAY_US + 5).expect("a day");
        assert_eq!(fleet.points, 2 * Shape::Host.points_per_batch() * 8_640);
        assert_eq!(fleet.collections(), 8_640);
        assert_eq!(fleet.until_us, 2 * DAY_US - 10_000_000);
        let first_us = fleet.until_us - 8_639 * fleet.interval_us;
        assert_eq!(first_us, DAY_US);
    }

    #[test]
    fn all_databases_are_meant_when_none_is_named() {
        assert_eq!(kinds(&[]).expect("known words").len(), 3);
        let one = kinds(&["sqlite".to_owned()]).expect("a known word");
        assert_eq!(one, [Kind::Sqlite]);
    }
}
