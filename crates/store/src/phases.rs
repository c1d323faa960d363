//! How long the phases of a step take, for `/metrics`: counted once per phase, never per row.

use std::time::Instant;

/// A step under way.
#[derive(Debug)]
pub(crate) struct Phases(Instant);

impl Phases {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// A phase has ended, and the next begins.
    pub(crate) fn end(&mut self, phase: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.0).as_secs_f64();
        metrics::histogram!("tidegauge_sink_phase_seconds", "phase" => phase).record(took);
        self.0 = now;
    }
}
