//! The probe `tls`: the handshake alone, and all that the server shows in it. Nothing is sent after it.
//!
//! The certificate is told also when it is not trusted: [`Witness`] keeps what the server showed, and
//! then lets the usual verification decide (D13).

use super::exchange::{Failure, Progress, Target, handshake, server_name};
use super::keys::{CA_FILE, MAX_TIME, MIN_DAYS_LEFT, SERVER_NAME};
use super::{AgentError, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry, facts};
use async_trait::async_trait;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidegauge_model::{Clock, name};

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "tls",
    measurement: name!("tls_check"),
    schemes: &["tls"],
    description: "A TLS handshake: version, cipher, and the certificate with its chain, also if it is not trusted.",
    keys: &[MIN_DAYS_LEFT, MAX_TIME, SERVER_NAME, CA_FILE],
    new: |settings, context| Ok(Box::new(TlsProbe::new(settings, context)?)),
};

struct TlsProbe {
    target: Target,
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    server: ServerName<'static>,
    min_days_left: Option<u64>,
    max_time: Option<Duration>,
}

impl TlsProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let own = settings.own();
        let ca_file = own.path("ca_file");
        Ok(Self {
            target: Target::new(settings, context, Some(443))?,
            config: context.tls.speaking(ca_file, &[])?,
            verifier: context.tls.verifier(ca_file)?,
            server: server_name(settings)?,
            min_days_left: own.count(MIN_DAYS_LEFT.key),
            max_time: own.duration(MAX_TIME.key),
        })
    }

    async fn exchange(&self, progress: &mut Progress, clock: &dyn Clock) -> Result<(), Failure> {
        let stream = self.target.connect(progress).await?;
        let witness = Arc::new(Witness {
            verifier: Arc::clone(&self.verifier),
            shown: OnceLock::new(),
        });
        let mut config = ClientConfig::clone(&self.config);
        config
            .dangerous()
            .set_certificate_verifier(Arc::clone(&witness) as _);
        let server = self.server.clone();
        let shaken = handshake(Arc::new(config), server, stream, progress).await;
        if let Some(shown) = witness.shown.get() {
            shown.tell(progress, clock);
        }
        let stream = shaken?;
        let (_, session) = stream.get_ref();
        if let Some(version) = session.protocol_version() {
            progress.found_text(name!("tls_version"), version.as_str().unwrap_or("unknown"));
        }
        if let Some(suite) = session.negotiated_cipher_suite() {
            let suite = suite.suite();
            progress.found_text(name!("cipher"), suite.as_str().unwrap_or("unknown"));
        }
        progress.expect_days_left(self.min_days_left, clock)?;
        progress.expect_within(self.max_time)
    }
}

#[async_trait]
impl Probe for TlsProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let deadline = self.target.deadline;
        let ended = tokio::time::timeout(deadline, self.exchange(&mut progress, clock)).await;
        progress.finding(ended, deadline, clock)
    }
}

/// A verifier that remembers what it was asked about.
#[derive(Debug)]
struct Witness {
    verifier: Arc<dyn ServerCertVerifier>,
    shown: OnceLock<Shown>,
}

/// What the server showed.
#[derive(Debug)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    stapled: bool,
    verified: bool,
}

impl Shown {
    /// Adds what is in the chain to the result.
    fn tell(&self, progress: &mut Progress, clock: &dyn Clock) {
        progress.found(name!("ocsp_stapled"), self.stapled);
        progress.found(name!("chain_certificates"), self.chain.len() as u64);
        progress.chain(&self.chain);
        if let Some(end) = progress.chain_ends {
            progress.found_end(name!("chain_expires_seconds"), end, clock);
        }
        if let Some(leaf) = self.chain.first() {
            facts::tell(leaf, self.verified, progress);
        }
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let chain = std::iter::once(end_entity).chain(intermediates);
        let shown = Shown {
            chain: chain.map(|der| der.clone().into_owned()).collect(),
            stapled: !ocsp_response.is_empty(),
            verified: verified.is_ok(),
        };
        // A handshake verifies once.
        self.shown.set(shown).ok();
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
