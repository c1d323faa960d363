//! Who a program is to a database: its certificate and key; and what both kinds of URLs need for such
//! files.
//!
//! A half-set or unusable pair is an error that names the file, before anything is connected (D13).

use crate::{ErrorClass, StoreError};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, SystemClock};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityFiles {
    /// The certificate and what leads from it to an authority, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM, not encrypted.
    pub(crate) key: PathBuf,
}

impl IdentityFiles {
    /// The pair, if both are named; `names` are those of the two parameters.
    ///
    /// # Errors
    /// [`ErrorClass::Usage`] when only one is named.
    pub(crate) fn of(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        names: [&'static str; 2],
    ) -> Result<Option<Self>, StoreError> {
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate, key })),
            (certificate, _) => {
                let [given, missing] = match certificate {
                    Some(_) => names,
                    None => [names[1], names[0]],
                };
                let doing = format!("reading `{given}` of the store's URL");
                let why = format!("it is of no use without `{missing}`");
                Err(StoreError::new(doing, ErrorClass::Usage).caused_by(why))
            }
        }
    }

    /// Reads both, and checks that they belong together, and that the certificate is valid today.
    ///
    /// # Errors
    /// [`ErrorClass::Usage`] with the file that is at fault.
    pub(crate) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), StoreError> {
        let certificates = certificates(&self.certificate)?;
        if let Some(problem) = out_of_date(&certificates[0]) {
            let doing = format!("using the certificate in {}", self.certificate.display());
            return Err(StoreError::new(doing, ErrorClass::Usage).caused_by(problem));
        }
        let doing = || format!("reading the key in {}", self.key.display());
        let usage = |cause: Box<dyn std::error::Error + Send + Sync>| {
            StoreError::new(doing(), ErrorClass::Usage).caused_by(cause)
        };
        let text = std::fs::read_to_string(&self.key).map_err(|error| usage(error.into()))?;
        if text.contains("ENCRYPTED") {
            return Err(usage(
                "it is encrypted: keep it in clear, readable by this program alone".into(),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| usage("there is no private key in it, as PEM".into()))?;
        CertifiedKey::from_der(
            certificates.clone(),
            key.clone_key(),
            &ring::default_provider(),
        )
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                usage(format!("it is not the key of {}", self.certificate.display()).into())
            }
            other => usage(other.into()),
        })?;
        Ok((certificates, key))
    }
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// [`ErrorClass::Usage`] with the file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let usage = |cause: Box<dyn std::error::Error + Send + Sync>| {
        let doing = format!("reading the certificates in {}", path.display());
        StoreError::new(doing, ErrorClass::Usage).caused_by(cause)
    };
    let text = std::fs::read(path).map_err(|error| usage(error.into()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(usage("there is no certificate in it, as PEM".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(usage(pem_problem(&error).into())),
    }
}

/// Why a certificate is not valid by this host's clock. One that cannot be read is left to TLS.
fn out_of_date(der: &CertificateDer<'_>) -> Option<String> {
    let validity = Certificate::from_der(der).ok()?.tbs_certificate.validity;
    let now = u64::try_from(SystemClock.now_us() / 1_000_000).unwrap_or(0);
    let (from, until) = (validity.not_before, validity.not_after);
    if now > until.to_unix_duration().as_secs() {
        Some(format!("it expired at {until}: have a new one made"))
    } else if now < from.to_unix_duration().as_secs() {
        Some(format!(
            "it is not valid before {from}: wait, or set this host's clock"
        ))
    } else {
        None
    }
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

/// A value in a URL, its percent-encoding undone (RFC 3986, section 2.1).
///
/// # Errors
/// Why it cannot be.
pub(crate) fn percent_decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let decoded = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(decoded.ok_or("it is not percent-encoded")?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}
