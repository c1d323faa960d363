//! Waiting for something that happens in its own time, with a deadline and a name.
//!
//! The one place in the tests that sleeps: it polls, so a fast machine does not wait.

use std::future::Future;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// Calls `attempt` until it gives a value; for tests without a runtime.
///
/// # Panics
/// With `what` when `deadline` has passed.
pub fn eventually<T>(deadline: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain: {what}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// Calls `attempt` until it gives a value; for async tests. The deadline is one of real time,
/// also where the runtime's clock is paused.
///
/// # Panics
/// With `what` when `deadline` has passed.
pub async fn eventually_async<T, F>(
    deadline: Duration,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain: {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_comes_as_soon_as_it_is_there() {
        let mut calls = 0;
        let value = eventually(Duration::from_secs(10), "third call", || {
            calls += 1;
            (calls == 3).then_some("here")
        });
        assert_eq!((value, calls), ("here", 3));
    }

    #[test]
    #[should_panic(expected = "waited 20ms in vain: a miracle")]
    fn the_deadline_names_what_was_waited_for() {
        eventually(Duration::from_millis(20), "a miracle", || None::<()>);
    }
}
