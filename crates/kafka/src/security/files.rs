//! Looks at the files of TLS: are they there, are they what they should be, do they fit, and today?
//!
//! Not a verification of a chain: that is the broker's and librdkafka's. What is encrypted is left to
//! librdkafka, which reads it when the client is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseProducer, DefaultProducerContext};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::{CA_FILE, CERTIFICATE_FILE, KEY_FILE, KEY_PASSWORD, PKCS12_FILE, Tls, refused};
use crate::KafkaError;

/// Far more than any bundle of authorities has.
const MOST_BYTES: u64 = 16 << 20;

pub(super) fn check(tls: &Tls) -> Result<(), KafkaError> {
    if let Some(path) = &tls.ca_file {
        let found = certificates(CA_FILE, path)?;
        let times: Vec<_> = found.iter().map(|der| validity(der)).collect();
        // Bundles hold old ones too; one that is good is enough.
        if let Some(Err(problem)) = times.iter().find(|time| time.is_err())
            && times.iter().all(Result::is_err)
        {
            return Err(refused(CA_FILE, format!("{}: {problem}", path.display())));
        }
    }
    if let Some(path) = &tls.pkcs12_file {
        read(PKCS12_FILE, path)?;
        return made(tls);
    }
    let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
        return Ok(());
    };
    let chain = certificates(CERTIFICATE_FILE, certificate)?;
    if let Err(problem) = validity(&chain[0]) {
        let problem = format!("{}: {problem}", certificate.display());
        return Err(refused(CERTIFICATE_FILE, problem));
    }
    let text = read(KEY_FILE, key)?;
    let holds = |mark: &str| text.windows(mark.len()).any(|at| at == mark.as_bytes());
    if holds("ENCRYPTED") {
        return match tls.key_password {
            Some(_) => made(tls),
            None => Err(refused(
                KEY_PASSWORD,
                format!("it is missing: the key {} is encrypted", key.display()),
            )),
        };
    }
    let Ok(der) = PrivateKeyDer::from_pem_slice(&text) else {
        let problem = no_pem(&text, "PRIVATE KEY", "openssl pkey -inform der");
        return Err(refused(KEY_FILE, format!("{}: {problem}", key.display())));
    };
    // A kind of key that ring does not know is left to librdkafka.
    let Ok(signing) = ring::sign::any_supported_type(&der) else {
        return made(tls);
    };
    match CertifiedKey::new(chain, Arc::clone(&signing)).keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(refused(
                KEY_FILE,
                format!(
                    "the key {} does not fit the certificate {}",
                    key.display(),
                    certificate.display()
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// The files that are named.
pub(crate) fn named(tls: &Tls) -> Vec<&Path> {
    let files = [
        &tls.ca_file,
        &tls.certificate_file,
        &tls.key_file,
        &tls.pkcs12_file,
    ];
    files.into_iter().flatten().map(PathBuf::as_path).collect()
}

/// Lets librdkafka read the files: it knows the password.
fn made(tls: &Tls) -> Result<(), KafkaError> {
    let mut config = rdkafka::ClientConfig::new();
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    for (name, value) in super::properties(Some(tls), None) {
        config.set(name, value);
    }
    BaseProducer::from_config_and_context(&config, DefaultProducerContext)
        .map(drop)
        .map_err(|error| crate::settings::of_config("producer", error))
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, KafkaError> {
    let problem = |problem: String| refused(setting, format!("{}: {problem}", path.display()));
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > MOST_BYTES {
        return Err(problem(format!(
            "{size} bytes are too many for such a file"
        )));
    }
    std::fs::read(path).map_err(|error| problem(format!("the file cannot be read: {error}")))
}

/// At least one certificate, or why there is none.
fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, KafkaError> {
    let text = read(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => {
            let problem = no_pem(&text, "CERTIFICATE", "openssl x509 -inform der");
            Err(refused(setting, format!("{}: {problem}", path.display())))
        }
    }
}

/// What is wrong with a file that should hold a PEM block of this kind.
fn no_pem(content: &[u8], kind: &str, convert: &str) -> String {
    let text = String::from_utf8_lossy(content);
    match text.find("-----BEGIN ") {
        _ if content.is_empty() => "the file is empty".to_owned(),
        Some(at) => {
            let block = text[at..].trim();
            let label = block["-----BEGIN ".len()..]
                .split("-----")
                .next()
                .unwrap_or("");
            if !label.contains(kind) {
                format!("it holds a {label}, expected a {kind}")
            } else if block.lines().count() < 3 {
                "the PEM has no line breaks: put them back, after the BEGIN line, every 64 characters, and before the END line".to_owned()
            } else {
                "the PEM is damaged or cut off: copy it again".to_owned()
            }
        }
        None if content.first() == Some(&0x30) => {
            format!("it is DER, expected PEM: convert it by `{convert}`")
        }
        None => format!("it is no PEM file: it has no line -----BEGIN {kind}-----"),
    }
}

/// Whether a certificate is valid now.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates are valid by the wall clock, and this crate has no clock of the model"
)]
fn validity(der: &CertificateDer<'_>) -> Result<(), String> {
    let certificate = Certificate::from_der(der)
        .map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let validity = certificate.tbs_certificate.validity;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    if now > validity.not_after.to_unix_duration() {
        let when = validity.not_after;
        Err(format!(
            "the certificate expired at {when}: have a new one made"
        ))
    } else if now < validity.not_before.to_unix_duration() {
        let when = validity.not_before;
        Err(format!(
            "the certificate is not valid before {when}: wait, or set this host's clock"
        ))
    } else {
        Ok(())
    }
}
