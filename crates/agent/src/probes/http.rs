//! The probe `http`: one request over a fresh connection, each phase with its own time.
//!
//! No pool, no TLS resumption, no cached names, and unless it is asked for no redirects (a 3xx is an
//! answer like any other): what is measured is what a new visitor meets. Addresses of a name are
//! tried in turn.

mod body;
mod expect;
mod fetch;
mod http2;
mod plain;
mod proxy;
mod redirect;
mod request;
mod secure;
mod settings;

use super::address::Address;
use super::exchange::{Failure, Progress, Target, handshake};
use super::facts::News;
use super::settings::setting;
use super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry};
use super::{chain, resolve};
use async_trait::async_trait;
use body::{Body, Chunks};
use expect::Expected;
pub(crate) use fetch::Fetcher;
use http2::Versions;
use hyper::http::response::Parts;
use hyper::{Method, Response, StatusCode, Version, header};
use hyper_util::rt::TokioIo;
use plain::Plain;
use proxy::Proxy;
use redirect::{Redirects, Trail};
use request::Ask;
use secure::Tls;
pub use settings::StatusRanges;
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Instant;
use tidegauge_model::{Clock, name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "http",
    measurement: name!("http_check"),
    schemes: &["http", "https"],
    description: "An HTTP request: status, headers, body, certificate, and the time of each phase.",
    keys: settings::KEYS,
    new: |settings, context| Ok(Box::new(HttpProbe::new(settings, context)?)),
};

/// The head of an answer must fit in this.
const MAX_HEAD_BYTES: usize = 64 * 1024;

struct HttpProbe {
    ask: Ask,
    expected: Expected,
    address: Address,
    target: Target,
    /// On the heap: most targets have none.
    tls: Option<Box<Tls>>,
    proxy: Option<Proxy>,
    redirects: Option<Redirects>,
    versions: Versions,
    /// Whether the body is wanted, whole.
    keeps_body: bool,
    max_body_bytes: usize,
}

/// One request of a check.
struct Visit<'a> {
    address: &'a Address,
    method: &'a Method,
    with_body: bool,
    /// Whether it goes to the origin of the check's URL.
    at_home: bool,
}

/// What is kept of an answer for who wants more than the verdict.
#[derive(Default)]
struct Page {
    content_type: Option<String>,
    body: Vec<u8>,
    /// A certificate that is to be told.
    certificate: Option<Box<News>>,
}

/// Where an answer leads to.
struct Onward {
    status: StatusCode,
    location: String,
    inside: bool,
}

impl HttpProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let (address, own) = (settings.address(), settings.own());
        let redirects = Redirects::new(own)?;
        let (secure, versions) = (address.scheme == "https", Versions::new(own));
        let proxy = Proxy::new(settings, context)?;
        if versions == Versions::Two && proxy.is_some() && !secure {
            return Err(setting("http_version", http2::not_through_a_proxy().detail));
        }
        let max_body_bytes = own
            .count("max_body_bytes")
            .map_or(settings::DEFAULT_MAX_BODY_BYTES, |bytes| bytes as usize);
        Ok(Self {
            ask: Ask::new(settings)?,
            expected: Expected::new(own, max_body_bytes)?,
            address: address.clone(),
            target: Target::new(settings, context, Some(usual_port(address)))?,
            tls: match secure || redirects.is_some() {
                true => Some(Box::new(Tls::new(settings, context, secure, versions)?)),
                false => None,
            },
            proxy,
            redirects,
            versions,
            keeps_body: false,
            max_body_bytes,
        })
    }

    /// All requests; what was measured is in `progress` however it ends.
    async fn exchange(
        &self,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        let home = Visit {
            address: &self.address,
            method: &self.ask.method,
            with_body: !self.ask.body.is_empty(),
            at_home: true,
        };
        match &self.redirects {
            None => {
                let answered = self.visit(&home, &self.target, None, page, progress, clock);
                answered.await.map(drop)
            }
            Some(redirects) => self.follow(home, redirects, page, progress, clock).await,
        }
    }

    async fn follow(
        &self,
        home: Visit<'_>,
        redirects: &Redirects,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        let mut trail = Trail::new(home.method, home.address);
        progress.found(name!("redirects"), 0_u64);
        progress.found_text(name!("final_url"), redirect::without_query(home.address));
        let answered = self.visit(&home, &self.target, None, page, progress, clock);
        let mut onward = answered.await?;
        let (mut address, mut method) = (self.address.clone(), self.ask.method.clone());
        let mut with_body = home.with_body;
        while let Some(Onward {
            status,
            location,
            inside,
        }) = onward
        {
            address = redirect::next(&address, &location)?;
            let before = method.clone();
            method = redirect::method_after(status, method);
            with_body &= method == before;
            trail.to(&method, &address, redirects)?;
            progress.found(name!("redirects"), trail.redirects());
            progress.found_text(name!("final_url"), redirect::without_query(&address));
            progress.no_chain();
            page.certificate = None;
            let visit = Visit {
                address: &address,
                method: &method,
                with_body,
                at_home: is_same_origin(&address, &self.address),
            };
            if with_body && !visit.at_home {
                let detail = format!(
                    "the body would go to another server, {}",
                    redirect::without_query(&address)
                );
                return Err(Failure::new(CheckReason::RedirectRefused, detail));
            }
            let target = self.target.elsewhere(&address.host, usual_port(&address));
            let from = Some((redirects, inside));
            let answered = self.visit(&visit, &target, from, page, progress, clock);
            onward = answered.await.map_err(|failure| {
                let shown = redirect::without_query(&address);
                Failure::new(failure.reason, format!("{}, at {shown}", failure.detail))
            })?;
        }
        Ok(())
    }

    /// One request over a connection of its own. `from` is there when a redirect leads to it.
    async fn visit(
        &self,
        visit: &Visit<'_>,
        target: &Target,
        from: Option<(&Redirects, bool)>,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<Option<Onward>, Failure> {
        let mut stream = self.connect(target, from, progress).await?;
        // Where a proxy connects to is not known here: only what is loopback by its name is.
        let inside = self.redirects.is_some()
            && match self.proxy {
                None => stream
                    .peer_addr()
                    .is_ok_and(|peer| peer.ip().to_canonical().is_loopback()),
                Some(_) => redirect::is_loopback(&target.host),
            };
        let mut onward = match (visit.address.scheme.as_str(), &self.tls) {
            ("https", Some(tls)) => {
                if let Some(proxy) = &self.proxy {
                    proxy.open(&mut stream, target, progress).await?;
                }
                // On the heap, so that checks without TLS are no larger for it.
                Box::pin(self.visit_secure(tls, stream, visit, page, progress, clock)).await?
            }
            _ if self.versions == Versions::Two => {
                if self.proxy.is_some() {
                    return Err(http2::not_through_a_proxy());
                }
                let stream = Plain(stream);
                Box::pin(self.request_http2(Box::new(stream), visit, page, progress, clock)).await?
            }
            _ => {
                self.request(Plain(stream), visit, true, page, progress, clock)
                    .await?
            }
        };
        if let Some(onward) = &mut onward {
            onward.inside = inside;
        }
        Ok(onward)
    }

    /// The same where TLS is spoken, over an open connection.
    async fn visit_secure(
        &self,
        tls: &Tls,
        stream: TcpStream,
        visit: &Visit<'_>,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<Option<Onward>, Failure> {
        let (config, server) = tls.of(visit)?;
        let shaken = handshake(config, server, stream, progress).await;
        page.certificate = tls.news(&shaken, progress, clock);
        let stream = shaken?;
        match self.versions.agreed(&stream)? {
            true => {
                Box::pin(self.request_http2(Box::new(stream), visit, page, progress, clock)).await
            }
            false => {
                self.request(stream, visit, false, page, progress, clock)
                    .await
            }
        }
    }

    async fn connect(
        &self,
        target: &Target,
        from: Option<(&Redirects, bool)>,
        progress: &mut Progress,
    ) -> Result<TcpStream, Failure> {
        if let Some(proxy) = &self.proxy {
            if let Some((redirects, inside)) = from {
                for address in resolve::without_lookup(&target.host).unwrap_or_default() {
                    redirects.judge(address, inside)?;
                }
            }
            return proxy.connect(progress).await;
        }
        let addresses = target.addresses(progress).await?;
        if let Some((redirects, inside)) = from {
            for address in &addresses {
                redirects.judge(address.ip(), inside)?;
            }
        }
        target.connect_to_first(addresses, progress).await
    }

    async fn request<S>(
        &self,
        stream: S,
        visit: &Visit<'_>,
        plain: bool,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<Option<Onward>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        progress.phase = "waiting for the answer";
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure(&error))?;
        let proxy = self.proxy.as_ref().filter(|_| plain);
        let proxy_authorization = proxy.map(|proxy| proxy.authorization.as_ref());
        let request = self.ask.request(visit, proxy_authorization)?;
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
            self.answered(response, began, page, progress, clock).await
        };
        tokio::select! {
            answer = answer => answer,
            never = connection => match never {},
        }
    }

    /// What an answer comes to, whatever it was spoken over: where it leads, or whether it is as expected.
    async fn answered<B: Chunks>(
        &self,
        response: Response<B>,
        began: Instant,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<Option<Onward>, Failure> {
        progress.took(name!("first_byte_seconds"), began);
        let (head, body) = response.into_parts();
        let status = head.status;
        progress.found(name!("status"), f64::from(status.as_u16()));
        progress.found(name!("http_version"), version_text(head.version));
        match redirect::location(status, &head.headers) {
            Some(location) if self.redirects.is_some() => Ok(Some(Onward {
                status,
                location,
                inside: false,
            })),
            _ => {
                let judged = self.judge(&head, body, page, progress, clock).await;
                judged.map(|()| None)
            }
        }
    }

    /// Reads the body up to its limit, and compares the answer with what is expected.
    async fn judge(
        &self,
        head: &Parts,
        mut incoming: impl Chunks,
        page: &mut Page,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        progress.phase = "reading the body";
        let began = Instant::now();
        let content_type = head.headers.get(header::CONTENT_TYPE);
        page.content_type = content_type.and_then(|value| value.to_str().ok().map(str::to_owned));
        let keeps = self.keeps_body || self.expected.wants_body();
        let decodes = self.ask.takes_encodings();
        let mut body = Body::new(self.max_body_bytes, keeps, decodes, &head.headers);
        while let Some(data) = incoming.chunk().await {
            if !body.take(&data?)? {
                break;
            }
        }
        let body = body.end()?;
        progress.took(name!("transfer_seconds"), began);
        progress.found(name!("body_bytes"), body.length as u64);
        let status = head.status.as_u16();
        let judged = self
            .expected
            .judge(status, &head.headers, &body, progress, clock);
        judged?;
        if self.keeps_body && !body.whole {
            let detail = format!("the body has more than {} bytes", body.length);
            return Err(Failure::new(CheckReason::TooLarge, detail));
        }
        page.body = body.bytes;
        Ok(())
    }
}

fn usual_port(address: &Address) -> u16 {
    let usual = if address.scheme == "https" { 443 } else { 80 };
    address.port.unwrap_or(usual)
}

/// RFC 6454, section 5.
fn is_same_origin(one: &Address, other: &Address) -> bool {
    one.scheme == other.scheme
        && one.host.eq_ignore_ascii_case(&other.host)
        && usual_port(one) == usual_port(other)
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
        let exchange = self.exchange(page, &mut progress, clock);
        let ended = tokio::time::timeout(deadline, exchange).await;
        if let Some(tls) = &self.tls {
            tls.tell(page.certificate.take(), &mut progress, clock);
        }
        progress.finding(ended, deadline, clock)
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
    let tls = source_of::<io::Error>(error)
        .and_then(io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>());
    let lost = reset || error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    // With TLS 1.3 a server says only after the handshake that it does not take our certificate.
    let reason = if tls {
        CheckReason::TlsHandshake
    } else if lost {
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
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
