//! Waiting out an outage: pauses that double up to a bound, spread a little so that many sinks do
//! not come back at one moment.

use std::time::Duration;

/// The next pause after each failure in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    spread: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        // The process id tells sinks on one machine apart; more randomness is not needed.
        Self {
            first,
            longest,
            next: first,
            spread: std::process::id(),
        }
    }

    /// The pause to make now; the next one is twice as long.
    pub(crate) fn pause(&mut self) -> Duration {
        self.spread = self.spread.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let percent = 80 + (self.spread >> 16) % 41;
        let pause = self.next * percent / 100;
        self.next = (self.next * 2).min(self.longest);
        pause
    }

    /// It worked: the next failure begins with the first pause again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for expected in [100, 200, 350, 350] {
            let pause = backoff.pause().as_millis() as u64;
            assert!(
                (expected * 8 / 10..=expected * 12 / 10).contains(&pause),
                "{pause} for {expected}"
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(120));
    }
}
