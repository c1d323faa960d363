//! What a writer knows of the database's hosts, measurements and series.
//!
//! The sink builds rows against a [`Catalog`]; what it does not find there it collects as
//! [`Requirements`], has [`Store::ensure`](crate::Store::ensure) make or refuse them outside of
//! the step, and builds again. So a step never waits for the database and never alters a table.

use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegauge_model::catalog::MeasurementEntry;
use tidegauge_model::{Kind, Limits, Reason, ValueType};

/// A host's number in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub i32);

/// A series' number in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub i32);

/// What tells hosts apart: the agent, or the name where no agent numbers its batches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey {
    /// The agent id; empty for producers without one.
    pub agent: String,
    /// The host name. With an agent it is a property that may change, not part of the identity.
    pub name: String,
}

impl HostKey {
    /// The identity as one text: `agent:<id>` or `name:<host>`.
    #[must_use]
    pub fn identity(&self) -> String {
        match self.agent.is_empty() {
            true => format!("name:{}", self.name),
            false => format!("agent:{}", self.agent),
        }
    }
}

/// A column of a measurement's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldColumn {
    /// The field's name, which is the column's.
    pub name: String,
    /// Its type; the first seen stays.
    pub value_type: ValueType,
}

/// A measurement as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// Its number.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Whether rows are known by (series, time) from the first day, because some source of it does
    /// not number its batches.
    pub keyed: bool,
    /// The columns, in the order in which they were made.
    pub fields: Vec<FieldColumn>,
    /// The tag names that were seen.
    pub tags: Vec<String>,
    /// Fields that were refused, with the reason.
    pub refused: BTreeMap<String, Reason>,
}

impl Measurement {
    /// The column of a field.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

/// What is known of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesSlot {
    /// It has a number.
    Known(SeriesId),
    /// It is refused for this reason.
    Refused(Reason),
}

/// A series that a step will need.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesNeed {
    /// Its host.
    pub host: HostKey,
    /// Its measurement.
    pub measurement: String,
    /// Its tags, sorted by name.
    pub tags: Vec<(String, String)>,
}

/// What a measurement will need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeasurementNeed {
    /// Fields with the type of the first value seen.
    pub fields: BTreeMap<String, ValueType>,
    /// Tag names.
    pub tags: std::collections::BTreeSet<String>,
    /// Whether rows must be known by (series, time).
    pub keyed: bool,
    /// The kind that its sender gave it, used when it is made unless it is a built-in one.
    pub kind: Option<Kind>,
}

/// The kind of a field that is made: as the catalog of built-in measurements has it, else that of
/// its measurement if it is a number.
pub(crate) fn kind_of_field(
    built_in: Option<&MeasurementEntry>,
    measurement: Kind,
    field: &str,
    value_type: ValueType,
) -> Kind {
    match built_in {
        Some(entry) => entry.field(field).map_or(Kind::Gauge, |field| field.kind),
        // Beside the counts of a histogram or a summary, these go up and down.
        None if measurement == Kind::Counter && is_statistic(field) => Kind::Gauge,
        None if value_type == ValueType::Float => measurement,
        None => Kind::Gauge,
    }
}

/// `min`, `max`, `mean`, or a percentile such as `p99_9`.
fn is_statistic(field: &str) -> bool {
    let percentile = field.strip_prefix('p').is_some_and(|digits| {
        digits.starts_with(|first: char| first.is_ascii_digit())
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'_')
    });
    percentile || ["min", "max", "mean"].contains(&field)
}

impl MeasurementNeed {
    /// The kind of the measurement if it is made now.
    pub(crate) fn kind(&self, built_in: Option<&MeasurementEntry>) -> Kind {
        let told = self.kind.unwrap_or(Kind::Gauge);
        built_in.map_or(told, |entry| entry.kind)
    }
}

/// What a step will need and the catalog does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Hosts with their labels, to be made or to have name and labels brought up to date.
    pub hosts: BTreeMap<HostKey, Vec<(String, String)>>,
    /// Measurements, and fields and tags of them.
    pub measurements: BTreeMap<String, MeasurementNeed>,
    /// Series, each with the raw identities under which the catalog will be asked for it.
    pub series: BTreeMap<SeriesNeed, Vec<Box<[u8]>>>,
}

impl Requirements {
    /// True when nothing is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.measurements.is_empty() && self.series.is_empty()
    }
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHost {
    /// Its number.
    pub id: HostId,
    /// The name that is stored.
    pub name: String,
    /// The labels that are stored, sorted by name.
    pub labels: Vec<(String, String)>,
}

/// What a writer knows. Bounded: series that were not used for long are forgotten and asked anew.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The limits that [`Store::ensure`](crate::Store::ensure) keeps.
    pub limits: Limits,
    hosts: HashMap<String, KnownHost>,
    measurements: HashMap<String, Result<Arc<Measurement>, Reason>>,
    // Two generations: when the young one is full it becomes the old one and the old is
    // forgotten; a hit in the old one moves it to the young one.
    young: HashMap<Box<[u8]>, SeriesSlot>,
    old: HashMap<Box<[u8]>, SeriesSlot>,
}

impl Catalog {
    /// Series kept in each of the two generations.
    pub const GENERATION: usize = 500_000;
    /// Hosts that are kept; when there are more, all are asked anew.
    const MOST_HOSTS: usize = 200_000;

    /// An empty catalog with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Forgets everything, after a new connection or a conflict.
    pub fn clear(&mut self) {
        *self = Self::new(self.limits.clone());
    }

    /// A host by its identity.
    #[must_use]
    pub fn host(&self, identity: &str) -> Option<&KnownHost> {
        self.hosts.get(identity)
    }

    /// Hosts that are known now.
    #[must_use]
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// Learns a host.
    pub fn learn_host(&mut self, identity: String, host: KnownHost) {
        // Far more than one step can name, so that asking for a step's hosts comes to an end.
        if self.hosts.len() >= Self::MOST_HOSTS {
            self.hosts.clear();
        }
        self.hosts.insert(identity, host);
    }

    /// A measurement, or why there will be none.
    #[must_use]
    pub fn measurement(&self, name: &str) -> Option<&Result<Arc<Measurement>, Reason>> {
        self.measurements.get(name)
    }

    /// All measurements that are known and not refused.
    pub fn measurements(&self) -> impl Iterator<Item = &Arc<Measurement>> {
        self.measurements
            .values()
            .filter_map(|known| known.as_ref().ok())
    }

    /// Learns a measurement, or that it is refused.
    pub fn learn_measurement(&mut self, name: String, known: Result<Arc<Measurement>, Reason>) {
        self.measurements.insert(name, known);
    }

    /// A series by its raw identity (the caller's bytes, the same each time).
    pub fn series(&mut self, raw: &[u8]) -> Option<SeriesSlot> {
        if let Some(slot) = self.young.get(raw) {
            return Some(*slot);
        }
        let (raw, slot) = self.old.remove_entry(raw)?;
        self.learn_series(raw, slot);
        Some(slot)
    }

    /// Learns a series under a raw identity.
    pub fn learn_series(&mut self, raw: Box<[u8]>, slot: SeriesSlot) {
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(raw, slot);
    }

    /// Series that are known now.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_in_use_survive_a_change_of_generation() {
        let mut catalog = Catalog::new(Limits::default());
        let raw = |n: usize| n.to_le_bytes().to_vec().into_boxed_slice();
        for n in 0..Catalog::GENERATION {
            catalog.learn_series(raw(n), SeriesSlot::Known(SeriesId(1)));
        }
        catalog.learn_series(raw(usize::MAX), SeriesSlot::Known(SeriesId(2)));
        assert_eq!(
            catalog.series(&raw(7)),
            Some(SeriesSlot::Known(SeriesId(1))),
            "from the old one"
        );
        for n in 0..Catalog::GENERATION {
            catalog.learn_series(raw(1 << 40 | n), SeriesSlot::Known(SeriesId(3)));
        }
        assert_eq!(
            catalog.series(&raw(7)),
            Some(SeriesSlot::Known(SeriesId(1))),
            "moved once"
        );
        assert_eq!(catalog.series(&raw(8)), None, "not used, forgotten");
        assert!(catalog.series_count() <= 2 * Catalog::GENERATION);
    }
}
