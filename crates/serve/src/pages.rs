//! Pages that people, browsers and Prometheus read: routes behind a door, with the headers that
//! protect them.
//!
//! Nothing here changes anything: every method but GET and HEAD is refused before a route sees it, so
//! whoever comes in may read all and change nothing. Answers are bounded in time, but for streams,
//! which end with their connection.

use crate::access::Shown;
use crate::door::{Denied, Door};
use crate::server::{Limits, Peer, serve as serve_connections};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::Service as _;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Nothing from elsewhere, in no direction. Styles of charts are set through the CSSOM, which
/// this allows.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
                                       frame-ancestors 'none'; object-src 'none'";
/// The longest that one answer may take to begin.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Whether somebody who may see all asks; every request has it among its extensions. On a path that is
/// open to all it may be that nobody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsKnown(pub bool);

/// Serves the routes until `cancel`, then lets what is under way end. Paths that are `open` need no token
/// and no password.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    door: Arc<Door>,
    open: &'static [&'static str],
    limits: Limits,
    cancel: CancellationToken,
) {
    let routes = TowerToHyperService::new(router);
    let asked = Arc::clone(&door);
    let answer = move |request: Request<Incoming>| {
        let (door, routes) = (Arc::clone(&asked), routes.clone());
        async move {
            let mut answer = match admitted(&door, open, request).await {
                Ok(request) => {
                    match tokio::time::timeout(ANSWER_WITHIN, routes.call(request)).await {
                        Ok(Ok(answer)) => answer,
                        Err(_) => plain(StatusCode::GATEWAY_TIMEOUT, "this took too long"),
                    }
                }
                Err(answer) => answer,
            };
            secure(&mut answer);
            answer
        }
    };
    serve_connections(vec![listener], door, limits, cancel, answer).await;
}

/// The request of somebody who may read, or what is answered instead.
async fn admitted(
    door: &Door,
    open: &[&str],
    request: Request<Incoming>,
) -> Result<Request<Incoming>, Response<Body>> {
    let (mut head, body) = request.into_parts();
    if ![Method::GET, Method::HEAD].contains(&head.method) {
        let mut answer = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "there is nothing to be changed here",
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return Err(answer);
    }
    let is_open = open.contains(&head.uri.path());
    let admitted = match Shown::in_header(&head.headers) {
        None if is_open && !door.is_open() => door.check_host(&head).map(|()| false),
        shown => door.admit(&head, shown).await.map(|()| true),
    };
    let is_known = match admitted {
        Ok(is_known) => is_known,
        Err(Denied::Unknown) if is_open => false,
        Err(denied) => {
            let from = head.extensions.get::<Peer>().map(|peer| peer.0.ip());
            tracing::debug!(?from, ?denied, "a request is not answered");
            let mut answer = plain(denied.status(), denied.text());
            if denied == Denied::Unknown {
                let challenge = HeaderValue::from_static(door.challenge());
                answer
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, challenge);
            }
            return Err(answer);
        }
    };
    head.extensions.insert(IsKnown(is_known));
    Ok(Request::from_parts(head, body))
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{text}\n")));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn secure(answer: &mut Response<Body>) {
    let headers = answer.headers_mut();
    let all = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
