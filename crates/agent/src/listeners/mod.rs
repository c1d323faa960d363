//! Listeners: each takes points from applications and hands them on.
//!
//! ```text
//! sockets, files, programs ──> Listener ──> Intake (limits, room) ──> batch of the agent's host
//!                                              └── Receipt <── stored in the spool ──┘
//! ```
//! A listener reads what applications send and makes points of it; it knows no spool and no
//! schedule. [`Intake`] keeps the limits that all share (D14) and says what became of the points.
//! Sockets are bound when a listener is opened, so that a taken port is an error of the start. A
//! new listener is one file here, one row in [`LISTENERS`] and its part of [`ListenerSettings`].

mod bindings;
mod decoded;
pub mod exec;
mod figures;
mod gate;
pub mod heartbeat;
mod http;
pub mod influx;
mod intake;
pub mod otlp;
mod pages;
pub mod prometheus;
mod refusal;
pub mod statsd;
pub mod textfile;

use crate::probes::{
    CheckReason, CheckResult, CheckSettings, Fetcher, Finding, ProbeContext, authorization_of,
};
use crate::schedule::{Ticks, phase};
use crate::{AgentError, CheckState};
use async_trait::async_trait;
pub use bindings::Bindings;
use exec::ExecSettings;
pub use figures::ListenerFigures;
pub(crate) use figures::ListenerFiguresOfAll;
use heartbeat::HeartbeatSettings;
use influx::InfluxSettings;
pub(crate) use intake::Handed;
pub use intake::{Intake, Receipt, Refused};
use otlp::OtlpSettings;
use prometheus::PrometheusSettings;
pub use refusal::Refusal;
use statsd::StatsdSettings;
use std::net::SocketAddr;
use std::sync::Arc;
use textfile::TextfileSettings;
use tidegauge_model::{Clock, Name};
use tidegauge_serve::Door;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// So many points wait for the spool at most, those of all listeners together.
const MOST_WAITING_POINTS: usize = 50_000;
/// So many messages, because each is one allocation at least.
const MOST_WAITING_MESSAGES: usize = 1_024;

/// One listener with its settings, its sockets bound.
#[async_trait]
pub trait Listener: Send {
    /// Takes points until `cancel`, then hands on what it holds and returns, within a second. It
    /// owns what it spawns: nothing of it goes on when this future is dropped.
    async fn run(self: Box<Self>, intake: Intake, cancel: CancellationToken);
}

/// A row of [`LISTENERS`].
pub struct ListenerEntry {
    /// The name, as in the file's name and the settings' section.
    pub name: &'static str,
    /// The built-in measurement that it tells of itself, beside those of the applications.
    pub measurement: Option<Name>,
    /// What it does, one sentence for help and documentation.
    pub description: &'static str,
    /// Makes those that the settings ask for, none if they do not. Sockets come from the bindings.
    pub open: fn(&ListenerSettings, &mut Bindings) -> Result<Vec<OpenedListener>, AgentError>,
}

/// All listeners.
pub const LISTENERS: &[ListenerEntry] = &[
    statsd::ENTRY,
    influx::ENTRY,
    otlp::ENTRY,
    prometheus::ENTRY,
    textfile::ENTRY,
    exec::ENTRY,
    heartbeat::ENTRY,
];

/// A listener that can run.
pub struct OpenedListener {
    /// Its name: the tag `listener`, and the label in `/metrics`. That of its row, or with a name
    /// of its own behind it where there may be several: `prometheus_node`.
    pub name: String,
    /// Where it listens, for logs and tests; empty if it fetches.
    pub addresses: Vec<String>,
    /// Put before the names of all measurements, with `_` between them.
    pub prefix: Option<Name>,
    /// What runs.
    pub listener: Box<dyn Listener>,
}

/// The listeners that are asked for; by default none.
#[derive(Debug, Clone, Default)]
pub struct ListenerSettings {
    /// The limits of each of them.
    pub limits: ListenerLimits,
    /// The listener `statsd`.
    pub statsd: Option<StatsdSettings>,
    /// The listener `influx`.
    pub influx: Option<InfluxSettings>,
    /// The listener `otlp`.
    pub otlp: Option<OtlpSettings>,
    /// The listener `prometheus`.
    pub prometheus: PrometheusSettings,
    /// The listener `textfile`.
    pub textfile: Option<TextfileSettings>,
    /// The listener `exec`.
    pub exec: ExecSettings,
    /// The listener `heartbeat`.
    pub heartbeat: Option<HeartbeatSettings>,
}

/// Limits on what one listener accepts; all are inclusive. What exceeds one is refused and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Measurements: each is a table.
    pub measurements: usize,
    /// Fields of one measurement.
    pub fields_per_measurement: usize,
    /// Series that were there in the last hour or two.
    pub series: usize,
    /// Tags of one point.
    pub tags_per_point: usize,
    /// Bytes of one tag's text.
    pub tag_bytes: usize,
    /// Bytes of one text value.
    pub text_bytes: usize,
    /// Bytes of one message, decompressed.
    pub message_bytes: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            measurements: 300,
            fields_per_measurement: 200,
            series: 10_000,
            tags_per_point: 32,
            tag_bytes: 1_024,
            text_bytes: 16_384,
            message_bytes: 10 * 1_024 * 1_024,
        }
    }
}

/// The room that all listeners of an agent share on their way to the spool.
pub(crate) struct Room {
    sender: mpsc::Sender<Handed>,
    waiting: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    figures: ListenerFiguresOfAll,
}

impl Room {
    /// The room, and the end where the points come out. When it is full, listeners that can wait
    /// wait; others refuse what comes, with the reason `queue_full`.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Handed>) {
        let (sender, handed) = mpsc::channel(MOST_WAITING_MESSAGES);
        let room = Self {
            sender,
            waiting: Arc::new(Semaphore::new(MOST_WAITING_POINTS)),
            clock,
            figures: ListenerFiguresOfAll::default(),
        };
        (room, handed)
    }

    /// What all listeners count.
    pub(crate) fn figures(&self) -> ListenerFiguresOfAll {
        self.figures.clone()
    }

    /// Listeners of these names are there no more.
    pub(crate) fn forget<'a>(&self, names: impl Iterator<Item = &'a String>) {
        names.for_each(|name| self.figures.forget(name));
    }

    /// The intake of one listener; the counts of one of its name go on.
    pub(crate) fn intake(&self, opened: &OpenedListener, limits: &ListenerLimits) -> Intake {
        Intake::new(self, opened, limits)
    }
}

/// What went wrong when listening somewhere.
fn listen_error(key: &'static str, address: impl ToString, source: std::io::Error) -> AgentError {
    AgentError::Listen {
        key,
        address: address.to_string(),
        source,
    }
}

/// A socket for connections at an address that may be listened at; the address with its real port.
fn listen_checked(
    key: &'static str,
    address: SocketAddr,
    door: &Door,
    bindings: &mut Bindings,
) -> Result<(TcpListener, SocketAddr), AgentError> {
    door.check(address)
        .map_err(|problem| AgentError::Setting { key, problem })?;
    let listener = bindings.tcp(key, address)?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

#[cfg(test)]
mod tests;
