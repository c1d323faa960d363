//! The seam between publishing and Kafka: what publishing needs of a broker, so that a test can
//! play one.

use super::TlsFiles;
use crate::{AgentError, PublishSettings};
use async_trait::async_trait;
use std::time::Duration;
use tidegauge_kafka::{
    Admin, BrokerState, Delivery, KafkaError, Outgoing, Producer, ProducerOptions, SendError,
    TopicPlan,
};
use tidegauge_model::chain;
use tidegauge_wire::Encoder;
use tokio::sync::mpsc;

const TOPIC_DEADLINE: Duration = Duration::from_secs(10);

/// A way to reach one topic.
#[async_trait]
pub(super) trait Broker: Send {
    /// Makes sure that the topic is there; takes a bounded time.
    async fn prepare(&mut self) -> Result<(), Trouble>;

    /// Makes a link; needs no broker yet.
    fn connect(&mut self) -> Result<Box<dyn Link>, AgentError>;
}

/// Hands messages over and tells what became of them: one outcome for each that was taken.
/// Dropping it may block for a moment.
#[async_trait]
pub(super) trait Link: Send {
    /// Hands one message over; never waits.
    fn send(&mut self, id: i64, payload: &[u8]) -> Result<(), NotSent>;

    /// Waits for the next outcome. Giving up the wait loses nothing.
    async fn outcome(&mut self) -> Outcome;

    /// The next outcome, if there is one.
    fn try_outcome(&mut self) -> Option<Outcome>;

    /// Why no broker can be reached, if that is known.
    fn outage(&self) -> Option<String>;

    /// Whether what it was made from was replaced, and another link would have it.
    fn is_outdated(&mut self) -> bool {
        false
    }
}

/// What stands in the way of publishing.
pub(super) enum Trouble {
    /// The broker is away; waiting helps.
    Away(String),
    /// The topic is missing and could not be made: a person has to do something.
    NoTopic(String),
    /// The settings can never work.
    Unusable(AgentError),
}

/// Why a message was not taken.
pub(super) enum NotSent {
    /// Too much is under way.
    Full,
    /// The link is broken for good; make another.
    Broken(String),
}

/// What became of one message.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Its id in the spool.
    pub(super) id: i64,
    /// How it went.
    pub(super) verdict: Verdict,
}

#[derive(Debug)]
pub(super) enum Verdict {
    /// The broker has it, durably.
    Stored,
    /// The broker will never take it.
    Refused(String),
    /// Not stored this time.
    Failed {
        /// Why, for a person.
        cause: String,
        /// The topic is gone.
        topic_missing: bool,
        /// The link is broken for good.
        broken: bool,
    },
}

/// The real broker.
pub(super) struct KafkaBroker {
    settings: PublishSettings,
    /// Made when it is first needed, and kept: it is asked again when the topic is gone.
    admin: Option<Admin>,
    files: TlsFiles,
}

impl KafkaBroker {
    pub(super) fn new(settings: PublishSettings) -> Self {
        Self {
            files: TlsFiles::of(&settings.kafka),
            settings,
            admin: None,
        }
    }

    fn unusable(&self, source: KafkaError) -> AgentError {
        AgentError::Kafka {
            topic: self.settings.topic.clone(),
            source,
        }
    }
}

#[async_trait]
impl Broker for KafkaBroker {
    async fn prepare(&mut self) -> Result<(), Trouble> {
        if self.files.were_replaced() {
            self.admin = None;
        } else if let Some(problem) = self.files.problem()
            && self.admin.is_none()
        {
            return Err(Trouble::Away(problem.to_owned()));
        }
        let admin = match self.admin.take() {
            Some(admin) => admin,
            None => Admin::new(&self.settings.kafka)
                .map_err(|source| Trouble::Unusable(self.unusable(source)))?,
        };
        let plan = TopicPlan {
            name: self.settings.topic.clone(),
            partitions: self.settings.partitions,
            replication: self.settings.replication,
            config: self.settings.topic_config.clone(),
        };
        let ensured = admin.ensure_topic(&plan, TOPIC_DEADLINE).await;
        match ensured {
            Ok(topic) => {
                let (id, partitions) = (topic.id.as_str(), topic.partitions);
                let state = if topic.created { "made" } else { "found" };
                tracing::info!(topic = plan.name, id, partitions, "{state} the topic");
                // Not kept: an idle client costs threads and memory.
                Ok(())
            }
            Err(error) => {
                self.admin = Some(admin);
                Err(match error {
                    KafkaError::PropertyOwned { .. }
                    | KafkaError::PropertyInvalid { .. }
                    | KafkaError::Client { .. }
                    | KafkaError::TopicName { .. } => Trouble::Unusable(self.unusable(error)),
                    KafkaError::TopicMissing { .. } | KafkaError::NotAuthorized { .. } => {
                        Trouble::NoTopic(chain(&error))
                    }
                    _ if error.is_retryable() => Trouble::Away(chain(&error)),
                    _ => Trouble::NoTopic(chain(&error)),
                })
            }
        }
    }

    fn connect(&mut self) -> Result<Box<dyn Link>, AgentError> {
        // Unbounded, but what is under way is bounded by the settings.
        let (sender, deliveries) = mpsc::unbounded_channel();
        let options = ProducerOptions {
            max_in_flight_messages: u32::try_from(self.settings.max_in_flight_batches)
                .unwrap_or(u32::MAX),
            // One message may be larger than the bound; the producer must still take it.
            max_in_flight_bytes: self.settings.max_in_flight_bytes as u64 * 2,
            // A batch of an agent is a message of some size already: waiting for another one is one wake more.
            linger: Duration::ZERO,
            timer_slack: self.settings.timer_slack,
            ..ProducerOptions::default()
        };
        // Before they are read: what is replaced in between is seen at the next look.
        let files = TlsFiles::of(&self.settings.kafka);
        let producer = Producer::new(&self.settings.kafka, &options, sender)
            .map_err(|source| self.unusable(source))?;
        Ok(Box::new(KafkaLink {
            producer,
            deliveries,
            topic: self.settings.topic.clone(),
            key: self.settings.agent.as_str().to_owned(),
            own_encoders: self.settings.own_encoders.clone(),
            files,
        }))
    }
}

struct KafkaLink {
    producer: Producer,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    topic: String,
    key: String,
    own_encoders: Vec<&'static dyn Encoder>,
    files: TlsFiles,
}

#[async_trait]
impl Link for KafkaLink {
    fn send(&mut self, id: i64, payload: &[u8]) -> Result<(), NotSent> {
        // The batch may be from a run with another encoding. One of a program that had others
        // goes without a header; a sink that cannot read it keeps it as a dead letter.
        let encoding = tidegauge_wire::header_value_among(payload, &self.own_encoders);
        let header = encoding
            .as_deref()
            .map(|value| (tidegauge_wire::HEADER, value.as_bytes()));
        let sent = self.producer.send(Outgoing {
            topic: &self.topic,
            key: self.key.as_bytes(),
            headers: header.as_slice(),
            payload,
            token: id,
        });
        sent.map_err(|error| match error {
            SendError::Full => NotSent::Full,
            other => NotSent::Broken(chain(&other)),
        })
    }

    async fn outcome(&mut self) -> Outcome {
        match self.deliveries.recv().await {
            Some(delivery) => outcome_of(delivery),
            // The producer holds the other end as long as this link lives.
            None => std::future::pending().await,
        }
    }

    fn try_outcome(&mut self) -> Option<Outcome> {
        self.deliveries.try_recv().ok().map(outcome_of)
    }

    fn outage(&self) -> Option<String> {
        match &*self.producer.broker_state().borrow() {
            BrokerState::Down { reason } => Some(reason.clone()),
            _ => None,
        }
    }

    fn is_outdated(&mut self) -> bool {
        self.files.were_replaced()
    }
}

fn outcome_of(delivery: Delivery) -> Outcome {
    let verdict = match delivery.result {
        Ok(_) => Verdict::Stored,
        Err(error) if error.refused => Verdict::Refused(chain(&error)),
        Err(error) => Verdict::Failed {
            cause: chain(&error),
            topic_missing: error.unknown_topic,
            broken: error.fatal,
        },
    };
    Outcome {
        id: delivery.token,
        verdict,
    }
}
