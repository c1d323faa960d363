//! What the agent is doing right now, for `/healthz` and the status line, and the names of its own
//! metrics. Not a history: that is in the measurements `agent` and `collector`.

use std::sync::{Arc, Mutex, PoisonError};
use tidegauge_model::{Metric, MetricKind};

use Metric as M;

/// The agent's status; clones share it.
#[derive(Debug, Clone, Default)]
pub struct AgentStatus(Arc<Mutex<AgentFigures>>);

/// The figures of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentFigures {
    /// When the last collection ended, microseconds since 1970 UTC.
    pub last_collection_us: Option<i64>,
    /// Collections since the start.
    pub collections: u64,
    /// Checks that ended since the start.
    pub checks: u64,
    /// Collections and checks that were due and not begun.
    pub missed_ticks: u64,
    /// Points that went into the spool since the start.
    pub points: u64,
    /// Batches that went into the spool since the start.
    pub batches: u64,
    /// Batches that were given up since the start, for whatever reason.
    pub dropped_batches: u64,
    /// Values that were left out because they were not finite.
    pub left_out_values: u64,
    /// What waits in the spool.
    pub spool: SpoolFigures,
    /// Where listeners listen: their names and their addresses.
    pub listening: Vec<(String, String)>,
    /// How publishing goes.
    pub publish: PublishState,
    /// Batches that the broker has acknowledged since the start.
    pub acknowledged_batches: u64,
    /// The last thing that went wrong, and when (microseconds since 1970 UTC).
    pub last_error: Option<(i64, String)>,
}

/// What waits in the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolFigures {
    /// Batches.
    pub batches: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// When the oldest was appended, microseconds since 1970 UTC; `None` when it is empty.
    pub oldest_us: Option<i64>,
}

/// How publishing goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PublishState {
    /// Nothing is published, as in `tidegauge up`.
    #[default]
    Off,
    /// The broker has not answered yet.
    Connecting,
    /// The broker takes what it is given.
    Connected,
    /// The broker is away, or refuses; samples are kept in the spool.
    Away {
        /// Since when, microseconds since 1970 UTC.
        since_us: i64,
        /// Why, for a person.
        cause: String,
    },
}

impl AgentStatus {
    /// The status of an agent that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The figures of this moment.
    #[must_use]
    pub fn figures(&self) -> AgentFigures {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut AgentFigures)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// All numbers of the agent in `/metrics`.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    M::counter("tidegauge_agent_collections_total", &[], "Collections that were made."),
    M::counter("tidegauge_agent_missed_ticks_total", &[], "Collections and checks that were due and not begun."),
    M::counter("tidegauge_agent_collector_failures_total", &["collector", "reason"], "Collector runs that failed, by collector and reason."),
    M::counter("tidegauge_agent_checks_total", &["reason"], "Checks that ended, by reason."),
    M::counter("tidegauge_agent_srv_lookups_total", &["result"], "Look-ups of the targets of services (SRV records): `ok`, or `failed`, which changed nothing."),
    M::gauge("tidegauge_agent_srv_targets", &[], "Targets that services have."),
    M::histogram("tidegauge_agent_check_start_delay_seconds", &[], "How long after they were due checks began."),
    M::counter("tidegauge_agent_listener_points_total", &["listener"], "Points of applications that a listener accepted."),
    M::counter("tidegauge_agent_listener_refused_total", &["listener", "reason"], "What a listener refused: points, lines or requests, by reason."),
    M::counter("tidegauge_agent_clock_jumps_total", &[], "Jumps of the wall clock that were noticed."),
    M::counter("tidegauge_agent_points_total", &[], "Points that went into the spool."),
    M::counter("tidegauge_agent_batches_total", &[], "Batches that went into the spool."),
    M::counter("tidegauge_agent_dropped_batches_total", &["reason"], "Batches that were given up, by reason."),
    M::counter("tidegauge_agent_left_out_values_total", &[], "Numbers that were left out because they were not finite."),
    M::counter("tidegauge_agent_published_batches_total", &[], "Batches that the broker acknowledged."),
    M::counter("tidegauge_agent_publish_failures_total", &[], "Batches that the broker did not take and that are handed over again."),
    M::gauge("tidegauge_agent_publish_connected", &[], "1 while the broker takes what it is given, else 0."),
    M::gauge("tidegauge_agent_spool_batches", &[], "Batches that wait in the spool."),
    M::gauge("tidegauge_agent_spool_bytes", &[], "Bytes that wait in the spool."),
    M::histogram("tidegauge_agent_collection_duration_seconds", &[], "Duration of a collection."),
    M::histogram("tidegauge_agent_append_duration_seconds", &[], "Duration of encoding and appending a batch to the spool."),
];

/// Describes the agent's metrics to the recorder that is installed.
pub fn describe_metrics() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}
