//! What somebody who looks at a set-up asks the brokers: a topic with its settings and our rights on it, a
//! group, and the certificates that a broker shows. It changes nothing and joins nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::ResourceSpecifier;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::TopicPartitionList;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::admin::{admin_error, blocking, options};
use crate::error::Right;
use crate::security::{self, Sasl};
use crate::settings::of_config;
use crate::topic_id::describe;
use crate::{Admin, KafkaError, KafkaSettings};

/// A topic as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicLook {
    /// Its id.
    pub id: String,
    /// Partitions.
    pub partitions: i32,
    /// The least copies that a partition has.
    pub replicas: usize,
    /// The least of them that are in sync.
    pub in_sync: usize,
    /// Brokers of the cluster.
    pub brokers: usize,
    /// Those of `READ`, `WRITE` and `DESCRIBE` that this user has on it; none where brokers do not tell.
    pub rights: Vec<&'static str>,
    /// Its settings, by Kafka's names; empty where this user may not see them.
    pub config: BTreeMap<String, String>,
}

impl Admin {
    /// Looks at a topic; `None` when it does not exist.
    ///
    /// # Errors
    /// [`KafkaError::NotAuthorized`], [`KafkaError::Timeout`], or another refusal.
    pub async fn look(
        &self,
        topic: &str,
        deadline: Duration,
    ) -> Result<Option<TopicLook>, KafkaError> {
        self.authenticated().await?;
        let (client, name) = (Arc::clone(&self.client), topic.to_owned());
        let found = blocking(move || {
            let Some(described) = describe(client.inner(), &name, deadline)? else {
                return Ok(None);
            };
            let what = || format!("look at topic {name}");
            let metadata = client
                .inner()
                .fetch_metadata(Some(&name), deadline)
                .map_err(|error| {
                    KafkaError::of_request(what(), &name, error).needing(Right::Describe(&name))
                })?;
            let partitions = || {
                metadata
                    .topics()
                    .iter()
                    .flat_map(|topic| topic.partitions())
            };
            Ok(Some(TopicLook {
                id: described.id,
                partitions: described.partitions,
                replicas: partitions()
                    .map(|one| one.replicas().len())
                    .min()
                    .unwrap_or(0),
                in_sync: partitions().map(|one| one.isr().len()).min().unwrap_or(0),
                brokers: metadata.brokers().len(),
                rights: described.rights,
                config: BTreeMap::new(),
            }))
        });
        let mut found = match found.await {
            Err(error) => return Err(self.explained(error).await),
            Ok(None) => return Ok(None),
            Ok(Some(found)) => found,
        };
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = self
            .client
            .describe_configs(&asked, &options(deadline))
            .await;
        let failed = |error| KafkaError::of_client(format!("see the settings of {topic}"), error);
        let answers = answers.map_err(|error| failed(admin_error(error)))?;
        // That this user may not see them is no fault: the topic works without.
        for resource in answers.into_iter().flatten() {
            let entries = resource.entries.into_iter();
            let known = entries.filter_map(|entry| Some((entry.name, entry.value?)));
            found.config.extend(known);
        }
        Ok(Some(found))
    }
}

/// Asks for the offsets of a group, which takes the right to see it, and joins nothing. **Blocks** up to
/// the deadline.
///
/// # Errors
/// [`KafkaError::NotAuthorized`] with the right that is missing, or another failure.
pub fn see_group(
    settings: &KafkaSettings,
    group: &str,
    topic: &str,
    deadline: Duration,
) -> Result<(), KafkaError> {
    let role = "consumer";
    let mut config = settings.config(role)?;
    config.set("group.id", group);
    let consumer: BaseConsumer = config.create().map_err(|error| of_config(role, error))?;
    let what = || format!("see the group {group}");
    if let Some(Sasl::Token(tokens)) = &settings.sasl {
        security::set(consumer.client(), tokens).map_err(|reason| KafkaError::Unreachable {
            what: what(),
            reason,
        })?;
    }
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let failed = |error| KafkaError::of_client(what(), error).needing(Right::Group(group));
    let answer = match consumer.committed_offsets(asked, deadline) {
        Ok(answer) => answer,
        Err(error) => {
            // It asks for the coordinator again and again, and says beside it why it gets none.
            let refusal = |code| {
                matches!(
                    code,
                    Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed
                )
            };
            while let Some(said) = consumer.poll(Duration::ZERO) {
                if let Err(said) = said
                    && said.rdkafka_error_code().is_some_and(refusal)
                {
                    return Err(failed(said));
                }
            }
            return Err(failed(error));
        }
    };
    let elements = answer.elements();
    elements
        .iter()
        .try_for_each(|at| at.error())
        .map_err(failed)
}

/// A certificate that a broker shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Until when it is valid, as `2027-01-01T00:00:00Z`.
    pub not_after: String,
}

/// The certificates that a broker at `host:port` shows, its own first, whether they are good or not: for
/// people. Nothing is sent to it, and the connection ends with the handshake.
///
/// # Errors
/// Why there was no connection, or no TLS.
pub async fn shown_certificates(
    broker: &str,
    deadline: Duration,
) -> Result<Vec<ShownCertificate>, String> {
    let seen = Arc::new(Looks(Mutex::default()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as _)
        .with_no_client_auth();
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let shaken = async {
        let stream = TcpStream::connect(broker).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    let shaken = tokio::time::timeout(deadline, shaken).await;
    let seen = std::mem::take(&mut *seen.0.lock().unwrap_or_else(PoisonError::into_inner));
    match shaken {
        // A broker that wants our certificate hangs up after it showed its own.
        _ if !seen.is_empty() => Ok(seen),
        Ok(Ok(_)) => Ok(seen),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no TLS within {} s", deadline.as_secs())),
    }
}

/// Notes what is shown. It trusts nothing for anybody: the one connection that has it is never written to.
#[derive(Debug)]
struct Looks(Mutex<Vec<ShownCertificate>>);

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = all.filter_map(shown).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn shown(der: &CertificateDer<'_>) -> Option<ShownCertificate> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    Some(ShownCertificate {
        subject: certificate.subject.to_string(),
        issuer: certificate.issuer.to_string(),
        not_after: certificate.validity.not_after.to_string(),
    })
}
