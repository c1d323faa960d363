//! The probe `postgres`: a login into a PostgreSQL server and a query, each phase with its own time.

use super::keys::DATABASE_KEYS;
use super::{NewProbe, ProbeEntry};
use tidegauge_model::name;

#[cfg(feature = "databases")]
mod probe;

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "postgres",
    measurement: name!("postgres_check"),
    schemes: &["postgres", "postgresql"],
    description: "A login into a PostgreSQL server, and a query.",
    keys: DATABASE_KEYS,
    new: NEW,
};

#[cfg(feature = "databases")]
const NEW: NewProbe =
    |settings, context| Ok(Box::new(probe::PostgresProbe::new(settings, context)?));
#[cfg(not(feature = "databases"))]
const NEW: NewProbe = super::NO_DATABASES;
