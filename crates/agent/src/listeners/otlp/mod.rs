//! The listener `otlp`: metrics of OpenTelemetry, over HTTP (protobuf and JSON) and gRPC, on each of
//! its ports both.
//!
//! A full success means that all points are in the spool, on disk. What cannot be stored is told as
//! a partial success, which exporters log and do not send again; when the spool does not take the
//! points in time the answer asks to send them again. Traces and logs are not taken.

mod answer;
mod grpc;

use super::decoded;
use super::http::{Answer, Call, Routes, Server};
use super::{
    AgentError, Bindings, Intake, Listener, ListenerEntry, ListenerSettings, OpenedListener,
    Refusal, listen_checked,
};
use answer::{Form, Outcome};
use async_trait::async_trait;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Name, Reason};
use tidegauge_serve::Door;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(super) const ENTRY: ListenerEntry = ListenerEntry {
    name: "otlp",
    measurement: None,
    description: "Metrics of OpenTelemetry over HTTP (protobuf and JSON) and gRPC.",
    open,
};

/// How long an answer waits for the spool; exporters give up after 10 s.
const STORE_WITHIN: Duration = Duration::from_secs(8);

/// Settings of the listener.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// Where it listens, usually the port 4318 of HTTP.
    pub http: Option<SocketAddr>,
    /// Where it listens as well, usually the port 4317 of gRPC.
    pub grpc: Option<SocketAddr>,
    /// TLS, and what exporters must show.
    pub door: Arc<Door>,
    /// Put before all names.
    pub prefix: Option<Name>,
}

fn open(
    settings: &ListenerSettings,
    bindings: &mut Bindings,
) -> Result<Vec<OpenedListener>, AgentError> {
    let Some(settings) = &settings.otlp else {
        return Ok(Vec::new());
    };
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for (key, word, address) in [
        ("otlp.listen", "http", settings.http),
        ("otlp.listen_grpc", "grpc", settings.grpc),
    ] {
        let Some(address) = address else { continue };
        let (listener, address) = listen_checked(key, address, &settings.door, bindings)?;
        addresses.push(format!("{word} {address}"));
        listeners.push(listener);
    }
    if listeners.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![OpenedListener {
        name: ENTRY.name.to_owned(),
        addresses,
        prefix: settings.prefix.clone(),
        listener: Box::new(Otlp {
            listeners,
            door: Arc::clone(&settings.door),
        }),
    }])
}

struct Otlp {
    listeners: Vec<TcpListener>,
    door: Arc<Door>,
}

#[async_trait]
impl Listener for Otlp {
    async fn run(self: Box<Self>, intake: Intake, cancel: CancellationToken) {
        let server = Server {
            listeners: self.listeners,
            door: self.door,
            intake: intake.clone(),
            routes: Arc::new(Api { intake }),
        };
        server.run(cancel).await;
    }
}

struct Api {
    intake: Intake,
}

#[async_trait]
impl Routes for Api {
    fn is_open(&self, _path: &str) -> bool {
        false
    }

    async fn answer(&self, call: Call) -> Answer {
        let form = Form::of(&call.headers);
        let outcome = match (&call.method, form, call.path.as_str()) {
            (&Method::POST, Form::Grpc, grpc::EXPORT) => {
                let most = self.intake.limits().message_bytes;
                match grpc::message(call, most).await {
                    Ok(message) => self.export(message).await,
                    Err((refusal, problem)) => {
                        self.intake.refuse(refusal, 1, problem);
                        Outcome::Bad(problem.to_owned())
                    }
                }
            }
            (&Method::POST, Form::Json | Form::Protobuf, "/v1/metrics") => {
                self.export(call.body).await
            }
            _ => {
                let problem = "metrics alone are taken, at /v1/metrics";
                self.intake.refuse(Refusal::Unsupported, 1, problem);
                Outcome::Unknown(problem)
            }
        };
        form.answer(&outcome)
    }

    fn refuse(&self, headers: &HeaderMap, status: StatusCode, problem: &str) -> Answer {
        Form::of(headers).answer(&Outcome::Refused(status, problem.to_owned()))
    }
}

impl Api {
    async fn export(&self, mut message: Vec<u8>) -> Outcome {
        // JSON may begin with blanks, protobuf begins with the tag of its first field.
        if let Some(begin) = message.iter().position(|byte| !byte.is_ascii_whitespace())
            && message[begin] == b'{'
        {
            message.drain(..begin);
        }
        if message.is_empty() {
            return Outcome::Stored;
        }
        let (encoding, now_us) = (&tidegauge_wire::otlp::Otlp, self.intake.now_us());
        let decoded = match decoded::decode(encoding, message, None, now_us).await {
            Ok(decoded) => decoded,
            Err(error) => {
                let text = format!("{}: {}", error.at, error.detail);
                self.intake.refuse(error.reason, 1, &text);
                return Outcome::Bad(text);
            }
        };
        let rejected = decoded.count_rejected(&self.intake);
        let first = decoded
            .rejected
            .first()
            .map(|rejected| rejected.detail.clone());
        let receipt = self.intake.hand_on(decoded.points).await;
        let refused = rejected + receipt.refused.len() as u64;
        let first = first.or_else(|| {
            let refused = receipt.refused.first()?;
            Some(format!("{}: {}", refused.refusal, refused.detail))
        });
        let accepted = receipt.accepted as u64;
        let stored = tokio::time::timeout(STORE_WITHIN, receipt.stored()).await;
        if stored != Ok(true) {
            let text = "the points are not stored yet; send them again";
            self.intake.refuse(Refusal::NotStored, accepted, text);
            return Outcome::Later(text);
        }
        match first {
            None => Outcome::Stored,
            Some(detail) => Outcome::Partly(refused, detail),
        }
    }
}

impl From<super::http::GunzipError> for Refusal {
    fn from(error: super::http::GunzipError) -> Self {
        match error {
            super::http::GunzipError::TooLarge => Reason::MessageTooLarge.into(),
            super::http::GunzipError::Broken => Reason::Syntax.into(),
        }
    }
}
