//! TLS for probes: certificates and names are always verified (D13), sessions are never resumed,
//! because then the time of the handshake would be wrong.

use super::settings::setting;
use super::{AgentError, CheckReason};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Client settings: one for all targets that trust the system's authorities, read when the first
/// such target appears.
#[derive(Default)]
pub(super) struct ClientConfigs {
    roots: OnceLock<Arc<RootCertStore>>,
    system: OnceLock<Arc<ClientConfig>>,
}

impl ClientConfigs {
    /// Settings that trust the authorities of a PEM file, or those of the system.
    ///
    /// # Errors
    /// When the file cannot be read or has no certificate that can be used.
    pub(super) fn trusting(&self, ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, AgentError> {
        match ca_file {
            Some(_) => Ok(Arc::new(client_config(self.roots(ca_file)?)?)),
            None => {
                if let Some(known) = self.system.get() {
                    return Ok(Arc::clone(known));
                }
                let made = Arc::new(client_config(self.roots(None)?)?);
                Ok(Arc::clone(self.system.get_or_init(|| made)))
            }
        }
    }

    /// The same, and who this side is: a certificate with its chain and its key, in PEM.
    ///
    /// # Errors
    /// As [`Self::trusting`], and when the files have no certificate with its key.
    pub(super) fn with_identity(
        &self,
        ca_file: Option<&Path>,
        certificate_file: &Path,
        key_file: &Path,
    ) -> Result<Arc<ClientConfig>, AgentError> {
        let refused = |key, path: &Path, error: &dyn std::fmt::Display| {
            setting(key, format!("{}: {error}", path.display()))
        };
        let bad_certificate =
            |error: &dyn std::fmt::Display| refused("certificate_file", certificate_file, error);
        let certificates = CertificateDer::pem_file_iter(certificate_file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad_certificate(&error))?;
        if certificates.is_empty() {
            return Err(bad_certificate(&"it has no certificate in PEM form"));
        }
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|error| refused("key_file", key_file, &error))?;
        let config = builder()?
            .with_root_certificates(self.roots(ca_file)?)
            .with_client_auth_cert(certificates, key)
            .map_err(|error| bad_certificate(&error))?;
        Ok(Arc::new(for_checks(config)))
    }

    /// The same for other protocols than HTTP/1.1: those that are offered in the handshake.
    ///
    /// # Errors
    /// As [`Self::trusting`].
    pub(super) fn speaking(
        &self,
        ca_file: Option<&Path>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, AgentError> {
        let mut config = ClientConfig::clone(&*self.trusting(ca_file)?);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// What decides whether a certificate is trusted.
    ///
    /// # Errors
    /// As [`Self::trusting`], and where the system has no authorities at all.
    pub(super) fn verifier(
        &self,
        ca_file: Option<&Path>,
    ) -> Result<Arc<dyn ServerCertVerifier>, AgentError> {
        let roots = self.roots(ca_file)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        built
            .map(|verifier| verifier as _)
            .map_err(|error| AgentError::Tls {
                source: rustls::Error::General(error.to_string()),
            })
    }

    fn roots(&self, ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, AgentError> {
        Ok(match ca_file {
            Some(path) => Arc::new(roots_in(path)?),
            None => Arc::clone(self.roots.get_or_init(|| Arc::new(system_roots()))),
        })
    }
}

fn roots_in(path: &Path) -> Result<RootCertStore, AgentError> {
    let read = |source| AgentError::ReadCertificates {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| read(Box::new(error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| read(Box::new(error)))?;
    }
    if roots.is_empty() {
        return Err(read("it has no certificate in PEM form".into()));
    }
    Ok(roots)
}

/// The authorities of the system. Without any, every target is untrusted, which its result says.
fn system_roots() -> RootCertStore {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        tracing::warn!("no certificate authorities found on this system: https checks will fail");
    }
    tracing::debug!(added, ignored, "read the system's certificate authorities");
    roots
}

fn client_config(roots: Arc<RootCertStore>) -> Result<ClientConfig, AgentError> {
    let config = builder()?.with_root_certificates(roots);
    Ok(for_checks(config.with_no_client_auth()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, AgentError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| AgentError::Tls { source })
}

fn for_checks(mut config: ClientConfig) -> ClientConfig {
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Which reason stands for a handshake that failed, and when the certificate expired if it did
/// (seconds since 1970).
pub(super) fn handshake_failure(error: &rustls::Error) -> (CheckReason, Option<u64>) {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return (CheckReason::TlsHandshake, None);
    };
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => {
            (CheckReason::CertificateExpired, Some(not_after.as_secs()))
        }
        CertificateError::Expired => (CheckReason::CertificateExpired, None),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (CheckReason::CertificateNotYetValid, None)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (CheckReason::CertificateName, None)
        }
        _ => (CheckReason::CertificateUntrusted, None),
    }
}
