//! Measurements: their rows in the bookkeeping, their tables, columns and views.
//!
//! Everything here is outside of any step, by one owner at a time and with short waits (D9). A
//! transaction alters one table at most, so that steps, which touch many, cannot deadlock with it; a
//! view that is there already is changed in another. Tables that nobody has yet are made all in one.

use super::connect::Session;
use super::errors;
use super::migrate::{begin_schema_change, commit_schema_change};
use super::values::{data_table, quoted};
use super::view;
use super::{check_views, partitions, settle};
use crate::catalog::kind_of_field;
use crate::checks::concerns_checks;
use crate::{Catalog, FieldColumn, Measurement, MeasurementNeed, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tidegauge_model::{Kind, Limits, Name, Reason, ValueType, catalog};

/// Columns that every PostgreSQL table has of its own (manual, "System Columns").
const SYSTEM_COLUMNS: &[&str] = &["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// A measurement as the database has it.
struct Stored {
    id: i32,
    kind: Kind,
    keyed: bool,
    fields: Vec<FieldColumn>,
    tags: Vec<String>,
    view_columns: Vec<String>,
}

impl Stored {
    fn field_names(&self) -> Vec<String> {
        self.fields.iter().map(|field| field.name.clone()).collect()
    }

    fn has_tags(&self, need: &MeasurementNeed) -> bool {
        need.tags.iter().all(|tag| self.tags.contains(tag))
    }

    fn view_is_stale(&self) -> bool {
        view::is_stale(&self.view_columns, &self.tags, &self.field_names())
    }
}

/// Makes what is needed of measurements and learns it.
pub(super) async fn ensure(
    session: &mut Session,
    needs: &BTreeMap<&str, &MeasurementNeed>,
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    let names: Vec<&str> = needs.keys().copied().collect();
    let mut stored = load(session, &names).await?;
    let is_new = |name: &str| !stored.contains_key(name) && refused_name(name).is_none();
    let mut new = needs.clone();
    new.retain(|name, _| is_new(name));
    if session.manages_schema && !new.is_empty() {
        create(session, &new, &catalog.limits).await?;
        stored = load(session, &names).await?;
    }
    let mut checks_came = new.keys().any(|name| concerns_checks(name));
    for (&name, &need) in needs {
        if let Some(reason) = refused_name(name) {
            catalog.learn_measurement(name.to_owned(), Err(reason));
            continue;
        }
        let limits = &catalog.limits;
        let known = match stored.remove(name) {
            Some(known) if suffices(&known, need, limits) => Some(known),
            known if !session.manages_schema => adopt(session, name, need, known).await?,
            Some(_) => {
                checks_came |= concerns_checks(name);
                Some(extend(session, name, need, limits).await?)
            }
            None => None,
        };
        let Some(known) = known else {
            let reason = match session.manages_schema {
                true => Reason::TooManyMeasurements,
                false => Reason::NotInSchema,
            };
            catalog.learn_measurement(name.to_owned(), Err(reason));
            continue;
        };
        let mut refused = match catalog.measurement(name) {
            Some(Ok(before)) => before.refused.clone(),
            _ => BTreeMap::new(),
        };
        let (missing, unfit) = missing_fields(&known.fields, need, limits);
        refused.extend(unfit);
        // What is still missing was not made, because it is not ours to make.
        let missing = missing.into_iter().map(|(name, _)| name.to_owned());
        refused.extend(missing.map(|name| (name, Reason::NotInSchema)));
        refused.retain(|name, _| !known.fields.iter().any(|field| field.name == *name));
        let measurement = Measurement {
            id: known.id,
            name: name.to_owned(),
            kind: known.kind,
            keyed: known.keyed,
            fields: known.fields,
            tags: known.tags,
            refused,
        };
        catalog.learn_measurement(name.to_owned(), Ok(Arc::new(measurement)));
    }
    match checks_came && session.manages_schema {
        true => check_views::refresh(session).await,
        false => Ok(()),
    }
}

/// Why no measurement can have this name.
fn refused_name(name: &str) -> Option<Reason> {
    if Name::check(name).is_err() {
        Some(Reason::BadName)
    } else if catalog::is_reserved_measurement(name) {
        Some(Reason::ReservedName)
    } else {
        None
    }
}

/// Whether nothing has to be made.
fn suffices(known: &Stored, need: &MeasurementNeed, limits: &Limits) -> bool {
    missing_fields(&known.fields, need, limits).0.is_empty()
        && known.has_tags(need)
        && (known.keyed || !need.keyed)
        && !known.view_is_stale()
}

/// The fields to be made, in the catalog's order and then by name, and those that are refused.
fn missing_fields<'a>(
    fields: &[FieldColumn],
    need: &'a MeasurementNeed,
    limits: &Limits,
) -> (Vec<(&'a str, ValueType)>, BTreeMap<String, Reason>) {
    let mut missing = Vec::new();
    let mut refused = BTreeMap::new();
    for (name, &value_type) in &need.fields {
        let reason = if fields.iter().any(|field| field.name == *name) {
            continue;
        } else if Name::check(name).is_err() {
            Reason::BadName
        } else if catalog::RESERVED_FIELDS.contains(&name.as_str())
            || SYSTEM_COLUMNS.contains(&name.as_str())
        {
            Reason::ReservedName
        } else if fields.len() + missing.len() >= limits.fields_per_measurement {
            Reason::TooManyFields
        } else {
            missing.push((name.as_str(), value_type));
            continue;
        };
        refused.insert(name.clone(), reason);
    }
    (missing, refused)
}

/// Reads measurements by name, with their fields, tags and views' columns.
async fn load(
    session: &mut Session,
    names: &[&str],
) -> Result<HashMap<String, Stored>, StoreError> {
    let doing = "reading the measurements";
    let mut stored = HashMap::new();
    let rows = session
        .query(
            doing,
            "select name, id, kind, keyed from measurement where name = any($1)",
            &[&names],
        )
        .await?;
    for row in rows {
        let kind: &str = row.get(2);
        stored.insert(
            row.get(0),
            Stored {
                id: row.get(1),
                kind: Kind::parse(kind).unwrap_or(Kind::Gauge),
                keyed: row.get(3),
                fields: Vec::new(),
                tags: Vec::new(),
                view_columns: Vec::new(),
            },
        );
    }
    let fields = "select m.name, f.name, f.value_type from measurement m
                  join field f on f.measurement_id = m.id
                  where m.name = any($1) order by m.id, f.ordinal";
    for row in session.query(doing, fields, &[&names]).await? {
        let value_type = ValueType::parse(row.get(2))
            .ok_or_else(|| errors::unexpected(doing, "a field has an unknown type"))?;
        if let Some(stored) = stored.get_mut(row.get::<_, &str>(0)) {
            let name = row.get(1);
            stored.fields.push(FieldColumn { name, value_type });
        }
    }
    let tags = "select m.name, t.name from measurement m
                join tag t on t.measurement_id = m.id
                where m.name = any($1) order by m.id, t.name";
    for row in session.query(doing, tags, &[&names]).await? {
        if let Some(stored) = stored.get_mut(row.get::<_, &str>(0)) {
            stored.tags.push(row.get(1));
        }
    }
    let views = "select c.relname, a.attname from pg_class c
                 join pg_namespace n on n.oid = c.relnamespace and n.nspname = current_schema()
                 join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
                 where c.relkind = 'v' and c.relname = any($1::text[]::name[])
                 order by c.oid, a.attnum";
    for row in session.query(doing, views, &[&names]).await? {
        if let Some(stored) = stored.get_mut(row.get::<_, &str>(0)) {
            stored.view_columns.push(row.get(1));
        }
    }
    Ok(stored)
}

/// Takes a measurement as it is, where the schema is managed by somebody else. Tags are only rows:
/// they are noted, and stand in `series.tags`.
async fn adopt(
    session: &mut Session,
    name: &str,
    need: &MeasurementNeed,
    known: Option<Stored>,
) -> Result<Option<Stored>, StoreError> {
    let doing = format!("looking at the table of {name}");
    let Some(mut known) = known else {
        return Ok(None);
    };
    if need.keyed && !known.keyed {
        return Err(errors::unexpected(
            doing,
            format!(
                "a source without sequences feeds {name}, whose partitions need unique indexes for \
                 that, and `store.manage_schema` is false: have tidegauge_make_keyed('{name}') run"
            ),
        ));
    }
    if !known.has_tags(need) {
        add_tags(session, &doing, known.id, need).await?;
        known.tags.extend(need.tags.iter().cloned());
        known.tags.sort();
        known.tags.dedup();
    }
    Ok(Some(known))
}

/// Makes measurements that nobody has, with their tables and views, in one transaction; fewer where
/// they would be too many.
async fn create(
    session: &mut Session,
    needs: &BTreeMap<&str, &MeasurementNeed>,
    limits: &Limits,
) -> Result<(), StoreError> {
    let names: Vec<&str> = needs.keys().copied().collect();
    let doing = match names.as_slice() {
        [name] => format!("making the table of {name}"),
        names => format!("making {} tables, of {} and others", names.len(), names[0]),
    };
    begin_schema_change(session, &doing).await?;
    // Another writer may have been first.
    let there = load(session, &names).await?;
    let count = "select count(*) from measurement";
    let count: i64 = session.query_one(&doing, count, &[]).await?.get(0);
    let free = limits
        .measurements
        .saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
    let new = needs.iter().filter(|(name, _)| !there.contains_key(**name));
    let mut made = Vec::new();
    for (&name, need) in new.take(free) {
        let id = create_one(session, &doing, name, need).await?;
        let (fields, _) = missing_fields(&[], need, limits);
        if !fields.is_empty() {
            let kind = need.kind(catalog::measurement(name));
            add_fields(session, &doing, (id, name, kind), 0, fields).await?;
        }
        add_tags(session, &doing, id, need).await?;
        made.push(name);
    }
    let mut views = Vec::new();
    for (name, stored) in load(session, &made).await? {
        // Nobody holds a view that is not there, so it is made with its table.
        if stored.view_columns.is_empty() {
            let fields = stored.field_names();
            views.push(view::statements(&name, &[], &stored.tags, &fields));
        }
    }
    session.batch(&doing, &views.join(";")).await?;
    commit_schema_change(session, &doing).await
}

/// Makes what is missing of a measurement that is there.
async fn extend(
    session: &mut Session,
    name: &str,
    need: &MeasurementNeed,
    limits: &Limits,
) -> Result<Stored, StoreError> {
    let doing = format!("adding to the table of {name}");
    let vanished = || errors::unexpected(&doing, "its row has vanished");
    // A partition that is being sorted would hold up a new column until it is done.
    settle::interrupt(session, name).await?;
    begin_schema_change(session, &doing).await?;
    let before = load(session, &[name]).await?.remove(name);
    let before = before.ok_or_else(vanished)?;
    let (missing, _) = missing_fields(&before.fields, need, limits);
    if !missing.is_empty() {
        let begin = before.fields.len();
        let of = (before.id, name, before.kind);
        add_fields(session, &doing, of, begin, missing).await?;
    }
    add_tags(session, &doing, before.id, need).await?;
    if need.keyed && !before.keyed {
        partitions::make_keyed(session, before.id, name).await?;
    }
    commit_schema_change(session, &doing).await?;
    refresh_view(session, name).await?;
    let stored = load(session, &[name]).await?.remove(name);
    stored.ok_or_else(vanished)
}

/// The row and the empty table of a new measurement.
async fn create_one(
    session: &mut Session,
    doing: &str,
    name: &str,
    need: &MeasurementNeed,
) -> Result<i32, StoreError> {
    let entry = catalog::measurement(name);
    let kind = need.kind(entry).as_str();
    let description = entry.map_or("", |entry| entry.description);
    let insert = "insert into measurement (name, kind, description, keyed)
                  values ($1, $2, $3, $4) returning id";
    let row = session
        .query_one(doing, insert, &[&name, &kind, &description, &need.keyed])
        .await?;
    let create = format!(
        "create table {} (time timestamptz not null, series_id integer not null)
         partition by range (time)",
        data_table(name)
    );
    session.batch(doing, &create).await?;
    Ok(row.get(0))
}

/// Notes the tags that a measurement is to have.
async fn add_tags(
    session: &mut Session,
    doing: &str,
    id: i32,
    need: &MeasurementNeed,
) -> Result<(), StoreError> {
    let tags: Vec<&String> = need.tags.iter().collect();
    let insert = "insert into tag (measurement_id, name)
                  select $1, name from unnest($2::text[]) as v(name) on conflict do nothing";
    session.execute(doing, insert, &[&id, &tags]).await?;
    Ok(())
}

pub(super) const fn sql_type(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Float => "double precision",
        ValueType::Bool => "boolean",
        ValueType::Text => "text",
    }
}

/// Adds columns, in one statement, and their rows.
async fn add_fields(
    session: &mut Session,
    doing: &str,
    (id, measurement, kind): (i32, &str, Kind),
    begin: usize,
    mut fields: Vec<(&str, ValueType)>,
) -> Result<(), StoreError> {
    let entry = catalog::measurement(measurement);
    let place = |name: &str| {
        let fields = entry.map_or(&[][..], |entry| entry.fields);
        fields.iter().position(|field| field.name == name)
    };
    fields.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
    let columns: Vec<String> = fields
        .iter()
        .map(|(name, value_type)| {
            let sql_type = sql_type(*value_type);
            format!("add column {} {sql_type}", quoted(name))
        })
        .collect();
    let table = data_table(measurement);
    let alter = format!("alter table {table} {}", columns.join(", "));
    session.batch(doing, &alter).await?;
    let about = |name: &str| entry.and_then(|entry| entry.field(name));
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let types: Vec<&str> = fields.iter().map(|(_, kind)| kind.as_str()).collect();
    let kinds: Vec<&str> = fields
        .iter()
        .map(|(name, value_type)| kind_of_field(entry, kind, name, *value_type).as_str())
        .collect();
    let units: Vec<&str> = names
        .iter()
        .map(|name| about(name).map_or("", |field| field.unit))
        .collect();
    let descriptions: Vec<&str> = names
        .iter()
        .map(|name| about(name).map_or("", |field| field.description))
        .collect();
    let begin = i64::try_from(begin).unwrap_or(i64::MAX);
    let insert = "insert into field
                  (measurement_id, name, value_type, kind, unit, description, ordinal)
                  select $1, name, value_type, kind, unit, description, ($2 + n - 1)::integer
                  from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
                  with ordinality as v(name, value_type, kind, unit, description, n)";
    session
        .execute(
            doing,
            insert,
            &[&id, &begin, &names, &types, &kinds, &units, &descriptions],
        )
        .await?;
    Ok(())
}

/// Brings a view that is there up to date, in a transaction of its own. A query that holds the view
/// for long does not hold up the rows: then it is tried again when the measurement is next looked
/// at.
async fn refresh_view(session: &mut Session, name: &str) -> Result<(), StoreError> {
    let doing = format!("making the view {name}");
    begin_schema_change(session, &doing).await?;
    let stored = load(session, &[name]).await?.remove(name);
    let Some(stored) = stored.filter(Stored::view_is_stale) else {
        return session.rollback().await;
    };
    let (existing, fields) = (&stored.view_columns, stored.field_names());
    let statements = view::statements(name, existing, &stored.tags, &fields);
    match session.batch(&doing, &statements).await {
        Ok(()) => commit_schema_change(session, &doing).await,
        // 55P03: a lock was not had in time; 2BP01: something of the user's hangs on it.
        Err(error) if matches!(error.code(), Some("55P03" | "2BP01")) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(view = name, cause, "view lacks new columns for now");
            session.rollback().await
        }
        Err(error) => Err(error),
    }
}

/// Tries again for views that could not be brought up to date.
pub(super) async fn refresh_views(session: &mut Session) -> Result<(), StoreError> {
    let names = session
        .query(
            "reading the measurements",
            "select name from measurement",
            &[],
        )
        .await?;
    let names: Vec<&str> = names.iter().map(|row| row.get(0)).collect();
    for (name, stored) in load(session, &names).await? {
        if stored.view_is_stale() {
            refresh_view(session, &name).await?;
        }
    }
    check_views::refresh(session).await
}
