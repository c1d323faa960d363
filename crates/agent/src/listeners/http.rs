//! The HTTP server of the listeners that applications write to: HTTP/1 and HTTP/2 on one port. Who comes
//! in, TLS and the limits on connections, heads and time are [`tidegauge_serve`]'s; those on bodies are here.
//!
//! It reads the whole body, gunzips it, and knows no format: that is [`Routes`]. Requests of web
//! pages are refused, because a page must not write to the loopback addresses of its reader.

use super::{Intake, Refusal};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::Reason;
use tidegauge_serve::{Door, Limits, Shown, serve};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Bodies that are held at the same time, in KiB.
const MOST_BODIES_KIB: usize = 64 * 1_024;
/// How long a body may take to come.
const DEADLINE: Duration = Duration::from_secs(10);

/// A request whose body is there.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Call {
    /// A part of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.as_str())
    }

    /// A header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What is answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    /// A header that the format has.
    pub(super) header: Option<(&'static str, &'static str)>,
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content_type: "text/plain",
            body: Vec::new(),
            trailers: None,
            header: None,
        }
    }

    pub(super) fn new(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            content_type,
            body: body.into(),
            ..Self::empty(status)
        }
    }
}

/// What a listener answers.
#[async_trait]
pub(super) trait Routes: Send + Sync + 'static {
    /// Whether this needs no token: a question whether it lives.
    fn is_open(&self, path: &str) -> bool;

    /// The token that a path has in it, where the format allows that.
    fn token_in<'a>(&self, _path: &'a str) -> Option<&'a str> {
        None
    }

    /// Answers a request.
    async fn answer(&self, call: Call) -> Answer;

    /// Says in the words of the format why a request is not taken.
    fn refuse(&self, headers: &HeaderMap, status: StatusCode, problem: &str) -> Answer;
}

/// The server of one listener.
pub(super) struct Server {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) door: Arc<Door>,
    pub(super) intake: Intake,
    pub(super) routes: Arc<dyn Routes>,
}

type Answered = Response<WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>>;

/// What all connections share.
struct Shared {
    door: Arc<Door>,
    intake: Intake,
    routes: Arc<dyn Routes>,
    bodies: Arc<Semaphore>,
}

impl Server {
    /// Serves until `cancel`, then lets what is under way end.
    pub(super) async fn run(self, cancel: CancellationToken) {
        let shared = Arc::new(Shared {
            door: Arc::clone(&self.door),
            intake: self.intake,
            routes: self.routes,
            bodies: Arc::new(Semaphore::new(MOST_BODIES_KIB)),
        });
        let answer = move |request| {
            let shared = Arc::clone(&shared);
            async move { shared.handle(request).await }
        };
        serve(self.listeners, self.door, Limits::default(), cancel, answer).await;
    }
}

impl Shared {
    async fn handle(&self, request: Request<Incoming>) -> Answered {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let query: Vec<(String, String)> = form_urlencoded::parse(query).into_owned().collect();
        let refused = if head.headers.contains_key(header::ORIGIN) {
            Some((StatusCode::FORBIDDEN, "a web page may not write here"))
        } else {
            let admitted = match self.routes.is_open(&path) {
                true => self.door.check_host(&head),
                false => {
                    let shown = self.shown(&head.headers, &query, &path);
                    self.door.admit(&head, shown).await
                }
            };
            admitted
                .err()
                .map(|denied| (denied.status(), denied.text()))
        };
        let answer = match refused {
            Some((status, problem)) => {
                self.intake.refuse(Refusal::Unauthorized, 1, problem);
                self.routes.refuse(&head.headers, status, problem)
            }
            None => match self.body(&head.headers, body).await {
                Ok((body, room)) => {
                    let call = Call {
                        method: head.method,
                        path,
                        query,
                        headers: head.headers,
                        body,
                    };
                    let answer = self.routes.answer(call).await;
                    drop(room);
                    answer
                }
                Err((refusal, status, problem)) => {
                    self.intake.refuse(refusal, 1, problem);
                    self.routes.refuse(&head.headers, status, problem)
                }
            },
        };
        answered(answer, self.door.challenge())
    }

    /// What the sender shows, in any of the ways in which clients do.
    fn shown(&self, headers: &HeaderMap, query: &[(String, String)], path: &str) -> Option<Shown> {
        let in_query = |name: &str| {
            let found = query.iter().find(|(known, _)| known == name);
            found.map(|(_, text)| text.clone())
        };
        Shown::in_header(headers)
            .or_else(|| {
                Some(Shown::Password {
                    user: in_query("u").unwrap_or_default(),
                    password: in_query("p")?,
                })
            })
            .or_else(|| {
                let token = self.routes.token_in(path)?;
                Some(Shown::Token(token.to_owned()))
            })
    }

    /// The body, gunzipped, and its place among those that are held.
    async fn body(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), (Refusal, StatusCode, &'static str)> {
        let most = self.intake.limits().message_bytes;
        let too_large = (
            Refusal::Bad(Reason::MessageTooLarge),
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than listeners.message_bytes",
        );
        let incomplete = (
            Refusal::Incomplete,
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
        );
        let is_gzip = match headers
            .get(header::CONTENT_ENCODING)
            .map(HeaderValue::as_bytes)
        {
            None | Some(b"identity" | b"") => false,
            Some(b"gzip") => true,
            Some(_) => {
                return Err((
                    Refusal::Unsupported,
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "of the content encodings gzip alone is taken",
                ));
            }
        };
        let told = body.size_hint().exact();
        let told = told.map_or(most, |told| usize::try_from(told).unwrap_or(usize::MAX));
        if told > most {
            return Err(too_large);
        }
        let held = if is_gzip { most } else { told };
        let kib = (held / 1_024 + 1).min(MOST_BODIES_KIB) as u32;
        let read = async {
            let room = Arc::clone(&self.bodies).acquire_many_owned(kib).await;
            (Limited::new(body, most).collect().await, room)
        };
        let (bytes, room) = match tokio::time::timeout(DEADLINE, read).await {
            Ok((Ok(body), Ok(room))) => (body.to_bytes(), room),
            Ok((Err(error), _)) if error.is::<LengthLimitError>() => return Err(too_large),
            _ => return Err(incomplete),
        };
        // Some clients say gzip with every request, also with those that have no body.
        if !is_gzip || bytes.is_empty() {
            return Ok((bytes.into(), room));
        }
        let gunzipped = tokio::task::spawn_blocking(move || gunzip(&bytes, most)).await;
        match gunzipped {
            Ok(Ok(bytes)) => Ok((bytes, room)),
            Ok(Err(GunzipError::TooLarge)) => Err(too_large),
            _ => Err((
                Refusal::Bad(Reason::Syntax),
                StatusCode::BAD_REQUEST,
                "the body is no gzip",
            )),
        }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GunzipError {
    TooLarge,
    Broken,
}

/// Decompresses up to a bound.
pub(super) fn gunzip(bytes: &[u8], most: usize) -> Result<Vec<u8>, GunzipError> {
    let mut found = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes).take(most as u64 + 1);
    match reader.read_to_end(&mut found) {
        Ok(length) if length > most => Err(GunzipError::TooLarge),
        Ok(_) => Ok(found),
        Err(_) => Err(GunzipError::Broken),
    }
}

/// A text of JSON.
pub(super) fn json_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn answered(answer: Answer, challenge: &'static str) -> Answered {
    let trailers = answer.trailers.map(Ok);
    let body = Full::new(Bytes::from(answer.body)).with_trailers(ready(trailers));
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(answer.content_type);
    if answer.status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some((name, text)) = answer.header {
        headers.insert(name, HeaderValue::from_static(text));
    }
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            let challenge = HeaderValue::from_static(challenge);
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    #[test]
    fn a_small_body_does_not_become_a_large_one_d11() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b'a'; 1_000_000]).expect("written");
        let bomb = encoder.finish().expect("written");
        assert!(bomb.len() < 2_000);
        assert_eq!(gunzip(&bomb, 999_999), Err(GunzipError::TooLarge));
        assert_eq!(gunzip(&bomb, 1_000_000).expect("fits").len(), 1_000_000);
        assert_eq!(gunzip(b"none", 10), Err(GunzipError::Broken));
    }
}
