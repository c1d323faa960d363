//! How far behind the partitions of a topic are: from what was given, what was acknowledged, and
//! where the logs end.
//!
//! Not per message: of each run of messages that was given at once only the first time stamp and the
//! last offset are kept, and no more runs than the bounded channel can hold unapplied.

use super::PartitionLag;
use std::collections::{HashMap, VecDeque};
use tidegauge_kafka::FetchState;
use tidegauge_store::SourceId;

/// Runs that are kept of one partition; more are only there when a step is very late.
const MOST_RUNS: usize = 1_000;

/// The partitions that are ours.
#[derive(Debug, Default)]
pub(super) struct LagBook(HashMap<(SourceId, i32), Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// The next offset to apply.
    position: i64,
    /// The offset after the last that was given.
    given: i64,
    /// Runs that are not applied whole: the offset after their last, and their first time stamp.
    runs: VecDeque<(i64, Option<i64>)>,
    /// The time stamp of the last run that was applied whole.
    applied_ms: Option<i64>,
}

impl LagBook {
    pub(super) fn assigned(&mut self, source: &SourceId, partition: i32, position: i64) {
        let progress = self.0.entry((source.clone(), partition)).or_default();
        (progress.position, progress.given) = (position, position);
        progress.runs.clear();
    }

    pub(super) fn revoked(&mut self, source: &SourceId, partition: i32) {
        self.0.remove(&(source.clone(), partition));
    }

    /// Messages of one partition were given: the time stamp of the first, the offset after the last.
    pub(super) fn given(
        &mut self,
        source: &SourceId,
        partition: i32,
        first_ms: Option<i64>,
        next: i64,
    ) {
        let Some(progress) = self.0.get_mut(&(source.clone(), partition)) else {
            return;
        };
        progress.given = next;
        if progress.runs.len() < MOST_RUNS {
            progress.runs.push_back((next, first_ms));
        } else if let Some(last) = progress.runs.back_mut() {
            last.0 = next;
        }
    }

    pub(super) fn applied(&mut self, source: &SourceId, partition: i32, next: i64) {
        let Some(progress) = self.0.get_mut(&(source.clone(), partition)) else {
            return;
        };
        progress.position = next;
        while let Some(&(end, first_ms)) = progress.runs.front() {
            if end > next {
                break;
            }
            progress.applied_ms = first_ms.or(progress.applied_ms);
            progress.runs.pop_front();
        }
    }

    /// Whether everything below `end` is applied, though the position may be before it: offsets
    /// without a message (marks of transactions, what was given up in one) move no position.
    pub(super) fn is_through(
        &self,
        source: &SourceId,
        partition: i32,
        end: i64,
        fetched: FetchState,
    ) -> bool {
        let progress = self.0.get(&(source.clone(), partition));
        progress.is_some_and(|progress| progress.is_through(end, fetched))
    }

    /// The lags, by topic and partition. `fetched` tells the partitions of a topic.
    pub(super) fn lags<'a>(
        &self,
        now_us: i64,
        fetched: impl Fn(&str, i32) -> Option<FetchState> + 'a,
    ) -> Vec<PartitionLag> {
        let mut lags: Vec<PartitionLag> = self
            .0
            .iter()
            .map(|((source, partition), progress)| {
                let fetched = fetched(source.label(), *partition);
                let (messages, seconds) = progress.lag(now_us, fetched);
                PartitionLag {
                    source: source.clone(),
                    partition: *partition,
                    messages,
                    seconds,
                }
            })
            .collect();
        lags.sort_by(|a, b| (&a.source, a.partition).cmp(&(&b.source, b.partition)));
        lags
    }
}

impl Progress {
    /// Offsets without a message are fetched over and never given.
    fn is_through(&self, end: i64, fetched: FetchState) -> bool {
        self.position >= self.given && fetched.queue_is_empty && fetched.next >= end
    }

    fn lag(&self, now_us: i64, fetched: Option<FetchState>) -> (u64, Option<f64>) {
        let mut end = self.given;
        if let Some(fetched) = fetched
            && !self.is_through(fetched.end, fetched)
        {
            end = end.max(fetched.end);
        }
        let messages = u64::try_from(end - self.position).unwrap_or(0);
        if messages == 0 {
            return (0, Some(0.0));
        }
        let oldest_ms = match self.runs.front() {
            Some((_, first_ms)) => *first_ms,
            None => self.applied_ms,
        };
        let age = |ms: i64| (now_us as f64 / 1e6 - ms as f64 / 1e3).max(0.0);
        (messages, oldest_ms.map(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(book: &LagBook, fetched: Option<FetchState>) -> (u64, Option<f64>) {
        let lags = book.lags(20_000_000, |_, _| fetched);
        assert_eq!(lags.len(), 1);
        (lags[0].messages, lags[0].seconds)
    }

    #[test]
    fn what_waits_is_counted_from_the_position_to_the_end() {
        let source = SourceId::kafka("id", "topic");
        let mut book = LagBook::default();
        book.assigned(&source, 0, 100);
        assert_eq!(lag(&book, None), (0, Some(0.0)), "nothing is known to wait");
        let state = |next, end| {
            Some(FetchState {
                next,
                end,
                queue_is_empty: true,
            })
        };
        assert_eq!(lag(&book, state(100, 150)), (50, None));
        book.given(&source, 0, Some(15_000), 110);
        book.given(&source, 0, Some(18_000), 120);
        assert_eq!(lag(&book, state(120, 150)), (50, Some(5.0)));
        assert_eq!(lag(&book, state(100, 100)), (20, Some(5.0)), "old news");
        book.applied(&source, 0, 110);
        assert_eq!(lag(&book, state(120, 150)), (40, Some(2.0)));
        book.applied(&source, 0, 120);
        assert_eq!(lag(&book, state(120, 150)), (30, Some(2.0)));
        assert_eq!(lag(&book, state(121, 121)), (0, Some(0.0)), "only a mark");
        book.revoked(&source, 0);
        assert!(book.lags(0, |_, _| None).is_empty());
    }

    #[test]
    fn marks_of_transactions_are_passed_when_all_before_them_is_applied() {
        let source = SourceId::kafka("id", "topic");
        let mut book = LagBook::default();
        let state = |next, queue_is_empty| FetchState {
            end: 112,
            next,
            queue_is_empty,
        };
        let is_through = |book: &LagBook, next, queue_is_empty| {
            book.is_through(&source, 0, 112, state(next, queue_is_empty))
        };
        assert!(!is_through(&book, 112, true), "not ours");
        book.assigned(&source, 0, 100);
        book.given(&source, 0, None, 110);
        assert!(!is_through(&book, 112, true), "not applied");
        book.applied(&source, 0, 110);
        assert!(!is_through(&book, 112, false), "more is in the queue");
        assert!(!is_through(&book, 111, true), "not fetched");
        assert!(is_through(&book, 112, true));
    }
}
