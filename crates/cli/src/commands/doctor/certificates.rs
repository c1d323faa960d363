//! The certificates that servers show, and our own in files: whose, signed by whom, for how long still.
//!
//! Not a verification: that is the client's that counts, whose own error is told elsewhere. Nothing is
//! sent, and the connection ends with the handshake.

use super::{DEADLINE, Findings, Verdict, doubts};
use crate::settings::Settings;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tidegauge_model::{Clock, SystemClock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// A certificate with less time left is to be renewed: authorities that renew by themselves do it before.
const FEW_DAYS: i64 = 21;
const DAY_SECONDS: i64 = 86_400;

/// Settings that name a certificate of ours.
const OURS: &[&str] = &[
    "kafka.tls.certificate_file",
    "web.certificate_file",
    "influx.certificate_file",
    "otlp.certificate_file",
    "heartbeat.certificate_file",
];

/// What people want to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    subject: String,
    issuer: String,
    /// From when on it is valid, seconds since 1970 UTC.
    not_before: i64,
    /// Until when it is valid, seconds since 1970 UTC.
    not_after: i64,
    /// The same as `2027-01-01T00:00:00Z`.
    until: String,
}

impl Shown {
    fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
        let validity = certificate.validity;
        let seconds = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        Some(Self {
            subject: certificate.subject.to_string(),
            issuer: certificate.issuer.to_string(),
            not_before: seconds(validity.not_before),
            not_after: seconds(validity.not_after),
            until: validity.not_after.to_string(),
        })
    }
}

/// The certificates of a broker at `host:port`, its own first; and why it may not be trusted, by its name and the
/// authorities of this file or the system's.
pub(super) async fn of_broker(
    broker: &str,
    ca_file: Option<&Path>,
    findings: &mut Findings,
) -> Option<String> {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = match tokio::time::timeout(DEADLINE, TcpStream::connect(broker)).await {
        Ok(Ok(stream)) => stream,
        // That nobody answers is told by the check before.
        _ => return None,
    };
    let chain = handshake(stream, name).await;
    let doubt = doubts::of_chain(chain.as_deref().unwrap_or_default(), name, ca_file);
    told("certificates", broker, chain, findings);
    doubt
}

/// What a handshake on this connection brought.
pub(super) fn told(
    check: &'static str,
    whose: &str,
    chain: Result<Vec<CertificateDer<'static>>, String>,
    findings: &mut Findings,
) {
    match chain {
        Ok(chain) => {
            let shown: Vec<_> = chain.iter().filter_map(Shown::of).collect();
            judge(check, &format!("{whose} shows"), &shown, now(), findings);
        }
        // What is wrong is said by the client that counts.
        Err(error) => findings.warning(check, format!("{whose} shows no certificate: {error}")),
    }
}

/// Our own, in the files that settings name. A file that cannot be read was told when the settings were read.
pub(super) fn ours(settings: &Settings, findings: &mut Findings) {
    for key in OURS {
        let Some(path) = settings.path(key) else {
            continue;
        };
        let shown = read(&path);
        if !shown.is_empty() {
            let whose = format!("{key}: {} holds", path.display());
            judge("our certificates", &whose, &shown, now(), findings);
        }
    }
}

fn read(path: &Path) -> Vec<Shown> {
    let Ok(all) = CertificateDer::pem_file_iter(path) else {
        return Vec::new();
    };
    all.filter_map(|der| Shown::of(&der.ok()?)).collect()
}

fn now() -> i64 {
    SystemClock.now_us() / 1_000_000
}

/// One finding: a line for each certificate, and what to do about the one that ends first.
fn judge(check: &'static str, whose: &str, chain: &[Shown], now: i64, findings: &mut Findings) {
    let days = |one: &Shown| (one.not_after - now).div_euclid(DAY_SECONDS);
    let line = |one: &Shown| {
        let left = match days(one) {
            days if days < 0 => "it has expired".to_owned(),
            1 => "1 day left".to_owned(),
            days => format!("{days} days left"),
        };
        let (subject, issuer, until) = (&one.subject, &one.issuer, &one.until);
        format!("{subject}, signed by {issuer}, until {until}: {left}")
    };
    let mut text = std::iter::once(whose.to_owned())
        .chain(chain.iter().map(line))
        .collect::<Vec<_>>()
        .join("\n");
    let least = chain.iter().map(days).min().unwrap_or(i64::MAX);
    let verdict = if chain.iter().any(|one| one.not_before > now) {
        text.push_str("\none is not valid yet: is this host's clock right?");
        Verdict::Failed
    } else if least < 0 {
        text.push_str("\nhave a new one made, and look at what should have renewed it");
        Verdict::Failed
    } else if least < FEW_DAYS {
        text.push_str(
            "\nhave it renewed before then; files that are replaced are taken up without a restart",
        );
        Verdict::Warning
    } else {
        Verdict::Ok
    };
    findings.add(check, verdict, text);
}

/// The certificates that the other side of a connection shows in its handshake, its own first, whether they
/// are good or not.
///
/// # Errors
/// Why there was no TLS.
pub(super) async fn handshake(
    stream: TcpStream,
    name: &str,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let seen = Arc::new(Looks(Mutex::default()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as _)
        .with_no_client_auth();
    // A name that no certificate can have, as 127.1, is not sent; what is shown is shown all the same.
    let name = ServerName::try_from(name.to_owned())
        .unwrap_or_else(|_| ServerName::from(std::net::Ipv4Addr::LOCALHOST));
    let connector = TlsConnector::from(Arc::new(config));
    let shaken = tokio::time::timeout(DEADLINE, connector.connect(name, stream)).await;
    let seen = std::mem::take(&mut *seen.0.lock().unwrap_or_else(PoisonError::into_inner));
    match shaken {
        // A server that wants our certificate hangs up after it showed its own.
        _ if !seen.is_empty() => Ok(seen),
        Ok(Ok(_)) => Ok(seen),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no TLS within {} s", DEADLINE.as_secs())),
    }
}

/// Notes what is shown. It trusts nothing for anybody: the one connection that has it is never written to.
#[derive(Debug)]
struct Looks(Mutex<Vec<CertificateDer<'static>>>);

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = all.map(|der| der.clone().into_owned()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(subject: &str, from_days: i64, until_days: i64) -> Shown {
        Shown {
            subject: subject.to_owned(),
            issuer: "CN=authority".to_owned(),
            not_before: from_days * DAY_SECONDS,
            not_after: until_days * DAY_SECONDS,
            until: format!("day {until_days}"),
        }
    }

    #[test]
    fn the_certificate_that_ends_first_decides() {
        for (chain, verdict, last) in [
            (
                vec![shown("CN=a", 0, 130), shown("CN=b", 0, 1_000)],
                Verdict::Ok,
                "CN=b, signed by CN=authority, until day 1000: 900 days left",
            ),
            (
                vec![shown("CN=a", 0, 1_000), shown("CN=b", 0, 101)],
                Verdict::Warning,
                "have it renewed before then; files that are replaced are taken up without a restart",
            ),
            (
                vec![shown("CN=a", 0, 99)],
                Verdict::Failed,
                "have a new one made, and look at what should have renewed it",
            ),
            (
                vec![shown("CN=a", 101, 1_000)],
                Verdict::Failed,
                "one is not valid yet: is this host's clock right?",
            ),
        ] {
            let mut findings = Findings::default();
            judge("x", "it shows", &chain, 100 * DAY_SECONDS, &mut findings);
            let [found] = &findings.0[..] else {
                panic!("{findings:?}");
            };
            assert_eq!(found.verdict, verdict, "{}", found.detail);
            assert_eq!(found.detail.lines().last(), Some(last));
            assert!(found.detail.starts_with("it shows\nCN=a, "));
        }
    }
}
