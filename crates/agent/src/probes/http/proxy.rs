//! A proxy between the agent and the target: `CONNECT` for https (RFC 9110, section 9.3.6), the whole
//! address in the request for http.

use super::super::address::Address;
use super::super::exchange::{Progress, Target};
use super::super::settings::{CheckSettings, setting};
use super::super::{AgentError, CheckReason, ProbeContext, USER_AGENT};
use super::Failure;
use hyper::header::HeaderValue;
use std::time::Instant;
use tidegauge_model::name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The head of the answer to `CONNECT` must fit in this.
const MAX_HEAD_BYTES: usize = 16 * 1024;

pub(super) struct Proxy {
    target: Target,
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    pub(super) fn new(
        settings: &CheckSettings,
        context: &ProbeContext,
    ) -> Result<Option<Self>, AgentError> {
        let Some(text) = settings.own().text("proxy") else {
            return Ok(None);
        };
        let address = Address::parse(text).map_err(|problem| setting("proxy", problem))?;
        let port = match (address.scheme.as_str(), address.port) {
            ("http", Some(port)) => port,
            _ => return Err(setting("proxy", "expected http://host:port")),
        };
        let home = Target::new(settings, context, Some(port))?;
        Ok(Some(Self {
            target: home.elsewhere(&address.host, port),
            authorization: address.authorization,
        }))
    }

    /// A connection to the proxy.
    pub(super) async fn connect(&self, progress: &mut Progress) -> Result<TcpStream, Failure> {
        self.target.connect(progress).await
    }

    /// Has the proxy open a way to the target, over a connection to it. Its time is part of connecting.
    pub(super) async fn open(
        &self,
        stream: &mut TcpStream,
        to: &Target,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        progress.phase = "waiting for the proxy";
        let began = Instant::now();
        let host = match to.host.contains(':') {
            true => format!("[{}]", to.host),
            false => to.host.clone(),
        };
        let authority = format!("{host}:{}", to.port);
        let mut head = format!(
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {USER_AGENT}\r\n"
        )
        .into_bytes();
        if let Some(authorization) = &self.authorization {
            head.extend_from_slice(b"proxy-authorization: ");
            head.extend_from_slice(authorization.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let lost = |error: &std::io::Error| Failure::of_io("asking the proxy", error);
        stream
            .write_all(&head)
            .await
            .map_err(|error| lost(&error))?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let protocol = |detail| Err(Failure::new(CheckReason::Protocol, detail));
            // The server waits for our handshake, so there is nothing behind the head.
            if answer.windows(4).any(|four| four == b"\r\n\r\n") {
                return protocol("the proxy's answer goes on after its head");
            }
            if answer.len() > MAX_HEAD_BYTES {
                return protocol("the head of the proxy's answer does not end");
            }
            let read = stream.read_buf(&mut answer).await;
            if read.map_err(|error| lost(&error))? == 0 {
                let detail = "the proxy closed the connection";
                return Err(Failure::new(CheckReason::ConnectionLost, detail));
            }
        }
        progress.took(name!("connect_seconds"), began);
        match status(&answer) {
            Some(200..=299) => Ok(()),
            Some(status) => {
                let detail = format!("the proxy answered CONNECT {authority} with status {status}");
                Err(Failure::new(CheckReason::ProxyRefused, detail))
            }
            None => Err(Failure::new(
                CheckReason::Protocol,
                "the proxy's answer is not HTTP",
            )),
        }
    }
}

/// The status in `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split(' ').nth(1)?.parse().ok()
}
