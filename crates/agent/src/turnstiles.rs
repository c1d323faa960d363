//! How many checks are under way at once: overall, and for each destination host.
//!
//! A check that is due waits here until there is room, so that thousands of targets that hang take
//! neither all sockets nor all memory. What it waited is part of its `start_delay_seconds`; if that
//! goes beyond its next tick, the tick is counted as missed. Nothing is left out in silence.

use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds on checks that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckLimits {
    /// All together; at least 1.
    pub at_once: usize,
    /// Of one destination host; at least 1.
    pub at_once_per_host: usize,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self {
            at_once: 1_000,
            at_once_per_host: 100,
        }
    }
}

/// The way in for all checks of an agent.
#[derive(Debug)]
pub(crate) struct Turnstiles {
    all: Arc<Semaphore>,
    per_host: usize,
    hosts: HashMap<String, Arc<Semaphore>>,
}

/// The way in for the checks of one target.
#[derive(Debug)]
pub(crate) struct Turnstile {
    host: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// A check that may be under way; it gives its room back when this goes.
#[derive(Debug)]
pub(crate) struct Entered {
    _host: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Turnstiles {
    pub(crate) fn new(limits: CheckLimits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.at_once.max(1))),
            per_host: limits.at_once_per_host.max(1),
            hosts: HashMap::new(),
        }
    }

    /// Forgets hosts that no check connects to any more.
    pub(crate) fn forget_unused(&mut self) {
        self.hosts.retain(|_, host| Arc::strong_count(host) > 1);
    }

    /// The one of a destination host.
    pub(crate) fn of(&mut self, host: &str) -> Turnstile {
        let new = || Arc::new(Semaphore::new(self.per_host));
        let host = match self.hosts.get(host) {
            Some(known) => known.clone(),
            None => self.hosts.entry(host.to_owned()).or_insert(new()).clone(),
        };
        Turnstile {
            host,
            all: self.all.clone(),
        }
    }
}

impl Turnstile {
    /// Waits until there is room, first for the host, so that those who wait for one hold up nobody
    /// else. Giving up the wait loses nothing.
    pub(crate) async fn enter(&self) -> Entered {
        // Nobody closes these, so there always is a permit in the end.
        Entered {
            _host: self.host.clone().acquire_owned().await.ok(),
            _all: self.all.clone().acquire_owned().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_full_holds_up_no_other() {
        let mut turnstiles = Turnstiles::new(CheckLimits {
            at_once: 3,
            at_once_per_host: 2,
        });
        let full = async |turnstile: &Turnstile| {
            let entered = tokio::time::timeout(Duration::from_secs(1), turnstile.enter());
            entered.await.is_err()
        };
        let (first, second) = (turnstiles.of("first"), turnstiles.of("second"));
        let again = turnstiles.of("first");
        let inside = (first.enter().await, again.enter().await);
        assert!(full(&first).await, "its host is full");
        let other = second.enter().await;
        assert!(full(&second).await, "all is full");
        drop(inside);
        let inside = first.enter().await;
        drop((inside, other));
        assert!(!full(&second).await);
    }
}
