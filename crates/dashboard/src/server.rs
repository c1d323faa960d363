//! The server: routes, security headers, an orderly end.

use crate::live::LiveHub;
use crate::{DashboardError, api, assets};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::Clock;
use tidegauge_query::Query;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

/// After the end was asked for, open answers have so long (D12 leaves 10 s to all of the program).
const END_DEADLINE: Duration = Duration::from_secs(3);

/// Nothing from elsewhere, in no direction. Styles of charts are set through the CSSOM, which
/// this allows.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
                                       frame-ancestors 'none'; object-src 'none'";

/// How the page is served.
#[derive(Debug, Clone)]
pub struct DashboardOptions {
    /// How often the store is asked for new samples while a page is open.
    pub refresh: Duration,
}

impl Default for DashboardOptions {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(1),
        }
    }
}

/// What all handlers share.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) query: Query,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) live: Arc<LiveHub>,
}

/// The routes, for a server that has others too. Live streams and the tasks behind them end when
/// `cancel` is cancelled.
pub fn router(
    query: Query,
    options: &DashboardOptions,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) -> Router {
    let live = LiveHub::new(query.clone(), clock.clone(), options.refresh, cancel);
    let state = AppState {
        query,
        clock,
        live: Arc::new(live),
    };
    Router::new()
        .route("/api/hosts", get(api::hosts))
        .route("/api/overview", get(api::overview))
        .route("/api/panel", get(api::panel))
        .route("/api/live", get(api::live))
        .route("/api/{*path}", get(api::no_such_path))
        .fallback(get(assets::file))
        .with_state(state)
        .layer(CompressionLayer::new())
        .layer(axum::middleware::map_response(secure))
}

/// Serves the page until `cancel` is cancelled; returns at most 3 s later.
///
/// # Errors
/// [`DashboardError::Serve`] when connections can no longer be accepted.
pub async fn serve(
    listener: TcpListener,
    query: Query,
    options: DashboardOptions,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) -> Result<(), DashboardError> {
    let routes = router(query, &options, clock, cancel.clone());
    let server = axum::serve(listener, routes)
        .with_graceful_shutdown(cancel.clone().cancelled_owned())
        .into_future();
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(END_DEADLINE).await;
    };
    tokio::select! {
        served = server => served.map_err(DashboardError::Serve),
        () = overdue => {
            tracing::warn!("connections of the web page are cut, as they did not end in time");
            Ok(())
        }
    }
}

async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let all = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
