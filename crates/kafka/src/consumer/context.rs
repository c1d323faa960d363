//! Answers the group's rebalances at once, without asking anybody.
//!
//! Not where partitions begin: an assignment is acknowledged with *no* partition, and the worker, on
//! the same thread, adds each one as soon as its offset is known. So this callback never blocks, which
//! matters because it also runs while the consumer is being closed.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError as ClientError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::Shared;
use super::statistics::fetch_states;
use crate::health::{self, Health};
use crate::security::{self, Sasl};

/// A rebalance that the group was answered and that the worker has yet to follow.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assigned(Vec<(String, i32)>),
    Revoked(Vec<(String, i32)>),
}

pub(super) struct GroupContext {
    pub(super) health: Health,
    shared: Arc<Shared>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    sasl: Option<Sasl>,
}

impl GroupContext {
    pub(super) fn new(health: Health, shared: Arc<Shared>, sasl: Option<Sasl>) -> Self {
        Self {
            health,
            shared,
            rebalances: Mutex::default(),
            sasl,
        }
    }

    pub(super) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn remember(&self, rebalance: Rebalance) {
        self.rebalances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(rebalance);
    }
}

impl ClientContext for GroupContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        security::give(self.sasl.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.health.heard(facility, line);
        health::log(level, facility, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.health.failed(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(states) = fetch_states(statistics) {
            self.shared.lock().fetched = states;
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = names(list);
        let cooperative = matches!(
            consumer.rebalance_protocol(),
            RebalanceProtocol::Cooperative
        );
        tracing::debug!(?kind, ?partitions, cooperative, "the group rebalances");
        // The group waits for an answer also when the list is empty.
        let answered = if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.remember(Rebalance::Assigned(partitions));
            let none = TopicPartitionList::new();
            if cooperative {
                consumer.incremental_assign(&none)
            } else {
                consumer.assign(&none)
            }
        } else {
            // From here on nothing of them may be applied, whatever is still in the channel.
            let mut shared = self.shared.lock();
            for (topic, partition) in &partitions {
                shared.forget(topic, *partition);
            }
            drop(shared);
            self.remember(Rebalance::Revoked(partitions));
            if cooperative {
                attached_of(consumer, list).and_then(|list| consumer.incremental_unassign(&list))
            } else {
                consumer.unassign()
            }
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "answering the group's rebalance");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // Only lag tools see these offsets; a rebalance makes such errors normal.
            tracing::debug!(%error, "committing offsets for lag tools");
        }
    }
}

pub(super) fn names(list: &TopicPartitionList) -> Vec<(String, i32)> {
    list.elements()
        .iter()
        .map(|at| (at.topic().to_owned(), at.partition()))
        .collect()
}

/// Those of `list` that librdkafka has: partitions whose offset is not known yet it has not, and
/// refuses to take away.
fn attached_of(
    consumer: &BaseConsumer<GroupContext>,
    list: &TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let attached = consumer.assignment()?;
    let mut found = TopicPartitionList::new();
    for (topic, partition) in names(list) {
        if attached.find_partition(&topic, partition).is_some() {
            found.add_partition(&topic, partition);
        }
    }
    Ok(found)
}
