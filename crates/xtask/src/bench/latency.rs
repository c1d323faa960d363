//! `bench latency` (P4): from a sample's time to the moment when a reader sees it, at a steady load.
//!
//! Batches are sent evenly, each with the time at which it is made as its samples' time; a
//! `tidegauge sink` as a user runs it writes them into PostgreSQL. A reader on a connection of its
//! own asks every few milliseconds how far the one partition is applied: positions and rows
//! are written by one transaction (D3), so who sees one sees the other, which is checked at the
//! end. The reader notes the time after the answer, so a figure is too large by up to one round
//! of the reader, which is printed, and never too small.

use super::figures::{percentile, sorted};
use super::fleet::{Numbers, Shape};
use super::load::Loader;
use super::process::ProcessUse;
use super::run_sink::{self, Source};
use super::target::{Kind, Target};
use crate::interrupt;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_testkit::{random_hex, random_topic};
use tokio_postgres::NoTls;

/// Hosts that take turns.
const HOSTS: u64 = 100;
/// Before a load is measured: new tables and series, the first steps.
const WARM_UP: Duration = Duration::from_secs(10);
/// Between two questions of the reader.
const POLL: Duration = Duration::from_millis(2);
/// How long the last batches may take until they are seen.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) program: PathBuf,
    /// Points per second, one load after the other.
    pub(super) rates: Vec<u64>,
    pub(super) seconds: u64,
    pub(super) encoding: String,
    pub(super) json: bool,
}

/// The figures of one load.
#[derive(Debug, Serialize)]
struct Row {
    wanted_points_per_second: u64,
    points_per_second: f64,
    seconds: f64,
    batches: usize,
    p50_milliseconds: f64,
    p99_milliseconds: f64,
    max_milliseconds: f64,
    /// One round of the reader, by which a figure may be too large.
    p99_poll_milliseconds: f64,
    sink_cpu_percent_of_one_core: f64,
}

/// A batch that was sent: its samples' time, and the points sent up to and with it.
#[derive(Debug, Clone, Copy)]
struct SentBatch {
    time_us: i64,
    points: u64,
    is_measured: bool,
}

/// What the reader saw.
#[derive(Debug, Default)]
struct Seen {
    latencies_ms: Vec<f64>,
    polls_ms: Vec<f64>,
}

pub(super) fn latency(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let program = options.program.as_path();
    let (folder, servers) = super::servers(&[Kind::Postgres])?;
    let brokers = servers.environment()["TEST_KAFKA"].clone();
    let mut rows = Vec::new();
    for &rate in &options.rates {
        eprintln!("=== {rate} points/s for {} s", options.seconds);
        let target = Target::create(Kind::Postgres, &servers, folder.path())?;
        rows.push(measure(program, &brokers, &target, rate, options)?);
    }
    if options.json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(true);
    }
    println!(
        "{:>10} {:>12} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "points/s", "reached", "p50", "p99", "max", "poll p99", "sink CPU"
    );
    for row in &rows {
        println!(
            "{:>10} {:>12.0} {:>7.1} ms {:>7.1} ms {:>7.1} ms {:>9.1} ms {:>8.1} %",
            row.wanted_points_per_second,
            row.points_per_second,
            row.p50_milliseconds,
            row.p99_milliseconds,
            row.max_milliseconds,
            row.p99_poll_milliseconds,
            row.sink_cpu_percent_of_one_core,
        );
    }
    Ok(true)
}

fn measure(
    program: &Path,
    brokers: &str,
    target: &Target,
    rate: u64,
    options: &Options,
) -> anyhow::Result<Row> {
    let (topic, group) = (
        random_topic("bench-latency"),
        format!("bench-{}", random_hex(8)),
    );
    let encoding = tidegauge_wire::by_name(&options.encoding)
        .and_then(|encoding| encoding.encoder())
        .with_context(|| format!("no agent sends the encoding {}", options.encoding))?;
    let mut loader = Loader::new(brokers, &topic, 1, encoding)?;
    let source = Source {
        program,
        brokers,
        topic: &topic,
        group: &group,
    };
    let sink = run_sink::start(source, target)?;
    // Holds what was sent and not seen yet: the sink's backlog, which is short while it keeps up.
    let (sender, sent) = channel();
    let url = target.url();
    let reader = std::thread::spawn(move || read(&url, &sent));
    let per_batch = Shape::Host.points_per_batch();
    let pause = Duration::from_secs_f64(per_batch as f64 / rate as f64);
    let mut numbers = Numbers::default();
    let (begin, mut before) = (Instant::now(), None);
    let end = WARM_UP + Duration::from_secs(options.seconds);
    let mut number = 0;
    loop {
        let due = pause.mul_f64(number as f64);
        if due >= end {
            break;
        }
        if let Some(rest) = due.checked_sub(begin.elapsed()) {
            std::thread::sleep(rest);
        }
        if number % 256 == 0 {
            interrupt::check()?;
        }
        let is_measured = due >= WARM_UP;
        if is_measured && before.is_none() {
            before = Some((number, Instant::now(), ProcessUse::of(sink.0.id())?));
        }
        let time_us = SystemClock.now_us();
        let batch = Shape::Host.batch(number % HOSTS, number / HOSTS, time_us, &mut numbers)?;
        loader.send(number % HOSTS, &batch)?;
        number += 1;
        let batch = SentBatch {
            time_us,
            points: number * per_batch,
            is_measured,
        };
        // A reader that failed says why below.
        if sender.send(batch).is_err() {
            break;
        }
    }
    drop(sender);
    let (first, since, used) = before.context("the warm-up ended")?;
    let seconds = since.elapsed().as_secs_f64();
    let cpu_seconds = ProcessUse::of(sink.0.id())?.cpu_seconds - used.cpu_seconds;
    let all = loader.finish()?;
    let seen = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    drop(sink);
    check_rows(target, all.points)?;
    let (latencies, polls) = (sorted(seen.latencies_ms), sorted(seen.polls_ms));
    Ok(Row {
        wanted_points_per_second: rate,
        points_per_second: ((number - first) * per_batch) as f64 / seconds,
        seconds,
        batches: latencies.len(),
        p50_milliseconds: percentile(&latencies, 50.0),
        p99_milliseconds: percentile(&latencies, 99.0),
        max_milliseconds: percentile(&latencies, 100.0),
        p99_poll_milliseconds: percentile(&polls, 99.0),
        sink_cpu_percent_of_one_core: cpu_seconds / seconds * 100.0,
    })
}

/// Rows are there for all points of which the positions tell: one point of each batch is one of
/// `load`.
fn check_rows(target: &Target, points: u64) -> anyhow::Result<()> {
    let rows = target.number("select count(*) from load")?;
    let batches = points / Shape::Host.points_per_batch();
    ensure!(
        rows == batches,
        "{rows} rows of {batches} batches are there"
    );
    Ok(())
}

/// Asks how many points are applied until all that were sent are.
fn read(url: &str, sent: &Receiver<SentBatch>) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let seen = watch(&client, sent).await;
        drop(client);
        connection.await??;
        seen
    })
}

async fn watch(
    client: &tokio_postgres::Client,
    sent: &Receiver<SentBatch>,
) -> anyhow::Result<Seen> {
    // Until the sink has made its tables nothing can be asked.
    let exists = "select to_regclass('position') is not null";
    while !client.query_one(exists, &[]).await?.get::<_, bool>(0) {
        tokio::time::sleep(POLL).await;
    }
    let applied = client
        .prepare("select coalesce(sum(points), 0)::bigint from position")
        .await?;
    let (mut seen, mut waiting) = (Seen::default(), VecDeque::new());
    let mut last_sent = None;
    let mut last_poll = Instant::now();
    loop {
        let points = u64::try_from(client.query_one(&applied, &[]).await?.get::<_, i64>(0))?;
        let now_us = SystemClock.now_us();
        seen.polls_ms.push(last_poll.elapsed().as_secs_f64() * 1e3);
        last_poll = Instant::now();
        loop {
            match sent.try_recv() {
                Ok(batch) => waiting.push_back(batch),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    last_sent.get_or_insert_with(Instant::now);
                    break;
                }
            }
        }
        take_seen(&mut waiting, points, now_us, &mut seen);
        if let Some(since) = last_sent {
            if waiting.is_empty() {
                return Ok(seen);
            }
            ensure!(
                since.elapsed() < SEEN_WITHIN,
                "{} batches were not seen within {SEEN_WITHIN:?}",
                waiting.len()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One partition, one producer: batches are applied in the order in which they were sent.
fn take_seen(waiting: &mut VecDeque<SentBatch>, points: u64, now_us: i64, seen: &mut Seen) {
    while let Some(batch) = waiting.pop_front_if(|batch| batch.points <= points) {
        if batch.is_measured {
            seen.latencies_ms
                .push((now_us - batch.time_us) as f64 / 1e3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_is_seen_and_counted_after_the_warm_up() {
        let batch = |time_us, points, is_measured| SentBatch {
            time_us,
            points,
            is_measured,
        };
        let mut waiting = VecDeque::from([
            batch(0, 18, false),
            batch(1_000, 36, true),
            batch(2_000, 54, true),
        ]);
        let mut seen = Seen::default();
        take_seen(&mut waiting, 17, 9_000, &mut seen);
        assert_eq!(waiting.len(), 3);
        take_seen(&mut waiting, 40, 9_000, &mut seen);
        assert_eq!(waiting.len(), 1);
        take_seen(&mut waiting, 54, 10_500, &mut seen);
        assert!(waiting.is_empty());
        let expected = [8.0_f64, 8.5].map(f64::to_bits);
        let found: Vec<u64> = seen.latencies_ms.iter().map(|ms| ms.to_bits()).collect();
        assert_eq!(found, expected);
    }
}
