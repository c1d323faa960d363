//! What the consumer's thread knows about each partition that the group gave it.
//!
//! Pure state: it calls neither librdkafka nor the owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::TopicIdentity;

/// How far a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Ours, but its offset is not known yet; librdkafka does not have it.
    Waiting,
    /// librdkafka has it and fetches.
    Reading,
    /// Its position is outside of the log; librdkafka does not have it until the owner seeks.
    OutOfRange,
}

#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) stage: Stage,
    /// Offset of the next message to deliver.
    pub(super) next: i64,
    pub(super) generation: u64,
    pub(super) paused_by_owner: bool,
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    /// Known once a partition of it was resolved.
    pub(super) identity: Option<Arc<TopicIdentity>>,
    pub(super) partitions: BTreeMap<i32, Partition>,
}

impl Topic {
    /// Partitions in `stage`.
    pub(super) fn in_stage(&self, stage: Stage) -> Vec<i32> {
        let of_stage = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.stage == stage);
        of_stage.map(|(number, _)| *number).collect()
    }
}

/// All partitions of the member, by topic.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    pub(super) topics: BTreeMap<String, Topic>,
}

impl Assignment {
    /// The group gave us a partition; where it begins is not known yet.
    pub(super) fn add(&mut self, topic: &str, partition: i32) {
        let topic = self.topics.entry(topic.to_owned()).or_default();
        let waiting = Partition {
            stage: Stage::Waiting,
            next: -1,
            generation: 0,
            paused_by_owner: false,
        };
        topic.partitions.insert(partition, waiting);
    }

    /// The group took a partition; returns what it was. The identity of a topic stays as long as a
    /// partition of it does.
    pub(super) fn remove(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Option<(Option<Arc<TopicIdentity>>, Partition)> {
        let entry = self.topics.get_mut(topic)?;
        let removed = entry.partitions.remove(&partition)?;
        let identity = entry.identity.clone();
        if entry.partitions.is_empty() {
            self.topics.remove(topic);
        }
        Some((identity, removed))
    }

    pub(super) fn get_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.partitions.get_mut(&partition)
    }

    /// Takes a fetched offset into account: the topic and the generation if the message is to be
    /// delivered, `None` for one that was fetched before a seek, a pause or a revocation.
    pub(super) fn accept(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Option<(Arc<TopicIdentity>, u64)> {
        let entry = self.topics.get_mut(topic)?;
        let identity = entry.identity.as_ref()?;
        let partition = entry.partitions.get_mut(&partition)?;
        if partition.stage != Stage::Reading || offset < partition.next {
            return None;
        }
        partition.next = offset + 1;
        Some((Arc::clone(identity), partition.generation))
    }

    pub(super) fn any_waiting(&self) -> bool {
        let mut all = self
            .topics
            .values()
            .flat_map(|topic| topic.partitions.values());
        all.any(|partition| partition.stage == Stage::Waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Arc<TopicIdentity> {
        Arc::new(TopicIdentity {
            name: "t".into(),
            id: "one".into(),
        })
    }

    #[test]
    fn nothing_is_delivered_before_the_position_is_known_d4() {
        let mut assignment = Assignment::default();
        assert_eq!(assignment.accept("t", 0, 0), None, "not ours");
        assignment.add("t", 0);
        assert!(assignment.any_waiting());
        assignment.topics.get_mut("t").expect("added").identity = Some(identity());
        assert_eq!(assignment.accept("t", 0, 0), None, "waiting");
        let partition = assignment.get_mut("t", 0).expect("added");
        (partition.stage, partition.next, partition.generation) = (Stage::Reading, 7, 3);
        assert_eq!(assignment.accept("t", 0, 6), None, "before the position");
        assert_eq!(assignment.accept("t", 0, 7), Some((identity(), 3)));
        assert_eq!(assignment.accept("t", 0, 7), None, "fetched twice");
        assert_eq!(
            assignment.accept("t", 0, 9),
            Some((identity(), 3)),
            "offsets have holes"
        );
    }

    #[test]
    fn the_identity_goes_with_the_last_partition() {
        let mut assignment = Assignment::default();
        assignment.add("t", 0);
        assignment.add("t", 1);
        assignment.topics.get_mut("t").expect("added").identity = Some(identity());
        let (first, _) = assignment.remove("t", 0).expect("ours");
        assert_eq!(first, Some(identity()));
        assert!(assignment.remove("t", 0).is_none());
        assert!(assignment.remove("t", 1).is_some());
        assert!(assignment.topics.is_empty());
    }
}
