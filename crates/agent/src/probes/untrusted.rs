//! A certificate that is not trusted, kept with the error that says why: a result tells it all the same.
//!
//! The usual verification decides (D13). What it refuses goes on as an error of its own, which has the
//! chain; a server that is refused gets the alert `certificate_unknown` for that. What it accepts costs
//! nothing more: the session has the chain then.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// What was shown, and why it is not trusted.
#[derive(Debug)]
pub(super) struct Untrusted {
    pub(super) problem: rustls::Error,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Untrusted {
    /// The one that is in an error.
    pub(super) fn of(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref()
            }
            _ => None,
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(formatter)
    }
}

impl std::error::Error for Untrusted {}

/// The usual verifier, whose refusals have the chain.
#[derive(Debug)]
pub(super) struct Keeping(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Keeping {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|problem| {
            let chain = std::iter::once(end_entity).chain(intermediates);
            let untrusted = Untrusted {
                problem,
                chain: chain.map(|der| der.clone().into_owned()).collect(),
            };
            let error = CertificateError::Other(OtherError(Arc::new(untrusted)));
            rustls::Error::InvalidCertificate(error)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
