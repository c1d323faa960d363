//! Hosts, measurements, fields, tags and series that a step will need (D9), within the limits
//! (D14): one transaction of its own, what exists is left as it is.

use super::bookkeeping::{parsed, signed};
use super::check_views;
use super::tables::{self, NOW_US};
use crate::catalog::kind_of_field;
use crate::checks::concerns_checks;
use crate::{
    Catalog, FieldColumn, HostId, HostKey, KnownHost, Measurement, MeasurementNeed, Requirements,
    SeriesId, SeriesNeed, SeriesSlot,
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tidegauge_model::{Kind, Limits, Name, Reason, ValueType, catalog};

/// What is needed, and what the writer knows that the database does not.
pub(super) struct Request {
    needs: Requirements,
    limits: Limits,
    /// Whether tables, columns and views are made.
    manages_schema: bool,
    /// Fields that were refused before, by measurement.
    refused: HashMap<String, BTreeMap<String, Reason>>,
}

/// What is to be learned when the transaction is committed.
#[derive(Default)]
pub(super) struct Learned {
    hosts: Vec<(String, KnownHost)>,
    measurements: BTreeMap<String, Result<Arc<Measurement>, Reason>>,
    series: Vec<(Box<[u8]>, SeriesSlot)>,
}

impl Request {
    pub(super) fn new(needs: &Requirements, catalog: &Catalog, manages_schema: bool) -> Self {
        let known = catalog.measurements();
        let refused = known.filter(|known| !known.refused.is_empty());
        Self {
            needs: needs.clone(),
            limits: catalog.limits.clone(),
            manages_schema,
            refused: refused
                .map(|known| (known.name.clone(), known.refused.clone()))
                .collect(),
        }
    }
}

impl Learned {
    pub(super) fn teach(self, catalog: &mut Catalog) {
        for (identity, host) in self.hosts {
            catalog.learn_host(identity, host);
        }
        for (name, known) in self.measurements {
            catalog.learn_measurement(name, known);
        }
        for (raw, slot) in self.series {
            catalog.learn_series(raw, slot);
        }
    }
}

/// Makes what is missing.
pub(super) fn ensure(connection: &mut Connection, request: &Request) -> rusqlite::Result<Learned> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut learned = Learned::default();
    for (key, labels) in &request.needs.hosts {
        let host = ensure_host(&transaction, key, labels)?;
        learned.hosts.push((key.identity(), host));
    }
    for (name, need) in &request.needs.measurements {
        let known = ensure_measurement(&transaction, request, name, need)?;
        learned.measurements.insert(name.clone(), known);
    }
    let mut ensuring = EnsureSeries {
        transaction: &transaction,
        request,
        hosts: HashMap::new(),
    };
    for (need, raw_identities) in &request.needs.series {
        let slot = ensuring.ensure(need, &mut learned.measurements)?;
        let raw_identities = raw_identities.iter().cloned();
        learned.series.extend(raw_identities.map(|raw| (raw, slot)));
    }
    transaction.commit()?;
    Ok(learned)
}

/// Makes a host, or brings its name and labels up to date.
fn ensure_host(
    transaction: &Transaction<'_>,
    key: &HostKey,
    labels: &[(String, String)],
) -> rusqlite::Result<KnownHost> {
    let identity = key.identity();
    let labels: BTreeMap<&str, &str> = pairs(labels);
    transaction
        .prepare_cached(&format!(
            "insert into host (identity, agent, name, labels, first_seen)
             values (?1, ?2, ?3, ?4, {NOW_US})
             on conflict (identity) do update set name = excluded.name, labels = excluded.labels
             where name <> excluded.name or labels <> excluded.labels"
        ))?
        .execute(params![identity, key.agent, key.name, json(&labels)])?;
    let id = transaction
        .prepare_cached("select id from host where identity = ?1")?
        .query_row([identity], |row| row.get(0))?;
    let labels = labels.into_iter();
    Ok(KnownHost {
        id: HostId(id),
        name: key.name.clone(),
        labels: labels
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect(),
    })
}

/// Makes a measurement with its table and view, or adds to it, or says why not.
fn ensure_measurement(
    transaction: &Transaction<'_>,
    request: &Request,
    name: &str,
    need: &MeasurementNeed,
) -> rusqlite::Result<Result<Arc<Measurement>, Reason>> {
    if Name::check(name).is_err() {
        return Ok(Err(Reason::BadName));
    }
    if catalog::is_reserved_measurement(name) {
        return Ok(Err(Reason::ReservedName));
    }
    let stored = measurement(transaction, name)?;
    let is_new = stored.is_none();
    let mut measurement = match stored {
        Some(measurement) => measurement,
        None if !request.manages_schema => return Ok(Err(Reason::NotInSchema)),
        None if measurements(transaction)? >= request.limits.measurements => {
            return Ok(Err(Reason::TooManyMeasurements));
        }
        None => insert_measurement(transaction, name, need)?,
    };
    if let Some(refused) = request.refused.get(name) {
        measurement.refused.clone_from(refused);
    }
    if need.keyed && !measurement.keyed {
        transaction.execute(
            "update measurement set keyed = 1 where id = ?1",
            [measurement.id],
        )?;
        measurement.keyed = true;
    }
    let fields_are_new = add_fields(transaction, request, need, &mut measurement)?;
    let tags_are_new = add_tags(transaction, need, &mut measurement)?;
    if request.manages_schema && (is_new || fields_are_new || tags_are_new) {
        transaction.execute_batch(&tables::create_view(&measurement))?;
        tracing::debug!(measurement = name, "made the view anew");
        if concerns_checks(name) {
            check_views::refresh(transaction)?;
        }
    }
    Ok(Ok(Arc::new(measurement)))
}

/// A measurement as it is stored.
pub(super) fn measurement(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<Measurement>> {
    let found = connection
        .prepare_cached("select id, kind, keyed from measurement where name = ?1")?
        .query_row([name], |row| {
            Ok(Measurement {
                id: row.get(0)?,
                name: name.to_owned(),
                kind: parsed(row, 1, Kind::parse)?,
                keyed: row.get(2)?,
                fields: Vec::new(),
                tags: Vec::new(),
                refused: BTreeMap::new(),
            })
        });
    let Some(mut found) = found.optional()? else {
        return Ok(None);
    };
    found.fields = connection
        .prepare_cached(
            "select name, value_type from field where measurement_id = ?1 order by ordinal",
        )?
        .query_map([found.id], |row| {
            Ok(FieldColumn {
                name: row.get(0)?,
                value_type: parsed(row, 1, ValueType::parse)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    found.tags = connection
        .prepare_cached("select name from tag where measurement_id = ?1 order by rowid")?
        .query_map([found.id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(found))
}

fn insert_measurement(
    transaction: &Transaction<'_>,
    name: &str,
    need: &MeasurementNeed,
) -> rusqlite::Result<Measurement> {
    let built_in = catalog::measurement(name);
    let (kind, keyed) = (need.kind(built_in), need.keyed);
    let description = built_in.map_or("", |entry| entry.description);
    let id = transaction.query_row(
        "insert into measurement (name, kind, description, keyed) values (?1, ?2, ?3, ?4)
         returning id",
        params![name, kind.as_str(), description, keyed],
        |row| row.get(0),
    )?;
    transaction.execute_batch(&tables::create_table(name))?;
    Ok(Measurement {
        id,
        name: name.to_owned(),
        kind,
        keyed,
        fields: Vec::new(),
        tags: Vec::new(),
        refused: BTreeMap::new(),
    })
}

/// Adds the fields that are missing; true when there were any.
fn add_fields(
    transaction: &Transaction<'_>,
    request: &Request,
    need: &MeasurementNeed,
    measurement: &mut Measurement,
) -> rusqlite::Result<bool> {
    let limits = &request.limits;
    let built_in = catalog::measurement(&measurement.name);
    let most = limits.fields_per_measurement.min(tables::MOST_FIELDS);
    let mut missing: Vec<(&String, &ValueType)> = need
        .fields
        .iter()
        .filter(|(name, _)| measurement.column(name).is_none())
        .collect();
    // Columns of built-in measurements come in the catalog's order, others by name.
    missing.sort_by_key(|(name, _)| {
        let fields = built_in.map_or(&[][..], |entry| entry.fields);
        fields.iter().position(|field| field.name == **name)
    });
    let before = measurement.fields.len();
    for (name, &value_type) in missing {
        let refusal = match name.as_str() {
            name if Name::check(name).is_err() => Some(Reason::BadName),
            name if catalog::RESERVED_FIELDS.contains(&name) => Some(Reason::ReservedName),
            _ if !request.manages_schema => Some(Reason::NotInSchema),
            _ if measurement.fields.len() >= most => Some(Reason::TooManyFields),
            _ => None,
        };
        if let Some(reason) = refusal {
            measurement.refused.insert(name.clone(), reason);
            continue;
        }
        measurement.refused.remove(name);
        let field = FieldColumn {
            name: name.clone(),
            value_type,
        };
        transaction.execute_batch(&tables::add_column(&measurement.name, &field))?;
        let entry = built_in.and_then(|entry| entry.field(name));
        transaction.execute(
            "insert into field
             (measurement_id, name, value_type, kind, unit, description, ordinal)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                measurement.id,
                name,
                value_type.as_str(),
                kind_of_field(built_in, measurement.kind, name, value_type).as_str(),
                entry.map_or("", |entry| entry.unit),
                entry.map_or("", |entry| entry.description),
                signed(measurement.fields.len() as u64),
            ],
        )?;
        measurement.fields.push(field);
    }
    Ok(measurement.fields.len() > before)
}

/// Adds the tags that are missing; true when there were any.
fn add_tags(
    transaction: &Transaction<'_>,
    need: &MeasurementNeed,
    measurement: &mut Measurement,
) -> rusqlite::Result<bool> {
    let before = measurement.tags.len();
    for tag in &need.tags {
        if !measurement.tags.contains(tag) {
            transaction.execute(
                "insert into tag (measurement_id, name) values (?1, ?2)",
                params![measurement.id, tag],
            )?;
            measurement.tags.push(tag.clone());
        }
    }
    Ok(measurement.tags.len() > before)
}

/// Makes series, counting those of each host.
struct EnsureSeries<'a> {
    transaction: &'a Transaction<'a>,
    request: &'a Request,
    /// Number of a host and how many series it has, by identity.
    hosts: HashMap<String, (i32, usize)>,
}

impl EnsureSeries<'_> {
    fn ensure(
        &mut self,
        need: &SeriesNeed,
        measurements: &mut BTreeMap<String, Result<Arc<Measurement>, Reason>>,
    ) -> rusqlite::Result<SeriesSlot> {
        if !measurements.contains_key(&need.measurement) {
            let nothing_new = MeasurementNeed::default();
            let name = &need.measurement;
            let known = ensure_measurement(self.transaction, self.request, name, &nothing_new)?;
            measurements.insert(name.clone(), known);
        }
        let measurement = match &measurements[&need.measurement] {
            Ok(measurement) => measurement.id,
            Err(reason) => return Ok(SeriesSlot::Refused(*reason)),
        };
        let tags = json(&pairs(&need.tags));
        let most = self.request.limits.series_per_host;
        let (host, series_of_host) = self.host(&need.host)?;
        let known = self
            .transaction
            .prepare_cached(
                "select id from series where measurement_id = ?1 and host_id = ?2 and tags = ?3",
            )?
            .query_row(params![measurement, host, tags], |row| row.get(0))
            .optional()?;
        if let Some(id) = known {
            return Ok(SeriesSlot::Known(SeriesId(id)));
        }
        if series_of_host >= most {
            return Ok(SeriesSlot::Refused(Reason::TooManySeries));
        }
        let id = self
            .transaction
            .prepare_cached(
                "insert into series (measurement_id, host_id, tags) values (?1, ?2, ?3)
                 returning id",
            )?
            .query_row(params![measurement, host, tags], |row| row.get(0))?;
        self.hosts
            .insert(need.host.identity(), (host, series_of_host + 1));
        Ok(SeriesSlot::Known(SeriesId(id)))
    }

    /// A host's number and how many series it has.
    fn host(&mut self, key: &HostKey) -> rusqlite::Result<(i32, usize)> {
        let identity = key.identity();
        if let Some(&host) = self.hosts.get(&identity) {
            return Ok(host);
        }
        let known = self
            .transaction
            .prepare_cached("select id from host where identity = ?1")?
            .query_row([&identity], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => ensure_host(self.transaction, key, &[])?.id.0,
        };
        let series: u32 = self
            .transaction
            .prepare_cached("select count(*) from series where host_id = ?1")?
            .query_row([id], |row| row.get(0))?;
        let series = series as usize;
        self.hosts.insert(identity, (id, series));
        Ok((id, series))
    }
}

fn measurements(connection: &Connection) -> rusqlite::Result<usize> {
    let measurements: u32 =
        connection.query_row("select count(*) from measurement", [], |row| row.get(0))?;
    Ok(measurements as usize)
}

fn pairs(pairs: &[(String, String)]) -> BTreeMap<&str, &str> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect()
}

/// An object with sorted keys: equal tags are equal texts.
fn json(pairs: &BTreeMap<&str, &str>) -> String {
    serde_json::to_string(pairs).expect("a map of texts is always JSON")
}
