//! `/metrics` (Prometheus text format) and `/healthz` for agent and sink.

use crate::version;
use axum::Router;
use axum::extract::Extension;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::Arc;
use tidegauge_serve::pages::IsKnown;

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
    // Whoever keeps programs alive asks without a password, and learns whether, not why not.
    let healthz = move |Extension(IsKnown(is_known)): Extension<IsKnown>| {
        let health = health.clone();
        async move {
            let (status, word, text) = match health() {
                Ok(text) => (StatusCode::OK, "ok", text),
                Err(text) => (StatusCode::SERVICE_UNAVAILABLE, "not healthy", text),
            };
            let text = if is_known { text } else { String::new() };
            (status, format!("{word}\n{text}\n"))
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
}
