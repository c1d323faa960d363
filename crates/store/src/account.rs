//! What the bookkeeping answers to "did I lose anything?": rows of the views `losses` and
//! `freshness`, and how far each source was read (D10).

/// Something that was not stored, or not as it came: one row of the view `losses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What is counted: `missing_batches`, `dropped_batches`, `lost_spools`, `unread_messages`,
    /// `dead_letters`, `removed_dead_letters` or `left_out_values`.
    pub what: String,
    /// The agent, or the source's identity.
    pub source: String,
    /// The agent's epoch, where it is an agent.
    pub epoch: Option<i64>,
    /// The source's label, for Kafka the topic.
    pub topic: Option<String>,
    /// The partition.
    pub partition: Option<i32>,
    /// The word of the reason.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first was noted, microseconds since 1970 UTC, as far as it is known.
    pub first_us: Option<i64>,
    /// When the last was noted, or what counts them was last changed, microseconds since 1970 UTC.
    pub last_us: Option<i64>,
}

/// How fresh a host is: one row of the view `freshness`.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFreshness {
    /// What tells it apart: `agent:<id>` or `name:<host>`.
    pub identity: String,
    /// Its name.
    pub name: String,
    /// Its youngest sample, microseconds since 1970 UTC; `None` when none is known.
    pub last_sample_us: Option<i64>,
    /// Its age by the database's clock, in seconds.
    pub age_seconds: Option<f64>,
}

/// How far a partition was read, and what was in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The source's identity.
    pub source: String,
    /// The source's label, for Kafka the topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to apply.
    pub next_offset: i64,
    /// Messages that were applied.
    pub messages: u64,
    /// Points that were stored.
    pub points: u64,
    /// Points that came again and were left out.
    pub duplicate_points: u64,
    /// Dead letters that were made.
    pub dead_letters: u64,
    /// Values that were not finite.
    pub left_out_values: u64,
    /// When it was last moved, microseconds since 1970 UTC.
    pub updated_us: i64,
}
