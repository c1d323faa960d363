//! The certificate that a server shows.

use crate::watched::Watched;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A certificate with its chain and its key, in two PEM files, read again when they were replaced.
struct Certificate(Watched<CertifiedKey>);

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificate")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

/// TLS 1.2 and 1.3 with this certificate, for HTTP/1.1 and HTTP/2.
///
/// # Errors
/// What is wrong with which file.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let files = vec![certificate.to_owned(), key.to_owned()];
    let certificate = Certificate(Watched::open(files, load)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What is wrong with a PEM file, without a piece of it: the library's own words hold the lines that it could
/// not read, which may be those of a key (D13).
pub fn pem_problem(error: &rustls::pki_types::pem::Error) -> String {
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

fn load(files: &[PathBuf]) -> Result<CertifiedKey, String> {
    let [certificate, key] = files else {
        unreachable!("there are two");
    };
    let in_file = |file: &Path, error: &dyn fmt::Display| format!("{}: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| in_file(certificate, &pem_problem(&error)))?;
    if chain.is_empty() {
        return Err(in_file(certificate, &"there is no certificate in PEM form"));
    }
    let read_key = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => in_file(
            key,
            &"there is no private key in PEM form; one with a password is not taken",
        ),
        error => in_file(key, &pem_problem(&error)),
    })?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, read_key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let certificate = certificate.display();
            in_file(
                key,
                &format!("the key does not belong to the certificate in {certificate}"),
            )
        }
        error => in_file(certificate, &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_key_that_has_lost_its_line_breaks_is_told_d13() {
        let folder = tempfile::tempdir().unwrap();
        tidegauge_testkit::servers::write_certificates(folder.path()).unwrap();
        let file = |name: &str| folder.path().join(name);
        let key = std::fs::read_to_string(file("server.key")).unwrap();
        std::fs::write(file("line.key"), key.replace('\n', "")).unwrap();
        let said = load(&[file("server.crt"), file("line.key")]).unwrap_err();
        let expected = "line.key: the PEM is damaged, or has lost its line breaks: the lines BEGIN and END stand alone";
        assert!(said.ends_with(expected), "{said}");
    }
}
