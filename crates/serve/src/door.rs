//! What a server asks of whoever comes to it.

use crate::access::{Access, Shown, Token, Verdict};
use crate::hosts::Hosts;
use crate::tls;
use hyper::StatusCode;
use hyper::http::request::Parts;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio_rustls::TlsAcceptor;

/// What is set for one server.
#[derive(Debug, Clone, Default)]
pub struct DoorSettings {
    /// PEM file with its certificate and the chain; without it there is no TLS.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the key, not encrypted.
    pub key_file: Option<PathBuf>,
    /// What senders must know.
    pub token: Option<Token>,
    /// File with it, instead; read again when it was replaced.
    pub token_file: Option<PathBuf>,
    /// File of users, a line `name:hash` each.
    pub users_file: Option<PathBuf>,
    /// Further names under which it is asked, `*.example.org` for all below one.
    pub hosts: Vec<String>,
    /// Whether an address that other hosts reach is fine without a token and without users.
    pub allow_insecure: bool,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct DoorError {
    /// The setting's key, without its section.
    pub key: &'static str,
    /// What is wrong with it; no secret is in it.
    pub problem: String,
}

/// Why somebody does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Another name is asked for than one of this server's.
    Host,
    /// No token or password, or a wrong one.
    Unknown,
    /// Too many others have their passwords looked at.
    Busy,
}

impl Denied {
    /// The status of HTTP that says so.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// What to do, for whoever was refused.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Host => {
                "the name in `Host` is none of this server's; the setting `hosts` takes further ones"
            }
            Self::Unknown => "the token or the password is missing or wrong",
            Self::Busy => "too many passwords are looked at; try again",
        }
    }
}

/// TLS, names and access of one server.
pub struct Door {
    pub(crate) tls: Option<TlsAcceptor>,
    hosts: Hosts,
    access: Access,
    allow_insecure: bool,
}

impl fmt::Debug for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Door")
    }
}

impl Door {
    /// Reads the files and checks that nothing is half said (D13).
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn open(settings: DoorSettings) -> Result<Self, DoorError> {
        let refused = |key| move |problem| DoorError { key, problem };
        let missing = |key, other| DoorError {
            key,
            problem: format!("it needs {other} too"),
        };
        let tls = match (&settings.certificate_file, &settings.key_file) {
            (None, None) => None,
            (Some(_), None) => return Err(missing("certificate_file", "key_file")),
            (None, Some(_)) => return Err(missing("key_file", "certificate_file")),
            (Some(certificate), Some(key)) => {
                let made = tls::acceptor(certificate, key);
                Some(made.map_err(refused("certificate_file"))?)
            }
        };
        let access = Access::new(settings.token, settings.users_file.as_deref());
        let access = access.map_err(refused("users_file"))?;
        let access = access.with_token_file(settings.token_file.as_deref());
        Ok(Self {
            tls,
            hosts: Hosts::new(&settings.hosts).map_err(refused("hosts"))?,
            access: access.map_err(refused("token_file"))?,
            allow_insecure: settings.allow_insecure,
        })
    }

    /// `https` or `http`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Whether everybody comes in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.access.is_for_all()
    }

    /// Whether it may listen at this address: one that other hosts reach needs a token or users, or
    /// that the settings say so for this very server. Without TLS what they show can be read on the
    /// way, which is said in the log.
    ///
    /// # Errors
    /// What to set.
    pub fn check(&self, address: SocketAddr) -> Result<(), String> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        if self.is_open() && !self.allow_insecure {
            return Err(format!(
                "{address} can be reached from other hosts, by whoever wants; set a token or a \
                 users_file in the same section, or allow_insecure = true"
            ));
        }
        if self.tls.is_none() {
            tracing::warn!(%address, "listening beyond loopback without TLS");
        }
        Ok(())
    }

    /// What is asked for with a name or an address that is this server's, by somebody who `shown`
    /// what is right.
    ///
    /// # Errors
    /// Why it is not answered.
    pub async fn admit(&self, head: &Parts, shown: Option<Shown>) -> Result<(), Denied> {
        self.check_host(head)?;
        match self.access.judge(shown).await {
            Verdict::Right => Ok(()),
            Verdict::Wrong => Err(Denied::Unknown),
            Verdict::Busy => Err(Denied::Busy),
        }
    }

    /// The first half of [`Self::admit`], for what everybody may ask.
    ///
    /// # Errors
    /// [`Denied::Host`].
    pub fn check_host(&self, head: &Parts) -> Result<(), Denied> {
        if self.hosts.has(head) {
            Ok(())
        } else {
            Err(Denied::Host)
        }
    }

    /// What `WWW-Authenticate` says: a browser asks for a name and a password where there are users.
    #[must_use]
    pub fn challenge(&self) -> &'static str {
        match self.access.has_users() {
            true => r#"Basic realm="Tidegauge", charset="UTF-8""#,
            false => "Bearer",
        }
    }
}
