//! The listener `statsd`: StatsD and DogStatsD over UDP, TCP and unix datagrams.
//!
//! Lines are read where they come in and put together by series ([`aggregate`]); what
//! came of them is handed on every interval. Senders are not answered, so what finds no room is
//! refused and counted. `docs/listeners.md` is its reference.

mod aggregate;
mod sockets;
mod values;

use super::{
    AgentError, Bindings, Intake, Listener, ListenerEntry, ListenerSettings, OpenedListener,
};
use aggregate::{Aggregate, refused};
use async_trait::async_trait;
use sockets::Sockets;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegauge_model::{Name, Reason};
use tidegauge_wire::statsd::parse;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(super) const ENTRY: ListenerEntry = ListenerEntry {
    name: "statsd",
    measurement: None,
    description: "Counters, gauges, timers and sets of StatsD and DogStatsD, over UDP, TCP and unix datagrams.",
    open,
};

/// Settings of the listener.
#[derive(Debug, Clone)]
pub struct StatsdSettings {
    /// Where it takes datagrams.
    pub udp: Option<SocketAddr>,
    /// Where it takes connections.
    pub tcp: Option<SocketAddr>,
    /// The socket where it takes unix datagrams.
    pub unix: Option<PathBuf>,
    /// How often it hands on what came.
    pub interval: Duration,
    /// After so long without a sample a counter or a gauge is told no more.
    pub expiry: Duration,
    /// Put before all names.
    pub prefix: Option<Name>,
    /// Whether addresses that are not loopback are fine.
    pub allow_insecure: bool,
}

impl Default for StatsdSettings {
    fn default() -> Self {
        Self {
            udp: None,
            tcp: None,
            unix: None,
            interval: Duration::from_secs(10),
            expiry: Duration::from_secs(3_600),
            prefix: None,
            allow_insecure: false,
        }
    }
}

fn open(
    settings: &ListenerSettings,
    bindings: &mut Bindings,
) -> Result<Vec<OpenedListener>, AgentError> {
    let Some(settings) = &settings.statsd else {
        return Ok(Vec::new());
    };
    let (sockets, addresses) = Sockets::open(settings, bindings)?;
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![OpenedListener {
        name: ENTRY.name.to_owned(),
        addresses,
        prefix: settings.prefix.clone(),
        listener: Box::new(Statsd {
            sockets,
            interval: settings.interval,
            expiry_us: i64::try_from(settings.expiry.as_micros()).unwrap_or(i64::MAX),
        }),
    }])
}

struct Statsd {
    sockets: Sockets,
    interval: Duration,
    expiry_us: i64,
}

#[async_trait]
impl Listener for Statsd {
    async fn run(self: Box<Self>, intake: Intake, cancel: CancellationToken) {
        let lines = Lines::new(intake, self.expiry_us);
        let mut tasks = JoinSet::new();
        self.sockets.spawn(&mut tasks, &lines, &cancel);
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = ticks.tick() => lines.flush(),
            }
        }
        while tasks.join_next().await.is_some() {}
        lines.flush();
    }
}

/// Where all sockets put their lines.
#[derive(Clone)]
struct Lines {
    intake: Intake,
    aggregate: Arc<Mutex<Aggregate>>,
}

impl Lines {
    fn new(intake: Intake, expiry_us: i64) -> Self {
        let limits = intake.limits();
        let (series, tag_bytes) = (limits.series, limits.tag_bytes);
        let aggregate = Aggregate::new(series, tag_bytes, expiry_us, intake.now_us());
        Self {
            intake,
            aggregate: Arc::new(Mutex::new(aggregate)),
        }
    }

    fn aggregate(&self) -> std::sync::MutexGuard<'_, Aggregate> {
        self.aggregate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one or several lines.
    fn take(&self, lines: &[u8]) {
        let now_us = self.intake.now_us();
        let mut aggregate = self.aggregate();
        for line in lines.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let taken = parse(line)
                .map_err(refused)
                .and_then(|line| aggregate.add(&line, now_us));
            if let Err((refusal, detail)) = taken {
                let begin = String::from_utf8_lossy(&line[..line.len().min(80)]);
                self.intake
                    .refuse(refusal, 1, &format!("{detail}: {begin}"));
            }
        }
    }

    fn too_long(&self) {
        let detail = "a line or a datagram is too long";
        self.intake.refuse(Reason::MessageTooLarge, 1, detail);
    }

    fn flush(&self) {
        let points = self.aggregate().flush(self.intake.now_us());
        self.intake.hand_on_now(points);
    }
}
