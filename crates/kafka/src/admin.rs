//! Makes topics and asks about them.
//!
//! Not for long lives: a client of its own with two threads; make one, ask, drop it. Every question has
//! a deadline and runs on tokio's blocking threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::diagnosis::why_unreachable;
use crate::error::Right;
use crate::security::{self, Sasl};
use crate::settings::{check_topic_name, of_config};
use crate::topic_id::{Description, describe};
use crate::{KafkaError, KafkaSettings};

/// How often a new topic is looked for until every broker has heard of it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long it is listened to why there is no answer.
const LISTEN: Duration = Duration::from_secs(3);

/// How to make a topic that is missing.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Number of partitions; -1 is the brokers' default.
    pub partitions: i32,
    /// Copies of each partition; -1 is the brokers' default.
    pub replication: i32,
    /// Topic settings (`retention.ms` and others).
    pub config: BTreeMap<String, String>,
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id (22 characters of base64, KIP-516): another topic of the same name has another id.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Whether this call has made it.
    pub created: bool,
}

/// First and next offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The partition.
    pub partition: i32,
    /// Oldest offset that is still there.
    pub low: i64,
    /// Offset of the next message (of the next stable one where transactions are used).
    pub high: i64,
}

/// Asks the brokers about topics, and makes them.
pub struct Admin {
    pub(crate) client: Arc<AdminClient<DefaultClientContext>>,
    pub(crate) settings: KafkaSettings,
}

impl Admin {
    /// Makes the client; needs no broker yet.
    ///
    /// # Errors
    /// Properties that are refused, and a client that can't be made.
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        settings.check()?;
        let role = "admin client";
        let mut config = settings.config(role)?;
        // Nobody reads this client's log queue, so nothing may be put there.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let client = config.create().map_err(|error| of_config(role, error))?;
        Ok(Self {
            client: Arc::new(client),
            settings: settings.clone(),
        })
    }

    /// Gives the client a token if it authenticates by one: nobody reads its queue, where librdkafka asks.
    pub(crate) async fn authenticated(&self) -> Result<(), KafkaError> {
        let Some(Sasl::Token(tokens)) = &self.settings.sasl else {
            return Ok(());
        };
        let (client, tokens) = (Arc::clone(&self.client), Arc::clone(tokens));
        let given = move || {
            security::set(client.inner(), &tokens).map_err(|reason| KafkaError::Unreachable {
                what: "get a token for Kafka".to_owned(),
                reason,
            })
        };
        blocking(given).await
    }

    /// Says of a request without an answer why there was none. This client does not hear it, so
    /// another one tries.
    pub(crate) async fn explained(&self, error: KafkaError) -> KafkaError {
        let what = match &error {
            KafkaError::Timeout { what } => what.clone(),
            KafkaError::Request {
                what,
                retryable: true,
                ..
            } => what.clone(),
            _ => return error,
        };
        let settings = self.settings.clone();
        let why = blocking(move || Ok(why_unreachable(&settings, LISTEN))).await;
        match why {
            Ok(Some(reason)) => KafkaError::Unreachable { what, reason },
            _ => error,
        }
    }

    /// Makes the topic if it is missing; that somebody else makes it at the same time is fine. A topic
    /// that exists is left as it is, whatever the plan says.
    ///
    /// # Errors
    /// [`KafkaError::NotAuthorized`] when we may not, [`KafkaError::Timeout`], or the brokers' refusal
    /// of the plan.
    pub async fn ensure_topic(
        &self,
        plan: &TopicPlan,
        deadline: Duration,
    ) -> Result<TopicInfo, KafkaError> {
        let end = Instant::now() + deadline;
        if let Some(found) = self.topic(&plan.name, deadline).await? {
            return Ok(found);
        }
        let created = self.create(plan, remaining(end)).await?;
        loop {
            match self.topic(&plan.name, remaining(end)).await? {
                Some(found) => return Ok(TopicInfo { created, ..found }),
                None if Instant::now() >= end => {
                    return Err(KafkaError::Timeout {
                        what: format!("create topic {}", plan.name),
                    });
                }
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// `Ok(false)`: somebody else was faster.
    async fn create(&self, plan: &TopicPlan, deadline: Duration) -> Result<bool, KafkaError> {
        let what = || format!("create topic {}", plan.name);
        self.authenticated().await?;
        let mut topic = NewTopic::new(
            &plan.name,
            plan.partitions,
            TopicReplication::Fixed(plan.replication),
        );
        for (name, value) in &plan.config {
            topic = topic.set(name, value);
        }
        let results = self
            .client
            .create_topics(&[topic], &options(deadline))
            .await;
        let failed =
            |error| KafkaError::of_client(what(), error).needing(Right::Create(&plan.name));
        let results = results.map_err(|error| failed(admin_error(error)))?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(failed(ClientError::MetadataFetch(code))),
            None => Err(KafkaError::Timeout { what: what() }),
        }
    }

    /// Asks about one topic; `None` when it does not exist.
    ///
    /// # Errors
    /// [`KafkaError::NotAuthorized`], [`KafkaError::Timeout`], or another refusal.
    pub async fn topic(
        &self,
        name: &str,
        deadline: Duration,
    ) -> Result<Option<TopicInfo>, KafkaError> {
        self.authenticated().await?;
        let (client, name) = (Arc::clone(&self.client), name.to_owned());
        let found = blocking(move || describe(client.inner(), &name, deadline)).await;
        let found = match found {
            Err(error) => return Err(self.explained(error).await),
            Ok(found) => found,
        };
        Ok(found.map(|Description { id, partitions, .. }| TopicInfo {
            id,
            partitions,
            created: false,
        }))
    }

    /// Deletes a topic with all its messages. It may be known of for a moment longer.
    ///
    /// # Errors
    /// [`KafkaError::TopicMissing`], [`KafkaError::NotAuthorized`], or another refusal.
    pub async fn delete_topic(&self, topic: &str, deadline: Duration) -> Result<(), KafkaError> {
        let what = || format!("delete topic {topic}");
        let failed = |error| {
            KafkaError::of_request(what(), topic, admin_error(error)).needing(Right::Delete(topic))
        };
        self.authenticated().await?;
        let results = self
            .client
            .delete_topics(&[topic], &options(deadline))
            .await;
        match results.map_err(failed)?.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err(failed(ClientError::AdminOp(code))),
            None => Err(KafkaError::Timeout { what: what() }),
        }
    }

    /// Deletes the messages of a partition that are before an offset, as retention does.
    ///
    /// # Errors
    /// [`KafkaError::TopicMissing`], [`KafkaError::NotAuthorized`], or another refusal.
    pub async fn delete_before(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        deadline: Duration,
    ) -> Result<(), KafkaError> {
        let what = || format!("delete messages of {topic}[{partition}] before {offset}");
        let failed = |error| {
            KafkaError::of_request(what(), topic, admin_error(error)).needing(Right::Delete(topic))
        };
        self.authenticated().await?;
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(failed)?;
        let deleted = self.client.delete_records(&before, &options(deadline));
        let deleted = deleted.await.map_err(failed)?;
        let elements = deleted.elements();
        elements
            .iter()
            .try_for_each(|at| at.error())
            .map_err(failed)
    }

    /// First and next offset of every partition of a topic.
    ///
    /// # Errors
    /// [`KafkaError::TopicMissing`], [`KafkaError::NotAuthorized`], [`KafkaError::Timeout`], or another
    /// refusal.
    pub async fn watermarks(
        &self,
        topic: &str,
        deadline: Duration,
    ) -> Result<Vec<Watermark>, KafkaError> {
        check_topic_name(topic)?;
        let end = Instant::now() + deadline;
        loop {
            // A partition that was just made, or whose leader just left, has none for a moment.
            match self.read_watermarks(topic, end).await {
                Err(KafkaError::Request {
                    retryable: true, ..
                }) if Instant::now() < end => tokio::time::sleep(LOOK_AGAIN).await,
                answer => return answer,
            }
        }
    }

    async fn read_watermarks(
        &self,
        topic: &str,
        end: Instant,
    ) -> Result<Vec<Watermark>, KafkaError> {
        self.authenticated().await?;
        let (client, topic) = (Arc::clone(&self.client), topic.to_owned());
        blocking(move || {
            let found = describe(client.inner(), &topic, remaining(end))?;
            let Some(Description { partitions, .. }) = found else {
                return Err(KafkaError::TopicMissing { topic });
            };
            (0..partitions)
                .map(|partition| {
                    let what = || format!("read the watermarks of {topic}[{partition}]");
                    let (low, high) = client
                        .inner()
                        .fetch_watermarks(&topic, partition, remaining(end))
                        .map_err(|error| {
                            KafkaError::of_request(what(), &topic, error)
                                .needing(Right::Describe(&topic))
                        })?;
                    Ok(Watermark {
                        partition,
                        low,
                        high,
                    })
                })
                .collect()
        })
        .await
    }
}

pub(crate) fn options(deadline: Duration) -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(deadline))
        .request_timeout(Some(deadline + Duration::from_millis(500)))
}

fn remaining(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

/// `rdkafka` hides the code of an admin operation's failure from `rdkafka_error_code`.
pub(crate) fn admin_error(error: ClientError) -> ClientError {
    match error {
        ClientError::AdminOp(code) => ClientError::MetadataFetch(code),
        other => other,
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(KafkaError::Closed),
        },
    }
}
