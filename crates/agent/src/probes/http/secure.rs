//! TLS of the probe `http`: what is trusted and shown to whom, and which certificate a result tells.

use super::super::exchange::{Failure, Progress, server_name};
use super::super::facts::{LastTold, News};
use super::super::settings::{CheckSettings, setting};
use super::super::{AgentError, CheckReason, ProbeContext};
use super::Visit;
use super::http2::Versions;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tidegauge_model::{Clock, name};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// TLS with the server of the check's URL, and with those that redirects lead to.
pub(super) struct Tls {
    home: Arc<ClientConfig>,
    /// None where the URL is not https.
    home_name: Option<ServerName<'static>>,
    away: Arc<ClientConfig>,
    told: LastTold,
}

impl Tls {
    pub(super) fn new(
        settings: &CheckSettings,
        context: &ProbeContext,
        secure: bool,
        versions: Versions,
    ) -> Result<Self, AgentError> {
        let (own, protocols) = (settings.own(), versions.protocols());
        let ca_file = own.path("ca_file");
        let away = context.tls.speaking(ca_file, protocols)?;
        let home = match (own.path("certificate_file"), own.path("key_file")) {
            (Some(certificate), Some(key)) => {
                let tls = &context.tls;
                tls.with_identity(ca_file, certificate, key, protocols)?
            }
            (None, None) => Arc::clone(&away),
            (Some(_), None) => return Err(setting("certificate_file", "it needs a `key_file`")),
            (None, Some(_)) => return Err(setting("key_file", "it needs a `certificate_file`")),
        };
        Ok(Self {
            home,
            home_name: secure.then(|| server_name(settings)).transpose()?,
            away,
            told: LastTold::default(),
        })
    }

    /// What a visit uses. The certificate of this side and the name that is set are for home alone.
    pub(super) fn of(
        &self,
        visit: &Visit<'_>,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), Failure> {
        match &self.home_name {
            Some(name) if visit.at_home => Ok((Arc::clone(&self.home), name.clone())),
            _ => match ServerName::try_from(visit.address.host.clone()) {
                Ok(name) => Ok((Arc::clone(&self.away), name)),
                Err(error) => Err(Failure::new(CheckReason::Protocol, error)),
            },
        }
    }

    /// The certificate of a server, if it is to be told with the result, also where it is not trusted.
    pub(super) fn news(
        &self,
        shaken: &Result<TlsStream<TcpStream>, Failure>,
        progress: &Progress,
        clock: &dyn Clock,
    ) -> Option<Box<News>> {
        match shaken {
            Ok(stream) => {
                let (_, session) = stream.get_ref();
                let chain = session.peer_certificates().unwrap_or_default();
                self.told.news(chain.first(), true, clock)
            }
            Err(_) => self.told.news(progress.untrusted.as_ref(), false, clock),
        }
    }

    /// Adds to the result when the chain ends, and the certificate if it is to be told.
    pub(super) fn tell(&self, news: Option<Box<News>>, progress: &mut Progress, clock: &dyn Clock) {
        if let Some(end) = progress.chain_ends {
            progress.found_end(name!("chain_expires_seconds"), end, clock);
        }
        if let Some(news) = news {
            self.told.tell(&news, progress, clock);
        }
    }
}
