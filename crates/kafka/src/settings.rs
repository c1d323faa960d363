//! Connection settings, and the guard in front of librdkafka's properties.
//!
//! Not a configuration file: the sections of the binary are turned into this. Every property of
//! librdkafka may be passed through, except those on which the delivery contract rests and those that
//! have a setting of their own. A half-set TLS or SASL is an error, never plaintext (D13).

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;

use crate::KafkaError;

/// How to reach the brokers.
#[derive(Clone, Default)]
pub struct KafkaSettings {
    /// `host:port` of some brokers; the others are found through them.
    pub brokers: Vec<String>,
    /// Name under which the brokers log us.
    pub client_id: String,
    /// Further properties of librdkafka (`CONFIGURATION.md` there), say of TLS and SASL.
    pub properties: BTreeMap<String, String>,
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
            .finish()
    }
}

const DELIVERY: &str =
    "the delivery contract fixes it (acknowledged by all replicas, in order, never expired)";
const POSITIONS: &str = "positions are kept in the database, not by Kafka";
const GROUP: &str = "how partitions are shared is part of the delivery contract";
const SETTING: &str = "it has a setting of its own";
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
];

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
    /// [`KafkaError::PropertyOwned`] or [`KafkaError::PropertyInvalid`] for the first bad property.
    pub fn check(&self) -> Result<(), KafkaError> {
        if self.brokers.iter().all(|broker| broker.trim().is_empty()) {
            return Err(invalid("bootstrap.servers", "no broker is given"));
        }
        for name in self.properties.keys() {
            if let Some((_, why)) = OWNED.iter().find(|(owned, _)| owned == name) {
                return Err(KafkaError::PropertyOwned {
                    name: name.clone(),
                    why,
                });
            }
        }
        self.check_security()?;
        self.config("admin client").map(drop)
    }

    /// Half-set security is refused, as librdkafka would silently ignore it and use plaintext.
    fn check_security(&self) -> Result<(), KafkaError> {
        let value = |name: &str| {
            self.properties
                .get(name)
                .map(|value| value.to_ascii_lowercase())
        };
        let protocol = value("security.protocol").unwrap_or_else(|| "plaintext".to_owned());
        for (prefix, needed) in [("ssl.", "ssl"), ("enable.ssl", "ssl"), ("sasl.", "sasl")] {
            let set = self.properties.keys().find(|name| name.starts_with(prefix));
            if let Some(name) = set.filter(|_| !protocol.contains(needed)) {
                let reason = format!("it has no effect, as security.protocol is {protocol}");
                return Err(invalid(name, reason));
            }
        }
        let mechanism = value("sasl.mechanism").or_else(|| value("sasl.mechanisms"));
        match mechanism.as_deref() {
            None if protocol.contains("sasl") => Err(invalid(
                "sasl.mechanism",
                format!("security.protocol is {protocol}, so it is needed"),
            )),
            Some(name) if name == "plain" || name.starts_with("scram-") => {
                match ["sasl.username", "sasl.password"]
                    .iter()
                    .find(|name| value(name).is_none())
                {
                    Some(missing) => {
                        Err(invalid(missing, format!("the mechanism {name} needs it")))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
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
        for (name, value) in &self.properties {
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

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: vec!["127.0.0.1:9092".into()],
            client_id: "test".into(),
            properties: properties
                .iter()
                .map(|&(k, v)| (k.into(), v.into()))
                .collect(),
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
    fn half_set_security_is_an_error_d13() {
        assert!(refused(&[("ssl.ca.location", "/ca")]).contains("security.protocol is plaintext"));
        let no_tls = [("sasl.username", "a"), ("security.protocol", "SSL")];
        assert!(refused(&no_tls).contains("security.protocol is ssl"));
        assert!(refused(&[("security.protocol", "sasl_ssl")]).contains("sasl.mechanism"));
        let no_password = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", "alice"),
        ];
        assert!(refused(&no_password).contains("sasl.password"));
    }

    #[test]
    fn secrets_are_neither_in_debug_nor_in_errors_d13() {
        let with_secret = settings(&[
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "alice"),
            ("sasl.password", "hunter2"),
            ("ssl.key.password", "hunter2"),
        ]);
        assert!(with_secret.check().is_ok());
        let shown = format!("{with_secret:?}");
        assert!(
            shown.contains("alice") && !shown.contains("hunter2"),
            "{shown}"
        );
        let nul = settings(&[
            ("security.protocol", "ssl"),
            ("ssl.key.password", "hunter2\0"),
        ]);
        assert!(!format!("{:?}", nul.check()).contains("hunter2"));
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
