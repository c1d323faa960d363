//! A producer of numbered samples, run as a process of its own so that it can be killed: the
//! agent's own writer, spool and publisher, with a journal beside them that knows every number.

use super::journal::{self, Journal, Outcome, Written};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::{AgentStatus, CollectSettings, HostRoots, PublishSettings, Writer, publish};
use tidegauge_kafka::KafkaSettings;
use tidegauge_model::{AgentId, Clock, Host, Point, SystemClock, name};
use tidegauge_spool::{Spool, SpoolSettings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Samples of one batch.
const NUMBERS: u64 = 3;
/// As the agent: what was spooled last is still sent, if that is possible in a moment.
const MOMENT: Duration = Duration::from_secs(3);
/// Spools of agents keep batches for thirty days.
const SPOOL_AGE_US: i64 = 30 * 86_400 * 1_000_000;

/// What a producer is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProducerSettings {
    pub(super) name: String,
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) encoding: String,
    pub(super) interval_ms: u64,
    pub(super) spool: PathBuf,
    pub(super) spool_bytes: u64,
    pub(super) journal: PathBuf,
}

/// The bounds of an agent's spool.
pub(super) const fn spool_settings(max_bytes: u64) -> SpoolSettings {
    SpoolSettings {
        max_bytes,
        max_age_us: SPOOL_AGE_US,
    }
}

/// `cargo xtask faults-producer`, which only the fault runs start.
pub(super) fn produce(settings: &str) -> anyhow::Result<bool> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter("warn,tidegauge=info,librdkafka=error")
        .init();
    let settings: ProducerSettings = serde_json::from_str(settings).context("read the settings")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(work(settings))?;
    Ok(true)
}

async fn work(settings: ProducerSettings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bounds = spool_settings(settings.spool_bytes);
    let (spool, _) =
        Spool::open(&settings.spool, bounds, clock.now_us()).context("open the spool")?;
    let status = AgentStatus::new();
    let (appended, cancel, end) = (
        Arc::new(Notify::new()),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let agent = AgentId::new(settings.name.clone())?;
    let kafka = KafkaSettings {
        brokers: vec![settings.brokers.clone()],
        client_id: settings.name.clone(),
        properties: std::collections::BTreeMap::new(),
        ..KafkaSettings::default()
    };
    let published = tokio::spawn(publish::run(
        PublishSettings::new(kafka, &settings.topic, agent),
        spool.clone(),
        Arc::clone(&clock),
        Arc::clone(&appended),
        status.clone(),
        end.clone(),
    ));
    let numbers = Numbers::new(&settings, spool.clone(), clock, status)?;
    let interval = Duration::from_millis(settings.interval_ms);
    let (stop, written) = (cancel.clone(), Arc::clone(&appended));
    let writing = tokio::task::spawn_blocking(move || numbers.write(interval, &stop, &written));
    terminate.recv().await;
    cancel.cancel();
    writing.await.context("the writer died")??;
    let emptied = async {
        while spool.stats().is_ok_and(|stats| stats.entries > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // What could not be sent stays in the spool.
    tokio::time::timeout(MOMENT, emptied).await.ok();
    end.cancel();
    published.await.context("the publisher died")??;
    Ok(())
}

struct Numbers {
    writer: Writer,
    spool: Spool,
    status: AgentStatus,
    clock: Arc<dyn Clock>,
    journal: Journal,
    next: u64,
}

impl Numbers {
    fn new(
        settings: &ProducerSettings,
        spool: Spool,
        clock: Arc<dyn Clock>,
        status: AgentStatus,
    ) -> anyhow::Result<Self> {
        let known = journal::read(&settings.journal)?;
        let next = known
            .last()
            .map_or(0, |last| last.first_number + last.numbers);
        let agent = AgentId::new(settings.name.clone())?;
        let host = Host::new(settings.name.clone())?;
        let encoding = tidegauge_wire::by_name(&settings.encoding)
            .and_then(|encoding| encoding.encoder())
            .context("an encoding that is sent")?;
        let collect = CollectSettings {
            encoding,
            ..CollectSettings::new(agent, host, HostRoots::default())
        };
        let mut writer = Writer::new(&collect, spool.clone(), Arc::clone(&clock), status.clone());
        writer.begin_epoch().context("begin an epoch")?;
        let journal = Journal::open(&settings.journal)?;
        Ok(Self {
            writer,
            spool,
            status,
            clock,
            journal,
            next,
        })
    }

    /// Writes a batch at every interval, until told to stop.
    fn write(
        mut self,
        interval: Duration,
        stop: &CancellationToken,
        appended: &Notify,
    ) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.write_one()?;
            appended.notify_one();
            std::thread::sleep(interval);
        }
        Ok(())
    }

    fn write_one(&mut self) -> anyhow::Result<()> {
        let (epoch, sequence) = self.spool.next();
        let batch = Written {
            epoch,
            sequence,
            first_number: self.next,
            numbers: NUMBERS,
            outcome: Outcome::Unknown,
        };
        self.next += NUMBERS;
        self.journal.begin(&batch)?;
        let now_us = self.clock.now_us();
        let points = (0..NUMBERS).map(|at| {
            Point::new(name!("numbered"), now_us + at as i64)
                .field(name!("n"), (batch.first_number + at) as f64)
        });
        let before = self.status.figures().batches;
        self.writer.write(points.collect(), false);
        self.journal.end(self.status.figures().batches > before)
    }
}
