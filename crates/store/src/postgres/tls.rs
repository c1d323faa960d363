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
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tidegauge_model::FileStamp;
use tokio_postgres_rustls::MakeRustlsConnect;

/// TLS as the user asked for it, with files that are read again when they were replaced.
pub(super) struct Tls {
    asked: Asked,
    made: Mutex<Made>,
}

/// What the user asked of TLS.
pub(super) struct Asked {
    /// Whether certificate and name are verified; else any is taken (`sslmode=require`, where the user wrote it).
    pub(super) verified: bool,
    /// A PEM file of authorities; the system's without it.
    pub(super) authorities: Option<PathBuf>,
    pub(super) identity: Option<IdentityFiles>,
}

struct Made {
    connector: MakeRustlsConnect,
    /// How the files looked before they were read.
    stamps: Vec<Option<FileStamp>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ErrorClass::Usage`] with the file that is at fault.
    pub(super) fn open(asked: Asked) -> Result<Self, StoreError> {
        let stamps = asked.stamps();
        let connector = asked.make()?;
        let made = Mutex::new(Made { connector, stamps });
        Ok(Self { asked, made })
    }

    /// Whether certificate and name are verified.
    pub(super) const fn is_verified(&self) -> bool {
        self.asked.verified
    }

    /// What makes a connection now. Files that cannot be used, which may be because one of two was not
    /// replaced yet, are warned of; what was there before stays in use.
    pub(super) fn connector(&self) -> MakeRustlsConnect {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.asked.stamps();
        if stamps != made.stamps {
            made.stamps = stamps;
            match self.asked.make() {
                Ok(connector) => {
                    tracing::info!("the files of TLS to PostgreSQL were replaced and are in use");
                    made.connector = connector;
                }
                Err(error) => {
                    let cause = error.source().map(ToString::to_string).unwrap_or_default();
                    tracing::warn!("{error}: {cause}; what was there before stays in use");
                }
            }
        }
        made.connector.clone()
    }
}

impl Asked {
    fn stamps(&self) -> Vec<Option<FileStamp>> {
        let own = self
            .identity
            .iter()
            .flat_map(|files| [&files.certificate, &files.key]);
        let stamp = |path: &PathBuf| Some(FileStamp::of(&std::fs::metadata(path).ok()?));
        self.authorities.iter().chain(own).map(stamp).collect()
    }

    fn make(&self) -> Result<MakeRustlsConnect, StoreError> {
        let identity = self.identity.as_ref();
        match self.verified {
            true => verify(self.authorities.as_deref(), identity),
            false => encrypt_only(identity),
        }
    }
}

/// TLS that verifies certificate and name, against the authorities of a PEM file or the system's.
fn verify(
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
fn encrypt_only(identity: Option<&IdentityFiles>) -> Result<MakeRustlsConnect, StoreError> {
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
