//! Connection settings, and the guard in front of librdkafka's properties.
//!
//! Not a configuration file: the sections of the binary are turned into this. Every property of
//! librdkafka may be passed through, except those on which the delivery contract rests and those that
//! have a setting of their own. TLS and SASL are in `security`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;

use crate::KafkaError;
use crate::security::{self, Sasl, Tls};

/// How to reach the brokers.
#[derive(Clone, Default)]
pub struct KafkaSettings {
    /// `host:port` of some brokers; the others are found through them.
    pub brokers: Vec<String>,
    /// Name under which the brokers log us.
    pub client_id: String,
    /// Further properties of librdkafka (`CONFIGURATION.md` there).
    pub properties: BTreeMap<String, String>,
    /// TLS; without it connections are plaintext.
    pub tls: Option<Tls>,
    /// Authentication.
    pub sasl: Option<Sasl>,
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: BTreeMap<&str, &str> = self
            .properties
            .iter()
            .map(|(name, value)| (name.as_str(), if is_secret(name) { "***" } else { value }))
            .collect();
        formatter
            .debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("properties", &properties)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .finish()
    }
}

const DELIVERY: &str =
    "the delivery contract fixes it (acknowledged by all replicas, in order, never expired)";
const POSITIONS: &str = "positions are kept in the database, not by Kafka";
const GROUP: &str = "how partitions are shared is part of the delivery contract";
const SETTING: &str = "it has a setting of its own";
const TLS: &str = "say it in [kafka.tls]";
const SASL: &str = "say it in [kafka.sasl]";
const IDENTITY: &str =
    "who the broker is, is always checked; name its authority by kafka.tls.ca_file";
const INTERNAL: &str = "it is used internally";

/// Properties that are not the user's to set, with the reason. Aliases are listed too.
const OWNED: &[(&str, &str)] = &[
    ("acks", DELIVERY),
    ("request.required.acks", DELIVERY),
    ("enable.idempotence", DELIVERY),
    ("enable.gapless.guarantee", DELIVERY),
    ("max.in.flight", DELIVERY),
    ("max.in.flight.requests.per.connection", DELIVERY),
    ("message.send.max.retries", DELIVERY),
    ("retries", DELIVERY),
    ("message.timeout.ms", DELIVERY),
    ("delivery.timeout.ms", DELIVERY),
    ("queuing.strategy", DELIVERY),
    ("delivery.report.only.error", DELIVERY),
    ("transactional.id", DELIVERY),
    ("enable.auto.commit", POSITIONS),
    ("auto.commit.enable", POSITIONS),
    ("auto.commit.interval.ms", POSITIONS),
    ("enable.auto.offset.store", POSITIONS),
    ("auto.offset.reset", POSITIONS),
    ("offset.store.method", POSITIONS),
    ("group.protocol", GROUP),
    ("group.remote.assignor", GROUP),
    ("partition.assignment.strategy", GROUP),
    (
        "allow.auto.create.topics",
        "topics are made with their own settings, never by accident",
    ),
    ("check.crcs", "damaged records must be noticed"),
    ("bootstrap.servers", SETTING),
    ("metadata.broker.list", SETTING),
    ("client.id", SETTING),
    ("group.id", SETTING),
    ("session.timeout.ms", SETTING),
    ("max.poll.interval.ms", SETTING),
    ("linger.ms", SETTING),
    ("queue.buffering.max.ms", SETTING),
    ("queue.buffering.max.messages", SETTING),
    ("queue.buffering.max.kbytes", SETTING),
    ("queued.max.messages.kbytes", SETTING),
    ("compression.codec", SETTING),
    ("compression.type", SETTING),
    ("enable.partition.eof", INTERNAL),
    ("statistics.interval.ms", INTERNAL),
    ("log.queue", INTERNAL),
    ("plugin.library.paths", "it would load foreign code"),
    (
        "security.protocol",
        "say it by [kafka.tls] and [kafka.sasl]",
    ),
    ("enable.ssl.certificate.verification", IDENTITY),
    ("ssl.endpoint.identification.algorithm", IDENTITY),
];

/// Beginnings of names that belong to a section of their own, but for what is in [`FINE`].
const OWNED_BEGINNINGS: &[(&str, &str)] = &[("ssl.", TLS), ("sasl.", SASL), ("enable.sasl.", SASL)];

/// Properties of TLS that have no setting of their own.
const FINE: &[&str] = &[
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.sigalgs.list",
];

/// Why a property is not the user's to set.
fn owned(name: &str) -> Option<&'static str> {
    let exact = OWNED.iter().find(|(owned, _)| *owned == name);
    let by_beginning = || {
        let beginnings = OWNED_BEGINNINGS.iter();
        let mut beginnings = beginnings.filter(|_| !FINE.contains(&name));
        beginnings.find(|(beginning, _)| name.starts_with(beginning))
    };
    exact.or_else(by_beginning).map(|(_, why)| *why)
}

/// Whether the value of this property must never be shown.
fn is_secret(name: &str) -> bool {
    [
        "password",
        "secret",
        "token",
        "key.pem",
        "jaas",
        "oauthbearer.config",
    ]
    .iter()
    .any(|part| name.contains(part))
}

impl KafkaSettings {
    /// Checks everything that can be checked without a connection.
    ///
    /// # Errors
    /// [`KafkaError::PropertyOwned`] or [`KafkaError::PropertyInvalid`] for the first bad property,
    /// [`KafkaError::Security`] for what is wrong with the files and settings of TLS and SASL.
    pub fn check(&self) -> Result<(), KafkaError> {
        if self.brokers.iter().all(|broker| broker.trim().is_empty()) {
            return Err(invalid("bootstrap.servers", "no broker is given"));
        }
        for name in self.properties.keys() {
            if let Some(why) = owned(name) {
                return Err(KafkaError::PropertyOwned {
                    name: name.clone(),
                    why,
                });
            }
            if FINE.contains(&name.as_str()) && self.tls.is_none() {
                return Err(invalid(name, "it has no effect without [kafka.tls]"));
            }
        }
        security::check(self.tls.as_ref(), self.sasl.as_ref())?;
        self.config("admin client").map(drop)
    }

    /// The files of TLS. A client reads them when it is made: when they were replaced since, and
    /// [`Self::check`] is content, it is time to make a new one.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        self.tls.as_ref().map_or_else(Vec::new, security::named)
    }

    /// The properties that all our clients have in common, and the user's.
    pub(crate) fn config(&self, role: &'static str) -> Result<ClientConfig, KafkaError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set(
                "client.id",
                if self.client_id.is_empty() {
                    "tidegauge"
                } else {
                    &self.client_id
                },
            )
            .set("socket.keepalive.enable", "true")
            .set("allow.auto.create.topics", "false")
            // A broker that comes back is used within seconds, not after librdkafka's ten.
            .set("reconnect.backoff.max.ms", "5000")
            // Idle connections are closed by brokers every ten minutes; that is no news.
            .set("log.connection.close", "false");
        if tracing::enabled!(target: "librdkafka", tracing::Level::TRACE) {
            // What it says of its own accord is little; the user's `debug` goes before.
            config.set("debug", "broker,cgrp,consumer,fetch,metadata,topic");
        }
        if !self.properties.contains_key("reconnect.backoff.max.ms") {
            // While a client waits for a broker that is away, it tries twice as often as this says, for ever.
            config.set("reconnect.backoff.ms", "500");
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in security::properties(self.tls.as_ref(), self.sasl.as_ref()) {
            config.set(name, value);
        }
        let verbose = tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG);
        config.set_log_level(if verbose {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Warning
        });
        config
            .create_native_config()
            .map_err(|error| of_config(role, error))?;
        Ok(config)
    }
}

fn invalid(name: &str, reason: impl Into<String>) -> KafkaError {
    KafkaError::PropertyInvalid {
        name: name.to_owned(),
        reason: reason.into(),
    }
}

/// Turns an error of client creation into ours without letting a property's secret value through.
pub(crate) fn of_config(role: &'static str, error: ClientError) -> KafkaError {
    match error {
        ClientError::ClientConfig(_, _, name, _) if is_secret(&name) => {
            invalid(&name, "librdkafka does not accept the value")
        }
        ClientError::ClientConfig(_, reason, name, _) => invalid(&name, reason),
        ClientError::Nul(_) => invalid("?", "a name or value contains a NUL character"),
        ClientError::ClientCreation(reason) => match security::of_creation(&reason) {
            Some(error) => error,
            None => KafkaError::Client {
                role,
                source: reason.into(),
            },
        },
        source => KafkaError::Client {
            role,
            source: source.into(),
        },
    }
}

/// Checks a topic's name before it reaches librdkafka's C strings.
pub(crate) fn check_topic_name(topic: &str) -> Result<(), KafkaError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let good = (1..=249).contains(&topic.len())
        && topic != "."
        && topic != ".."
        && topic.bytes().all(allowed);
    if good {
        Ok(())
    } else {
        Err(KafkaError::TopicName {
            topic: topic.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::SaslMechanism;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: vec!["127.0.0.1:9092".into()],
            client_id: "test".into(),
            properties: properties
                .iter()
                .map(|&(k, v)| (k.into(), v.into()))
                .collect(),
            ..KafkaSettings::default()
        }
    }

    fn refused(properties: &[(&str, &str)]) -> String {
        settings(properties)
            .check()
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn properties_of_the_delivery_contract_are_refused() {
        for (name, _) in OWNED {
            let error = settings(&[(name, "1")]).check().expect_err("owned");
            assert!(
                matches!(error, KafkaError::PropertyOwned { .. }),
                "{name}: {error}"
            );
        }
        assert!(settings(&[("socket.timeout.ms", "1000")]).check().is_ok());
    }

    #[test]
    fn unknown_and_bad_properties_are_named() {
        assert!(refused(&[("sokcet.timeout.ms", "1")]).contains("sokcet.timeout.ms"));
        assert!(refused(&[("socket.timeout.ms", "soon")]).contains("socket.timeout.ms"));
    }

    #[test]
    fn security_is_not_passed_through_d13() {
        for (name, section) in [
            ("ssl.ca.location", "[kafka.tls]"),
            ("ssl.key.password", "[kafka.tls]"),
            ("sasl.password", "[kafka.sasl]"),
            ("enable.sasl.oauthbearer.unsecure.jwt", "[kafka.sasl]"),
            ("enable.ssl.certificate.verification", "always checked"),
            ("ssl.cipher.suites", "without [kafka.tls]"),
        ] {
            let said = refused(&[(name, "x")]);
            assert!(said.contains(name) && said.contains(section), "{said}");
        }
        let with_tls = KafkaSettings {
            tls: Some(Tls::default()),
            ..settings(&[("ssl.cipher.suites", "HIGH")])
        };
        assert!(with_tls.check().is_ok());
    }

    #[test]
    fn secrets_are_neither_in_debug_nor_in_errors_d13() {
        let with_secret = KafkaSettings {
            tls: Some(Tls::default()),
            sasl: Some(Sasl::Password {
                mechanism: SaslMechanism::Plain,
                username: "alice".to_owned(),
                password: "hunter2".to_owned().into(),
            }),
            ..settings(&[("some.password", "hunter2")])
        };
        let shown = format!("{with_secret:?} {:?}", with_secret.check());
        assert!(
            shown.contains("alice") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn topic_names_are_checked() {
        for good in ["a", "host-metrics_1.v2"] {
            assert!(check_topic_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a\0", "ä", &"x".repeat(250)] {
            assert!(check_topic_name(bad).is_err(), "{bad:?}");
        }
    }
}
