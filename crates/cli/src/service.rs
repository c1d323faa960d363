//! What a service manager is told (sd_notify(3), `Type=notify`): the program is ready, its threads take
//! turns, it is stopping. Nothing is told where `NOTIFY_SOCKET` is not set.
//!
//! Ready means that the settings were good and that the program goes on by itself from here. An outage
//! of the broker or the database is no reason to be started again (D8), so none is waited for, and the
//! watchdog does not know of any: it ends a program whose runtime no longer runs its tasks.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Says that the program is ready and gives back what its start took; then says that it lives, twice in the time that the manager allows
/// (`WatchdogSec=`), and that it stops when the token is cancelled.
pub(crate) fn ready(cancel: CancellationToken) {
    let allowed = sd_notify::watchdog_enabled();
    tell(NotifyState::Ready);
    #[cfg(target_os = "linux")]
    tokio::spawn(crate::startup_memory::give_back());
    // Owned by the runtime. A service that stops is not watched any more: it has until TimeoutStopSec=.
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = cancel.cancelled() => break tell(NotifyState::Stopping),
                () = turn(allowed) => tell(NotifyState::Watchdog),
            }
        }
    });
}

async fn turn(allowed: Option<Duration>) {
    match allowed {
        Some(allowed) => tokio::time::sleep(allowed / 2).await,
        None => std::future::pending().await,
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "telling the service manager (NOTIFY_SOCKET)");
    }
}
