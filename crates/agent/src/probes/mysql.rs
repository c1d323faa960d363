//! The probe `mysql`: a login into a MySQL or MariaDB server and a query, over the client of the store.

use super::keys::DATABASE_KEYS;
use super::{NewProbe, ProbeEntry};
use tidegauge_model::name;

#[cfg(feature = "databases")]
mod probe;

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "mysql",
    measurement: name!("mysql_check"),
    schemes: &["mysql"],
    description: "A login into a MySQL or MariaDB server, and a query.",
    keys: DATABASE_KEYS,
    new: NEW,
};

#[cfg(feature = "databases")]
const NEW: NewProbe = |settings, context| Ok(Box::new(probe::MysqlProbe::new(settings, context)?));
#[cfg(not(feature = "databases"))]
const NEW: NewProbe = super::NO_DATABASES;
