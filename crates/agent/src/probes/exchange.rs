//! What probes that open connections have in common: how far a check has come, why it ended early,
//! connecting, the TLS handshake. What goes over the connection is not known here.

use super::untrusted::Untrusted;
use super::{AgentError, CheckReason, CheckSettings, Finding, ProbeContext, resolve, tls};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, Name, Value, name};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::error::Elapsed;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CONNECTING: &str = "connecting";
/// Of a chain no more certificates are looked at.
const MAX_CHAIN: usize = 16;
/// Texts of fields, such as the names of a certificate, are cut after so many characters.
const MAX_TEXT_CHARS: usize = 1_024;

/// How far a check has come, and what was measured on the way.
pub(super) struct Progress {
    /// What it does now, as it goes after "not done after 10s: ".
    pub(super) phase: &'static str,
    /// When the certificate of the server ends, seconds since 1970.
    pub(super) not_after: Option<i64>,
    /// When the first of its chain ends.
    pub(super) chain_ends: Option<i64>,
    /// The certificate of the server, if it was not trusted.
    pub(super) untrusted: Option<CertificateDer<'static>>,
    /// The moment from which ends are counted, of all of one result, microseconds since 1970.
    counted_from_us: Option<i64>,
    began: Instant,
    fields: Vec<(Name, Value)>,
}

/// Why a check ended early.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: CheckReason,
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(reason: CheckReason, detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self { reason, detail }
    }

    /// What an error of a connection that was open means.
    pub(super) fn of_io(doing: &str, error: &io::Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof => CheckReason::ConnectionLost,
            ErrorKind::ConnectionRefused => CheckReason::ConnectRefused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => CheckReason::Unreachable,
            _ => CheckReason::Protocol,
        };
        Self::new(reason, format!("{doing}: {error}"))
    }
}

/// What an error means that a client gives for a connection of its own: by the error of TLS or of the
/// connection that is its cause. `None` where there is none.
#[cfg(feature = "databases")]
pub(super) fn failure_of_cause(
    doing: &str,
    error: &(dyn std::error::Error + 'static),
    progress: &mut Progress,
) -> Option<Failure> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            let inner = io.get_ref();
            return Some(
                match inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
                    true => tls_failure(io, progress),
                    false => Failure::of_io(doing, io),
                },
            );
        }
        if let Some(problem) = error.downcast_ref::<rustls::Error>() {
            return Some(tls_failure(&io::Error::other(problem.clone()), progress));
        }
        cause = error.source();
    }
    None
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self {
            phase: "",
            not_after: None,
            chain_ends: None,
            untrusted: None,
            counted_from_us: None,
            began: Instant::now(),
            fields: Vec::with_capacity(12),
        }
    }

    /// Notes how long a phase took, to the microsecond; a phase that comes again adds to it.
    pub(super) fn took(&mut self, name: Name, began: Instant) {
        let before = match self.field(&name) {
            Some(Value::Float(seconds)) => *seconds,
            _ => 0.0,
        };
        let micros = (before * 1e6).round() + began.elapsed().as_micros() as f64;
        self.found(name, micros / 1e6);
    }

    /// Notes what was found, in place of what the same field had before.
    pub(super) fn found(&mut self, name: Name, value: impl Into<Value>) {
        match self.field(&name) {
            Some(known) => *known = value.into(),
            None => self.fields.push((name, value.into())),
        }
    }

    fn field(&mut self, name: &Name) -> Option<&mut Value> {
        let found = self.fields.iter_mut().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    /// The certificates that a server showed, its own first.
    pub(super) fn chain(&mut self, chain: &[CertificateDer<'_>]) {
        let end = |der: &CertificateDer<'_>| super::certificate::not_after_seconds(der);
        self.not_after = chain.first().and_then(end);
        self.chain_ends = chain.iter().take(MAX_CHAIN).filter_map(end).min();
    }

    /// Forgets the certificates, as of a server that sent the check on to another.
    pub(super) const fn no_chain(&mut self) {
        (self.not_after, self.chain_ends) = (None, None);
    }

    /// Expects the chain of the server to be valid for so many days yet.
    pub(super) fn expect_days_left(
        &self,
        least: Option<u64>,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        let (Some(least), Some(end)) = (least, self.chain_ends) else {
            return Ok(());
        };
        let days = (end as f64 - clock.now_us() as f64 / 1e6) / 86_400.0;
        if days >= least as f64 {
            return Ok(());
        }
        Err(Failure::new(
            CheckReason::CertificateExpiresSoon,
            format!("{days:.1} days are left, {least} are asked for"),
        ))
    }

    /// Expects the check to have taken no longer so far.
    pub(super) fn expect_within(&self, most: Option<Duration>) -> Result<(), Failure> {
        let took = self.began.elapsed();
        match most {
            Some(most) if took > most => Err(Failure::new(
                CheckReason::TooSlow,
                format!("it took {took:.1?}, at most {most:?} are expected"),
            )),
            _ => Ok(()),
        }
    }

    /// A text of the other side, made one line and cut.
    pub(super) fn found_text(&mut self, name: Name, text: &str) {
        let plain = |character: char| match character.is_control() {
            true => ' ',
            false => character,
        };
        let text: String = text.chars().take(MAX_TEXT_CHARS).map(plain).collect();
        self.found(name, text);
    }

    /// Seconds from now until a time in seconds since 1970.
    pub(super) fn found_end(&mut self, name: Name, end: i64, clock: &dyn Clock) {
        let now_us = *self.counted_from_us.get_or_insert_with(|| clock.now_us());
        self.found(name, (end as f64 - now_us as f64 / 1e6).round());
    }

    /// The result, from how the work within its deadline ended.
    pub(super) fn finding(
        mut self,
        ended: Result<Result<(), Failure>, Elapsed>,
        deadline: Duration,
        clock: &dyn Clock,
    ) -> Finding {
        let failure = match ended {
            Ok(ended) => ended.err(),
            Err(_) => {
                let reason = match self.phase {
                    CONNECTING => CheckReason::ConnectTimeout,
                    _ => CheckReason::Deadline,
                };
                let detail = format!("not done after {deadline:?}: {}", self.phase);
                Some(Failure { reason, detail })
            }
        };
        self.took(name!("total_seconds"), self.began);
        if let Some(end) = self.not_after {
            self.found_end(name!("certificate_expires_seconds"), end, clock);
        }
        match failure {
            None => Finding::new(CheckReason::Ok, None, self.fields),
            Some(Failure { reason, detail }) => Finding::new(reason, Some(&detail), self.fields),
        }
    }
}

/// Where a check goes, and from where.
pub(super) struct Target {
    names: Arc<resolve::Names>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) deadline: Duration,
    family: super::AddressFamily,
    source: Option<IpAddr>,
}

impl Target {
    /// # Errors
    /// [`AgentError::Setting`] when the URL names no port and the protocol has no usual one.
    pub(super) fn new(
        settings: &CheckSettings,
        context: &ProbeContext,
        usual_port: Option<u16>,
    ) -> Result<Self, AgentError> {
        let address = settings.address();
        let port = address.port.or(usual_port).ok_or_else(|| {
            let problem = format!("it needs a port: {}://host:port", address.scheme);
            super::settings::setting("url", problem)
        })?;
        Ok(Self {
            names: Arc::clone(&context.names),
            host: address.host.clone(),
            port,
            deadline: settings.deadline(),
            family: settings.family(),
            source: settings.source_address(),
        })
    }

    /// The addresses of the host that may be used, at least one.
    pub(super) async fn addresses(
        &self,
        progress: &mut Progress,
    ) -> Result<Vec<SocketAddr>, Failure> {
        progress.phase = "looking up the name";
        let mut addresses = match resolve::without_lookup(&self.host) {
            Some(addresses) => addresses,
            None => {
                let began = Instant::now();
                let found = self.names.resolve(&self.host).await;
                let found =
                    found.map_err(|detail| Failure::new(CheckReason::ResolveFailed, detail))?;
                progress.took(name!("resolve_seconds"), began);
                found
            }
        };
        addresses.retain(|address| {
            self.family.has(*address)
                && self
                    .source
                    .is_none_or(|source| source.is_ipv4() == address.is_ipv4())
        });
        self.family.sort(&mut addresses);
        if addresses.is_empty() {
            let detail = "the name has no address of the family that is asked for";
            return Err(Failure::new(CheckReason::ResolveFailed, detail));
        }
        let with_port = |address| SocketAddr::new(address, self.port);
        Ok(addresses.into_iter().map(with_port).collect())
    }

    /// The address to send from; its port is any.
    pub(super) fn source_for(&self, target: SocketAddr) -> SocketAddr {
        let any = match target {
            SocketAddr::V4(_) => IpAddr::from([0; 4]),
            SocketAddr::V6(_) => IpAddr::from([0_u16; 8]),
        };
        SocketAddr::new(self.source.unwrap_or(any), 0)
    }

    /// Another host, from the same address of this one.
    pub(super) fn elsewhere(&self, host: &str, port: u16) -> Self {
        Self {
            names: Arc::clone(&self.names),
            host: host.to_owned(),
            port,
            ..*self
        }
    }

    /// Opens a TCP connection to the first address that takes it. Who writes more than once before
    /// there is an answer calls [`write_at_once`] on it.
    pub(super) async fn connect(&self, progress: &mut Progress) -> Result<TcpStream, Failure> {
        let addresses = self.addresses(progress).await?;
        self.connect_to_first(addresses, progress).await
    }

    /// The same for addresses of the target that are known already.
    pub(super) async fn connect_to_first(
        &self,
        addresses: Vec<SocketAddr>,
        progress: &mut Progress,
    ) -> Result<TcpStream, Failure> {
        progress.phase = CONNECTING;
        let began = Instant::now();
        let mut last = None;
        for address in addresses {
            match self.connect_to(address).await {
                Ok(stream) => {
                    progress.took(name!("connect_seconds"), began);
                    progress.found(name!("address"), address.to_string());
                    return Ok(stream);
                }
                Err(error) => last = Some((address, error)),
            }
        }
        let (address, error) = last.expect("there is at least one address");
        let reason = match error.kind() {
            ErrorKind::ConnectionRefused => CheckReason::ConnectRefused,
            ErrorKind::TimedOut => CheckReason::ConnectTimeout,
            _ => CheckReason::Unreachable,
        };
        Err(Failure::new(
            reason,
            format!("connecting to {address}: {error}"),
        ))
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if self.source.is_some() {
            socket.bind(self.source_for(address))?;
        }
        socket.connect(address).await
    }
}

/// Has each write go out by itself. For a request that is one write it would be a system call for
/// nothing, and many checks are that.
pub(super) fn write_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the socket keeps its delay");
    }
}

/// The name that a server's certificate must be for.
///
/// # Errors
/// [`AgentError::Setting`] when it is neither a name nor an address.
pub(super) fn server_name(settings: &CheckSettings) -> Result<ServerName<'static>, AgentError> {
    let own = settings.own().text("server_name");
    let key = if own.is_some() { "server_name" } else { "url" };
    ServerName::try_from(own.unwrap_or(&settings.address().host).to_owned())
        .map_err(|error| super::settings::setting(key, format!("the server's name: {error}")))
}

/// The TLS handshake over an open connection.
pub(super) async fn handshake(
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    stream: TcpStream,
    progress: &mut Progress,
) -> Result<TlsStream<TcpStream>, Failure> {
    progress.phase = "in the TLS handshake";
    write_at_once(&stream);
    let began = Instant::now();
    let connected = TlsConnector::from(config).connect(server, stream).await;
    let stream = connected.map_err(|error| tls_failure(&error, progress))?;
    progress.took(name!("tls_seconds"), began);
    let (_, session) = stream.get_ref();
    progress.chain(session.peer_certificates().unwrap_or_default());
    Ok(stream)
}

fn tls_failure(error: &io::Error, progress: &mut Progress) -> Failure {
    let problem = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (reason, not_after) =
        problem.map_or((CheckReason::TlsHandshake, None), tls::handshake_failure);
    match problem.and_then(Untrusted::of) {
        None => {
            progress.not_after = not_after.and_then(|seconds| i64::try_from(seconds).ok());
            let text = problem.map_or_else(|| error.to_string(), tls::problem_text);
            Failure::new(reason, text)
        }
        Some(untrusted) => {
            progress.chain(&untrusted.chain);
            progress.untrusted = untrusted.chain.first().cloned();
            Failure::new(reason, tls::problem_text(&untrusted.problem))
        }
    }
}
