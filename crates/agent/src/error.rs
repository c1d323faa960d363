//! What can go wrong in the agent. A target that is down or a collector that fails is not an
//! error: both are data.

use std::error::Error;
use std::path::PathBuf;
use tidegauge_kafka::KafkaError;
use tidegauge_model::IdentityError;
use tidegauge_spool::SpoolError;

/// An error of the agent: it says what the agent was doing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A setting that cannot be used. The problem never quotes a password.
    #[error("checking the setting {key}: {problem}")]
    Setting {
        /// The setting's key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An id or a host name that does not follow its pattern.
    #[error("checking {what} {text:?}")]
    Identity {
        /// Which one.
        what: &'static str,
        /// The text that was refused.
        text: String,
        /// What is wrong with it.
        #[source]
        source: IdentityError,
    },
    /// The file that keeps the agent's id.
    #[error("keeping the agent's id in {path}")]
    KeepId {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file of certificate authorities.
    #[error("reading certificate authorities from {path}")]
    ReadCertificates {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The targets of a service cannot be looked up.
    #[error("looking up the targets of {service}: {problem}")]
    FindTargets {
        /// The name of the SRV records.
        service: String,
        /// What went wrong.
        problem: String,
    },
    /// TLS cannot be set up at all.
    #[error("setting up TLS for checks")]
    Tls {
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// A collector's thread could not be started.
    #[error("starting the thread {thread}")]
    StartThread {
        /// The name of the thread.
        thread: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The spool failed in a way that the agent cannot go on with.
    #[error("{doing}")]
    Spool {
        /// What the agent was doing.
        doing: &'static str,
        /// The cause.
        #[source]
        source: SpoolError,
    },
    /// Kafka cannot be spoken to with these settings.
    #[error("publishing to the topic {topic}")]
    Kafka {
        /// The topic.
        topic: String,
        /// The cause.
        #[source]
        source: KafkaError,
    },
    /// An address or a path that a listener cannot listen on.
    #[error("listening on {address} (setting {key}); is another program listening there?")]
    Listen {
        /// The setting's key.
        key: &'static str,
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A thread of the agent ended without its result, which is a defect.
    #[error("the {task} ended without a result")]
    TaskDied {
        /// Which one.
        task: &'static str,
    },
}

impl AgentError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Spool { source, .. } => source.is_retryable(),
            Self::Kafka { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}
