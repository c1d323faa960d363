//! HTTP/2 for the probe `http` (RFC 9113): which versions are offered in the handshake, and one request over a
//! connection that speaks it. The connection is driven here and closed with the check.

use super::super::h2_call::{Stream, driven, failure};
use super::super::keys::{KeyKind, ProbeKey, Values};
use super::body::Chunks;
use super::{Failure, HttpProbe, Onward, Page, Progress, Visit};
use crate::probes::CheckReason;
use bytes::Bytes;
use h2::{RecvStream, client};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Uri};
use std::time::Instant;
use tidegauge_model::Clock;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(super) const HTTP_VERSION: ProbeKey = ProbeKey {
    key: "http_version",
    kind: KeyKind::Choice(&["any", "1.1", "2"]),
    help: "The version of HTTP: any is what TLS agrees on, and 1.1 without TLS; 1.1 or 2 alone; by default any.",
};

/// The bytes that a server may send before they are read.
const WINDOW_BYTES: u32 = 256 * 1024;
const MAX_HEAD_BYTES: u32 = super::MAX_HEAD_BYTES as u32;

/// The versions of HTTP that a check speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    /// What the handshake agrees on.
    Any,
    /// HTTP/1.1 alone.
    One,
    /// HTTP/2 alone; without TLS by prior knowledge (RFC 9113, section 3.3).
    Two,
}

impl Versions {
    pub(super) fn new(own: &Values) -> Self {
        match own.text(HTTP_VERSION.key) {
            Some("1.1") => Self::One,
            Some("2") => Self::Two,
            _ => Self::Any,
        }
    }

    /// The protocols to offer (RFC 7301), the preferred one first.
    pub(super) const fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Any => &[b"h2", b"http/1.1"],
            Self::One => &[b"http/1.1"],
            Self::Two => &[b"h2"],
        }
    }

    /// Whether the connection speaks HTTP/2 now.
    ///
    /// # Errors
    /// When it does not, and nothing else will do.
    pub(super) fn agreed(self, stream: &TlsStream<TcpStream>) -> Result<bool, Failure> {
        let (_, session) = stream.get_ref();
        match (self, session.alpn_protocol()) {
            (Self::One, _) => Ok(false),
            (_, Some(b"h2")) => Ok(true),
            (Self::Any, _) => Ok(false),
            (Self::Two, _) => Err(Failure::new(
                CheckReason::ProtocolVersion,
                "the server did not agree on HTTP/2",
            )),
        }
    }
}

/// Without TLS a proxy is asked for the page itself, by HTTP/1.1.
pub(super) fn not_through_a_proxy() -> Failure {
    Failure::new(
        CheckReason::ProtocolVersion,
        "through a proxy, HTTP/2 is spoken to https only",
    )
}

impl HttpProbe {
    /// One request over HTTP/2.
    pub(super) async fn request_http2(
        &self,
        stream: Stream,
        visit: &Visit<'_>,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<Option<Onward>, Failure> {
        progress.phase = "waiting for the answer";
        let (request, body) = self.http2_request(visit)?;
        let began = Instant::now();
        let (sender, connection) = client::Builder::new()
            .max_header_list_size(MAX_HEAD_BYTES)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(|error| failure(&error))?;
        let exchange = async {
            let mut sender = sender.ready().await.map_err(|error| failure(&error))?;
            let (response, mut sending) = sender
                .send_request(request, body.is_empty())
                .map_err(|error| failure(&error))?;
            if !body.is_empty() {
                sending
                    .send_data(body, true)
                    .map_err(|error| failure(&error))?;
            }
            let response = response.await.map_err(|error| failure(&error))?;
            let response = response.map(Data);
            self.answered(response, began, page, progress, clock).await
        };
        driven(connection, exchange).await
    }

    /// The request as HTTP/2 has it: no headers of the connection, and the host as a part of the address (RFC
    /// 9113, section 8.3.1).
    fn http2_request(&self, visit: &Visit<'_>) -> Result<(Request<()>, Bytes), Failure> {
        let (mut head, _) = self.ask.request(visit, None)?.into_parts();
        head.headers.remove(header::CONNECTION);
        let host = head.headers.remove(header::HOST);
        let host = host.as_ref().and_then(|host| host.to_str().ok());
        let uri = Uri::builder()
            .scheme(visit.address.scheme.as_str())
            .authority(host.unwrap_or(&visit.address.authority))
            .path_and_query(visit.address.path.as_str())
            .build();
        head.uri = uri.map_err(|error| {
            Failure::new(
                CheckReason::Protocol,
                format!("making the request: {error}"),
            )
        })?;
        let body = match visit.with_body {
            true => self.ask.body.clone(),
            false => Bytes::new(),
        };
        if !body.is_empty() {
            head.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok((Request::from_parts(head, ()), body))
    }
}

/// The body of an answer over HTTP/2.
struct Data(RecvStream);

impl Chunks for Data {
    async fn chunk(&mut self) -> Option<Result<Bytes, Failure>> {
        let chunk = self.0.data().await?;
        if let Ok(bytes) = &chunk {
            // When it cannot give room the connection ends, which the next read says.
            self.0.flow_control().release_capacity(bytes.len()).ok();
        }
        Some(chunk.map_err(|error| failure(&error)))
    }
}
