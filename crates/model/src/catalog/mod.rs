//! The catalog of built-in measurements: one table from which the reference in `docs/` and the
//! database's `measurement` and `field` rows come.
//!
//! Not a filter: points of other measurements are stored too, with the kind `gauge` and no unit.

mod checks;
mod file_systems;
mod hardware;
mod host;
mod kernel;
mod net;
mod own;
mod probes;
mod processes;
mod tcp;

use crate::ValueType;
use std::fmt;

/// What a measurement or a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows, and begins again at 0.
    Counter,
    /// Count, sum, min, max, mean and percentiles of one interval.
    Timer,
}

impl Kind {
    /// The word for it in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Timer => "timer",
        }
    }

    /// The kind behind a word of the database.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Gauge, Self::Counter, Self::Timer]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One built-in measurement.
#[derive(Debug)]
pub struct MeasurementEntry {
    /// Its name, which is the name of its view in the database.
    pub name: &'static str,
    /// The kind of most of its fields.
    pub kind: Kind,
    /// What it says, one sentence.
    pub description: &'static str,
    /// The tags that tell its series apart, with their meaning.
    pub tags: &'static [TagEntry],
    /// Its fields.
    pub fields: &'static [FieldEntry],
}

/// One tag of a built-in measurement.
#[derive(Debug)]
pub struct TagEntry {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
}

/// One field of a built-in measurement.
#[derive(Debug)]
pub struct FieldEntry {
    /// Its name, with the unit in it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The type of its values.
    pub value_type: ValueType,
    /// Its unit: `percent`, `bytes`, `seconds`, or empty for plain numbers, truth values and texts.
    pub unit: &'static str,
    /// What it says, one sentence.
    pub description: &'static str,
}

const fn tag(name: &'static str, description: &'static str) -> TagEntry {
    TagEntry { name, description }
}

const fn gauge(name: &'static str, unit: &'static str, description: &'static str) -> FieldEntry {
    FieldEntry {
        name,
        kind: Kind::Gauge,
        value_type: ValueType::Float,
        unit,
        description,
    }
}

const fn counter(name: &'static str, unit: &'static str, description: &'static str) -> FieldEntry {
    FieldEntry {
        name,
        kind: Kind::Counter,
        value_type: ValueType::Float,
        unit,
        description,
    }
}

const fn percent(name: &'static str, description: &'static str) -> FieldEntry {
    gauge(name, "percent", description)
}

const fn bytes(name: &'static str, description: &'static str) -> FieldEntry {
    gauge(name, "bytes", description)
}

const fn number(name: &'static str, description: &'static str) -> FieldEntry {
    gauge(name, "", description)
}

const fn count(name: &'static str, description: &'static str) -> FieldEntry {
    counter(name, "", description)
}

const fn truth(name: &'static str, description: &'static str) -> FieldEntry {
    FieldEntry {
        name,
        kind: Kind::Gauge,
        value_type: ValueType::Bool,
        unit: "",
        description,
    }
}

const fn text(name: &'static str, description: &'static str) -> FieldEntry {
    FieldEntry {
        name,
        kind: Kind::Gauge,
        value_type: ValueType::Text,
        unit: "",
        description,
    }
}

/// All built-in measurements.
pub fn measurements() -> impl Iterator<Item = &'static MeasurementEntry> {
    host::MEASUREMENTS
        .iter()
        .chain(file_systems::MEASUREMENTS)
        .chain(hardware::MEASUREMENTS)
        .chain(processes::MEASUREMENTS)
        .chain(kernel::MEASUREMENTS)
        .chain(net::MEASUREMENTS)
        .chain(tcp::MEASUREMENTS)
        .chain(checks::MEASUREMENTS)
        .chain(probes::MEASUREMENTS)
        .chain(own::MEASUREMENTS)
}

/// The built-in measurement of this name.
#[must_use]
pub fn measurement(name: &str) -> Option<&'static MeasurementEntry> {
    measurements().find(|entry| entry.name == name)
}

impl MeasurementEntry {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static FieldEntry> {
        self.fields.iter().find(|entry| entry.name == name)
    }
}

/// Names that the store keeps for its own tables and views; a measurement of such a name is
/// refused with the reason `reserved_name`.
pub const RESERVED_MEASUREMENTS: &[&str] = &[
    "certificates",
    "dead_letter",
    "dead_letter_removed",
    "field",
    "freshness",
    "gap",
    "host",
    "ledger",
    "losses",
    "measurement",
    "outages",
    "partition",
    "position",
    "series",
    "tag",
    "uptime",
];

/// Names of columns that every view has; a field of such a name is refused, and a tag of such a
/// name is the column `tag_<name>`.
pub const RESERVED_FIELDS: &[&str] = &["host", "series_id", "time", "time_us"];

/// Whether a measurement of this name is refused: a bookkeeping table, or a prefix under which
/// the databases and the store keep their own.
#[must_use]
pub fn is_reserved_measurement(name: &str) -> bool {
    RESERVED_MEASUREMENTS.binary_search(&name).is_ok()
        || ["m_", "p_", "pg_", "refinery_", "sqlite_", "tidegauge_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;
    use std::collections::BTreeSet;

    #[test]
    fn every_entry_can_be_stored() {
        let mut seen = BTreeSet::new();
        for entry in measurements() {
            assert!(seen.insert(entry.name), "{} is there twice", entry.name);
            assert!(Name::check(entry.name).is_ok(), "{}", entry.name);
            assert!(!is_reserved_measurement(entry.name), "{}", entry.name);
            assert!(entry.description.ends_with('.'), "{}", entry.name);
            let mut names = BTreeSet::new();
            for name in entry
                .fields
                .iter()
                .map(|f| f.name)
                .chain(entry.tags.iter().map(|t| t.name))
            {
                assert!(names.insert(name), "{}.{name} is there twice", entry.name);
                assert!(Name::check(name).is_ok(), "{}.{name}", entry.name);
                assert!(!RESERVED_FIELDS.contains(&name), "{}.{name}", entry.name);
            }
        }
    }

    #[test]
    fn a_unit_is_in_the_name() {
        for entry in measurements() {
            for field in entry.fields.iter().filter(|field| !field.unit.is_empty()) {
                assert!(
                    field.name.ends_with(&format!("_{}", field.unit)) || field.name == field.unit,
                    "{}.{} has the unit {} but does not say so",
                    entry.name,
                    field.name,
                    field.unit
                );
            }
        }
    }

    #[test]
    fn reserved_names_are_sorted_for_the_search() {
        assert!(RESERVED_MEASUREMENTS.is_sorted());
        assert!(is_reserved_measurement("ledger") && is_reserved_measurement("m_cpu"));
        assert!(!is_reserved_measurement("cpu"));
    }
}
