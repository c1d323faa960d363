//! TLS for probes: certificates and names are always verified (D13), sessions are never resumed,
//! because then the time of the handshake would be wrong.

use super::settings::setting;
use super::untrusted::{Keeping, Untrusted};
use super::{AgentError, CheckReason};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ConfigBuilder, OtherError, RootCertStore,
    WantsVerifier,
};
use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use tidegauge_model::FileStamp;

/// Client settings, each made once for all targets that ask for the same, and forgotten when no target
/// uses it any more. A file that is replaced is another one, so that what is read again is what is there.
#[derive(Default)]
pub(super) struct ClientConfigs {
    system: OnceLock<Arc<RootCertStore>>,
    #[cfg(feature = "databases")]
    certificates: OnceLock<Arc<[CertificateDer<'static>]>>,
    roots: Shared<Read, RootCertStore>,
    configs: Shared<Wanted, ClientConfig>,
}

/// A file, and how it looked before it was read.
type Read = (PathBuf, Option<FileStamp>);

/// What tells client settings apart.
#[derive(PartialEq, Eq, Hash)]
struct Wanted {
    /// The authorities; `None` are those of the system.
    authorities: Option<Read>,
    /// The certificate of this side and its key.
    identity: Option<(Read, Read)>,
    /// The protocols that are offered.
    protocols: Vec<Vec<u8>>,
}

/// What is in use, by what it was made from.
struct Shared<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    /// The one that is in use, or a new one.
    fn get(
        &self,
        key: K,
        make: impl FnOnce() -> Result<V, AgentError>,
    ) -> Result<Arc<V>, AgentError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(used);
        }
        let made = Arc::new(make()?);
        known.retain(|_, one| one.strong_count() > 0);
        known.insert(key, Arc::downgrade(&made));
        Ok(made)
    }
}

impl ClientConfigs {
    /// Settings that trust the authorities of a PEM file, or those of the system.
    ///
    /// # Errors
    /// When the file cannot be read or has no certificate that can be used.
    #[cfg(any(test, feature = "databases"))]
    pub(super) fn trusting(&self, ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, AgentError> {
        self.speaking(ca_file, &[b"http/1.1"])
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
        protocols: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, AgentError> {
        self.config(ca_file, Some((certificate_file, key_file)), protocols)
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
        self.config(ca_file, None, protocols)
    }

    fn config(
        &self,
        ca_file: Option<&Path>,
        identity: Option<(&Path, &Path)>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, AgentError> {
        let wanted = Wanted {
            authorities: ca_file.map(as_it_is),
            identity: identity.map(|(certificate, key)| (as_it_is(certificate), as_it_is(key))),
            protocols: protocols.iter().map(|name| name.to_vec()).collect(),
        };
        let alpn_protocols = wanted.protocols.clone();
        self.configs.get(wanted, || {
            let config = verifying(self.roots(ca_file)?)?;
            let mut config = match identity {
                Some((certificate, key)) => with_identity(config, certificate, key)?,
                None => config.with_no_client_auth(),
            };
            config.resumption = rustls::client::Resumption::disabled();
            config.alpn_protocols = alpn_protocols;
            Ok(config)
        })
    }

    /// What decides whether a certificate is trusted.
    ///
    /// # Errors
    /// As [`Self::trusting`], and where the system has no authorities at all.
    pub(super) fn verifier(
        &self,
        ca_file: Option<&Path>,
    ) -> Result<Arc<dyn ServerCertVerifier>, AgentError> {
        verifier_of(self.roots(ca_file)?).map(|verifier| verifier as _)
    }

    /// The authorities of the system as they are, for a client that makes its own settings.
    #[cfg(feature = "databases")]
    pub(super) fn system_certificates(&self) -> Arc<[CertificateDer<'static>]> {
        let read = || {
            let mut usable = RootCertStore::empty();
            let mut certificates = rustls_native_certs::load_native_certs().certs;
            certificates.retain(|certificate| usable.add(certificate.clone()).is_ok());
            certificates.into()
        };
        Arc::clone(self.certificates.get_or_init(read))
    }

    fn roots(&self, ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, AgentError> {
        match ca_file {
            Some(path) => self.roots.get(as_it_is(path), || roots_in(path)),
            None => {
                let system = self.system.get_or_init(|| Arc::new(system_roots()));
                Ok(Arc::clone(system))
            }
        }
    }
}

/// A file that cannot be seen is none that was read before: making anything of it says what is wrong.
fn as_it_is(path: &Path) -> Read {
    let stamp = std::fs::metadata(path).map(|file| FileStamp::of(&file));
    (path.to_owned(), stamp.ok())
}

fn with_identity(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    certificate_file: &Path,
    key_file: &Path,
) -> Result<ClientConfig, AgentError> {
    let refused = |key, path: &Path, error: &dyn std::fmt::Display| {
        setting(key, format!("{}: {error}", path.display()))
    };
    let bad_certificate =
        |error: &dyn std::fmt::Display| refused("certificate_file", certificate_file, error);
    let certificates = CertificateDer::pem_file_iter(certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad_certificate(&pem_problem(&error)))?;
    if certificates.is_empty() {
        return Err(bad_certificate(&"it has no certificate in PEM form"));
    }
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| refused("key_file", key_file, &pem_problem(&error)))?;
    config
        .with_client_auth_cert(certificates, key)
        .map_err(|error| bad_certificate(&error))
}

/// What is wrong with a PEM file, without a piece of it: the library's own words hold the lines that it could
/// not read, which may be those of a key (D13).
fn pem_problem(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error as Pem;
    match error {
        Pem::MissingSectionEnd { .. } | Pem::IllegalSectionStart { .. } => {
            "the PEM is damaged, or has lost its line breaks: the lines BEGIN and END stand alone"
                .to_owned()
        }
        Pem::Base64Decode(_) => "the PEM is damaged: copy it again".to_owned(),
        Pem::NoItemsFound => "there is nothing in it in PEM form".to_owned(),
        other => other.to_string(),
    }
}

fn roots_in(path: &Path) -> Result<RootCertStore, AgentError> {
    let read = |source| AgentError::ReadCertificates {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| read(pem_problem(&error).into()))?;
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

/// The usual verification; what it refuses is kept for the result. Where there is nothing to trust all is
/// refused, and no verifier of ours can be made.
fn verifying(
    roots: Arc<RootCertStore>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, AgentError> {
    if roots.is_empty() {
        return Ok(builder()?.with_root_certificates(roots));
    }
    let keeping = Arc::new(Keeping(verifier_of(roots)?));
    Ok(builder()?
        .dangerous()
        .with_custom_certificate_verifier(keeping))
}

fn verifier_of(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, AgentError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    built.map_err(|error| AgentError::Tls {
        source: rustls::Error::General(error.to_string()),
    })
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, AgentError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| AgentError::Tls { source })
}

/// What is wrong with a certificate or a handshake, for a person.
pub(super) fn problem_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(problem))) => {
            let problem = match problem.to_string() {
                // What `openssl req -x509` makes unless it is told otherwise.
                text if text == "CaUsedAsEndEntity" => {
                    "it is that of an authority (CA:TRUE), which no server may show".to_owned()
                }
                text => text,
            };
            format!("invalid peer certificate: {problem}")
        }
        other => other.to_string(),
    }
}

/// Which reason stands for a handshake that failed, and when the certificate expired if it did
/// (seconds since 1970).
pub(super) fn handshake_failure(error: &rustls::Error) -> (CheckReason, Option<u64>) {
    let error = Untrusted::of(error).map_or(error, |untrusted| &untrusted.problem);
    let problem = match error {
        rustls::Error::InvalidCertificate(problem) => problem,
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            return (CheckReason::ProtocolVersion, None);
        }
        _ => return (CheckReason::TlsHandshake, None),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_key_that_has_lost_its_line_breaks_is_told_d13() {
        for text in [
            "-----BEGIN PRIVATE KEY-----c2VjcmV0-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----\nc2V?cmV0\n-----END PRIVATE KEY-----\n",
        ] {
            let error = PrivateKeyDer::from_pem_slice(text.as_bytes()).expect_err(text);
            let said = pem_problem(&error);
            assert!(
                said.starts_with("the PEM is damaged") && !said.contains('['),
                "{said}"
            );
        }
    }

    #[test]
    fn a_certificate_of_an_authority_is_told_as_such() {
        let other = |text: &str| {
            let problem = OtherError(Arc::new(std::io::Error::other(text.to_owned())));
            problem_text(&rustls::Error::InvalidCertificate(CertificateError::Other(
                problem,
            )))
        };
        assert!(other("CaUsedAsEndEntity").contains("CA:TRUE"));
        assert_eq!(other("BadDer"), "invalid peer certificate: BadDer");
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(problem_text(&expired), expired.to_string());
    }

    #[test]
    fn settings_are_shared_while_they_are_used_and_files_are_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]);
            let path = folder.path().join(name);
            std::fs::write(&path, made.expect("made").cert.pem()).expect("written");
            path
        };
        let (one, other) = (authority("one"), authority("other"));
        let configs = ClientConfigs::default();
        let of = |path: &Path| configs.trusting(Some(path)).expect("can be used");
        let first = of(&one);
        assert!(Arc::ptr_eq(&first, &of(&one)), "the same for the same");
        assert!(
            !Arc::ptr_eq(&first, &of(&other)),
            "not for other authorities"
        );
        let http2 = configs.speaking(Some(&one), &[b"h2"]).expect("can be used");
        assert!(!Arc::ptr_eq(&first, &http2), "not for other protocols");
        let roots = |path: &Path| configs.roots(Some(path)).expect("can be read");
        let kept = roots(&one);
        assert!(Arc::ptr_eq(&kept, &roots(&one)));
        std::fs::rename(&other, &one).expect("renamed");
        assert!(
            !Arc::ptr_eq(&first, &of(&one)),
            "not for a file that was replaced"
        );
        assert!(!Arc::ptr_eq(&kept, &roots(&one)));
        assert!(
            configs.trusting(Some(&other)).is_err(),
            "a file that is gone"
        );
        drop((first, http2, kept));
        let used = of(&one);
        let known = |shared: &Shared<Wanted, ClientConfig>| shared.0.lock().expect("free").len();
        configs.speaking(Some(&one), &[]).expect("can be used");
        assert_eq!(known(&configs.configs), 2, "what nobody uses is forgotten");
        drop(used);
    }
}
