//! Serving pages on an address until the program stops.

use anyhow::Context;
use axum::Router;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Listens.
///
/// # Errors
/// When the address is taken or not ours.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    crate::health::warn_if_open(address);
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address} (--listen)"))
}

/// Serves `/metrics` and `/healthz` in a task that ends with the token.
pub(crate) fn pages(
    listener: TcpListener,
    router: Router,
    cancel: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let stop = async move { cancel.cancelled().await };
        if let Err(error) = axum::serve(listener, router)
            .with_graceful_shutdown(stop)
            .await
        {
            tracing::error!(%error, "serving /metrics and /healthz");
        }
    })
}
