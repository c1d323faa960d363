//! Errors of one answer.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::error::Error;
use tidegauge_query::QueryError;

/// Why a request has no answer; becomes a status and a JSON object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadParameter(String),
    #[error("there is nothing at this address")]
    NoSuchPath,
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadParameter(_) => StatusCode::BAD_REQUEST,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Query(error) if error.is_not_found() => StatusCode::NOT_FOUND,
            Self::Query(error) if error.is_usage() => StatusCode::BAD_REQUEST,
            Self::Query(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Query(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(error = %chain(&self), "answering a request of the web page");
        }
        let body = serde_json::json!({ "error": self.to_string() });
        (status, Json(body)).into_response()
    }
}

/// An error with its causes, for the log; the browser is told the first part alone.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
