//! What the views of checks are made of: `uptime`, `outages` and `certificates`.
//!
//! They take in every measurement `<probe>_check` that has a truth value `up`, whoever sends it, and
//! the changes of `check_state`. So they are made anew when one of these comes, and each database keeps
//! in `tidegauge_view` by which texts it made them. Without any checks they are there and empty. Their
//! columns stay as they are; new ones are added at the end, so that rights and other views stay too.
//!
//! A check that fails and is tried again at once is a row of its own (`repeated`) and no check by itself.
//! The states of a target are `check_state`'s series of the same host and tags.

use tidegauge_model::ValueType;

/// The views, in the order in which they are made.
pub(crate) const VIEWS: [&str; 3] = ["uptime", "outages", "certificates"];

/// Days since a certificate was seen for the last time after which it is listed no more: its check is
/// gone.
pub(crate) const CERTIFICATE_DAYS: u32 = 7;

/// The table of one kind of check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckTable {
    /// The measurement, `http_check`.
    pub(crate) measurement: String,
    /// Whether it has `repeated`.
    pub(crate) has_repeated: bool,
    /// Whether it has `certificate_expires_seconds`.
    pub(crate) has_certificate: bool,
}

impl CheckTable {
    /// The kind of check, `http`.
    pub(crate) fn probe(&self) -> &str {
        self.measurement
            .strip_suffix(SUFFIX)
            .unwrap_or(&self.measurement)
    }
}

/// The measurements of checks that a database has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CheckTables {
    /// By name.
    pub(crate) checks: Vec<CheckTable>,
    /// Whether there is `check_state`.
    pub(crate) has_states: bool,
}

const SUFFIX: &str = "_check";
const STATES: &str = "check_state";

/// Whether the views may be made of this measurement.
pub(crate) fn concerns_checks(measurement: &str) -> bool {
    measurement == STATES || measurement.ends_with(SUFFIX)
}

impl CheckTables {
    /// From measurement, name and type of all fields that there are.
    pub(crate) fn of<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str, ValueType)>) -> Self {
        let mut fields: Vec<_> = fields
            .into_iter()
            .filter(|(measurement, ..)| concerns_checks(measurement))
            .collect();
        fields.sort_unstable_by_key(|(measurement, name, _)| (*measurement, *name));
        let has = |measurement: &str, name: &str, value_type: ValueType| {
            fields.contains(&(measurement, name, value_type))
        };
        let mut names: Vec<&str> = fields
            .iter()
            .map(|(measurement, ..)| *measurement)
            .collect();
        names.dedup();
        let is_check = |name: &&str| name.ends_with(SUFFIX) && has(name, "up", ValueType::Bool);
        let check = |name: &str| CheckTable {
            measurement: name.to_owned(),
            has_repeated: has(name, "repeated", ValueType::Bool),
            has_certificate: has(name, "certificate_expires_seconds", ValueType::Float),
        };
        Self {
            checks: names.into_iter().filter(is_check).map(check).collect(),
            has_states: has(STATES, "up", ValueType::Bool)
                && has(STATES, "reason", ValueType::Text)
                && has(STATES, "since_seconds", ValueType::Float),
        }
    }

    /// Those that show certificates.
    pub(crate) fn with_certificates(&self) -> impl Iterator<Item = &CheckTable> {
        self.checks.iter().filter(|check| check.has_certificate)
    }
}

/// One select of many, or the one that is `empty`.
pub(crate) fn union_or(selects: Vec<String>, empty: &str) -> String {
    match selects.is_empty() {
        true => empty.to_owned(),
        false => selects.join("\nunion all "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_taken_in_and_nothing_else() {
        let fields = [
            ("http_check", "up", ValueType::Bool),
            ("http_check", "repeated", ValueType::Bool),
            ("dns_check", "certificate_expires_seconds", ValueType::Float),
            ("dns_check", "up", ValueType::Bool),
            // A check by its name only.
            ("spell_check", "up", ValueType::Float),
            ("check", "up", ValueType::Bool),
            ("scrape", "up", ValueType::Bool),
            ("check_state", "up", ValueType::Bool),
            ("check_state", "reason", ValueType::Text),
        ];
        let tables = CheckTables::of(fields);
        let names: Vec<&str> = tables.checks.iter().map(CheckTable::probe).collect();
        assert_eq!(names, ["dns", "http"]);
        assert!(tables.checks[1].has_repeated && !tables.checks[1].has_certificate);
        assert_eq!(tables.with_certificates().count(), 1);
        assert!(!tables.has_states, "it says not since when");
        let whole = [("check_state", "since_seconds", ValueType::Float)];
        assert!(CheckTables::of(fields.into_iter().chain(whole)).has_states);
        assert_eq!(CheckTables::of([]), CheckTables::default());
    }
}
