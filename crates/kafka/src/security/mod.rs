//! TLS and SASL: what is said, checked before there is any connection, as librdkafka's properties.
//!
//! Not who verifies the broker: librdkafka does, always, chain and name. A half-set configuration is
//! an error that names the setting, never plaintext; a secret is in no text (D13).

mod files;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use files::named;
pub use tokens::{Token, Tokens};
pub(crate) use tokens::{give, set};

use crate::KafkaError;

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// TLS; the default trusts the system's authorities and shows no certificate of its own.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate, and those between it and its authority.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    pub key_file: Option<PathBuf>,
    /// PKCS#12 file with both, instead of the two.
    pub pkcs12_file: Option<PathBuf>,
    /// The password of the key, or of the PKCS#12 file.
    pub key_password: Option<Secret>,
}

/// How a client shows the broker who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password as it is.
    Plain,
    /// A proof of it.
    ScramSha256,
    /// A proof of it.
    ScramSha512,
    /// A token instead.
    OauthBearer,
}

impl SaslMechanism {
    /// The names, in Kafka's words.
    pub const WORDS: &'static [&'static str] =
        &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

    const ALL: [Self; 4] = [
        Self::Plain,
        Self::ScramSha256,
        Self::ScramSha512,
        Self::OauthBearer,
    ];

    /// The mechanism of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Authentication.
#[derive(Clone, Debug)]
pub enum Sasl {
    /// By name and password.
    Password {
        /// How they are shown; not [`SaslMechanism::OauthBearer`].
        mechanism: SaslMechanism,
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// By a token, `OAUTHBEARER`.
    Token(Arc<Tokens>),
}

impl Sasl {
    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> SaslMechanism {
        match self {
            Self::Password { mechanism, .. } => *mechanism,
            Self::Token(_) => SaslMechanism::OauthBearer,
        }
    }
}

/// Settings as they are named to users.
pub(crate) const CA_FILE: &str = "kafka.tls.ca_file";
const CERTIFICATE_FILE: &str = "kafka.tls.certificate_file";
const KEY_FILE: &str = "kafka.tls.key_file";
const KEY_PASSWORD: &str = "kafka.tls.key_password_file";
const PKCS12_FILE: &str = "kafka.tls.pkcs12_file";

fn refused(setting: &'static str, problem: impl Into<String>) -> KafkaError {
    KafkaError::Security {
        setting,
        problem: problem.into(),
    }
}

/// Checks all that can be checked without a connection.
pub(crate) fn check(tls: Option<&Tls>, sasl: Option<&Sasl>) -> Result<(), KafkaError> {
    if let Some(tls) = tls {
        together(tls)?;
        files::check(tls)?;
    }
    match sasl {
        Some(sasl) if tls.is_none() => match sasl.mechanism() {
            SaslMechanism::Plain => Err(refused(
                "kafka.sasl.mechanism",
                "PLAIN without TLS sends the password in clear: leave out kafka.tls.enabled = false, or take SCRAM-SHA-512",
            )),
            SaslMechanism::OauthBearer => Err(refused(
                "kafka.sasl.mechanism",
                "OAUTHBEARER without TLS sends the token in clear: leave out kafka.tls.enabled = false",
            )),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Settings that need, or exclude, each other.
fn together(tls: &Tls) -> Result<(), KafkaError> {
    let has = |file: &Option<PathBuf>| file.is_some();
    match (has(&tls.certificate_file), has(&tls.key_file)) {
        (true, false) => {
            return Err(refused(
                KEY_FILE,
                "it is missing: the certificate of kafka.tls.certificate_file needs its key",
            ));
        }
        (false, true) => {
            return Err(refused(
                CERTIFICATE_FILE,
                "it is missing: the key of kafka.tls.key_file needs its certificate",
            ));
        }
        (true, true) if has(&tls.pkcs12_file) => {
            return Err(refused(
                PKCS12_FILE,
                "it holds certificate and key, and so do kafka.tls.certificate_file and kafka.tls.key_file: take one of both",
            ));
        }
        _ => {}
    }
    if tls.key_password.is_some() && !has(&tls.key_file) && !has(&tls.pkcs12_file) {
        return Err(refused(
            KEY_PASSWORD,
            "there is no key that it opens: say kafka.tls.key_file or kafka.tls.pkcs12_file too",
        ));
    }
    Ok(())
}

/// The properties of librdkafka.
pub(crate) fn properties(tls: Option<&Tls>, sasl: Option<&Sasl>) -> Vec<(&'static str, String)> {
    let protocol = match (tls, sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    let mut found = vec![("security.protocol", protocol.to_owned())];
    if let Some(tls) = tls {
        let path = |file: &Path| file.display().to_string();
        // `probe`: the system's authorities, wherever this distribution keeps them.
        let ca = tls.ca_file.as_deref().map_or("probe".to_owned(), path);
        found.push(("ssl.ca.location", ca));
        for (name, file) in [
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
            ("ssl.keystore.location", &tls.pkcs12_file),
        ] {
            found.extend(file.as_deref().map(|file| (name, path(file))));
        }
        if let Some(Secret(password)) = &tls.key_password {
            let store = tls.pkcs12_file.is_some();
            let name = ["ssl.key.password", "ssl.keystore.password"][usize::from(store)];
            found.push((name, password.clone()));
        }
    }
    if let Some(sasl) = sasl {
        found.push(("sasl.mechanism", sasl.mechanism().name().to_owned()));
        if let Sasl::Password {
            username, password, ..
        } = sasl
        {
            found.push(("sasl.username", username.clone()));
            found.push(("sasl.password", password.0.clone()));
        }
    }
    found
}

/// What librdkafka could not read of the files, in our words: it has passwords, we do not look into
/// what is encrypted.
pub(crate) fn of_creation(reason: &str) -> Option<KafkaError> {
    let rows: [(&str, &'static str, &str); 4] = [
        (
            "ssl.key.location",
            KEY_FILE,
            "the key cannot be read; if it is encrypted, the password of kafka.tls.key_password_file is wrong",
        ),
        (
            "ssl.keystore.location",
            PKCS12_FILE,
            "the file cannot be read: it is no PKCS#12 file, or the password of kafka.tls.key_password_file is wrong",
        ),
        (
            "ssl.certificate.location",
            CERTIFICATE_FILE,
            "the certificate cannot be read",
        ),
        ("ssl.ca.location", CA_FILE, "the authorities cannot be read"),
    ];
    if reason.contains("Private key check failed") {
        return Some(refused(
            KEY_FILE,
            "the key does not fit the certificate of kafka.tls.certificate_file",
        ));
    }
    let found = rows
        .into_iter()
        .find(|(property, _, _)| reason.contains(property));
    found.map(|(_, setting, problem)| refused(setting, format!("{problem} ({reason})")))
}

#[cfg(test)]
mod tests;
