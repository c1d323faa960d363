//! How exactly the kernel keeps the time-outs of threads that librdkafka makes.

use std::time::Duration;

/// While it is there, threads that this thread makes have a timer slack; what this thread waits for
/// itself may be that much later too. Dropping it gives the usual slack back.
#[must_use]
pub(super) struct TimerSlack {
    #[cfg(target_os = "linux")]
    set: bool,
}

#[cfg(target_os = "linux")]
impl TimerSlack {
    /// Nothing is changed by a slack of nothing. A kernel that refuses costs only what would be saved.
    pub(super) fn of_this_thread(slack: Duration) -> Self {
        let nanos = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
        let Some(nanos) = std::num::NonZeroU64::new(nanos) else {
            return Self { set: false };
        };
        let set = rustix::thread::set_current_timer_slack(Some(nanos));
        Self { set: set.is_ok() }
    }
}

#[cfg(target_os = "linux")]
impl Drop for TimerSlack {
    fn drop(&mut self) {
        if self.set
            && let Err(error) = rustix::thread::set_current_timer_slack(None)
        {
            tracing::debug!(%error, "a thread keeps its timer slack");
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl TimerSlack {
    /// Only Linux has it.
    pub(super) const fn of_this_thread(_: Duration) -> Self {
        Self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn threads_that_are_made_meanwhile_have_it_and_others_do_not() {
        let slack = || {
            std::thread::spawn(rustix::thread::current_timer_slack)
                .join()
                .unwrap()
                .unwrap()
        };
        let usual = slack();
        let while_there = TimerSlack::of_this_thread(Duration::from_secs(2));
        assert_eq!(slack(), 2_000_000_000);
        drop(while_there);
        assert_eq!(slack(), usual);
        let nothing = TimerSlack::of_this_thread(Duration::ZERO);
        assert_eq!(slack(), usual);
        drop(nothing);
    }
}
