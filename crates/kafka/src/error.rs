//! The errors of this crate: what we were doing, with librdkafka's answer as the source.
//!
//! Values of properties never appear in them, as they may be secrets (D13).

use std::error::Error;

use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};

/// A failure of this crate. `Display` says what we were doing; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// A pass-through property belongs to the delivery contract or has a setting of its own.
    #[error("Kafka property {name} can't be set: {why}")]
    PropertyOwned {
        /// The property as written.
        name: String,
        /// Why it is not the user's to set.
        why: &'static str,
    },
    /// A property that is unknown, has a bad value or contradicts another one.
    #[error("Kafka property {name} is refused: {reason}")]
    PropertyInvalid {
        /// The property as written.
        name: String,
        /// What is wrong with it; never contains the value of a secret.
        reason: String,
    },
    /// What is wrong with a setting of TLS or SASL, or with a file that it names (D13).
    #[error("{setting}: {problem}")]
    Security {
        /// The setting, `kafka.tls.ca_file` for example.
        setting: &'static str,
        /// What is wrong, and what to do; never contains a secret.
        problem: String,
    },
    /// The client could not be made from its settings.
    #[error("create the Kafka {role}")]
    Client {
        /// `producer`, `consumer` or `admin client`.
        role: &'static str,
        /// librdkafka's answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A name that no Kafka topic can have.
    #[error(
        "topic name {topic:?} is not allowed by Kafka (letters, digits, '.', '_', '-', up to 249)"
    )]
    TopicName {
        /// The name as given.
        topic: String,
    },
    /// The topic does not exist (yet).
    #[error("topic {topic} does not exist")]
    TopicMissing {
        /// Its name.
        topic: String,
    },
    /// The brokers refused our credentials or our rights.
    #[error("not authorized to {what}{needs}")]
    NotAuthorized {
        /// What we wanted to do.
        what: String,
        /// What is missing, and how it is given; empty when it is not known.
        needs: String,
        /// The brokers' answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer within the deadline.
    #[error("{what}: no answer within the deadline")]
    Timeout {
        /// What we were doing.
        what: String,
    },
    /// No answer within the deadline, and it is known why.
    #[error("{what}: {reason}")]
    Unreachable {
        /// What we were doing.
        what: String,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// Any other refusal or failure.
    #[error("{what}")]
    Request {
        /// What we were doing.
        what: String,
        /// Whether the same request may succeed later without anybody changing something.
        retryable: bool,
        /// The brokers' or the client's answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The owner could not say where to begin (database away); asked again until it can.
    #[error("find the stored positions of topic {topic}")]
    Positions {
        /// The topic's name.
        topic: String,
        /// The owner's answer.
        #[source]
        source: crate::PositionsError,
    },
    /// The client has failed for good and must be made anew.
    #[error("{what}: the Kafka client has failed for good")]
    Fatal {
        /// What we were doing.
        what: String,
        /// librdkafka's answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The consumer's thread has ended.
    #[error("the consumer is closed")]
    Closed,
    /// The operating system refused a thread.
    #[error("start the thread {name}")]
    Thread {
        /// The thread's name.
        name: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl KafkaError {
    /// Whether the same call may succeed later without a change of settings, rights or topics by a
    /// person. A missing topic counts as retryable, as anybody may create it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TopicMissing { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::Positions { .. }
            | Self::Thread { .. } => true,
            Self::Request { retryable, .. } => *retryable,
            Self::PropertyOwned { .. }
            | Self::PropertyInvalid { .. }
            | Self::Security { .. }
            | Self::Client { .. }
            | Self::TopicName { .. }
            | Self::NotAuthorized { .. }
            | Self::Fatal { .. }
            | Self::Closed => false,
        }
    }

    /// Says which right it takes, if that is what is missing.
    pub(crate) fn needing(mut self, right: Right<'_>) -> Self {
        if let Self::NotAuthorized { needs, .. } = &mut self
            && needs.is_empty()
        {
            *needs = right.missing();
        }
        self
    }

    /// Sorts librdkafka's answer to a request about `topic` into our kinds.
    pub(crate) fn of_request(what: impl Into<String>, topic: &str, source: ClientError) -> Self {
        if source.rdkafka_error_code().is_some_and(is_unknown_topic) {
            return Self::TopicMissing {
                topic: topic.to_owned(),
            };
        }
        Self::of_client(what, source)
    }

    /// Sorts librdkafka's answer into our kinds when no topic is concerned.
    pub(crate) fn of_client(what: impl Into<String>, source: ClientError) -> Self {
        let what = what.into();
        let fatal = matches!(source, ClientError::MessageConsumptionFatal(_));
        match source.rdkafka_error_code() {
            _ if fatal => Self::Fatal {
                what,
                source: source.into(),
            },
            Some(Code::Fatal | Code::Fenced | Code::FencedInstanceId) => Self::Fatal {
                what,
                source: source.into(),
            },
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed,
            ) => Self::NotAuthorized {
                what,
                needs: String::new(),
                source: source.into(),
            },
            Some(Code::SaslAuthenticationFailed | Code::Authentication) => Self::NotAuthorized {
                what,
                needs: ": the brokers do not accept who this is".to_owned(),
                source: source.into(),
            },
            Some(Code::OperationTimedOut | Code::RequestTimedOut | Code::TimedOutQueue) => {
                Self::Timeout { what }
            }
            code => {
                let retryable = !code.is_some_and(is_refusal);
                Self::Request {
                    what,
                    retryable,
                    source: source.into(),
                }
            }
        }
    }
}

/// A right of Kafka's access rules, on what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Right<'a> {
    /// To see that a topic is there.
    Describe(&'a str),
    /// To make a topic.
    Create(&'a str),
    /// To send to a topic.
    Write(&'a str),
    /// To read a topic.
    Read(&'a str),
    /// To delete messages or a topic.
    Delete(&'a str),
    /// To be of a group.
    Group(&'a str),
}

impl Right<'_> {
    /// That it is missing, and how an operator gives it.
    pub(crate) fn missing(self) -> String {
        let (right, kind, name) = match self {
            Self::Describe(topic) => ("DESCRIBE", "topic", topic),
            Self::Create(topic) => ("CREATE", "topic", topic),
            Self::Write(topic) => ("WRITE", "topic", topic),
            Self::Read(topic) => ("READ", "topic", topic),
            Self::Delete(topic) => ("DELETE", "topic", topic),
            Self::Group(group) => ("READ", "group", group),
        };
        let lower = right.to_ascii_lowercase();
        format!(
            ": this user lacks the right {right} on the {kind} {name} \
             (kafka-acls --add --allow-principal User:… --operation {lower} --{kind} {name})"
        )
    }
}

/// The topic, or this incarnation of it, is not known to the broker.
pub(crate) fn is_unknown_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownTopicId
            | Code::UnknownPartition
    )
}

/// Answers that repeat until a person changes the request.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidReplicaAssignment
            | Code::InvalidConfig
            | Code::InvalidTopic
            | Code::InvalidRequest
            | Code::InvalidArgument
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InconsistentGroupProtocol
            | Code::PolicyViolation
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnsupportedSASLMechanism
    )
}

/// Why a message could not be queued. A message that is refused for what it is (too large, say)
/// is not among these: it comes back as a [`crate::Delivery`] with [`DeliveryError::refused`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The producer's queue is full; try again after a delivery.
    #[error("the producer's queue is full")]
    Full,
    /// The producer has failed for good and must be made anew.
    #[error("queue a message")]
    Fatal(#[source] KafkaError),
}

/// Why a queued message was not stored by the brokers.
#[derive(Debug, thiserror::Error)]
#[error("deliver a message to topic {topic}{}", self.needs())]
pub struct DeliveryError {
    /// The topic it was meant for.
    pub topic: String,
    /// The message itself is not acceptable (too large, invalid); sending it again is useless.
    pub refused: bool,
    /// The topic does not exist; sending again is right once it does.
    pub unknown_topic: bool,
    /// Our rights do not suffice; sending again is right once they do.
    pub not_authorized: bool,
    /// The producer has failed for good and must be made anew; the message is to be sent again.
    pub fatal: bool,
    /// librdkafka's answer.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl DeliveryError {
    fn needs(&self) -> String {
        match self.not_authorized {
            true => Right::Write(&self.topic).missing(),
            false => String::new(),
        }
    }

    pub(crate) fn new(topic: &str, source: ClientError) -> Self {
        let code = source.rdkafka_error_code();
        let is = |codes: &[Code]| code.is_some_and(|code| codes.contains(&code));
        Self {
            topic: topic.to_owned(),
            refused: is(&[
                Code::MessageSizeTooLarge,
                Code::MessageBatchTooLarge,
                Code::InvalidMessageSize,
                Code::InvalidMessage,
                Code::InvalidRecord,
                Code::InvalidTimestamp,
                Code::UnsupportedForMessageFormat,
                Code::BadMessage,
            ]),
            unknown_topic: code.is_some_and(is_unknown_topic),
            not_authorized: is(&[
                Code::TopicAuthorizationFailed,
                Code::ClusterAuthorizationFailed,
            ]),
            fatal: is(&[
                Code::Fatal,
                Code::Fenced,
                Code::ProducerFenced,
                Code::InvalidProducerEpoch,
            ]),
            source: source.into(),
        }
    }
}
