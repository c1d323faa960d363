//! One POST over HTTP/2, for what is spoken over it: gRPC and DNS. The connection is driven here and
//! closed with the call, so that nothing of a check outlives it.

use super::CheckReason;
use super::exchange::{Failure, Progress};
use bytes::Bytes;
use h2::client;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer may have so many bytes.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// The answer of a call.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
}

/// A connection with or without TLS: one type, so that the program has one client of HTTP/2 and not one for
/// each.
pub(super) type Stream = Box<dyn Bytestream>;

pub(super) trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for S {}

/// Sends the request and reads its answer.
pub(super) async fn call(
    stream: Stream,
    request: Request<()>,
    body: Vec<u8>,
    progress: &mut Progress,
) -> Result<Answer, Failure> {
    progress.phase = "waiting for the answer";
    let (sender, connection) = client::Builder::new()
        .max_header_list_size(MAX_HEAD_BYTES)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| failure(&error))?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(|error| failure(&error))?;
        let (response, mut sending) = sender
            .send_request(request, false)
            .map_err(|error| failure(&error))?;
        sending
            .send_data(body.into(), true)
            .map_err(|error| failure(&error))?;
        let (head, mut stream) = response
            .await
            .map_err(|error| failure(&error))?
            .into_parts();
        let mut body = Vec::new();
        while let Some(part) = stream.data().await {
            let part = part.map_err(|error| failure(&error))?;
            if body.len() + part.len() > MAX_ANSWER_BYTES {
                let detail = format!("the answer has more than {MAX_ANSWER_BYTES} bytes");
                return Err(Failure::new(CheckReason::TooLarge, detail));
            }
            body.extend_from_slice(&part);
            // The connection ends with the call; when it cannot give room the next read says so.
            stream.flow_control().release_capacity(part.len()).ok();
        }
        let trailers = stream.trailers().await.map_err(|error| failure(&error))?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            trailers: trailers.unwrap_or_default(),
        })
    };
    driven(connection, exchange).await
}

/// Moves the bytes of a connection while something is exchanged over it.
pub(super) async fn driven<T>(
    connection: client::Connection<Stream>,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = connection => match ended {
            // What was read before the end is still there for the exchange.
            Ok(()) => exchange.await,
            Err(error) => Err(failure(&error)),
        },
    }
}

/// What an error of the connection means.
pub(super) fn failure(error: &h2::Error) -> Failure {
    let detail = format!("HTTP/2: {error}");
    if let Some(error) = error.get_io() {
        // With TLS 1.3 a server says only after the handshake that it does not take our certificate.
        if error
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>())
        {
            return Failure::new(CheckReason::TlsHandshake, format!("HTTP/2: {error}"));
        }
        return Failure::of_io("HTTP/2", error);
    }
    let reason = match error.is_reset() || error.is_go_away() {
        true if error.is_remote() => CheckReason::ConnectionLost,
        _ => CheckReason::Protocol,
    };
    Failure::new(reason, detail)
}
