//! What `bench sink` prints.

use super::Options;
use super::limit::Limit;
use crate::bench::figures::median;
use crate::bench::load::Sent;
use crate::bench::run_sink::Ran;
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
    /// The greatest of all rounds.
    peak_rss_bytes: u64,
    sink_cpu_seconds: f64,
    server_cpu_seconds: f64,
    limit_server_cpu_seconds: f64,
    limit_client_cpu_seconds: f64,
    rows_per_transaction: f64,
    ratios: Vec<f64>,
    sink_rows_per_second_of_rounds: Vec<f64>,
    limit_rows_per_second_of_rounds: Vec<f64>,
}

pub(super) fn report(options: &Options, sent: &Sent, sinks: &[Ran], limits: &[Limit]) -> Report {
    let rates: Vec<f64> = sinks.iter().map(Ran::rows_per_second).collect();
    let limit_rates: Vec<f64> = limits.iter().map(Limit::rows_per_second).collect();
    let pairs = rates.iter().zip(&limit_rates);
    let ratios: Vec<f64> = pairs.map(|(rate, limit)| rate / limit).collect();
    let values_per_row = sent.values as f64 / sent.points as f64;
    let (rate, limit_rate) = (median(rates.clone()), median(limit_rates.clone()));
    Report {
        store: options.store.word(),
        encoding: options.encoding.clone(),
        rows: sent.points,
        values: sent.values,
        message_bytes: sent.bytes,
        rounds: sinks.len(),
        limit_way: limits.last().map_or("", |limit| limit.way),
        limit_rows_per_second: limit_rate,
        limit_values_per_second: limit_rate * values_per_row,
        sink_rows_per_second: rate,
        sink_values_per_second: rate * values_per_row,
        ratio: median(ratios.clone()),
        peak_rss_bytes: sinks
            .iter()
            .map(|ran| ran.peak_rss_bytes)
            .max()
            .unwrap_or(0),
        sink_cpu_seconds: median(sinks.iter().map(|ran| ran.cpu_seconds)),
        server_cpu_seconds: median(sinks.iter().map(|ran| ran.server_cpu_seconds)),
        limit_server_cpu_seconds: median(limits.iter().map(|limit| limit.server_cpu_seconds)),
        limit_client_cpu_seconds: median(limits.iter().map(|limit| limit.client_cpu_seconds)),
        rows_per_transaction: median(sinks.iter().map(Ran::rows_per_step)),
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
            "CPU                      sink {:.1} s, its server {:.1} s",
            self.sink_cpu_seconds, self.server_cpu_seconds
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
