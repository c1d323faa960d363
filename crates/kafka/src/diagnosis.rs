//! Why brokers do not accept us, in words that say what to do.
//!
//! Not a classification of errors: only what librdkafka and OpenSSL say of connections is read, and
//! what is not known here stays as they say it.

use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::KafkaSettings;
use crate::listener::listening;

const NO_TOKEN: &str = "there is no token for kafka.sasl.mechanism = OAUTHBEARER";

/// Parts of what is said, all of which must be there, and what they mean.
const MEANINGS: &[(&[&str], &str)] = &[
    (
        &["certificate verify failed"],
        "the broker's certificate is not accepted: its authority is not among those of kafka.tls.ca_file (without it: the system's), it is for another name than that in kafka.brokers, or it has expired; `tidegauge doctor` tells which",
    ),
    (
        &["wrong version number"],
        "this port does not speak TLS: take the port of the TLS listener",
    ),
    (
        &["SSL_HANDSHAKE", "isconnected"],
        "the broker hangs up on TLS: take the port of the TLS listener, if this one speaks plaintext",
    ),
    (
        &["alert", "certificate required"],
        "the broker asks for a client certificate: say kafka.tls.certificate_file and kafka.tls.key_file",
    ),
    (
        &["alert bad certificate"],
        "the broker does not accept our certificate: say kafka.tls.certificate_file and kafka.tls.key_file, signed by an authority that the broker trusts",
    ),
    (
        &["alert certificate expired"],
        "the broker says that our certificate (kafka.tls.certificate_file) has expired: have a new one made",
    ),
    (
        &["alert", "unknown ca"],
        "the broker does not trust the authority of our certificate (kafka.tls.certificate_file)",
    ),
    (
        &["alert certificate unknown"],
        "the broker does not accept our certificate (kafka.tls.certificate_file)",
    ),
    (
        &["ssl://", "APIVERSION_QUERY"],
        "the broker hangs up after TLS: it asks for a client certificate (kafka.tls.certificate_file, kafka.tls.key_file), or does not accept ours",
    ),
    (
        &["isconnected", "APIVERSION_QUERY"],
        "the broker hangs up on plaintext: if this port speaks TLS, say kafka.tls.enabled = true or kafka.tls.ca_file",
    ),
    (
        &["connecting to a SSL listener?"],
        "the broker hangs up on plaintext: if this port speaks TLS, say kafka.tls.enabled = true or kafka.tls.ca_file",
    ),
    (
        &["Invalid response size"],
        "the broker hangs up on plaintext: if this port speaks TLS, say kafka.tls.enabled = true or kafka.tls.ca_file",
    ),
    (
        &["invalid_token"],
        "the broker does not accept the token: look at kafka.sasl.token_url with scope and audience, or at what token_file or token_command gives, and at this host's clock",
    ),
    (
        &["nsupported", "mechanism"],
        "the broker does not offer this kafka.sasl.mechanism: take one of those that it names",
    ),
    (
        &["SASL", "uthentication failed"],
        "the broker refuses name or password: look at kafka.sasl.username, kafka.sasl.password_file and kafka.sasl.mechanism",
    ),
    (
        &["Failed to resolve"],
        "this name is not known: look at kafka.brokers and at this host's DNS",
    ),
    (
        &["Connection refused"],
        "nothing listens there: is the broker up, and is the port right?",
    ),
];

/// What librdkafka says, with its meaning first if that is known.
pub(crate) fn explain(said: &str) -> String {
    explain_known(said).unwrap_or_else(|| said.trim().to_owned())
}

/// The same; `None` if it is not known.
pub(crate) fn explain_known(said: &str) -> Option<String> {
    let said = said.trim();
    // Why there is none is said by our own words.
    if let Some((_, why)) = said.split_once("Failed to acquire SASL OAUTHBEARER token: ") {
        return Some(format!("{NO_TOKEN}: {why}"));
    }
    let meaning = MEANINGS
        .iter()
        .find(|(parts, _)| parts.iter().all(|part| said.contains(part)));
    meaning.map(|(_, meaning)| format!("{meaning} ({said})"))
}

/// Connects once more and listens to what librdkafka says of it; `None` if nothing stands in the way
/// within the deadline. **Blocks**: up to the deadline and a second.
#[must_use]
pub fn why_unreachable(settings: &KafkaSettings, deadline: Duration) -> Option<String> {
    let end = Instant::now() + deadline;
    let (config, listener) = listening(settings, "producer").ok()?;
    let client = BaseProducer::from_config_and_context(&config, listener).ok()?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Asking for metadata is what makes it connect.
        let answer = client
            .client()
            .fetch_metadata(None, left.min(Duration::from_millis(200)));
        client.poll(Duration::ZERO);
        let heard = client.context().heard();
        if !heard.is_empty() || answer.is_ok() || left.is_zero() {
            return heard.last().map(|said| explain(said));
        }
    }
}
