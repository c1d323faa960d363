//! The server: routes behind a door.

use crate::live::LiveHub;
use crate::{api, assets};
use axum::Router;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::Clock;
use tidegauge_query::Query;
use tidegauge_serve::{Door, Limits, pages};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

/// After the end was asked for, open answers have so long (D12 leaves 10 s to all of the program).
const END_DEADLINE: Duration = Duration::from_secs(3);

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
}

/// Serves the page to whom the door lets in, until `cancel` is cancelled; returns at most 3 s later.
pub async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    query: Query,
    options: DashboardOptions,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) {
    let routes = router(query, &options, clock, cancel.clone());
    let limits = Limits {
        stop_within: END_DEADLINE,
        ..Limits::default()
    };
    pages::serve(listener, routes, door, &[], limits, cancel).await;
}
