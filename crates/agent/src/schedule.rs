//! When something is due: ticks at a fixed phase of an interval, without drift, and the watch for
//! jumps of the wall clock. It knows nothing of what is done at a tick.
//!
//! Tick `n` is due at `first + n * interval` on the monotonic clock, whenever the ticks before it
//! were served. A tick that could not be served before the next one was due is missed: it is
//! counted and never made up for, so that at most one run of a task goes on at a time.

#[cfg(target_os = "linux")]
mod alarm;

#[cfg(target_os = "linux")]
use alarm::Alarm;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tidegauge_model::Clock;
use tokio::time::Instant;

/// The ticks of one task.
#[derive(Debug)]
pub struct Ticks {
    first: Instant,
    interval: Duration,
    next: u64,
    #[cfg(target_os = "linux")]
    alarm: Option<Alarm>,
}

impl Ticks {
    /// Ticks every `interval`, the first one after `phase`.
    ///
    /// # Panics
    /// When the interval is 0; settings refuse that.
    #[must_use]
    pub fn new(start: Instant, phase: Duration, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "an interval is longer than 0");
        Self {
            first: start + phase,
            interval,
            next: 0,
            #[cfg(target_os = "linux")]
            alarm: None,
        }
    }

    /// The same, waking the process for nothing but the ticks where the kernel can do that: of long intervals
    /// the timers of the runtime wake it before. Each takes a descriptor.
    #[must_use]
    pub fn waking_only_for_ticks(self) -> Self {
        #[cfg(target_os = "linux")]
        return Self {
            alarm: Alarm::new()
                .inspect_err(|error| tracing::debug!(%error, "no alarm of the kernel"))
                .ok(),
            ..self
        };
        #[cfg(not(target_os = "linux"))]
        self
    }

    /// Waits until the next tick is due and returns how many were missed before it. Returns at once
    /// when one is due already. Giving up the wait loses nothing.
    pub async fn tick(&mut self) -> u64 {
        self.wait_until(self.due(self.next)).await;
        let late = Instant::now().saturating_duration_since(self.first);
        let newest = u64::try_from(late.as_nanos() / self.interval.as_nanos()).unwrap_or(u64::MAX);
        let missed = newest.saturating_sub(self.next);
        self.next += missed + 1;
        missed
    }

    async fn wait_until(&self, due: Instant) {
        #[cfg(target_os = "linux")]
        if let Some(alarm) = &self.alarm {
            match alarm.wait_until(due).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "the alarm of the kernel failed"),
            }
        }
        tokio::time::sleep_until(due).await;
    }

    /// Leaves out the ticks that are due already: the next one is the first after now.
    pub fn pass(&mut self) {
        let since = Instant::now().checked_duration_since(self.first);
        if let Some(since) = since {
            let newest = since.as_nanos() / self.interval.as_nanos();
            self.next = u64::try_from(newest).unwrap_or(u64::MAX).saturating_add(1);
        }
    }

    /// How long ago the tick was due that was served last.
    #[must_use]
    pub fn late(&self) -> Duration {
        Instant::now().saturating_duration_since(self.due(self.next.saturating_sub(1)))
    }

    fn due(&self, number: u64) -> Instant {
        let nanos = self.interval.as_nanos().saturating_mul(u128::from(number));
        let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.first.checked_add(after).unwrap_or(self.first)
    }
}

/// The phase of a task: its name spread over the interval, so that many tasks, and the agents of
/// many hosts, are not due at the same moment, and a restart keeps the spread.
#[must_use]
pub fn phase(name: &str, interval: Duration) -> Duration {
    let hash = Sha256::digest(name.as_bytes());
    let part = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    interval.mul_f64(f64::from(part) / (f64::from(u32::MAX) + 1.0))
}

/// The phases of checks are multiples of this.
const GRID: Duration = Duration::from_millis(10);
/// An interval of fewer steps of the grid has all phases.
const LEAST_STEPS: u32 = 10;

/// The phase moved back to a grid that all checks of an agent share. Thousands of them then wake it
/// for ten at a time instead of one by one, and what the first of the ten brings into the caches, the
/// others find there.
#[must_use]
pub fn on_grid(phase: Duration, interval: Duration) -> Duration {
    if interval < GRID * LEAST_STEPS {
        return phase;
    }
    let beyond = phase.as_nanos() % GRID.as_nanos();
    phase - Duration::from_nanos(u64::try_from(beyond).unwrap_or(0))
}

/// Notices when the wall clock was set: it then moved by another amount than the monotonic clock.
/// Slewing, as time daemons do, is too slow to be taken for a jump.
#[derive(Debug)]
pub struct ClockWatch {
    wall_us: i64,
    monotonic: Instant,
}

impl ClockWatch {
    /// A jump forwards is more than this between two looks.
    pub const FORWARDS_US: i64 = 2_000_000;
    /// A jump backwards is more than this between two looks.
    pub const BACKWARDS_US: i64 = 1_000_000;

    /// Begins to watch.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        Self {
            wall_us: clock.now_us(),
            monotonic: Instant::now(),
        }
    }

    /// By how many microseconds the clock jumped since the last look, if it did.
    pub fn jump_us(&mut self, clock: &dyn Clock) -> Option<i64> {
        let now = Self::new(clock);
        let went = now
            .monotonic
            .saturating_duration_since(self.monotonic)
            .as_micros();
        let expected = self
            .wall_us
            .saturating_add(i64::try_from(went).unwrap_or(i64::MAX));
        let jump_us = now.wall_us.saturating_sub(expected);
        *self = now;
        let usual = -Self::BACKWARDS_US..=Self::FORWARDS_US;
        (!usual.contains(&jump_us)).then_some(jump_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn ticks_keep_their_phase_however_long_the_work_takes() {
        let start = Instant::now();
        let mut ticks = Ticks::new(start, SECOND / 4, SECOND);
        for number in 0..50 {
            assert_eq!(ticks.tick().await, 0);
            let late = start.elapsed() - (SECOND / 4 + SECOND * number);
            assert!(
                late <= Duration::from_millis(1),
                "tick {number} is {late:?} late"
            );
            tokio::time::advance(Duration::from_millis(u64::from(number) * 19)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn missed_ticks_are_counted_and_not_made_up_for() {
        let start = Instant::now();
        let mut ticks = Ticks::new(start, Duration::ZERO, SECOND);
        assert_eq!(ticks.tick().await, 0);
        tokio::time::advance(Duration::from_millis(3_500)).await;
        assert_eq!(
            ticks.tick().await,
            2,
            "1 s and 2 s were missed, 3 s is served late"
        );
        assert_eq!(ticks.tick().await, 0);
        assert_eq!(start.elapsed().as_secs(), 4);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(
            ticks.tick().await,
            0,
            "late by less than an interval is not missed"
        );
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_that_begin_later_are_those_of_the_start() {
        let start = Instant::now();
        tokio::time::advance(Duration::from_millis(3_500)).await;
        for (phase, due) in [
            (SECOND / 4, 4_250),
            (SECOND * 3 / 4, 3_750),
            (SECOND / 2, 4_500),
        ] {
            let mut ticks = Ticks::new(start, phase, SECOND);
            ticks.pass();
            assert_eq!(ticks.due(ticks.next) - start, Duration::from_millis(due));
        }
        let mut ahead = Ticks::new(start, SECOND * 5, SECOND);
        ahead.pass();
        assert_eq!(ahead.tick().await, 0);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[test]
    fn phases_are_fixed_and_spread_over_the_interval() {
        let interval = Duration::from_secs(10);
        assert_eq!(phase("web-1", interval), phase("web-1", interval));
        let mut parts = [0; 10];
        for task in 0..1_000 {
            let phase = phase(&format!("task {task}"), interval);
            assert!(phase < interval);
            parts[phase.as_secs() as usize] += 1;
        }
        assert!(parts.iter().all(|&count| count > 60), "{parts:?}");
    }

    #[test]
    fn checks_share_the_moments_of_a_grid() {
        let (second, short) = (SECOND, Duration::from_millis(99));
        let at = |micros| Duration::from_micros(micros);
        assert_eq!(on_grid(at(0), second), at(0));
        assert_eq!(on_grid(at(9_999), second), at(0));
        assert_eq!(on_grid(at(10_000), second), at(10_000));
        assert_eq!(on_grid(at(987_654), second), at(980_000));
        let day = Duration::from_secs(86_400);
        assert_eq!(on_grid(day - at(1), day), day - at(10_000));
        assert_eq!(on_grid(at(54_321), short), at(54_321), "too few steps");
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_is_told_from_time_that_passes() {
        let clock = ManualClock::at(1_000_000_000);
        let mut watch = ClockWatch::new(&clock);
        let mut after = async |wall_us: i64| {
            tokio::time::advance(SECOND * 10).await;
            clock.advance(wall_us);
            watch.jump_us(&clock)
        };
        assert_eq!(after(10_000_000).await, None);
        assert_eq!(after(11_900_000).await, None, "slewed forwards");
        assert_eq!(after(9_100_000).await, None, "slewed backwards");
        assert_eq!(after(13_600_000).await, Some(3_600_000));
        assert_eq!(after(10_000_000).await, None, "told once");
        assert_eq!(after(-50_000_000).await, Some(-60_000_000));
    }
}
