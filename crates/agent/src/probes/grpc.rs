//! The probe `grpc`: asks a server how it is, by the health checking protocol of gRPC
//! (`grpc.health.v1.Health/Check`). The path of the URL names the service; without one, the server.

use super::exchange::{Failure, Progress, Target, handshake, server_name, write_at_once};
use super::h2_call::{self, Answer};
use super::keys::{CA_FILE, SERVER_NAME};
use super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry};
use async_trait::async_trait;
use hyper::{Request, StatusCode, header};
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Instant;
use tidegauge_model::{Clock, name};

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "grpc",
    measurement: name!("grpc_check"),
    schemes: &["grpc", "grpcs"],
    description: "The health checking protocol of gRPC, in the clear (`grpc`) or over TLS (`grpcs`).",
    keys: &[SERVER_NAME, CA_FILE],
    new: |settings, context| Ok(Box::new(GrpcProbe::new(settings, context)?)),
};

const METHOD: &str = "/grpc.health.v1.Health/Check";
const SERVING: u64 = 1;
/// One byte says whether the message is compressed, four how long it is.
const FRAME_BYTES: usize = 5;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`; an enumeration is a number on the wire.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(uint64, tag = "1")]
    status: u64,
}

struct GrpcProbe {
    target: Target,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    uri: String,
    message: Vec<u8>,
}

impl GrpcProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let address = settings.address();
        let secure = address.scheme == "grpcs";
        let tls = if secure {
            let ca_file = settings.own().path("ca_file");
            let config = context.tls.speaking(ca_file, &[b"h2"])?;
            Some((config, server_name(settings)?))
        } else {
            None
        };
        let service = address.path.split('?').next().unwrap_or_default();
        let request = HealthCheckRequest {
            service: service.trim_start_matches('/').to_owned(),
        };
        let mut message = vec![0];
        message.extend((request.encoded_len() as u32).to_be_bytes());
        message.extend(request.encode_to_vec());
        let scheme = if secure { "https" } else { "http" };
        Ok(Self {
            target: Target::new(settings, context, secure.then_some(443))?,
            tls,
            uri: format!("{scheme}://{}{METHOD}", address.authority),
            message,
        })
    }

    async fn exchange(&self, progress: &mut Progress) -> Result<(), Failure> {
        let request = Request::post(self.uri.as_str())
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, super::USER_AGENT)
            .body(())
            .map_err(|error| Failure::new(CheckReason::Protocol, error))?;
        let stream = self.target.connect(progress).await?;
        let message = self.message.clone();
        let answer = match &self.tls {
            None => {
                write_at_once(&stream);
                let began = Instant::now();
                let answer = h2_call::call(Box::new(stream), request, message, progress).await?;
                progress.took(name!("answer_seconds"), began);
                answer
            }
            Some((config, server)) => {
                let stream =
                    handshake(Arc::clone(config), server.clone(), stream, progress).await?;
                let began = Instant::now();
                let answer = h2_call::call(Box::new(stream), request, message, progress).await?;
                progress.took(name!("answer_seconds"), began);
                answer
            }
        };
        judge(&answer, progress)
    }
}

#[async_trait]
impl Probe for GrpcProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let deadline = self.target.deadline;
        let ended = tokio::time::timeout(deadline, self.exchange(&mut progress)).await;
        progress.finding(ended, deadline, clock)
    }
}

/// What the answer says of the service.
fn judge(answer: &Answer, progress: &mut Progress) -> Result<(), Failure> {
    if answer.status != StatusCode::OK {
        let detail = format!("the HTTP status is {}, gRPC's is 200", answer.status);
        return Err(Failure::new(CheckReason::Status, detail));
    }
    // An answer without a message has the status among its headers.
    let said = |name| {
        let value = answer
            .trailers
            .get(name)
            .or_else(|| answer.headers.get(name));
        value.and_then(|value| value.to_str().ok())
    };
    let status = said("grpc-status").and_then(|text| text.parse::<u16>().ok());
    let Some(status) = status else {
        let detail = "the answer has no grpc-status";
        return Err(Failure::new(CheckReason::Protocol, detail));
    };
    progress.found(name!("grpc_status"), f64::from(status));
    if status != 0 {
        let message = said("grpc-message").unwrap_or_default();
        let meaning = match status {
            5 => " (the server does not know this service)",
            12 => " (the server does not have the health checking protocol)",
            _ => "",
        };
        let detail = format!("grpc-status {status}{meaning}: {message}");
        return Err(Failure::new(CheckReason::Status, detail));
    }
    let health = health(&answer.body)
        .map_err(|problem| Failure::new(CheckReason::Protocol, problem))?
        .status;
    let word = match health {
        0 => "unknown",
        SERVING => "serving",
        2 => "not_serving",
        3 => "service_unknown",
        _ => "other",
    };
    progress.found(name!("health"), word);
    match health {
        SERVING => Ok(()),
        _ => Err(Failure::new(
            CheckReason::NotServing,
            format!("the health is {word}"),
        )),
    }
}

fn health(body: &[u8]) -> Result<HealthCheckResponse, &'static str> {
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<FRAME_BYTES>() else {
        return Err("the frame of the message is cut");
    };
    if flag != 0 {
        return Err("the message is compressed, which was not offered");
    }
    if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err("the frame has another length than its message");
    }
    HealthCheckResponse::decode(message).map_err(|_| "the message is no HealthCheckResponse")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_in_one_frame() {
        let status = |body: &[u8]| health(body).map(|health| health.status);
        assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Ok(1));
        assert_eq!(status(b"\0\0\0\0\0"), Ok(0));
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\xff\xff\xff\xff\x08\x01",
            b"\0\0\0\0\x02\x0a\x05",
        ] {
            assert!(status(bad).is_err(), "{bad:?}");
        }
    }
}
