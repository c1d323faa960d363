//! Positions that are not in the log any more: never skipped silently, never asked for without end.
//!
//! There are two ways to lose one, and a setting that says what is done ([`OnLostMessages`]): the
//! sink stops, or what is missing is recorded as a gap in the very transaction that moves the
//! position (D3, D5), told, and counted.
//!
//! 1. The log begins behind the position: retention ran before the messages were read. What lies
//!    between is lost; reading goes on from the beginning of the log.
//! 2. The log ends before the position: its end was cut (an unclean leader election, a restored
//!    disk). What is missing had been applied already, but where the cut was nobody can tell: the
//!    log may have grown again since, and its end as it is now may lie behind new messages under old
//!    offsets. Going on from there could skip them. So the partition is read again from its
//!    beginning: batches that are known by the ledger and points under a key make no second row (D6).
//!
//! What is wanted is looked up in the database again before anything is written: another sink may
//! have been here first, and then nothing is written. Messages of the partition that wait in
//! memory are committed before, as they may be the last copy.

use super::{Leave, Sink};
use crate::{OnLostMessages, SinkError};
use tidegauge_store::{Applied, Gap, GapReason, PositionMove, SourceId, Step};

/// A position that is outside of its log.
#[derive(Debug)]
pub(super) struct LostPosition {
    pub(super) source: SourceId,
    pub(super) partition: i32,
    /// The position.
    pub(super) stored: i64,
    /// The first offset of the log.
    pub(super) low: i64,
    /// The offset after the last.
    pub(super) high: i64,
}

impl LostPosition {
    fn error(&self) -> SinkError {
        SinkError::PositionLost {
            topic: self.source.label().to_owned(),
            partition: self.partition,
            stored: self.stored,
            low: self.low,
            high: self.high,
        }
    }

    /// What is missing of the log, and why; `None` if nothing is.
    fn gap(&self) -> Option<Gap> {
        let (from, to, reason) = if self.stored < self.low {
            (self.stored, self.low, GapReason::Retention)
        } else if self.stored > self.high {
            (self.high, self.stored, GapReason::Truncated)
        } else {
            return None;
        };
        Some(Gap {
            slot: 0,
            from,
            to,
            reason,
        })
    }
}

impl Sink {
    /// Stops, or keeps the position for [`Sink::go_past_lost`].
    pub(super) fn lost(&mut self, lost: LostPosition) -> Result<(), Leave> {
        match self.settings.on_lost_messages {
            OnLostMessages::Stop => Err(Leave::Failed(lost.error())),
            OnLostMessages::SkipAndRecord => {
                self.lost.push(lost);
                Ok(())
            }
        }
    }

    /// The partitions were taken away: whoever has them now looks after their positions.
    pub(super) fn forget_lost(&mut self, source: &SourceId, partition: i32) {
        self.lost
            .retain(|lost| lost.partition != partition || lost.source != *source);
    }

    /// Records what is missing, and goes on. Nothing may wait, nor be packed ahead.
    pub(super) async fn go_past_lost(&mut self) -> Result<(), Leave> {
        while let Some(lost) = self.lost.pop() {
            let next = self.record_gap(&lost).await?;
            let moved = [(lost.source, lost.partition, next)];
            self.source.rewind(&moved).await?;
        }
        Ok(())
    }

    /// Writes the gap and moves the position; answers where to go on.
    async fn record_gap(&mut self, lost: &LostPosition) -> Result<i64, Leave> {
        loop {
            let stored = self
                .stored_position(&lost.source, lost.partition, lost.stored)
                .await?;
            // What was compared with the log is not what is stored: another sink was here, or what
            // was fetched was not all applied. The log may have grown since, too. If the stored
            // position is outside of it, that is found when it is read from there.
            if stored != lost.stored {
                return Ok(stored);
            }
            let Some(gap) = lost.gap() else {
                return Ok(stored);
            };
            let position = PositionMove {
                source: lost.source.clone(),
                partition: lost.partition,
                from: stored,
                to: lost.low,
                messages: 0,
                points: 0,
                duplicate_points: 0,
                dead_letters: 0,
                left_out_values: 0,
            };
            let step = Step {
                moves: vec![position],
                gaps: vec![gap],
                ..Step::default()
            };
            match self.store.apply(&step).await {
                Ok(Applied::Committed { .. } | Applied::Already) => {
                    self.status.store_is_back(self.clock.as_ref());
                    self.backoff.reset();
                    let now_us = self.clock.now_us();
                    let gap = &step.gaps[0];
                    self.status.gap(now_us, &lost.source, lost.partition, gap);
                    return Ok(lost.low);
                }
                Ok(Applied::Fenced | Applied::LedgerMoved) => {}
                Err(error) => self.wait_out("recording a gap", error).await?,
            }
        }
    }

    async fn stored_position(
        &mut self,
        source: &SourceId,
        partition: i32,
        begin: i64,
    ) -> Result<i64, Leave> {
        loop {
            match self.store.positions(source, &[(partition, begin)]).await {
                Ok(stored) => return Ok(stored.first().map_or(begin, |s| s.next_offset)),
                Err(error) => self.wait_out("reading positions", error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_depends_on_the_side_of_the_log() {
        let gap = |stored| {
            let lost = LostPosition {
                source: SourceId::kafka("id", "topic"),
                partition: 0,
                stored,
                low: 10,
                high: 20,
            };
            let gap = lost.gap()?;
            Some((gap.from, gap.to, gap.reason))
        };
        assert_eq!(gap(5), Some((5, 10, GapReason::Retention)));
        assert_eq!(gap(25), Some((20, 25, GapReason::Truncated)));
        for inside in [10, 15, 20] {
            assert_eq!(gap(inside), None, "{inside}");
        }
    }
}
