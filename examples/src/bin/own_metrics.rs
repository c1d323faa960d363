//! An agent as a part of another program, with a gauge, a counter, a timer and a collector of its
//! own, which fails.
//!
//! `own_metrics FOLDER CYCLES [AGENT]` does some work, collects so often, and leaves what it collected
//! in a spool in FOLDER. To publish to Kafka run `tidegauge_agent::publish::run` on the same spool.

use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::collectors::{CollectError, Collector, OwnCollector};
use tidegauge_agent::instruments::{Counter, Gauge, Instruments, Timer};
use tidegauge_agent::{
    AgentStatus, CollectSettings, HostRoots, collect, describe_metrics, identity,
};
use tidegauge_examples::open_spool;
use tidegauge_model::{Clock, Point, SystemClock, name};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Asks a machine that is not there. What it found before it failed would be kept.
struct CoffeeMachine;

impl Collector for CoffeeMachine {
    fn name(&self) -> &'static str {
        "coffee"
    }

    fn collect(&mut self, _: &dyn Clock, _: &mut Vec<Point>) -> Result<(), CollectError> {
        let device = std::fs::read("/nonexistent/coffee");
        device.map(drop).map_err(|source| CollectError::Ask {
            service: "the coffee machine",
            source: Box::new(source),
        })
    }
}

/// What the program is there for.
async fn work(jobs: Gauge, done: Counter, took: Timer) {
    for number in 0_u32.. {
        jobs.set(f64::from(number % 7));
        let began = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        took.record(began.elapsed());
        done.add(1);
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the page of metrics is the program's answer"
)]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // Where the agent counts what happens to it, as any program with the crate `metrics` would.
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    describe_metrics();
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("say a folder")?);
    let cycles = arguments
        .next()
        .context("say how many collections")?
        .parse()?;
    let given = arguments.next();

    let spool = open_spool(&folder)?;
    let roots = HostRoots::default();
    let (agent, _) = identity::agent_id(given.as_deref(), &roots, &folder)?;
    let host = identity::host_name(Some("web-1"), &roots)?;

    let instruments = Instruments::new();
    let queue = || vec![(name!("queue"), "mail".into())];
    let jobs = instruments.gauge(name!("jobs_waiting"), queue())?;
    let done = instruments.counter(name!("jobs_done"), queue())?;
    let took = instruments.timer(name!("job_seconds"), queue())?;
    let work = tokio::spawn(work(jobs, done, took));

    let settings = CollectSettings {
        collectors: Vec::new(),
        own_collectors: vec![
            OwnCollector::new("coffee", |_| Box::new(CoffeeMachine)),
            instruments.collector("jobs"),
        ],
        interval: Duration::from_millis(250),
        first_at_once: true,
        cycles: Some(cycles),
        ..CollectSettings::new(agent, host, roots)
    };
    collect::run(
        settings,
        spool,
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        AgentStatus::new(),
        CancellationToken::new(),
    )
    .await?;
    work.abort();
    println!("{}", recorder.render());
    Ok(())
}
