//! The sink's settings, already validated.

use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::Limits;
use tidegauge_wire::{ENCODINGS, Encoding, ForeignSettings};

/// What is done when a stored position is not in the log any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLostMessages {
    /// The sink ends with an error that says what can be done.
    #[default]
    Stop,
    /// The gap is recorded in the database, told and counted, and reading goes on.
    SkipAndRecord,
}

/// How a sink works.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// Limits on what is accepted (D14).
    pub limits: Limits,
    /// The encoding of messages that do not name theirs.
    pub encoding: &'static dyn Encoding,
    /// Encodings that the application brings, beside those of [`ENCODINGS`]; their names and versions
    /// are their own.
    pub own_encodings: Vec<&'static dyn Encoding>,
    /// How messages of foreign encodings are read.
    pub foreign: Arc<ForeignSettings>,
    /// Points in one step at most (a message is never divided).
    pub step_points: usize,
    /// Bytes of messages in one step at most, above one message.
    pub step_bytes: usize,
    /// What is done when a stored position is not in the log any more.
    pub on_lost_messages: OnLostMessages,
    /// The first pause after an error of the store; doubled up to `retry_longest`.
    pub retry_first: Duration,
    /// The longest pause between two tries.
    pub retry_longest: Duration,
    /// Stop after so many committed steps.
    pub cycles: Option<u64>,
    /// Stop when everything is applied that was there at the start.
    pub until_end: bool,
    /// How long a step may go on after the sink was told to stop, and then how long leaving the
    /// group may take.
    pub stop_deadline: Duration,
}

impl Default for SinkSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            encoding: ENCODINGS[0],
            own_encodings: Vec::new(),
            foreign: Arc::default(),
            step_points: 25_000,
            step_bytes: 8 * 1024 * 1024,
            on_lost_messages: OnLostMessages::default(),
            retry_first: Duration::from_millis(100),
            retry_longest: Duration::from_secs(5),
            cycles: None,
            until_end: false,
            stop_deadline: Duration::from_secs(4),
        }
    }
}
