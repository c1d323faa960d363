//! SIGINT and SIGTERM: the first asks to stop, the second ends the program at once (D12).

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGINT, SIGTERM or after `limit`.
///
/// # Errors
/// When the process may not handle signals.
pub(crate) fn on_signal(limit: Option<Duration>) -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    // Owned by the runtime: it ends with the process.
    tokio::spawn(async move {
        let limit = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("SIGINT, stopping"),
            _ = terminate.recv() => tracing::info!("SIGTERM, stopping"),
            () = limit => tracing::info!("the given time is over, stopping"),
        }
        cancel.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("second signal, ending at once");
        std::process::exit(1);
    });
    Ok(token)
}
