//! `bench sink` (P1): rows per second from Kafka to the database, against a raw COPY of the very
//! same rows into the same tables, in the same run.
//!
//! A round is (b) `tidegauge sink --until-end` as a user runs it, from process start to exit, into
//! an empty database, then (a) the limit: its tables are emptied, and the very rows that it wrote,
//! held in memory as binary COPY data, go in again over one connection, in transactions of the
//! size that the sink used. Broker, database and program share the machine.

mod limit;
mod run;

use super::load::{Fleet, Sent, fill};
use super::release_build;
use crate::interrupt;
use anyhow::Context;
use serde::Serialize;
use tidegauge_model::{Clock, SystemClock};
use tidegauge_testkit::{Database, random_topic};

/// What to measure.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) points: u64,
    pub(super) partitions: i32,
    pub(super) encoding: String,
    pub(super) rounds: usize,
    pub(super) json: bool,
}

/// The figures, each the median of the rounds.
#[derive(Debug, Serialize)]
struct Report {
    encoding: String,
    rows: u64,
    values: u64,
    message_bytes: u64,
    rounds: usize,
    limit_rows_per_second: f64,
    sink_rows_per_second: f64,
    sink_values_per_second: f64,
    ratio: f64,
    peak_rss_bytes: u64,
    sink_cpu_seconds: f64,
    server_cpu_seconds: f64,
    limit_server_cpu_seconds: f64,
    rows_per_transaction: f64,
    ratios: Vec<f64>,
}

pub(super) fn sink(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let program = release_build()?;
    let (_folder, servers) = super::servers()?;
    let environment = servers.environment();
    let (brokers, topic) = (&environment["TEST_KAFKA"], random_topic("bench-sink"));
    let encoding = tidegauge_wire::by_name(&options.encoding)
        .and_then(|encoding| encoding.encoder())
        .with_context(|| format!("no agent sends the encoding {}", options.encoding))?;
    let fleet = Fleet {
        hosts: 100,
        points: options.points,
        interval_us: 10_000_000,
        until_us: SystemClock.now_us(),
    };
    eprintln!("=== filling a topic");
    let sent = fill(brokers, &topic, options.partitions, encoding, fleet)?;
    eprintln!(
        "=== {} points in {} messages, {} MB",
        sent.points,
        sent.messages,
        sent.bytes / 1_000_000
    );
    let server = servers.postgres_process_id().context("the database runs")?;
    let (mut sinks, mut limits) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        interrupt::check()?;
        let database = Database::create(&environment["TEST_POSTGRES"])?;
        let ran = run::sink(&program, brokers, &topic, &database, server)?;
        anyhow::ensure!(
            ran.rows == sent.points,
            "{} rows of {} points arrived",
            ran.rows,
            sent.points
        );
        let limit = limit::copy(&database, ran.rows_per_step(), server)?;
        eprintln!(
            "=== round {round}: sink {:.0} rows/s, limit {:.0} rows/s, ratio {:.2}",
            ran.rows_per_second(),
            limit.rows_per_second(),
            ran.rows_per_second() / limit.rows_per_second()
        );
        sinks.push(ran);
        limits.push(limit);
    }
    report(options, &sent, &sinks, &limits).print(options.json)
}

fn report(options: &Options, sent: &Sent, sinks: &[run::Ran], limits: &[limit::Limit]) -> Report {
    let rates = sinks.iter().map(run::Ran::rows_per_second);
    let ratios: Vec<f64> = rates
        .clone()
        .zip(limits)
        .map(|(rate, limit)| rate / limit.rows_per_second())
        .collect();
    let sink_rate = median(rates.collect());
    Report {
        encoding: options.encoding.clone(),
        rows: sent.points,
        values: sent.values,
        message_bytes: sent.bytes,
        rounds: sinks.len(),
        limit_rows_per_second: median(limits.iter().map(limit::Limit::rows_per_second).collect()),
        sink_rows_per_second: sink_rate,
        sink_values_per_second: sink_rate * sent.values as f64 / sent.points as f64,
        ratio: median(ratios.clone()),
        peak_rss_bytes: sinks
            .iter()
            .map(|ran| ran.peak_rss_bytes)
            .max()
            .unwrap_or(0),
        sink_cpu_seconds: median(sinks.iter().map(|ran| ran.cpu_seconds).collect()),
        server_cpu_seconds: median(sinks.iter().map(|ran| ran.server_cpu_seconds).collect()),
        limit_server_cpu_seconds: median(
            limits
                .iter()
                .map(|limit| limit.server_cpu_seconds)
                .collect(),
        ),
        rows_per_transaction: median(sinks.iter().map(run::Ran::rows_per_step).collect()),
        ratios,
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    fn print(&self, json: bool) -> anyhow::Result<bool> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(true);
        }
        println!("encoding                 {}", self.encoding);
        println!(
            "rows                     {} ({:.1} values each, {:.0} bytes each)",
            self.rows,
            self.values as f64 / self.rows as f64,
            self.message_bytes as f64 / self.rows as f64
        );
        println!(
            "limit: raw COPY          {:.0} rows/s (server {:.1} CPU s)",
            self.limit_rows_per_second, self.limit_server_cpu_seconds
        );
        println!(
            "sink                     {:.0} rows/s, {:.0} values/s",
            self.sink_rows_per_second, self.sink_values_per_second
        );
        println!(
            "ratio                    {:.2} (rounds: {:.2?})",
            self.ratio, self.ratios
        );
        println!(
            "CPU                      sink {:.1} s, server {:.1} s",
            self.sink_cpu_seconds, self.server_cpu_seconds
        );
        println!(
            "peak RSS of the sink     {:.1} MB",
            self.peak_rss_bytes as f64 / 1e6
        );
        println!("rows per transaction     {:.0}", self.rows_per_transaction);
        Ok(true)
    }
}
