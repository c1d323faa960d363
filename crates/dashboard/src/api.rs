//! The API's handlers: parameters are checked here, once.

use crate::error::ApiError;
use crate::panels::{self, PANELS, PanelAnswer, PanelEntry};
use crate::server::AppState;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, State};
use axum::http::HeaderMap;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use tidegauge_query::HostInfo;

/// The longest range in milliseconds, 400 days.
const MAX_RANGE_MS: i64 = 400 * 86_400_000;
/// Times that a client may name: the years 1970 to 9999.
const TIMES_MS: RangeInclusive<i64> = 0..=253_402_300_800_000;
const PIXELS: RangeInclusive<u32> = 10..=4_000;
/// Proxies close connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Checked<T> = Result<Parameters<T>, QueryRejection>;

/// A host as the page knows it.
#[derive(Serialize)]
pub(crate) struct HostAnswer {
    identity: String,
    name: String,
    labels: BTreeMap<String, String>,
    first_seen_ms: i64,
}

#[derive(Serialize)]
pub(crate) struct OverviewAnswer {
    host: HostAnswer,
    /// Names of panels that have something to show.
    panels: Vec<&'static str>,
    /// Series per measurement, by their tags.
    series: BTreeMap<String, Vec<BTreeMap<String, String>>>,
    refresh_ms: u64,
    now_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostParameters {
    host: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PanelParameters {
    host: String,
    panel: String,
    from: i64,
    to: i64,
    pixels: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiveParameters {
    host: String,
    since: Option<i64>,
}

pub(crate) async fn hosts(State(state): State<AppState>) -> Result<Response, ApiError> {
    let hosts = state.query.hosts().await?;
    let hosts: Vec<HostAnswer> = hosts.into_iter().map(HostAnswer::from).collect();
    Ok(Json(hosts).into_response())
}

pub(crate) async fn overview(
    State(state): State<AppState>,
    parameters: Checked<HostParameters>,
) -> Result<Json<OverviewAnswer>, ApiError> {
    let host = state.query.host(&checked(parameters)?.host).await?;
    let mut series: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for found in state.query.series(Some(host.id), None, &[]).await? {
        let tags = found.tags.into_iter().collect();
        series.entry(found.measurement).or_default().push(tags);
    }
    let has = |panel: &&PanelEntry| series.keys().any(|name| panel.shows(name));
    Ok(Json(OverviewAnswer {
        host: host.into(),
        panels: PANELS.iter().filter(has).map(|panel| panel.name).collect(),
        series,
        refresh_ms: u64::try_from(state.live.refresh().as_millis()).unwrap_or(u64::MAX),
        now_ms: state.clock.now_us() / 1_000,
    }))
}

pub(crate) async fn panel(
    State(state): State<AppState>,
    parameters: Checked<PanelParameters>,
) -> Result<Json<PanelAnswer>, ApiError> {
    let parameters = checked(parameters)?;
    let known = PANELS.iter().find(|panel| panel.name == parameters.panel);
    let entry = known.ok_or_else(|| {
        let names: Vec<_> = PANELS.iter().map(|panel| panel.name).collect();
        ApiError::BadParameter(format!("panel is one of {}", names.join(", ")))
    })?;
    let range_us = range_us(parameters.from, parameters.to)?;
    if !PIXELS.contains(&parameters.pixels) {
        let (least, most) = PIXELS.into_inner();
        return Err(ApiError::BadParameter(format!(
            "pixels is {least} to {most}"
        )));
    }
    let host = state.query.host(&parameters.host).await?;
    let measurements = state.query.measurements().await?;
    let now_us = state.clock.now_us();
    let pixels = parameters.pixels;
    let read = panels::read(
        &state.query,
        &measurements,
        host.id,
        entry,
        range_us,
        pixels,
    );
    Ok(Json(PanelAnswer::new(entry, now_us, read.await?)))
}

pub(crate) async fn live(
    State(state): State<AppState>,
    headers: HeaderMap,
    parameters: Checked<LiveParameters>,
) -> Result<Response, ApiError> {
    let parameters = checked(parameters)?;
    // A browser that connects again says what it had last.
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let since_ms = last.or(parameters.since);
    if since_ms.is_some_and(|since| !TIMES_MS.contains(&since)) {
        return Err(ApiError::BadParameter(
            "since is milliseconds since 1970 UTC".to_owned(),
        ));
    }
    let host = state.query.host(&parameters.host).await?;
    let events = state
        .live
        .events(host.id, since_ms.map(|since| since * 1_000));
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

pub(crate) async fn no_such_path() -> ApiError {
    ApiError::NoSuchPath
}

fn checked<T>(parameters: Checked<T>) -> Result<T, ApiError> {
    match parameters {
        Ok(Parameters(parameters)) => Ok(parameters),
        Err(rejection) => Err(ApiError::BadParameter(rejection.body_text())),
    }
}

fn range_us(from_ms: i64, to_ms: i64) -> Result<Range<i64>, ApiError> {
    let refuse = |text: &str| Err(ApiError::BadParameter(text.to_owned()));
    if !TIMES_MS.contains(&from_ms) || !TIMES_MS.contains(&to_ms) {
        return refuse("from and to are milliseconds since 1970 UTC");
    }
    if from_ms >= to_ms {
        return refuse("from is before to");
    }
    if to_ms - from_ms > MAX_RANGE_MS {
        return refuse("the range is at most 400 days");
    }
    Ok(from_ms * 1_000..to_ms * 1_000)
}

impl From<HostInfo> for HostAnswer {
    fn from(host: HostInfo) -> Self {
        Self {
            identity: host.identity,
            name: host.name,
            labels: host.labels.into_iter().collect(),
            first_seen_ms: host.first_seen_us / 1_000,
        }
    }
}
