//! Hears what librdkafka says of connections that fail, for those who ask once and want to know why there is
//! no answer.

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use crate::security::{self, Sasl};
use crate::{KafkaError, KafkaSettings};

/// The context of a client that is listened to.
pub(crate) struct Listener {
    heard: Mutex<Vec<String>>,
    sasl: Option<Sasl>,
}

/// The configuration of a client that tells why its connections fail, and who hears it.
///
/// # Errors
/// As [`KafkaSettings::config`].
pub(crate) fn listening(
    settings: &KafkaSettings,
    role: &'static str,
) -> Result<(ClientConfig, Listener), KafkaError> {
    let mut config = settings.config(role)?;
    // That a broker hangs up is no news for others, and only said at this level.
    config.set("log.connection.close", "true");
    config.set_log_level(RDKafkaLogLevel::Info);
    let listener = Listener {
        heard: Mutex::default(),
        sasl: settings.sasl.clone(),
    };
    Ok((config, listener))
}

impl Listener {
    /// What was said so far, in that order.
    pub(crate) fn heard(&self) -> MutexGuard<'_, Vec<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, said: &str) {
        self.heard().push(said.trim().to_owned());
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        security::give(self.sasl.as_ref())
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        // That a broker hung up is only here.
        if facility == "FAIL" {
            self.hear(line);
        }
    }

    fn error(&self, error: ClientError, reason: &str) {
        if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            self.hear(reason);
        }
    }
}

impl ConsumerContext for Listener {}

impl ProducerContext for Listener {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: ()) {}
}
