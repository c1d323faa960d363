//! Messages of other programs as points of this host, through the readers of `wire`.

use super::Intake;
use tidegauge_model::{BatchRef, Host, Point, Reason, RejectedPoint};
use tidegauge_wire::{DecodeContext, DecodeError, Encoding, ForeignSettings, TimeUnit};

/// What was in a message.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) points: Vec<Point>,
    /// The place of each point in the message, in the words of its encoding: a line of Influx.
    pub(super) places: Vec<u32>,
    /// Those that could not be read, the first ones with their details.
    pub(super) rejected: Vec<RejectedPoint>,
    /// How many could not be read, by reason.
    pub(super) counts: Vec<(Reason, u64)>,
}

/// Reads a message on a thread that may take its time.
///
/// A tag that names a host stays a tag: whatever it says, the points are of the agent's host.
pub(super) async fn decode(
    encoding: &'static dyn Encoding,
    message: Vec<u8>,
    unit: Option<TimeUnit>,
    now_us: i64,
) -> Result<Decoded, DecodeError> {
    let read = move || read(encoding, &message, unit, now_us);
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| {
        let detail = "reading it failed, which is a defect";
        let at = tidegauge_wire::Place::default();
        Err(DecodeError::new(Reason::Syntax, at, detail))
    })
}

fn read(
    encoding: &dyn Encoding,
    message: &[u8],
    unit: Option<TimeUnit>,
    now_us: i64,
) -> Result<Decoded, DecodeError> {
    let foreign = ForeignSettings {
        host_tags: Some(Vec::new()),
        default_host: Host::new("this").ok(),
        time_unit: unit,
    };
    let context = DecodeContext {
        foreign: &foreign,
        received_us: Some(now_us),
    };
    let mut batch = BatchRef::default();
    encoding.decode_in(message, context, &mut batch)?;
    let mut decoded = Decoded {
        places: batch.points().map(|point| point.index).collect(),
        counts: batch.further_rejected.clone().into_iter().collect(),
        ..Decoded::default()
    };
    for rejected in &batch.rejected {
        decoded.counts.push((rejected.reason, 1));
    }
    decoded.rejected = std::mem::take(&mut batch.rejected);
    let points = batch.to_batch().map(|batch| batch.points);
    // Readers check names; one that is not is a defect of theirs.
    decoded.points = points.map_err(|error| {
        let at = tidegauge_wire::Place::default();
        DecodeError::new(Reason::BadName, at, error.to_string())
    })?;
    Ok(decoded)
}

impl Decoded {
    /// Counts what could not be read; its number, and what is told of the first.
    pub(super) fn count_rejected(&self, intake: &Intake) -> u64 {
        let mut details = self.rejected.iter();
        for (reason, count) in &self.counts {
            let detail = details.next().map_or("", |rejected| &rejected.detail);
            intake.refuse(*reason, *count, detail);
        }
        self.counts.iter().map(|(_, count)| count).sum()
    }
}
