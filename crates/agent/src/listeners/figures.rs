//! What one listener took and refused: the numbers in `/metrics`, and the measurement `listener`.

use super::Refusal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegauge_model::{Point, name};

/// The longest text of `detail`, in characters: it may quote what an application sent.
const MAX_DETAIL_CHARS: usize = 240;

/// The figures of one listener since its start.
#[derive(Debug)]
pub struct ListenerFigures {
    listener: String,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: u64,
    refused: u64,
    /// The last refusal since the last point of `listener`.
    last: Option<(Refusal, String)>,
}

impl ListenerFigures {
    pub(super) fn new(listener: &str) -> Self {
        Self {
            listener: listener.to_owned(),
            counts: Mutex::default(),
        }
    }

    pub(super) fn accepted(&self, points: usize) {
        if points > 0 {
            metrics::counter!("tidegauge_agent_listener_points_total", "listener" => self.listener.clone())
                .increment(points as u64);
            self.counts().accepted += points as u64;
        }
    }

    /// Counts what was refused; `detail` is for a person.
    pub(super) fn refused(&self, refusal: Refusal, points: u64, detail: &str) {
        metrics::counter!("tidegauge_agent_listener_refused_total", "listener" => self.listener.clone(), "reason" => refusal.as_str())
            .increment(points);
        let plain = |character: char| match character.is_control() {
            true => ' ',
            false => character,
        };
        let detail = detail.chars().take(MAX_DETAIL_CHARS).map(plain).collect();
        let mut counts = self.counts();
        counts.refused += points;
        counts.last = Some((refusal, detail));
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The point of `listener` that tells them.
    pub(super) fn point(&self, now_us: i64) -> Point {
        let (accepted, refused, last) = {
            let mut counts = self.counts();
            (counts.accepted, counts.refused, counts.last.take())
        };
        let (reason, detail) = last.unzip();
        Point::new(name!("listener"), now_us)
            .tag(name!("listener"), self.listener.clone())
            .field(name!("accepted_points"), accepted)
            .field(name!("refused_points"), refused)
            .field_if(name!("reason"), reason.map(Refusal::as_str))
            .field_if(name!("detail"), detail)
    }
}

/// The figures of all listeners, by name; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListenerFiguresOfAll(Arc<Mutex<BTreeMap<String, Arc<ListenerFigures>>>>);

impl ListenerFiguresOfAll {
    /// Those of one, which are made if it has none.
    pub(super) fn of(&self, listener: &str) -> Arc<ListenerFigures> {
        let new = || Arc::new(ListenerFigures::new(listener));
        let mut all = self.all();
        Arc::clone(all.entry(listener.to_owned()).or_insert_with(new))
    }

    pub(super) fn forget(&self, listener: &str) {
        self.all().remove(listener);
    }

    /// A point of `listener` of each.
    pub(crate) fn points(&self, now_us: i64) -> Vec<Point> {
        self.all().values().map(|one| one.point(now_us)).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ListenerFigures>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
