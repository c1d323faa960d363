//! The probe `http`: one GET over a fresh connection, each phase with its own time.
//!
//! No pool, no TLS resumption, no cached names, no redirects (a 3xx is an answer like any other):
//! what is measured is what a new visitor meets. Addresses of a name are tried in turn.

mod plain;
mod settings;

use super::exchange::{Failure, Progress, Target, handshake, server_name};
use super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry};
use super::{USER_AGENT, chain};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::HeaderValue;
use hyper::{Request, Response, Version, body::Incoming, header};
use hyper_util::rt::TokioIo;
use plain::Plain;
use regex::bytes::Regex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
pub use settings::StatusRanges;
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Instant;
use tidegauge_model::{Clock, name};
use tokio::io::{AsyncRead, AsyncWrite};

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
    target: Target,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    authority: String,
    path: String,
    authorization: Option<HeaderValue>,
    accept: &'static str,
    /// Whether the body is wanted, whole.
    keeps_body: bool,
    body_regexp: Option<Regex>,
    expect_status: StatusRanges,
    max_body_bytes: usize,
}

/// What is kept of an answer for who wants more than the verdict.
#[derive(Default)]
struct Page {
    content_type: Option<String>,
    body: Vec<u8>,
}

impl HttpProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let (address, own) = (settings.address(), settings.own());
        let secure = address.scheme == "https";
        let tls = if secure {
            let config = context.tls.trusting(own.path("ca_file"))?;
            Some((config, server_name(settings)?))
        } else {
            None
        };
        Ok(Self {
            target: Target::new(settings, context, Some(if secure { 443 } else { 80 }))?,
            tls,
            authority: address.authority.clone(),
            path: address.path.clone(),
            authorization: address.authorization.clone(),
            accept: "*/*",
            keeps_body: false,
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
    async fn exchange(&self, page: &mut Page, progress: &mut Progress) -> Result<(), Failure> {
        let stream = self.target.connect(progress).await?;
        match &self.tls {
            None => self.request(Plain(stream), page, progress).await,
            Some((config, server)) => {
                let config = Arc::clone(config);
                let stream = handshake(config, server.clone(), stream, progress).await?;
                self.request(stream, page, progress).await
            }
        }
    }

    async fn request<S>(
        &self,
        stream: S,
        page: &mut Page,
        progress: &mut Progress,
    ) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        progress.phase = "waiting for the answer";
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| failure(&error))?;
        let mut request = Request::get(self.path.as_str())
            .header(header::HOST, self.authority.as_str())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, self.accept)
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Empty::new()).map_err(|error| {
            Failure::new(
                CheckReason::Protocol,
                format!("making the request: {error}"),
            )
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
            let response = response.map_err(|error| failure(&error))?;
            progress.took(name!("first_byte_seconds"), began);
            self.judge(response, page, progress).await
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
        page: &mut Page,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let status = response.status().as_u16();
        progress.found(name!("status"), f64::from(status));
        progress.found(name!("http_version"), version_text(response.version()));
        progress.phase = "reading the body";
        let content_type = response.headers().get(header::CONTENT_TYPE);
        page.content_type = content_type.and_then(|value| value.to_str().ok().map(str::to_owned));
        let began = Instant::now();
        let mut body = response.into_body();
        // Kept only when there is a pattern to look for.
        let mut kept = Vec::new();
        let (mut bytes, mut whole) = (0_usize, true);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failure(&error))?;
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
            return Err(Failure::new(CheckReason::Status, detail));
        }
        if self.keeps_body && !whole {
            return Err(Failure::new(
                CheckReason::TooLarge,
                format!("the body has more than {bytes} bytes"),
            ));
        }
        page.body = kept;
        match (matched, whole) {
            (Some(false), true) => Err(Failure::new(
                CheckReason::BodyMismatch,
                format!("the pattern is not in the {bytes} bytes of the body"),
            )),
            (Some(false), false) => Err(Failure::new(
                CheckReason::TooLarge,
                format!("the pattern is not in the first {bytes} bytes of the body"),
            )),
            (Some(true) | None, _) => Ok(()),
        }
    }
}

#[async_trait]
impl Probe for HttpProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        self.check_with(&mut Page::default(), clock).await
    }
}

impl HttpProbe {
    async fn check_with(&self, page: &mut Page, clock: &dyn Clock) -> Finding {
        let (mut progress, deadline) = (Progress::begin(), self.target.deadline);
        let exchange = self.exchange(page, &mut progress);
        let ended = tokio::time::timeout(deadline, exchange).await;
        progress.finding(ended, deadline, clock)
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
        let mut page = Page::default();
        let finding = self.0.check_with(&mut page, clock).await;
        Fetched {
            finding,
            content_type: page.content_type,
            body: page.body,
        }
    }
}

/// What an error of the exchange means.
fn failure(error: &hyper::Error) -> Failure {
    let reset = source_of::<io::Error>(error).is_some_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        )
    });
    let lost = reset || error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    let reason = if lost {
        CheckReason::ConnectionLost
    } else {
        CheckReason::Protocol
    };
    Failure::new(reason, chain(error))
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
