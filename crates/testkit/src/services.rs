//! The shared servers of a test run, as the environment names them.
//!
//! `cargo xtask test` and `cargo xtask services up` set the variables; anybody may set them by hand
//! to use servers that exist. This file starts nothing (that is `servers`).
//!
//! | variable | holds |
//! |---|---|
//! | `TEST_KAFKA` | `host:port` of a plaintext listener |
//! | `TEST_KAFKA_SSL` | `host:port` of a listener that asks for a client certificate |
//! | `TEST_KAFKA_SASL` | `host:port` of a TLS listener with SASL (user `alice`, see `servers::kafka`) |
//! | `TEST_KAFKA_CERTIFICATES` | folder with `ca.pem`, `client.pem`, `client.key` for the two |
//! | `TEST_POSTGRES` | URL of a user who may create databases |
//! | `TEST_MYSQL` | the same for a server that speaks the MySQL protocol |
//! | `TIDEGAUGE_SERVICES_TOKEN` | mark of the servers that were started for this run |
//!
//! A test writes only to the server that was meant: with the token set, the cluster id of the
//! broker must be the token and the database must hold it, or the test panics.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::servers::kafka_metadata;
use crate::skips::skip;

pub(crate) const TOKEN: &str = "TIDEGAUGE_SERVICES_TOKEN";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// All listeners of the shared broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaListeners {
    /// `host:port`, no TLS.
    pub plaintext: String,
    /// `host:port`, TLS with a client certificate required.
    pub ssl: String,
    /// `host:port`, TLS with SASL: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    pub sasl_ssl: String,
    /// Folder of the certificates, see [`crate::servers::certificates`].
    pub certificates: PathBuf,
}

/// The bootstrap address of the shared plaintext broker, or `None` after recording the skip of
/// `test`.
///
/// # Panics
/// When `TEST_KAFKA` is set but nothing answers there, or the server is not the one of this run.
#[must_use]
pub fn kafka(test: &str) -> Option<String> {
    let Some(bootstrap) = variable("TEST_KAFKA") else {
        skip(
            test,
            "no Kafka: TEST_KAFKA is not set (cargo xtask test sets it)",
        );
        return None;
    };
    static CHECKED: OnceLock<()> = OnceLock::new();
    CHECKED.get_or_init(|| check_broker(&bootstrap));
    Some(bootstrap)
}

/// All listeners of the shared broker, or `None` after recording the skip of `test`.
///
/// # Panics
/// As [`kafka`], and when only some of the variables for TLS are set.
#[must_use]
pub fn kafka_listeners(test: &str) -> Option<KafkaListeners> {
    let plaintext = kafka(test)?;
    let parts = (
        variable("TEST_KAFKA_SSL"),
        variable("TEST_KAFKA_SASL"),
        variable("TEST_KAFKA_CERTIFICATES"),
    );
    match parts {
        (Some(ssl), Some(sasl_ssl), Some(certificates)) => Some(KafkaListeners {
            plaintext,
            ssl,
            sasl_ssl,
            certificates: PathBuf::from(certificates),
        }),
        (None, None, None) => {
            skip(
                test,
                "the Kafka of TEST_KAFKA has no TLS listeners (TEST_KAFKA_SSL is not set)",
            );
            None
        }
        _ => panic!(
            "half-set: TEST_KAFKA_SSL, TEST_KAFKA_SASL and TEST_KAFKA_CERTIFICATES go together"
        ),
    }
}

/// A topic name that no other test uses: `prefix`, a hyphen, twelve random characters.
#[must_use]
pub fn random_topic(prefix: &str) -> String {
    format!("{prefix}-{}", crate::random_hex(12))
}

/// A variable that is set and not empty.
///
/// # Panics
/// When its value is not text.
pub(crate) fn variable(name: &str) -> Option<String> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Some(value),
        Ok(_) | Err(env::VarError::NotPresent) => None,
        Err(error) => panic!("{name} cannot be used: {error}"),
    }
}

fn check_broker(bootstrap: &str) {
    let metadata = kafka_metadata(bootstrap, ANSWER_WITHIN)
        .unwrap_or_else(|error| panic!("TEST_KAFKA={bootstrap} does not answer: {error:#}"));
    let Some(token) = variable(TOKEN) else {
        return;
    };
    assert_eq!(
        metadata.cluster_id.as_deref(),
        Some(token.as_str()),
        "the broker at {bootstrap} is not the one that was started for this run"
    );
}
