//! Finds where partitions begin, and gives them to librdkafka there.
//!
//! Not the loop: each function is called on every turn and returns at once unless it is due. What fails
//! is told as a problem and tried again with backoff, for ever (D8).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::partitions::Stage;
use super::worker::{Backoff, Worker, list};
use super::{Event, TopicIdentity};
use crate::KafkaError;
use crate::error::Right;
use crate::topic_id::describe;

/// How long the brokers may take to answer a question that a partition waits for.
const ASK_DEADLINE: Duration = Duration::from_secs(5);
/// The same for the regular look at a topic's identity, which nobody waits for.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// How often a topic's identity is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl Worker {
    /// Places every partition whose position is not known yet.
    pub(super) fn place_waiting(&mut self) {
        if !self.assignment.any_waiting() || !self.placing.is_due() {
            return;
        }
        let mut complete = true;
        let topics: Vec<String> = self.assignment.topics.keys().cloned().collect();
        for name in topics {
            if let Err(error) = self.place_topic(&name) {
                complete = false;
                self.problem(error);
            }
        }
        if complete {
            self.placing = Backoff::due_now();
        } else {
            self.placing.failed();
        }
    }

    fn place_topic(&mut self, name: &str) -> Result<(), KafkaError> {
        let of_topic = |worker: &Self| {
            worker
                .assignment
                .topics
                .get(name)
                .map(|topic| topic.in_stage(Stage::Waiting))
        };
        if of_topic(self).is_none_or(|waiting| waiting.is_empty()) {
            return Ok(());
        }
        let identity = self.identify(name)?;
        let waiting = of_topic(self).unwrap_or_default();
        let lows = self.edge(name, &waiting, Offset::Beginning)?;
        let lows: Vec<(i32, i64)> = lows.into_iter().collect();
        let begins: BTreeMap<i32, i64> = self
            .positions
            .assigned(&identity, &lows)
            .map_err(|source| KafkaError::Positions {
                topic: name.to_owned(),
                source,
            })?
            .into_iter()
            .collect();
        // Only now: where the logs end must not be older news than the positions. Another sink may
        // still be applying, and this thread may have slept between the two.
        let ranges = self.ranges(name, &waiting)?;
        let mut begin_now = Vec::new();
        for (partition, (low, high)) in ranges {
            match begins.get(&partition) {
                Some(&begin) if (low..=high).contains(&begin) => begin_now.push((partition, begin)),
                Some(&begin) => self.out_of_range(&identity, partition, begin, low, high),
                None => {
                    let source = format!("no answer for partition {partition}").into();
                    return Err(KafkaError::Positions {
                        topic: name.to_owned(),
                        source,
                    });
                }
            }
        }
        self.attach(&identity, &begin_now)
    }

    /// Asks for the topic's identity. When it is another one than before, every partition waits to be
    /// placed anew.
    fn identify(&mut self, name: &str) -> Result<Arc<TopicIdentity>, KafkaError> {
        let found = describe(self.client.client(), name, ASK_DEADLINE)?;
        let found = found.ok_or_else(|| KafkaError::TopicMissing {
            topic: name.to_owned(),
        })?;
        self.client.context().health.answered();
        self.recognise(name, found.id);
        let topic = self.assignment.topics.get(name);
        topic
            .and_then(|topic| topic.identity.clone())
            .ok_or_else(|| KafkaError::TopicMissing {
                topic: name.to_owned(),
            })
    }

    /// Takes note of a topic's id.
    fn recognise(&mut self, name: &str, id: String) {
        let Some(topic) = self.assignment.topics.get_mut(name) else {
            return;
        };
        if topic.identity.as_ref().is_some_and(|known| known.id == id) {
            return;
        }
        let known = topic.identity.replace(Arc::new(TopicIdentity {
            name: name.to_owned(),
            id,
        }));
        let Some(known) = known else { return };
        tracing::warn!(
            topic = name,
            "the topic was deleted and made again: it is read as a new one"
        );
        let reading = topic.in_stage(Stage::Reading);
        let placed: Vec<i32> = topic
            .partitions
            .iter_mut()
            .filter(|(_, partition)| partition.stage != Stage::Waiting)
            .map(|(number, partition)| {
                partition.stage = Stage::Waiting;
                *number
            })
            .collect();
        self.detach(name, &reading);
        self.drop_stale();
        let generation = self.generation;
        self.tell(Event::Revoked {
            topic: known,
            partitions: placed,
            generation,
        });
        self.placing = Backoff::due_now();
    }

    /// Looks from time to time whether the topics are still the same ones.
    pub(super) fn check_identities(&mut self) {
        if Instant::now() < self.identity_check || self.held_back {
            return;
        }
        self.identity_check = Instant::now() + LOOK_EVERY;
        let topics: Vec<String> = self.assignment.topics.keys().cloned().collect();
        for name in topics {
            match describe(self.client.client(), &name, LOOK_DEADLINE) {
                Ok(Some(found)) => {
                    self.client.context().health.answered();
                    self.recognise(&name, found.id);
                }
                // The group will revoke its partitions.
                Ok(None) => self.problem(KafkaError::TopicMissing { topic: name }),
                Err(error) => tracing::debug!(%error, "looking at the topic's identity"),
            }
        }
    }

    /// Low and high watermark of each partition; a partition without an answer fails all.
    fn ranges(
        &self,
        name: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
        let lows = self.edge(name, partitions, Offset::Beginning)?;
        let highs = self.edge(name, partitions, Offset::End)?;
        let both = lows
            .into_iter()
            .filter_map(|(at, low)| Some((at, (low, *highs.get(&at)?))));
        Ok(both.collect())
    }

    /// One watermark of each partition.
    fn edge(
        &self,
        name: &str,
        partitions: &[i32],
        edge: Offset,
    ) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let what = || format!("read the watermarks of topic {name}");
        let failed =
            |error| KafkaError::of_request(what(), name, error).needing(Right::Describe(name));
        let mut asked = list(partitions.iter().map(|partition| (name, *partition)));
        // The protocol's ListOffsets takes these two where a time stamp is expected.
        asked.set_all_offsets(edge).map_err(failed)?;
        let found = self
            .client
            .offsets_for_times(asked, ASK_DEADLINE)
            .map_err(failed)?;
        let elements = found.elements();
        let found = elements.iter().map(|at| match (at.error(), at.offset()) {
            (Ok(()), Offset::Offset(offset)) => Ok((at.partition(), offset)),
            (Err(error), _) => Err(failed(error)),
            (Ok(()), _) => Err(KafkaError::Timeout { what: what() }),
        });
        found.collect()
    }

    /// Gives partitions that librdkafka does not have to it, and begins a generation.
    fn attach(
        &mut self,
        identity: &Arc<TopicIdentity>,
        begins: &[(i32, i64)],
    ) -> Result<(), KafkaError> {
        if begins.is_empty() {
            return Ok(());
        }
        let name = identity.name.as_str();
        self.attach_quietly(name, begins)?;
        self.generation += 1;
        let generation = self.generation;
        let mut shared = self.shared.lock();
        // A seek that is asked for but not yet followed has already ended this generation.
        let sought = |at: &i32| shared.wishes.seeks.contains_key(&(name.to_owned(), *at));
        let current: Vec<i32> = begins
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| !sought(at))
            .collect();
        let of_topic = shared.current.entry(name.to_owned()).or_default();
        of_topic.extend(current.into_iter().map(|at| (at, generation)));
        drop(shared);
        for &(at, begin) in begins {
            if let Some(partition) = self.assignment.get_mut(name, at) {
                partition.stage = Stage::Reading;
                partition.next = begin;
                partition.generation = generation;
            }
        }
        let (topic, partitions) = (Arc::clone(identity), begins.to_vec());
        self.tell(Event::Assigned {
            topic,
            partitions,
            generation,
        });
        Ok(())
    }

    fn attach_quietly(&self, name: &str, begins: &[(i32, i64)]) -> Result<(), KafkaError> {
        let what = || format!("begin to read topic {name}");
        let failed =
            |error| KafkaError::of_request(what(), name, error).needing(Right::Describe(name));
        let mut added = TopicPartitionList::new();
        let mut paused = TopicPartitionList::new();
        let partitions = self
            .assignment
            .topics
            .get(name)
            .map(|topic| &topic.partitions);
        for &(at, begin) in begins {
            added
                .add_partition_offset(name, at, Offset::Offset(begin))
                .map_err(failed)?;
            let owner = partitions.and_then(|of_topic| of_topic.get(&at));
            if self.held_back || owner.is_some_and(|partition| partition.paused_by_owner) {
                paused.add_partition(name, at);
            }
        }
        // librdkafka remembers a pause beyond a revocation.
        self.set_paused(&list(begins.iter().map(|(at, _)| (name, *at))), false);
        self.client.incremental_assign(&added).map_err(failed)?;
        if paused.count() > 0 {
            self.set_paused(&paused, true);
        }
        Ok(())
    }

    /// Takes partitions away from librdkafka; the group does not notice.
    fn detach(&mut self, name: &str, partitions: &[i32]) {
        if partitions.is_empty() {
            return;
        }
        let mut shared = self.shared.lock();
        partitions
            .iter()
            .for_each(|partition| shared.forget(name, *partition));
        drop(shared);
        let removed = list(partitions.iter().map(|partition| (name, *partition)));
        if let Err(error) = self.client.incremental_unassign(&removed) {
            tracing::warn!(%error, topic = name, "ending to read partitions");
        }
    }

    fn out_of_range(
        &mut self,
        identity: &Arc<TopicIdentity>,
        at: i32,
        requested: i64,
        low: i64,
        high: i64,
    ) {
        if let Some(partition) = self.assignment.get_mut(&identity.name, at) {
            partition.stage = Stage::OutOfRange;
            partition.next = requested;
        }
        let topic = Arc::clone(identity);
        self.tell(Event::OutOfRange {
            topic,
            partition: at,
            requested,
            low,
            high,
        });
    }

    /// The owner wants to go on elsewhere. A seek of librdkafka would be refused after it has met an
    /// offset out of range, so the partition is taken away and given back instead.
    pub(super) fn seek(&mut self, name: &str, at: i32, offset: i64) {
        let Some(topic) = self.assignment.topics.get(name) else {
            return;
        };
        let (Some(partition), Some(identity)) = (topic.partitions.get(&at), topic.identity.clone())
        else {
            return;
        };
        match partition.stage {
            // It will be asked for anyway.
            Stage::Waiting => return,
            Stage::Reading => self.detach(name, &[at]),
            Stage::OutOfRange => {}
        }
        self.drop_stale();
        if let Err(error) = self.attach(&identity, &[(at, offset)]) {
            if let Some(partition) = self.assignment.get_mut(name, at) {
                partition.stage = Stage::Waiting;
            }
            self.placing.failed();
            self.problem(error);
        }
    }

    /// librdkafka has met an offset outside of a log, without saying of which partition: finds it.
    pub(super) fn check_ranges(&mut self) {
        if !self.range_check.as_ref().is_some_and(Backoff::is_due) {
            return;
        }
        let topics: Vec<String> = self.assignment.topics.keys().cloned().collect();
        let checked = topics
            .iter()
            .try_for_each(|name| self.check_topic_ranges(name));
        match (checked, self.range_check.as_mut()) {
            (Err(error), Some(backoff)) => {
                backoff.failed();
                self.problem(error);
            }
            _ => self.range_check = None,
        }
    }

    fn check_topic_ranges(&mut self, name: &str) -> Result<(), KafkaError> {
        // Another topic of the same name is the commonest reason.
        self.identify(name)?;
        let Some(topic) = self.assignment.topics.get(name) else {
            return Ok(());
        };
        let (reading, identity) = (topic.in_stage(Stage::Reading), topic.identity.clone());
        let Some(identity) = identity.filter(|_| !reading.is_empty()) else {
            return Ok(());
        };
        let mut inside = Vec::new();
        for (at, (low, high)) in self.ranges(name, &reading)? {
            let next = self
                .assignment
                .get_mut(name, at)
                .map(|partition| partition.next);
            match next {
                Some(next) if next < low || next > high => {
                    self.detach(name, &[at]);
                    self.drop_stale();
                    self.out_of_range(&identity, at, next, low, high);
                }
                Some(next) => inside.push((at, next)),
                None => {}
            }
        }
        // librdkafka may have stopped one of these too (its log was cut behind our position, say), and
        // going on where we are is always right. Their generation stays.
        if !inside.is_empty() {
            let numbers = list(inside.iter().map(|(at, _)| (name, *at)));
            let what = || format!("go on reading topic {name}");
            let failed =
                |error| KafkaError::of_request(what(), name, error).needing(Right::Describe(name));
            self.client.incremental_unassign(&numbers).map_err(failed)?;
            self.attach_quietly(name, &inside)?;
        }
        Ok(())
    }
}
