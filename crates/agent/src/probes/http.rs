//! The probe `http`: one GET over a fresh connection, each phase with its own time.
//!
//! No pool, no TLS resumption, no cached names, no redirects (a 3xx is an answer like any other):
//! what is measured is what a new visitor meets. Addresses of a name are tried in turn.

mod plain;
mod settings;

use super::{AgentError, certificate, chain, resolve, tls};
use super::{CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry, USER_AGENT};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::HeaderValue;
use hyper::{Request, Response, Version, body::Incoming, header};
use hyper_util::rt::TokioIo;
use plain::Plain;
use regex::bytes::Regex;
use rustls::pki_types::ServerName;
pub use settings::StatusRanges;
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, Name, Value, name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "http",
    measurement: name!("http_check"),
    schemes: &["http", "https"],
    description: "A GET request: status, body, certificate, and the time of each phase.",
    keys: settings::KEYS,
    new: |settings, context| Ok(Box::new(HttpProbe::new(settings, context)?)),
};

/// The head of an answer must fit in this.
const MAX_HEAD_BYTES: usize = 64 * 1024;

struct HttpProbe {
    names: Arc<resolve::Names>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    host: String,
    port: u16,
    authority: String,
    path: String,
    authorization: Option<HeaderValue>,
    accept: &'static str,
    /// Whether the body is wanted, whole.
    keeps_body: bool,
    deadline: Duration,
    body_regexp: Option<Regex>,
    expect_status: StatusRanges,
    max_body_bytes: usize,
}

/// How far a check has come, and what was measured on the way.
#[derive(Default)]
struct Progress {
    phase: &'static str,
    certificate_not_after: Option<i64>,
    content_type: Option<String>,
    body: Vec<u8>,
    fields: Vec<(Name, Value)>,
}

/// Why a check ended early.
struct Failure {
    reason: CheckReason,
    detail: String,
}

const CONNECTING: &str = "connecting";

impl HttpProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let (address, own) = (settings.address(), settings.own());
        let secure = address.scheme == "https";
        let tls = if secure {
            let config = context.tls.trusting(own.path("ca_file"))?;
            let server = ServerName::try_from(address.host.clone()).map_err(|error| {
                AgentError::Setting {
                    key: "url",
                    problem: format!("its host: {error}"),
                }
            })?;
            Some((TlsConnector::from(config), server))
        } else {
            None
        };
        Ok(Self {
            names: Arc::clone(&context.names),
            tls,
            host: address.host.clone(),
            port: address.port.unwrap_or(if secure { 443 } else { 80 }),
            authority: address.authority.clone(),
            path: address.path.clone(),
            authorization: address.authorization.clone(),
            accept: "*/*",
            keeps_body: false,
            deadline: settings.deadline(),
            body_regexp: own.regexp("body_regexp"),
            expect_status: match own.texts("expect_status") {
                [] => StatusRanges::default(),
                texts => texts.join(",").parse()?,
            },
            max_body_bytes: own
                .count("max_body_bytes")
                .map_or(settings::DEFAULT_MAX_BODY_BYTES, |bytes| bytes as usize),
        })
    }

    /// All phases; what was measured is in `progress` however it ends.
    async fn exchange(&self, progress: &mut Progress) -> Result<(), Failure> {
        let stream = self.connect(progress).await?;
        match &self.tls {
            None => self.request(Plain(stream), progress).await,
            Some((connector, server)) => {
                progress.phase = "in the TLS handshake";
                let began = Instant::now();
                let connected = connector.connect(server.clone(), stream).await;
                let stream = connected.map_err(|error| tls_failure(&error, progress))?;
                progress.took(name!("tls_seconds"), began);
                let (_, session) = stream.get_ref();
                let leaf = session.peer_certificates().and_then(|chain| chain.first());
                progress.certificate_not_after =
                    leaf.and_then(|leaf| certificate::not_after_seconds(leaf));
                self.request(stream, progress).await
            }
        }
    }

    async fn connect(&self, progress: &mut Progress) -> Result<TcpStream, Failure> {
        progress.phase = "looking up the name";
        let addresses = match resolve::without_lookup(&self.host) {
            Some(addresses) => addresses,
            None => {
                let began = Instant::now();
                let addresses = self.names.resolve(&self.host).await;
                let addresses = addresses.map_err(|detail| Failure {
                    reason: CheckReason::ResolveFailed,
                    detail,
                })?;
                progress.took(name!("resolve_seconds"), began);
                addresses
            }
        };
        progress.phase = CONNECTING;
        let began = Instant::now();
        let mut last = None;
        for address in addresses {
            let address = SocketAddr::new(address, self.port);
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    progress.took(name!("connect_seconds"), began);
                    progress.found(name!("address"), address.to_string());
                    // A handshake is several writes; a plain request is one.
                    if self.tls.is_some()
                        && let Err(error) = stream.set_nodelay(true)
                    {
                        tracing::debug!(%error, "the socket keeps its delay");
                    }
                    return Ok(stream);
                }
                Err(error) => last = Some((address, error)),
            }
        }
        let (address, error) = last.expect("a name has at least one address");
        let reason = match error.kind() {
            ErrorKind::ConnectionRefused => CheckReason::ConnectRefused,
            ErrorKind::TimedOut => CheckReason::ConnectTimeout,
            _ => CheckReason::Unreachable,
        };
        Err(Failure {
            reason,
            detail: format!("connecting to {address}: {error}"),
        })
    }

    async fn request<S>(&self, stream: S, progress: &mut Progress) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        progress.phase = "waiting for the answer";
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::of(&error))?;
        let mut request = Request::get(self.path.as_str())
            .header(header::HOST, self.authority.as_str())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, self.accept)
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Empty::new()).map_err(|error| Failure {
            reason: CheckReason::Protocol,
            detail: format!("making the request: {error}"),
        })?;
        // The connection moves bytes while the answer is awaited. Its own errors reach the answer.
        let connection = async {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "the connection of a check ended");
            }
            std::future::pending::<Infallible>().await
        };
        let answer = async {
            let began = Instant::now();
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| Failure::of(&error))?;
            progress.took(name!("first_byte_seconds"), began);
            self.judge(response, progress).await
        };
        tokio::select! {
            answer = answer => answer,
            never = connection => match never {},
        }
    }

    /// Reads the body up to its limit, and compares the answer with what is expected.
    async fn judge(
        &self,
        response: Response<Incoming>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let status = response.status().as_u16();
        progress.found(name!("status"), f64::from(status));
        progress.found(name!("http_version"), version_text(response.version()));
        progress.phase = "reading the body";
        let content_type = response.headers().get(header::CONTENT_TYPE);
        progress.content_type =
            content_type.and_then(|value| value.to_str().ok().map(str::to_owned));
        let began = Instant::now();
        let mut body = response.into_body();
        // Kept only when there is a pattern to look for.
        let mut kept = Vec::new();
        let (mut bytes, mut whole) = (0_usize, true);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::of(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let part = &data[..data.len().min(self.max_body_bytes - bytes)];
            bytes += part.len();
            if self.body_regexp.is_some() || self.keeps_body {
                kept.extend_from_slice(part);
            }
            if part.len() < data.len() {
                whole = false;
                break;
            }
        }
        progress.took(name!("transfer_seconds"), began);
        progress.found(name!("body_bytes"), bytes as u64);
        let matched = self
            .body_regexp
            .as_ref()
            .map(|pattern| pattern.is_match(&kept));
        if let Some(matched) = matched {
            progress.found(name!("body_matched"), matched);
        }
        if !self.expect_status.contains(status) {
            let detail = format!("status {status}, expected {}", self.expect_status);
            return Err(Failure {
                reason: CheckReason::Status,
                detail,
            });
        }
        if self.keeps_body && !whole {
            return Err(Failure {
                reason: CheckReason::TooLarge,
                detail: format!("the body has more than {bytes} bytes"),
            });
        }
        progress.body = kept;
        match (matched, whole) {
            (Some(false), true) => Err(Failure {
                reason: CheckReason::BodyMismatch,
                detail: format!("the pattern is not in the {bytes} bytes of the body"),
            }),
            (Some(false), false) => Err(Failure {
                reason: CheckReason::TooLarge,
                detail: format!("the pattern is not in the first {bytes} bytes of the body"),
            }),
            (Some(true) | None, _) => Ok(()),
        }
    }
}

#[async_trait]
impl Probe for HttpProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        self.check_with(&mut Progress::default(), clock).await
    }
}

impl HttpProbe {
    async fn check_with(&self, progress: &mut Progress, clock: &dyn Clock) -> Finding {
        let began = Instant::now();
        let ended = tokio::time::timeout(self.deadline, self.exchange(progress)).await;
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(Failure {
                reason: if progress.phase == CONNECTING {
                    CheckReason::ConnectTimeout
                } else {
                    CheckReason::Deadline
                },
                detail: format!("not done after {:?}: {}", self.deadline, progress.phase),
            }),
        };
        progress.took(name!("total_seconds"), began);
        if let Some(not_after) = progress.certificate_not_after {
            let seconds = not_after as f64 - clock.now_us() as f64 / 1e6;
            progress.found(name!("certificate_expires_seconds"), seconds.round());
        }
        let fields = std::mem::take(&mut progress.fields);
        match failure {
            None => Finding::new(CheckReason::Ok, None, fields),
            Some(Failure { reason, detail }) => Finding::new(reason, Some(&detail), fields),
        }
    }
}

/// Fetches a page as a check does, and keeps it.
pub(crate) struct Fetcher(HttpProbe);

/// A page, and how fetching it went.
pub(crate) struct Fetched {
    pub(crate) finding: Finding,
    pub(crate) content_type: Option<String>,
    /// Whole if the finding is good; else whatever came.
    pub(crate) body: Vec<u8>,
}

impl Fetcher {
    /// Fetches what the settings name, as far as its bound of the body. `accept` is the formats that
    /// can be read.
    pub(crate) fn new(
        settings: &CheckSettings,
        context: &ProbeContext,
        accept: &'static str,
    ) -> Result<Self, AgentError> {
        Ok(Self(HttpProbe {
            accept,
            keeps_body: true,
            ..HttpProbe::new(settings, context)?
        }))
    }

    /// Fetches once, within the deadline. The authorization replaces that of the address.
    pub(crate) async fn fetch(
        &mut self,
        authorization: Option<HeaderValue>,
        clock: &dyn Clock,
    ) -> Fetched {
        if authorization.is_some() {
            self.0.authorization = authorization;
        }
        let mut progress = Progress::default();
        let finding = self.0.check_with(&mut progress, clock).await;
        Fetched {
            finding,
            content_type: progress.content_type,
            body: progress.body,
        }
    }
}

impl Progress {
    /// Notes how long a phase took, to the microsecond.
    fn took(&mut self, name: Name, began: Instant) {
        self.found(name, began.elapsed().as_micros() as f64 / 1e6);
    }

    fn found(&mut self, name: Name, value: impl Into<Value>) {
        self.fields.push((name, value.into()));
    }
}

impl Failure {
    /// What an error of the exchange means.
    fn of(error: &hyper::Error) -> Self {
        let reset = source_of::<io::Error>(error).is_some_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::UnexpectedEof
            )
        });
        let lost =
            reset || error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        let reason = if lost {
            CheckReason::ConnectionLost
        } else {
            CheckReason::Protocol
        };
        Self {
            reason,
            detail: chain(error),
        }
    }
}

fn tls_failure(error: &io::Error, progress: &mut Progress) -> Failure {
    let problem = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (reason, not_after) =
        problem.map_or((CheckReason::TlsHandshake, None), tls::handshake_failure);
    progress.certificate_not_after = not_after.and_then(|seconds| i64::try_from(seconds).ok());
    Failure {
        reason,
        detail: error.to_string(),
    }
}

fn source_of<T: Error + 'static>(error: &dyn Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => "3",
    }
}
