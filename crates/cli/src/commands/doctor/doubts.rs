//! Why a broker's certificate is not trusted: which of the three reasons it is, where the Kafka client only says
//! that it is one of them.
//!
//! Not the verdict: that is the client's. This is asked after it refused, and looks with rustls at the same chain.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock as _, SystemClock};

/// What is wrong with this chain for a broker of that name, and what to do; `None` if nothing is found.
pub(super) fn of_chain(
    chain: &[CertificateDer<'_>],
    name: &str,
    ca_file: Option<&Path>,
) -> Option<String> {
    let (first, others) = chain.split_first()?;
    let not_for_name = || {
        format!(
            "the broker's certificate is not accepted: it is not for `{name}`: name the broker in kafka.brokers, and \
             in its advertised.listeners, as its certificate does"
        )
    };
    // A name that no certificate can have, as 127.1.
    let Ok(server) = ServerName::try_from(name) else {
        return Some(not_for_name());
    };
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let found = CertificateDer::pem_file_iter(file).ok()?;
            roots.add_parsable_certificates(found.filter_map(Result::ok));
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let seconds = u64::try_from(SystemClock.now_us() / 1_000_000).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let verdict = verifier
        .build()
        .ok()?
        .verify_server_cert(first, others, &server, &[], now);
    let Err(Error::InvalidCertificate(why)) = verdict else {
        return None;
    };
    match why {
        CertificateError::UnknownIssuer => {
            let among = match ca_file {
                Some(file) => format!("kafka.tls.ca_file ({})", file.display()),
                None => "this system (kafka.tls.ca_file names others)".to_owned(),
            };
            Some(format!(
                "the broker's certificate is not accepted: its authority is not among those of {among}: take the file \
                 that the cluster's administrator gives"
            ))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(not_for_name())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some(
            "the broker's certificate is not accepted: it has expired: have a new one made for the broker, or look at \
             this host's clock"
                .to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Some(
            "the broker's certificate is not accepted: it is not valid yet: look at this host's clock"
                .to_owned(),
        ),
        _ => None,
    }
}
