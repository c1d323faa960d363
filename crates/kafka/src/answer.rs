//! One question to a broker, and what stood in the way of its answer: for those who watch a cluster and
//! neither produce nor consume.

use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;

use crate::listener::listening;
use crate::settings::{check_topic_name, of_config};
use crate::{KafkaError, KafkaSettings};

const ROLE: &str = "client of a check";
/// How long is waited for an answer before it is looked whether something stands in its way.
const LOOK: Duration = Duration::from_millis(100);

/// What a broker says of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Brokers that are there.
    pub brokers: usize,
    /// The topic that was asked about; `None` when it is not there, or none was asked about.
    pub topic: Option<TopicAnswer>,
}

/// What a broker says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAnswer {
    /// Its partitions.
    pub partitions: usize,
    /// Those of them that nobody leads, so that they can neither be written nor read.
    pub leaderless: usize,
}

/// What stood in the way of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// A name is not known.
    Name,
    /// Nothing listens there.
    Refused,
    /// The broker's certificate is not accepted.
    Certificate,
    /// TLS does not come about.
    Tls,
    /// The broker does not accept who we are.
    Login,
    /// The broker hung up.
    HungUp,
    /// This user may not see the topic.
    Right,
    /// What is said is not known here.
    Other,
    /// Nothing: the time was over.
    Time,
}

/// No answer, and why.
#[derive(Debug, Clone)]
pub struct Unanswered {
    /// What stood in the way.
    pub obstacle: Obstacle,
    /// What librdkafka says of it; it never holds a password.
    pub said: String,
}

/// Parts of what librdkafka says, and what they mean; the first that is there counts.
const OBSTACLES: &[(&str, Obstacle)] = &[
    ("certificate verify failed", Obstacle::Certificate),
    ("Failed to resolve", Obstacle::Name),
    ("Connection refused", Obstacle::Refused),
    ("SASL", Obstacle::Login),
    ("uthentication", Obstacle::Login),
    ("SSL", Obstacle::Tls),
    ("isconnected", Obstacle::HungUp),
    ("Connection reset", Obstacle::HungUp),
];

fn obstacle(said: &str) -> Obstacle {
    let known = OBSTACLES.iter().find(|(part, _)| said.contains(part));
    known.map_or(Obstacle::Other, |(_, obstacle)| *obstacle)
}

/// Asks the first broker that can be reached for its cluster, and for one topic, over connections of its
/// own, which are closed after it. Makes no topic. **Blocks** up to the deadline, and while they are
/// closed.
///
/// # Errors
/// As [`KafkaSettings::check`], before anything is asked; what stood in the way of an answer is a result.
pub fn ask(
    settings: &KafkaSettings,
    topic: Option<&str>,
    deadline: Duration,
) -> Result<Result<Answer, Unanswered>, KafkaError> {
    if let Some(topic) = topic {
        check_topic_name(topic)?;
    }
    let end = Instant::now() + deadline;
    let (config, listener) = listening(settings, ROLE)?;
    let client = BaseConsumer::from_config_and_context(&config, listener)
        .map_err(|error| of_config(ROLE, error))?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let answer = client.fetch_metadata(topic, left.min(LOOK));
        if let Ok(metadata) = answer {
            let found = metadata
                .topics()
                .iter()
                .find(|one| Some(one.name()) == topic);
            return Ok(
                match found.and_then(|topic| topic.error()).map(Code::from) {
                    Some(Code::TopicAuthorizationFailed) => Err(Unanswered {
                        obstacle: Obstacle::Right,
                        said: "the user has no right to see the topic (DESCRIBE)".to_owned(),
                    }),
                    Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(Answer {
                        brokers: metadata.brokers().len(),
                        topic: None,
                    }),
                    _ => Ok(Answer {
                        brokers: metadata.brokers().len(),
                        topic: found.map(|topic| TopicAnswer {
                            partitions: topic.partitions().len(),
                            leaderless: topic
                                .partitions()
                                .iter()
                                .filter(|one| one.leader() < 0)
                                .count(),
                        }),
                    }),
                },
            );
        }
        // Its errors are events, which are only told when they are asked for.
        client.poll(Duration::ZERO);
        // Later words are of attempts that follow.
        if let Some(said) = client.context().heard().first() {
            let (obstacle, said) = (obstacle(said), said.clone());
            return Ok(Err(Unanswered { obstacle, said }));
        }
        if left.is_zero() {
            let (obstacle, said) = (Obstacle::Time, String::new());
            return Ok(Err(Unanswered { obstacle, said }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_known_by_what_is_said() {
        for (said, meant) in [
            (
                "ssl://a:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed",
                Obstacle::Certificate,
            ),
            (
                "ssl://a:1/bootstrap: SSL handshake failed: SSL syscall error number: 5",
                Obstacle::Tls,
            ),
            (
                "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed",
                Obstacle::Login,
            ),
            (
                "a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
                Obstacle::Refused,
            ),
            (
                "a:1/bootstrap: Disconnected while requesting ApiVersion",
                Obstacle::HungUp,
            ),
            (
                "a:1/bootstrap: Receive failed: Invalid response size",
                Obstacle::Other,
            ),
        ] {
            assert_eq!(obstacle(said), meant, "{said}");
        }
    }
}
