//! Where the logs end, as librdkafka's fetches told it: its statistics say so without a request.
//!
//! Not exact at every moment: a partition that is paused is not fetched, and its end stays as it was.
//! What the statistics hold besides is not looked at.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A partition as librdkafka last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchState {
    /// The offset of the next message to come (of the next stable one where transactions are used).
    pub end: i64,
    /// The offset that is fetched next; it passes over offsets that hold no message.
    pub next: i64,
    /// Whether every message that was fetched has left the client's queue.
    pub queue_is_empty: bool,
}

/// Topic, partition, and how far it is fetched.
pub(super) type FetchStates = BTreeMap<String, BTreeMap<i32, FetchState>>;

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: BTreeMap<String, TopicStatistics>,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: BTreeMap<String, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    partition: i32,
    next_offset: i64,
    hi_offset: i64,
    ls_offset: i64,
    fetchq_cnt: i64,
}

/// Reads the statistics; `None` when they are not in their form. What is not known yet is left out.
pub(super) fn fetch_states(statistics: &[u8]) -> Option<FetchStates> {
    let statistics: Statistics = serde_json::from_slice(statistics).ok()?;
    let topics = statistics.topics.into_iter().map(|(name, topic)| {
        let known = topic.partitions.into_values().filter_map(|partition| {
            // Negative numbers stand for "not known"; the stable end is not known of old brokers.
            let ends = [partition.ls_offset, partition.hi_offset];
            let end = ends.into_iter().find(|end| *end >= 0)?;
            let state = FetchState {
                end,
                next: partition.next_offset,
                queue_is_empty: partition.fetchq_cnt == 0,
            };
            (partition.partition >= 0).then_some((partition.partition, state))
        });
        (name, known.collect())
    });
    Some(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told() {
        let text = br#"{"name":"x","topics":{"t":{"age":1,"partitions":{
            "0":{"partition":0,"next_offset":7,"hi_offset":9,"ls_offset":8,"lo_offset":0,"fetchq_cnt":0},
            "1":{"partition":1,"next_offset":7,"hi_offset":9,"ls_offset":-1001,"fetchq_cnt":0},
            "2":{"partition":2,"next_offset":-1001,"hi_offset":-1001,"ls_offset":-1001,"fetchq_cnt":0},
            "3":{"partition":3,"next_offset":7,"hi_offset":9,"ls_offset":8,"fetchq_cnt":1},
            "-1":{"partition":-1,"next_offset":0,"hi_offset":0,"ls_offset":0,"fetchq_cnt":0}}}}}"#;
        let states = fetch_states(text).expect("in its form");
        let state = |end, next, queue_is_empty| FetchState {
            end,
            next,
            queue_is_empty,
        };
        let expected = [
            (0, state(8, 7, true)),
            (1, state(9, 7, true)),
            (3, state(8, 7, false)),
        ];
        assert_eq!(states["t"], expected.into());
        assert_eq!(fetch_states(b"{}"), Some(BTreeMap::new()));
        assert_eq!(fetch_states(b"{"), None);
    }
}
