//! TLS towards the server, by rustls with ring named explicitly: a default provider that some
//! other part of the program installs, or none, changes nothing here.

use crate::identity::{IdentityFiles, certificates};
use crate::{ErrorClass, StoreError};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use std::path::Path;
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// TLS that verifies certificate and name, against the authorities of a PEM file or the system's.
pub(super) fn verify(
    authorities: Option<&Path>,
    identity: Option<&IdentityFiles>,
) -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| {
                    let doing = format!("reading the authorities in {}", path.display());
                    StoreError::new(doing, ErrorClass::Usage).caused_by(error)
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(
            StoreError::new("loading the authorities for TLS", ErrorClass::Usage)
                .caused_by("there is no certificate; name a PEM file with sslrootcert"),
        );
    }
    with_identity(builder()?.with_root_certificates(roots), identity)
}

/// TLS that encrypts and takes any certificate: `sslmode=require`, where the user wrote it.
pub(super) fn encrypt_only(
    identity: Option<&IdentityFiles>,
) -> Result<MakeRustlsConnect, StoreError> {
    let verifier = Arc::new(AnyCertificate(Arc::new(ring::default_provider())));
    let config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    with_identity(config, identity)
}

fn with_identity(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&IdentityFiles>,
) -> Result<MakeRustlsConnect, StoreError> {
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(files) => {
            let (certificates, key) = files.read()?;
            config
                .with_client_auth_cert(certificates, key)
                .map_err(setting_up)?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, StoreError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(setting_up)
}

fn setting_up(error: rustls::Error) -> StoreError {
    StoreError::new("setting up TLS", ErrorClass::Usage).caused_by(error)
}

/// Takes any certificate, but the handshake must be signed by its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
