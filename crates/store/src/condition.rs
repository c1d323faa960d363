//! What a database is and how it stands, for the person who looks at it: asked for, never acted upon.

/// A database as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreCondition {
    /// What it is, as `PostgreSQL 15.14`.
    pub version: String,
    /// What its clock says, microseconds since 1970 UTC; `None` where it has none of its own.
    pub clock_us: Option<i64>,
    /// The version of its tables; 0 where there are none.
    pub schema: u32,
    /// The version that this program needs.
    pub schema_needed: u32,
    /// Whether it takes no writes at all: a standby, or set to be so.
    pub is_read_only: bool,
    /// Rights that a sink needs and this user lacks, as `INSERT on position`; `None` where the database is not
    /// asked, because it has no such rights or no way to ask for them.
    pub missing_rights: Option<Vec<String>>,
    /// Whether this user may make tables.
    pub may_create: bool,
    /// Until when partitions are there for all measurements that were written within a day, microseconds
    /// since 1970 UTC; `None` where there are none.
    pub ahead_us: Option<i64>,
    /// Databases that follow this one, with the milliseconds that they are behind, where that is known.
    pub standbys: Vec<(String, Option<u64>)>,
    /// Replication slots that nobody reads from at the moment, with the bytes of its log that the database keeps for
    /// each on its disk.
    pub idle_slots: Vec<(String, u64)>,
}
