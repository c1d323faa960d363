//! Where a listener hands its points on: judged by the limits, into the room that all share.

use super::figures::ListenerFigures;
use super::gate::Gate;
use super::{ListenerLimits, MOST_WAITING_POINTS, OpenedListener, Refusal, Room};
use std::sync::{Arc, Mutex, PoisonError};
use tidegauge_model::{Clock, Point};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Points on their way to the spool.
pub(crate) struct Handed {
    pub(crate) points: Vec<Point>,
    /// Given back when they are in the spool.
    pub(crate) waiting: OwnedSemaphorePermit,
    /// Learns whether they are in the spool (A4).
    pub(crate) stored: Option<oneshot::Sender<bool>>,
}

/// One listener's way to the spool; clones share its limits and its counts.
#[derive(Clone)]
pub struct Intake {
    sender: mpsc::Sender<Handed>,
    waiting: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    limits: Arc<ListenerLimits>,
    gate: Arc<Mutex<Gate>>,
    pub(super) figures: Arc<ListenerFigures>,
}

/// A point that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place among those that were handed on.
    pub index: usize,
    /// Why.
    pub refusal: Refusal,
    /// What was wrong, for a person.
    pub detail: String,
}

/// What became of points that were handed on.
#[derive(Debug)]
#[must_use]
pub struct Receipt {
    /// How many are on their way.
    pub accepted: usize,
    /// The others.
    pub refused: Vec<Refused>,
    stored: Vec<oneshot::Receiver<bool>>,
}

impl Receipt {
    /// Waits until those that are on their way are in the spool; false if they are not. The caller
    /// sets the deadline.
    pub async fn stored(self) -> bool {
        for stored in self.stored {
            if stored.await != Ok(true) {
                return false;
            }
        }
        true
    }
}

impl Intake {
    pub(super) fn new(room: &Room, opened: &OpenedListener, limits: &ListenerLimits) -> Self {
        let gate = Gate::new(limits.clone(), opened.prefix.clone());
        Self {
            sender: room.sender.clone(),
            waiting: Arc::clone(&room.waiting),
            clock: Arc::clone(&room.clock),
            limits: Arc::new(limits.clone()),
            gate: Arc::new(Mutex::new(gate)),
            figures: room.figures.of(&opened.name),
        }
    }

    /// The time, microseconds since 1970 UTC.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// The clock.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Hands on a point of a built-in measurement, by which a listener tells of itself: it is not
    /// judged and not counted among those of the applications.
    pub(super) async fn tell(&self, point: Point) {
        // It fails only when the agent is stopping, and then nobody waits for it.
        if !self.send(vec![point], None).await {
            tracing::debug!("a point of a listener came after the end");
        }
    }

    /// The same for points that somebody waits for until they are in the spool: whether they are.
    pub(super) async fn tell_stored(&self, points: Vec<Point>) -> bool {
        let (told, stored) = oneshot::channel();
        self.send(points, Some(told)).await && stored.await == Ok(true)
    }

    /// Sends points on their way, and waits while there is no room for them. False only when the agent
    /// is stopping.
    async fn send(&self, points: Vec<Point>, stored: Option<oneshot::Sender<bool>>) -> bool {
        let waiting = Arc::clone(&self.waiting);
        let Ok(waiting) = waiting.acquire_many_owned(permits(points.len())).await else {
            return false;
        };
        let handed = Handed {
            points,
            waiting,
            stored,
        };
        self.sender.send(handed).await.is_ok()
    }

    /// The limits, for what is checked before there are points.
    #[must_use]
    pub fn limits(&self) -> &ListenerLimits {
        &self.limits
    }

    /// Counts something that never became a point.
    pub fn refuse(&self, refusal: impl Into<Refusal>, count: u64, detail: &str) {
        self.figures.refused(refusal.into(), count, detail);
    }

    /// Hands points on, and waits while there is no room for them. The receipt says what was
    /// refused, and can be waited for until the others are in the spool.
    pub async fn hand_on(&self, points: Vec<Point>) -> Receipt {
        let (mut receipt, good) = self.judge(points);
        for points in parts(good) {
            let count = points.len();
            let (told, stored) = oneshot::channel();
            // If it fails, `stored` says so.
            if self.send(points, Some(told)).await {
                self.figures.accepted(count);
            }
            receipt.stored.push(stored);
        }
        receipt
    }

    /// Hands points on without waiting, for listeners whose senders do not: what finds no room is
    /// refused with `queue_full`, and so are all when the agent is stopping.
    pub fn hand_on_now(&self, points: Vec<Point>) {
        let (_, good) = self.judge(points);
        for points in parts(good) {
            let count = points.len();
            let handed = Arc::clone(&self.waiting)
                .try_acquire_many_owned(permits(count))
                .ok()
                .and_then(|waiting| {
                    let handed = Handed {
                        points,
                        waiting,
                        stored: None,
                    };
                    self.sender.try_send(handed).ok()
                });
            match handed {
                Some(()) => self.figures.accepted(count),
                None => {
                    let detail = "the spool does not keep up";
                    self.refuse(Refusal::QueueFull, count as u64, detail);
                }
            }
        }
    }

    fn judge(&self, points: Vec<Point>) -> (Receipt, Vec<Point>) {
        let now_us = self.now_us();
        let mut good = Vec::with_capacity(points.len());
        let mut refused = Vec::new();
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, point) in points.into_iter().enumerate() {
            match gate.judge(point, now_us) {
                Ok(point) => good.push(point),
                Err((refusal, detail)) => {
                    self.figures.refused(refusal, 1, &detail);
                    refused.push(Refused {
                        index,
                        refusal,
                        detail,
                    });
                }
            }
        }
        let receipt = Receipt {
            accepted: good.len(),
            refused,
            stored: Vec::new(),
        };
        (receipt, good)
    }
}

fn permits(points: usize) -> u32 {
    u32::try_from(points).unwrap_or(u32::MAX)
}

/// Parts that find room each.
fn parts(mut points: Vec<Point>) -> Vec<Vec<Point>> {
    const LARGEST: usize = MOST_WAITING_POINTS / 5;
    let mut parts = Vec::new();
    while points.len() > LARGEST {
        let rest = points.split_off(LARGEST);
        parts.push(std::mem::replace(&mut points, rest));
    }
    if !points.is_empty() {
        parts.push(points);
    }
    parts
}
