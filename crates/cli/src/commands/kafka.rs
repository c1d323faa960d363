//! What agents and sinks know of Kafka in common: how to reach it, and what messages are.

mod token;

use super::secrets;
use crate::settings::{Place, Settings, UsageError};
use std::sync::Arc;
use tidegauge_kafka::{KafkaError, KafkaSettings, Sasl, SaslMechanism, Secret, Tls};
use tidegauge_wire::{Encoder, Encoding};

/// How to reach Kafka, checked as far as it can be without a connection.
pub(super) fn kafka(settings: &Settings) -> Result<KafkaSettings, UsageError> {
    settings.required("kafka.brokers")?;
    let pairs = settings.list("kafka.properties").iter();
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    let kafka = KafkaSettings {
        brokers: settings.list("kafka.brokers").to_vec(),
        client_id: "tidegauge".to_owned(),
        properties: pairs
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect(),
        tls: tls(settings)?,
        sasl: sasl(settings)?,
    };
    match kafka.check() {
        Ok(()) => Ok(kafka),
        Err(KafkaError::Security { setting, problem }) => Err(refused(settings, setting, &problem)),
        Err(KafkaError::PropertyOwned { name, why }) => Err(refused(
            settings,
            "kafka.properties",
            &format!("take `{name}` out: {why}"),
        )),
        Err(KafkaError::PropertyInvalid { name, reason })
            if kafka.properties.contains_key(&name) =>
        {
            let problem = format!("`{name}` is refused: {reason}");
            Err(refused(settings, "kafka.properties", &problem))
        }
        Err(error) => Err(UsageError::one(error.to_string())),
    }
}

/// TLS, unless nothing asks for it; never plaintext where something does (D13).
fn tls(settings: &Settings) -> Result<Option<Tls>, UsageError> {
    let keys = [
        "kafka.tls.ca_file",
        "kafka.tls.certificate_file",
        "kafka.tls.key_file",
        "kafka.tls.key_password_file",
        "kafka.tls.key_password",
        "kafka.tls.pkcs12_file",
    ];
    let said = keys.into_iter().find(|key| settings.text(key).is_some());
    let enabled = settings.text("kafka.tls.enabled").is_some();
    if enabled && !settings.flag("kafka.tls.enabled") {
        return match said {
            Some(key) => Err(refused(
                settings,
                key,
                "it has no effect, as kafka.tls.enabled is false",
            )),
            None => Ok(None),
        };
    }
    if !enabled && said.is_none() && !settings.is_said("kafka.sasl") {
        return Ok(None);
    }
    Ok(Some(Tls {
        ca_file: settings.path("kafka.tls.ca_file"),
        certificate_file: settings.path("kafka.tls.certificate_file"),
        key_file: settings.path("kafka.tls.key_file"),
        pkcs12_file: settings.path("kafka.tls.pkcs12_file"),
        key_password: secrets::secret(settings, "kafka.tls.key_password")?.map(Secret::from),
    }))
}

fn sasl(settings: &Settings) -> Result<Option<Sasl>, UsageError> {
    if !settings.is_said("kafka.sasl") {
        return Ok(None);
    }
    let missing = |key: &str| refused(settings, key, "it is missing: [kafka.sasl] needs it");
    let mechanism = settings.text("kafka.sasl.mechanism");
    let mechanism = mechanism.and_then(SaslMechanism::parse);
    let mechanism = mechanism.ok_or_else(|| missing("kafka.sasl.mechanism"))?;
    let of_others = match mechanism {
        SaslMechanism::OauthBearer => {
            &["username", "password", "password_file", "password_command"][..]
        }
        _ => token::KEYS,
    };
    for key in of_others {
        let key = format!("kafka.sasl.{key}");
        if settings.text(&key).is_some() {
            let problem = format!(
                "it has no effect with kafka.sasl.mechanism = {}",
                mechanism.name()
            );
            return Err(refused(settings, &key, &problem));
        }
    }
    if mechanism == SaslMechanism::OauthBearer {
        return Ok(Some(Sasl::Token(Arc::new(token::tokens(settings)?))));
    }
    let username = settings.text("kafka.sasl.username");
    let username = username.ok_or_else(|| missing("kafka.sasl.username"))?;
    let password = secrets::secret(settings, "kafka.sasl.password")?;
    Ok(Some(Sasl::Password {
        mechanism,
        username: username.to_owned(),
        password: password
            .ok_or_else(|| missing("kafka.sasl.password_file"))?
            .into(),
    }))
}

fn refused(settings: &Settings, key: &str, problem: &str) -> UsageError {
    UsageError::one(match settings.place(key) {
        Place::Default => format!("{key}: {problem}"),
        place => format!("{place}: {key}: {problem}"),
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
