//! `/metrics` (Prometheus text format) and `/healthz` for agent and sink.

use crate::version;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::net::SocketAddr;
use std::sync::Arc;

/// Seconds that a step's phase, a collection or a check takes.
const SECONDS_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// What `/healthz` says: fine, or why not.
pub(crate) type Health = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Installs the recorder of all numbers.
///
/// # Errors
/// When there is one already.
pub(crate) fn recorder() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)?
        .install_recorder()?;
    let commit = version::COMMIT.unwrap_or("unknown");
    metrics::gauge!("tidegauge_build_info", "version" => version::VERSION, "commit" => commit)
        .set(1.0);
    Ok(handle)
}

/// The two pages.
pub(crate) fn router(handle: PrometheusHandle, health: Health) -> Router {
    let metrics = move || {
        let handle = handle.clone();
        async move {
            handle.run_upkeep();
            let kind = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (kind, handle.render()).into_response()
        }
    };
    let healthz = move || {
        let health = health.clone();
        async move {
            match health() {
                Ok(text) => (StatusCode::OK, format!("ok\n{text}\n")),
                Err(text) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not healthy\n{text}\n"),
                ),
            }
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
}

/// Warns when others than this machine can ask: there is neither TLS nor a password here.
pub(crate) fn warn_if_open(address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond loopback without TLS and without a password");
    }
}
