//! What agents and sinks know of Kafka in common: how to reach it, and what messages are.

use crate::settings::{Settings, UsageError};
use tidegauge_kafka::KafkaSettings;
use tidegauge_wire::{Encoder, Encoding};

/// How to reach Kafka.
pub(super) fn kafka(settings: &Settings) -> Result<KafkaSettings, UsageError> {
    settings.required("kafka.brokers")?;
    Ok(KafkaSettings {
        brokers: settings.list("kafka.brokers").to_vec(),
        client_id: "tidegauge".to_owned(),
        properties: std::collections::BTreeMap::new(),
    })
}

/// What an agent sends.
pub(super) fn encoder(settings: &Settings) -> Result<&'static dyn Encoder, UsageError> {
    let encoding = encoding(settings)?;
    encoding.encoder().ok_or_else(|| {
        let known: Vec<&str> = tidegauge_wire::encoders()
            .map(|known| known.name())
            .collect();
        let place = settings.place("kafka.encoding");
        UsageError::one(format!(
            "{place}: kafka.encoding: agents do not send `{}`, sinks read it: expected one of {}",
            encoding.name(),
            known.join(", ")
        ))
    })
}

/// What messages are that do not say it.
pub(super) fn encoding(settings: &Settings) -> Result<&'static dyn Encoding, UsageError> {
    let encoding = settings.required("kafka.encoding")?;
    tidegauge_wire::by_name(encoding).ok_or_else(|| {
        let known: Vec<&str> = tidegauge_wire::ENCODINGS
            .iter()
            .map(|known| known.name())
            .collect();
        let place = settings.place("kafka.encoding");
        UsageError::one(format!(
            "{place}: kafka.encoding: `{encoding}`: expected one of {}",
            known.join(", ")
        ))
    })
}
