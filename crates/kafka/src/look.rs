//! What somebody who looks at a set-up asks the brokers: a topic with its settings and our rights on it, its
//! newest message, and a group. It changes nothing and joins nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::ResourceSpecifier;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::admin::{admin_error, blocking, options};
use crate::error::Right;
use crate::listener::{Listener, listening};
use crate::security::{self, Sasl};
use crate::settings::of_config;
use crate::topic_id::describe;
use crate::{Admin, KafkaError, KafkaSettings, Watermark};

/// How long a group that has no coordinator is left alone.
const SETTLES_IN: Duration = Duration::from_millis(200);

/// Partitions of which the newest message is read: enough to see a clock that is wrong.
const MOST_PARTITIONS_READ: usize = 16;

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

/// When the newest message of a topic was written, milliseconds since 1970 UTC, by the clock of who wrote it, or of
/// the broker where the topic has `message.timestamp.type=LogAppendTime`. `None` where there is none that this
/// user may read. It joins no group and commits nothing. **Blocks** up to the deadline.
///
/// # Errors
/// What keeps a client from being made.
pub fn newest_message_ms(
    settings: &KafkaSettings,
    topic: &str,
    watermarks: &[Watermark],
    deadline: Duration,
) -> Result<Option<i64>, KafkaError> {
    let end = Instant::now() + deadline;
    let (mut config, listener) = listening(settings, "consumer")?;
    config.set("enable.auto.commit", "false");
    // The client wants one to be made; nothing is asked of it.
    config.set("group.id", "tidegauge-doctor");
    let doing = format!("read the newest message of {topic}");
    let consumer = quiet(settings, &config, listener, &doing)?;
    let mut asked = TopicPartitionList::new();
    let with_messages = watermarks.iter().filter(|mark| mark.high > mark.low);
    for mark in with_messages.take(MOST_PARTITIONS_READ) {
        let at = Offset::Offset(mark.high - 1);
        asked
            .add_partition_offset(topic, mark.partition, at)
            .map_err(|error| KafkaError::of_client(format!("read {topic}"), error))?;
    }
    let (mut left, mut newest) = (asked.count(), None);
    if left == 0 {
        return Ok(None);
    }
    consumer
        .assign(&asked)
        .map_err(|error| KafkaError::of_client(format!("read {topic}"), error))?;
    // The last offset of a partition may be a mark without a message: what has come by the deadline will do.
    while left > 0 {
        let wait = end.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            break;
        }
        if let Some(Ok(message)) = consumer.poll(wait) {
            newest = newest.max(message.timestamp().to_millis());
            left -= 1;
        }
    }
    Ok(newest)
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
    let what = || format!("see the group {group}");
    let (mut config, listener) = listening(settings, "consumer")?;
    config.set("group.id", group);
    let consumer = quiet(settings, &config, listener, &what())?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let failed = |error| KafkaError::of_client(what(), error).needing(Right::Group(group));
    let end = Instant::now() + deadline;
    let answer = loop {
        let left = end.saturating_duration_since(Instant::now());
        match consumer.committed_offsets(asked.clone(), left) {
            Ok(answer) => break answer,
            // Who coordinates the group is still being settled, as after a start of the brokers.
            Err(error)
                if error.rdkafka_error_code().is_some_and(is_settling) && !left.is_zero() =>
            {
                std::thread::sleep(SETTLES_IN);
            }
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
        }
    };
    let elements = answer.elements();
    elements
        .iter()
        .try_for_each(|at| at.error())
        .map_err(failed)
}

/// Whether a group has no coordinator for the moment.
fn is_settling(code: Code) -> bool {
    matches!(
        code,
        Code::NotCoordinator | Code::CoordinatorNotAvailable | Code::CoordinatorLoadInProgress
    )
}

/// A consumer that writes nothing into the log: who asks tells it himself.
fn quiet(
    settings: &KafkaSettings,
    config: &ClientConfig,
    listener: Listener,
    doing: &str,
) -> Result<BaseConsumer<Listener>, KafkaError> {
    let consumer = BaseConsumer::from_config_and_context(config, listener)
        .map_err(|error| of_config("consumer", error))?;
    if let Some(Sasl::Token(tokens)) = &settings.sasl {
        security::set(consumer.client(), tokens).map_err(|reason| KafkaError::Unreachable {
            what: doing.to_owned(),
            reason,
        })?;
    }
    Ok(consumer)
}
