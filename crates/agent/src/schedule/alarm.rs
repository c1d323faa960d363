//! An alarm clock of the kernel, for one task that is due seldom.
//!
//! The timers of the runtime lie in a wheel of six levels, and one that is far away wakes the process each time it
//! moves to a finer level: three wakes for a tick every 10 s. On a machine that is idle a wake costs as much
//! as reading ten files. timerfd_create(2) wakes once.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// Within a runtime that does input and output.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "what replaces it is `unsafe`; an OwnedFd is the same descriptor as long as it lives"
        )]
        AsyncFd::new(timer).map(Self)
    }

    /// Waits until then, on the clock of the machine: a test that stops the runtime's clock does not stop this one.
    /// Giving up the wait loses nothing.
    pub(super) async fn wait_until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(left).map_err(io::Error::other)?,
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            // It need not be read: setting it again makes it silent.
            self.0.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_rings_when_it_is_due_and_again_when_it_is_set_again() {
        let alarm = Alarm::new().expect("the kernel has it");
        for millis in [20, 0, 30] {
            let due = Instant::now() + Duration::from_millis(millis);
            alarm.wait_until(due).await.expect("rings");
            assert!(Instant::now() >= due);
        }
        // Given up, and set to an earlier moment.
        let far = Instant::now() + Duration::from_secs(3_600);
        let wait = tokio::time::timeout(Duration::from_millis(10), alarm.wait_until(far));
        assert!(wait.await.is_err());
        let near = Instant::now() + Duration::from_millis(10);
        alarm.wait_until(near).await.expect("rings");
        assert!((near..far).contains(&Instant::now()));
    }
}
