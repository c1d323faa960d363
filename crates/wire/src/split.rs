//! A collection as one or several messages, each below a limit in bytes.
//!
//! This does not number the messages: the caller knows the next number only when the message
//! before is in the spool, so it asks for one message at a time.

use crate::Encoder;
use tidegauge_model::{Batch, DropNotice, Host, Origin, Point, Tags};

/// What one collection has to say, before it is cut and numbered.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    /// The host that the points speak of.
    pub host: Host,
    /// Labels of the host.
    pub labels: Tags,
    /// Drops to tell; they go with the first message, as far as they fit.
    pub drops: Vec<DropNotice>,
    /// The points; those without fields are passed over.
    pub points: Vec<Point>,
}

/// One message of a [`Splitter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// How many points are in it.
    pub points: usize,
    /// How many of the drops are told in it, from the first one not told before.
    pub drops: usize,
}

/// A point that does not fit into any message. It was taken out; go on with the next message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("splitting a collection: a message with {what} alone has {bytes} bytes, the limit is {max_bytes}", what = self.what())]
#[non_exhaustive]
pub struct Oversized {
    /// The point; `None` when it was a single drop notice.
    pub point: Option<Point>,
    /// Bytes of the message that would hold it alone.
    pub bytes: usize,
    /// The limit.
    pub max_bytes: usize,
}

impl Oversized {
    fn what(&self) -> String {
        match &self.point {
            Some(point) => format!("one point of {}", point.measurement()),
            None => "one drop notice".to_owned(),
        }
    }
}

/// Cuts a [`Collection`] into messages.
#[derive(Debug)]
pub struct Splitter<'e> {
    encoding: &'e dyn Encoder,
    max_bytes: usize,
    /// The message to be, with everything that is left.
    batch: Batch,
}

impl<'e> Splitter<'e> {
    /// A splitter for messages of up to `max_bytes` bytes.
    #[must_use]
    pub fn new(encoding: &'e dyn Encoder, max_bytes: usize, collection: Collection) -> Self {
        let mut batch = Batch {
            origin: None,
            host: collection.host,
            labels: collection.labels,
            drops: collection.drops,
            points: collection.points,
        };
        batch.points.retain(|point| !point.fields().is_empty());
        Self {
            encoding,
            max_bytes,
            batch,
        }
    }

    /// Writes the next message under `origin` into `bytes`, whatever these held before; `None`
    /// when nothing is left. A number given for an [`Oversized`] answer is still free.
    pub fn next(
        &mut self,
        origin: Option<Origin>,
        bytes: &mut Vec<u8>,
    ) -> Option<Result<Message, Oversized>> {
        if self.batch.points.is_empty() && self.batch.drops.is_empty() {
            return None;
        }
        self.batch.origin = origin;
        let mut later_points = Vec::new();
        let mut later_drops = Vec::new();
        loop {
            bytes.clear();
            self.encoding.encode(&self.batch, bytes);
            let (points, drops) = (self.batch.points.len(), self.batch.drops.len());
            if bytes.len() <= self.max_bytes {
                self.batch.points = later_points;
                self.batch.drops = later_drops;
                return Some(Ok(Message { points, drops }));
            }
            if points > 1 {
                // As many as should fit by their mean size, but fewer than now.
                let fitting = points.saturating_mul(self.max_bytes) / bytes.len();
                let keep = (fitting - fitting / 16).clamp(1, points - 1);
                cut(&mut self.batch.points, keep, &mut later_points);
            } else if drops > usize::from(points == 0) {
                cut(&mut self.batch.drops, drops / 2, &mut later_drops);
            } else {
                let point = self.batch.points.pop();
                let oversized = Oversized {
                    point,
                    bytes: bytes.len(),
                    max_bytes: self.max_bytes,
                };
                bytes.clear();
                self.batch.points = later_points;
                self.batch.drops = later_drops;
                return Some(Err(oversized));
            }
        }
    }
}

/// Moves all behind the first `keep` before those for later.
fn cut<T>(now: &mut Vec<T>, keep: usize, later: &mut Vec<T>) {
    let mut cut_off = now.split_off(keep);
    cut_off.append(later);
    *later = cut_off;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding as _;
    use crate::json::Json;
    use tidegauge_model::{AgentId, BatchRef, DropReason, name};

    fn collection(points: Vec<Point>, drops: u64) -> Collection {
        let drops = (0..drops).map(|sequence| DropNotice {
            epoch: 1,
            first_sequence: sequence * 2,
            last_sequence: sequence * 2,
            reason: DropReason::SpoolFull,
        });
        Collection {
            host: Host::new("h").expect("valid"),
            labels: vec![(name!("env"), "prod".into())],
            drops: drops.collect(),
            points,
        }
    }

    fn point(time_us: i64, text_bytes: usize) -> Point {
        Point::new(name!("m"), time_us).field(name!("text"), "x".repeat(text_bytes))
    }

    /// Splits as the agent does; the times of the points and the drops of each message, and what
    /// was oversized.
    fn split(collection: Collection, max_bytes: usize) -> (Vec<(Vec<i64>, usize)>, Vec<Oversized>) {
        let mut splitter = Splitter::new(&Json, max_bytes, collection);
        let (mut messages, mut oversized) = (Vec::new(), Vec::new());
        let mut bytes = Vec::new();
        loop {
            let origin = Origin {
                agent: AgentId::new("a").expect("valid"),
                epoch: 1,
                sequence: messages.len() as u64,
            };
            match splitter.next(Some(origin.clone()), &mut bytes) {
                None => return (messages, oversized),
                Some(Err(error)) => oversized.push(error),
                Some(Ok(message)) => {
                    assert!(bytes.len() <= max_bytes);
                    let mut batch = BatchRef::default();
                    Json.decode(&bytes, &mut batch).expect("valid");
                    assert_eq!(batch.origin, Some(origin));
                    assert_eq!(batch.drops.len(), message.drops);
                    assert_eq!(batch.points().len(), message.points);
                    let times = batch.points().map(|point| point.time_us).collect();
                    messages.push((times, message.drops));
                }
            }
        }
    }

    #[test]
    fn what_fits_is_one_message() {
        let points = vec![point(1, 10), Point::new(name!("m"), 2), point(3, 10)];
        assert_eq!(
            split(collection(points, 2), 1_000),
            (vec![(vec![1, 3], 2)], vec![])
        );
        assert_eq!(split(collection(vec![], 0), 1_000), (vec![], vec![]));
        assert_eq!(
            split(collection(vec![], 1), 1_000),
            (vec![(vec![], 1)], vec![])
        );
    }

    #[test]
    fn points_are_cut_in_order_and_few_bytes_are_wasted() {
        let points = (0..1_000).map(|n| point(n, 40)).collect();
        let (messages, oversized) = split(collection(points, 0), 10_000);
        let times: Vec<_> = messages
            .iter()
            .flat_map(|message| message.0.clone())
            .collect();
        assert_eq!(times, (0..1_000).collect::<Vec<_>>());
        assert!(messages.len() <= 13, "{} messages", messages.len());
        assert_eq!(oversized, []);
    }

    #[test]
    fn a_point_that_is_too_large_is_reported_and_its_neighbours_go_on() {
        let points = vec![point(1, 10), point(2, 5_000), point(3, 10), point(4, 9_000)];
        let (messages, oversized) = split(collection(points, 1), 1_000);
        let times: Vec<_> = messages
            .iter()
            .flat_map(|message| message.0.clone())
            .collect();
        assert_eq!(times, [1, 3]);
        assert_eq!(messages[0].1, 1);
        let times: Vec<_> = oversized.iter().filter_map(|o| o.point.as_ref()).collect();
        assert_eq!(
            times.iter().map(|p| p.time_us()).collect::<Vec<_>>(),
            [2, 4]
        );
        assert!(
            oversized[0].to_string().contains("one point of m"),
            "{}",
            oversized[0]
        );
    }

    #[test]
    fn drops_that_do_not_fit_go_with_the_next_message() {
        let points = (0..3).map(|n| point(n, 300)).collect();
        let (messages, oversized) = split(collection(points, 100), 1_000);
        assert_eq!(messages.iter().map(|message| message.1).sum::<usize>(), 100);
        assert_eq!(oversized, []);
        // A limit below everything ends too.
        let points = (0..3).map(|n| point(n, 300)).collect();
        let (messages, oversized) = split(collection(points, 2), 50);
        assert_eq!((messages.len(), oversized.len()), (0, 5));
    }
}
