//! `bench sink` (P1): rows per second from Kafka to the database, against the database's own limit
//! with the very same rows in the same tables, in the same run.
//!
//! A round is (b) `tidegauge sink --until-end` as a user runs it, from process start to exit, into
//! an empty database, then (a) the limit: its tables are emptied, and the very rows that it wrote,
//! held in memory, go in again over one connection, in transactions of the size that the sink
//! used (`limit` says how). Broker, database and program share the machine.
//!
//! Before the first round a small topic goes the same way uncounted: the first consumer group of a
//! broker waits for seconds until the broker has made its topic of offsets, and the first rows of a
//! server wait for the files of its log.

mod limit;
mod report;

use super::fleet::Shape;
use super::load::{Fleet, fill};
use super::process::{MachineUse, tree_cpu_seconds};
use super::run_sink::{self, Ran, Source};
use super::target::{Kind, Target};
use crate::interrupt;
use crate::run::target as build_folder;
use anyhow::Context;
use limit::Limit;
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_testkit::{random_hex, random_topic};

/// Points that go through before the first round.
const WARM_UP_POINTS: u64 = 100_000;

/// One sink, its limit, and what else was at work while the sink ran.
#[derive(Debug)]
struct Round {
    sink: Ran,
    limit: Limit,
    broker_cpu_seconds: f64,
    /// All programs and all cores.
    machine: MachineUse,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.sink.rows_per_second() / self.limit.rows_per_second()
    }

    /// What the ratio would be if no core had ever been idle: the most that a better order of the
    /// same work can bring on these cores.
    fn ratio_without_idle(&self) -> f64 {
        let MachineUse {
            busy_seconds,
            idle_seconds,
        } = self.machine;
        self.ratio() * (busy_seconds + idle_seconds) / busy_seconds
    }
}

/// What to measure.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) program: PathBuf,
    pub(super) points: u64,
    pub(super) partitions: i32,
    pub(super) encoding: String,
    pub(super) shape: Shape,
    pub(super) store: Kind,
    pub(super) rounds: usize,
    /// Runs the sinks under perf.
    pub(super) profile: bool,
    pub(super) json: bool,
}

pub(super) fn sink(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let program = options.program.as_path();
    let (folder, servers) = super::servers(&[options.store])?;
    let environment = servers.environment();
    let (brokers, topic) = (&environment["TEST_KAFKA"], random_topic("bench-sink"));
    let broker = servers.kafka_process_id().context("Kafka has ended")?;
    let encoding = tidegauge_wire::by_name(&options.encoding)
        .and_then(|encoding| encoding.encoder())
        .with_context(|| format!("no agent sends the encoding {}", options.encoding))?;
    let fleet_of = |points| Fleet {
        shape: options.shape,
        hosts: 100,
        points,
        interval_us: 10_000_000,
        until_us: SystemClock.now_us(),
    };
    let one_round = |topic: &str, points: u64, profile: Option<&Path>| {
        interrupt::check()?;
        let target = Target::create(options.store, &servers, folder.path())?;
        let group = format!("bench-{}", random_hex(8));
        let source = Source {
            program,
            brokers,
            topic,
            group: &group,
        };
        let (broker_before, machine_before) = (tree_cpu_seconds(broker)?, MachineUse::now()?);
        let ran = run_sink::to_the_end(source, &target, profile)?;
        let machine = MachineUse::now()?.since(machine_before);
        let broker_cpu_seconds = tree_cpu_seconds(broker)? - broker_before;
        anyhow::ensure!(
            ran.rows == points,
            "{} rows of {points} points arrived",
            ran.rows
        );
        let limit = limit::limit(&target, ran.rows_per_step())?;
        anyhow::Ok(Round {
            sink: ran,
            limit,
            broker_cpu_seconds,
            machine,
        })
    };
    eprintln!("=== filling topics");
    let warm_up = random_topic("bench-warm-up");
    let fleet = fleet_of(WARM_UP_POINTS.min(options.points));
    let points = fill(brokers, &warm_up, options.partitions, encoding, fleet)?.points;
    let fleet = fleet_of(options.points);
    let sent = fill(brokers, &topic, options.partitions, encoding, fleet)?;
    eprintln!(
        "=== {} points in {} messages, {} MB",
        sent.points,
        sent.messages,
        sent.bytes / 1_000_000
    );
    one_round(&warm_up, points, None)?;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let profile = options
            .profile
            .then(|| build_folder().join(format!("bench-sink-{round}.perf")));
        let done = one_round(&topic, sent.points, profile.as_deref())?;
        if let Some(profile) = profile {
            eprintln!("=== profile: perf report -i {}", profile.display());
        }
        eprintln!(
            "=== round {round}: sink {:.0} rows/s, limit {:.0} rows/s by {}, ratio {:.2}",
            done.sink.rows_per_second(),
            done.limit.rows_per_second(),
            done.limit.way,
            done.ratio()
        );
        rounds.push(done);
    }
    report::report(options, &sent, &rounds).print(options.json)
}
