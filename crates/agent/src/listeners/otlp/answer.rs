//! What became of a request, in the form in which it came.

use super::super::http::Answer;
use super::grpc;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use prost::Message;

/// The form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Json,
    Grpc,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Stored,
    /// So many points are not, and will not be.
    Partly(u64, String),
    /// It is to be sent again.
    Later(&'static str),
    Bad(String),
    Unknown(&'static str),
    /// By the server, before it was read.
    Refused(StatusCode, String),
}

/// `ExportMetricsServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `ExportMetricsPartialSuccess`.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_data_points: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let told = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        match told {
            Some(told) if told.starts_with(b"application/grpc") => Self::Grpc,
            Some(told) if told.starts_with(b"application/json") => Self::Json,
            _ => Self::Protobuf,
        }
    }

    pub(super) fn answer(self, outcome: &Outcome) -> Answer {
        let (http, code, text) = match outcome {
            Outcome::Stored | Outcome::Partly(..) => return self.success(outcome),
            Outcome::Later(text) => (StatusCode::SERVICE_UNAVAILABLE, grpc::UNAVAILABLE, *text),
            Outcome::Bad(text) => (
                StatusCode::BAD_REQUEST,
                grpc::INVALID_ARGUMENT,
                text.as_str(),
            ),
            Outcome::Unknown(text) => (StatusCode::NOT_FOUND, grpc::UNIMPLEMENTED, *text),
            Outcome::Refused(status, text) => {
                let code = match *status {
                    StatusCode::UNAUTHORIZED => grpc::UNAUTHENTICATED,
                    StatusCode::FORBIDDEN => grpc::PERMISSION_DENIED,
                    StatusCode::REQUEST_TIMEOUT => grpc::UNAVAILABLE,
                    _ => grpc::INVALID_ARGUMENT,
                };
                (*status, code, text.as_str())
            }
        };
        match self {
            Self::Grpc => grpc::answer(None, code, text),
            Self::Json => {
                let body = format!(r#"{{"code":{code},"message":{}}}"#, quoted(text));
                Answer::new(http, "application/json", body)
            }
            Self::Protobuf => {
                let (code, message) = (i32::from(code), text.to_owned());
                let body = Status { code, message }.encode_to_vec();
                Answer::new(http, "application/x-protobuf", body)
            }
        }
    }

    fn success(self, outcome: &Outcome) -> Answer {
        let partial = match outcome {
            Outcome::Partly(rejected, message) => Some(PartialSuccess {
                rejected_data_points: i64::try_from(*rejected).unwrap_or(i64::MAX),
                error_message: message.clone(),
            }),
            _ => None,
        };
        if self == Self::Json {
            let body = partial.map_or_else(
                || "{}".to_owned(),
                |partial| {
                    format!(
                        r#"{{"partialSuccess":{{"rejectedDataPoints":"{}","errorMessage":{}}}}}"#,
                        partial.rejected_data_points,
                        quoted(&partial.error_message)
                    )
                },
            );
            return Answer::new(StatusCode::OK, "application/json", body);
        }
        let response = Response {
            partial_success: partial,
        };
        let message = response.encode_to_vec();
        match self {
            Self::Grpc => grpc::answer(Some(&message), grpc::OK, ""),
            _ => Answer::new(StatusCode::OK, "application/x-protobuf", message),
        }
    }
}

fn quoted(text: &str) -> String {
    super::super::http::json_text(text)
}
