//! What `bench sink` prints.

use super::{Options, Round};
use crate::bench::figures::median;
use crate::bench::load::Sent;
use serde::Serialize;

/// The figures, each the median of the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    store: &'static str,
    encoding: String,
    rows: u64,
    values: u64,
    message_bytes: u64,
    rounds: usize,
    limit_way: &'static str,
    limit_rows_per_second: f64,
    limit_values_per_second: f64,
    sink_rows_per_second: f64,
    sink_values_per_second: f64,
    ratio: f64,
    /// If no core had been idle while the sink ran.
    ratio_without_idle: f64,
    /// The greatest of all rounds.
    peak_rss_bytes: u64,
    sink_cpu_seconds: f64,
    server_cpu_seconds: f64,
    broker_cpu_seconds: f64,
    /// While the sink ran, over all cores and programs.
    machine_busy_seconds: f64,
    machine_idle_seconds: f64,
    limit_server_cpu_seconds: f64,
    limit_client_cpu_seconds: f64,
    rows_per_transaction: f64,
    ratios: Vec<f64>,
    sink_rows_per_second_of_rounds: Vec<f64>,
    limit_rows_per_second_of_rounds: Vec<f64>,
}

pub(super) fn report(options: &Options, sent: &Sent, rounds: &[Round]) -> Report {
    let of = |figure: fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(figure).collect() };
    let rates = of(|round| round.sink.rows_per_second());
    let limit_rates = of(|round| round.limit.rows_per_second());
    let ratios = of(Round::ratio);
    let values_per_row = sent.values as f64 / sent.points as f64;
    let (rate, limit_rate) = (median(rates.clone()), median(limit_rates.clone()));
    let peaks = rounds.iter().map(|round| round.sink.peak_rss_bytes);
    Report {
        store: options.store.word(),
        encoding: options.encoding.clone(),
        rows: sent.points,
        values: sent.values,
        message_bytes: sent.bytes,
        rounds: rounds.len(),
        limit_way: rounds.last().map_or("", |round| round.limit.way),
        limit_rows_per_second: limit_rate,
        limit_values_per_second: limit_rate * values_per_row,
        sink_rows_per_second: rate,
        sink_values_per_second: rate * values_per_row,
        ratio: median(ratios.clone()),
        ratio_without_idle: median(of(Round::ratio_without_idle)),
        peak_rss_bytes: peaks.max().unwrap_or(0),
        sink_cpu_seconds: median(of(|round| round.sink.cpu_seconds)),
        server_cpu_seconds: median(of(|round| round.sink.server_cpu_seconds)),
        broker_cpu_seconds: median(of(|round| round.broker_cpu_seconds)),
        machine_busy_seconds: median(of(|round| round.machine.busy_seconds)),
        machine_idle_seconds: median(of(|round| round.machine.idle_seconds)),
        limit_server_cpu_seconds: median(of(|round| round.limit.server_cpu_seconds)),
        limit_client_cpu_seconds: median(of(|round| round.limit.client_cpu_seconds)),
        rows_per_transaction: median(of(|round| round.sink.rows_per_step())),
        ratios,
        sink_rows_per_second_of_rounds: rates,
        limit_rows_per_second_of_rounds: limit_rates,
    }
}

impl Report {
    pub(super) fn print(&self, json: bool) -> anyhow::Result<bool> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(true);
        }
        println!("store, encoding          {}, {}", self.store, self.encoding);
        println!(
            "rows                     {} ({:.1} values each, {:.0} bytes each)",
            self.rows,
            self.values as f64 / self.rows as f64,
            self.message_bytes as f64 / self.rows as f64
        );
        println!(
            "limit: {:<17} {:.0} rows/s, {:.0} values/s",
            self.limit_way, self.limit_rows_per_second, self.limit_values_per_second
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
            "CPU                      sink {:.1} s, its server {:.1} s, broker {:.1} s",
            self.sink_cpu_seconds, self.server_cpu_seconds, self.broker_cpu_seconds
        );
        println!(
            "all cores                busy {:.1} s, idle {:.1} s; never idle, the ratio would be {:.2}",
            self.machine_busy_seconds, self.machine_idle_seconds, self.ratio_without_idle
        );
        println!(
            "CPU of the limit         client {:.1} s, server {:.1} s",
            self.limit_client_cpu_seconds, self.limit_server_cpu_seconds
        );
        println!(
            "peak RSS of the sink     {:.1} MB",
            self.peak_rss_bytes as f64 / 1e6
        );
        println!("rows per transaction     {:.0}", self.rows_per_transaction);
        Ok(true)
    }
}
