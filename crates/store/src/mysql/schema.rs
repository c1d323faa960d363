//! Measurements: their rows in the bookkeeping, their tables, columns and views.
//!
//! Everything here is outside of any step, by one owner at a time and with short waits (D9). DDL
//! commits by itself, so what is made comes before the row that says so: a crash in between leaves
//! an empty table or column, which the next try finds.

use super::connect::{Session, value};
use super::errors;
use super::migrate::{begin_schema_change, end_schema_change};
use super::values::{data_table, quoted, text, texts};
use super::{check_views, view};
use crate::catalog::kind_of_field;
use crate::checks::concerns_checks;
use crate::{Catalog, FieldColumn, Measurement, MeasurementNeed, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tidegauge_model::{Kind, Limits, Name, Reason, ValueType, catalog};

/// Columns of one table besides series and time (InnoDB allows 1,017 in all).
const MOST_FIELDS: usize = 1_000;

/// What the columns of a row may take in its page of 16 KiB: half of it, less what InnoDB adds.
const MOST_ROW_BYTES: usize = 7_900;

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

    fn view_is_stale(&self) -> bool {
        view::is_stale(&self.view_columns, &self.tags, &self.field_names())
    }
}

/// Makes what is needed of measurements and learns it; answers whether some view could not be
/// brought up to date.
pub(super) async fn ensure(
    session: &mut Session,
    needs: &BTreeMap<&str, &MeasurementNeed>,
    catalog: &mut Catalog,
) -> Result<bool, StoreError> {
    let names: Vec<&str> = needs.keys().copied().collect();
    let mut stored = load(session, &names).await?;
    let (mut a_view_lacks, mut checks_came) = (false, false);
    for (&name, &need) in needs {
        if Name::check(name).is_err() {
            catalog.learn_measurement(name.to_owned(), Err(Reason::BadName));
            continue;
        }
        if catalog::is_reserved_measurement(name) {
            catalog.learn_measurement(name.to_owned(), Err(Reason::ReservedName));
            continue;
        }
        let limits = &catalog.limits;
        let known = match stored.remove(name) {
            Some(known) if suffices(&known, need, limits) => Some(known),
            known if !session.manages_schema => adopt(session, name, need, known).await?,
            _ => {
                checks_came |= concerns_checks(name);
                make(session, name, need, limits).await?
            }
        };
        let Some(known) = known else {
            let reason = match session.manages_schema {
                true => Reason::TooManyMeasurements,
                false => Reason::NotInSchema,
            };
            catalog.learn_measurement(name.to_owned(), Err(reason));
            continue;
        };
        a_view_lacks |= session.manages_schema && known.view_is_stale();
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
    if checks_came {
        a_view_lacks |= check_views::refresh(session).await?;
    }
    Ok(a_view_lacks)
}

/// Whether nothing has to be made.
fn suffices(known: &Stored, need: &MeasurementNeed, limits: &Limits) -> bool {
    missing_fields(&known.fields, need, limits).0.is_empty()
        && need.tags.iter().all(|tag| known.tags.contains(tag))
        && (known.keyed || !need.keyed)
        && !known.view_is_stale()
}

/// What a column takes of a row's page at most, with its bit of absence rounded up.
const fn column_bytes(value_type: ValueType) -> usize {
    match value_type {
        ValueType::Float => 9,
        ValueType::Bool => 2,
        // Longer texts lie elsewhere.
        ValueType::Text => 43,
    }
}

/// The fields to be made, in the catalog's order and then by name, and those that are refused.
fn missing_fields<'a>(
    fields: &[FieldColumn],
    need: &'a MeasurementNeed,
    limits: &Limits,
) -> (Vec<(&'a str, ValueType)>, BTreeMap<String, Reason>) {
    let mut missing = Vec::new();
    let mut refused = BTreeMap::new();
    let most = limits.fields_per_measurement.min(MOST_FIELDS);
    let mut row_bytes: usize = fields
        .iter()
        .map(|field| column_bytes(field.value_type))
        .sum();
    for (name, &value_type) in &need.fields {
        let bytes = column_bytes(value_type);
        let reason = if fields.iter().any(|field| field.name == *name) {
            continue;
        } else if Name::check(name).is_err() {
            Reason::BadName
        } else if catalog::RESERVED_FIELDS.contains(&name.as_str()) {
            Reason::ReservedName
        } else if fields.len() + missing.len() >= most || row_bytes + bytes > MOST_ROW_BYTES {
            Reason::TooManyFields
        } else {
            row_bytes += bytes;
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
    if names.is_empty() {
        return Ok(stored);
    }
    let list = texts(names.iter().copied());
    let sql =
        format!("select `name`, `id`, `kind`, `keyed` from `measurement` where `name` in ({list})");
    for row in session.query(doing, &sql).await? {
        let kind: String = value(doing, &row, 2)?;
        stored.insert(
            value(doing, &row, 0)?,
            Stored {
                id: value(doing, &row, 1)?,
                kind: Kind::parse(&kind).unwrap_or(Kind::Gauge),
                keyed: value(doing, &row, 3)?,
                fields: Vec::new(),
                tags: Vec::new(),
                view_columns: Vec::new(),
            },
        );
    }
    if stored.is_empty() {
        return Ok(stored);
    }
    let sql = format!(
        "select m.`name`, f.`name`, f.`value_type` from `measurement` m
         join `field` f on f.`measurement_id` = m.`id`
         where m.`name` in ({list}) order by m.`id`, f.`ordinal`"
    );
    for row in session.query(doing, &sql).await? {
        let (measurement, name): (String, String) =
            (value(doing, &row, 0)?, value(doing, &row, 1)?);
        let value_type: String = value(doing, &row, 2)?;
        let value_type = ValueType::parse(&value_type)
            .ok_or_else(|| errors::unexpected(doing, "a field has an unknown type"))?;
        if let Some(stored) = stored.get_mut(&measurement) {
            stored.fields.push(FieldColumn { name, value_type });
        }
    }
    let tags = format!(
        "select m.`name`, t.`name` from `measurement` m
         join `tag` t on t.`measurement_id` = m.`id`
         where m.`name` in ({list}) order by m.`id`, t.`name`"
    );
    for row in session.query(doing, &tags).await? {
        let measurement: String = value(doing, &row, 0)?;
        if let Some(stored) = stored.get_mut(&measurement) {
            stored.tags.push(value(doing, &row, 1)?);
        }
    }
    for (measurement, column, _) in columns_of(session, doing, &list).await? {
        if let Some(stored) = stored.get_mut(&measurement) {
            stored.view_columns.push(column);
        }
    }
    Ok(stored)
}

/// Table, name and type of the columns of tables or views (a list of literals), in their order.
async fn columns_of(
    session: &mut Session,
    doing: &str,
    list: &str,
) -> Result<Vec<(String, String, String)>, StoreError> {
    let sql = format!(
        "select table_name, column_name, cast(data_type as char) from information_schema.columns
         where table_schema = database() and table_name in ({list})
         order by table_name, ordinal_position"
    );
    let rows = session.query(doing, &sql).await?;
    let columns = rows.iter().map(|row| {
        let column = (value(doing, row, 0)?, value(doing, row, 1)?);
        Ok((column.0, column.1, value(doing, row, 2)?))
    });
    columns.collect()
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
    let id = known.id;
    if need.keyed && !known.keyed {
        // Every table has its unique key from the first; this only says that it is needed.
        let update = format!("update `measurement` set `keyed` = true where `id` = {id}");
        session.execute(&doing, &update).await?;
        known.keyed = true;
    }
    let tags = need.tags.iter().filter(|tag| !known.tags.contains(tag));
    let rows: Vec<String> = tags.map(|tag| format!("({id}, {})", text(tag))).collect();
    if !rows.is_empty() {
        let insert = format!(
            "insert into `tag` (`measurement_id`, `name`) values {}
             on duplicate key update `name` = values(`name`)",
            rows.join(", ")
        );
        session.execute(&doing, &insert).await?;
        known.tags.extend(need.tags.iter().cloned());
        known.tags.sort();
        known.tags.dedup();
    }
    Ok(Some(known))
}

/// Makes what is missing of a measurement; `None` when it would be one too many.
async fn make(
    session: &mut Session,
    name: &str,
    need: &MeasurementNeed,
    limits: &Limits,
) -> Result<Option<Stored>, StoreError> {
    let doing = format!("making the table of {name}");
    begin_schema_change(session, &doing).await?;
    let before = load(session, &[name]).await?.remove(name);
    let id = match &before {
        Some(before) => Some(before.id),
        None => create(session, &doing, name, need, limits).await?,
    };
    let Some(id) = id else {
        end_schema_change(session, &doing).await?;
        return Ok(None);
    };
    let fields = before.as_ref().map_or(&[][..], |before| &before.fields);
    let (missing, _) = missing_fields(fields, need, limits);
    if !missing.is_empty() {
        let kind = need.kind(catalog::measurement(name));
        let kind = before.as_ref().map_or(kind, |before| before.kind);
        add_fields(session, &doing, (id, name, kind), fields.len(), missing).await?;
    }
    let known = before.as_ref().map_or(&[][..], |before| &before.tags);
    let tags = need.tags.iter().filter(|tag| !known.contains(tag));
    let tags: Vec<String> = tags.map(|tag| format!("({id}, {})", text(tag))).collect();
    if !tags.is_empty() {
        let insert = format!(
            "insert into `tag` (`measurement_id`, `name`) values {}",
            tags.join(", ")
        );
        session.execute(&doing, &insert).await?;
    }
    if need.keyed && before.is_some_and(|before| !before.keyed) {
        // Every table has its unique key from the first; this only says that it is needed.
        let update = format!("update `measurement` set `keyed` = true where `id` = {id}");
        session.execute(&doing, &update).await?;
    }
    let stored = refresh_view(session, name).await?;
    end_schema_change(session, &doing).await?;
    Ok(Some(stored))
}

/// The empty table and the row of a new measurement; `None` when it would be one too many.
async fn create(
    session: &mut Session,
    doing: &str,
    name: &str,
    need: &MeasurementNeed,
    limits: &Limits,
) -> Result<Option<i32>, StoreError> {
    let count = "select count(*) from `measurement`";
    let count: u64 = session.query_value(doing, count).await?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= limits.measurements {
        return Ok(None);
    }
    // Clustered: a series' rows lie side by side in the order of time (S6).
    let table = format!(
        "create table if not exists {} (`series_id` int not null, `time` datetime(6) not null,
         primary key (`series_id`, `time`))
         engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin",
        data_table(name)
    );
    session.execute(doing, &table).await?;
    let entry = catalog::measurement(name);
    let insert = format!(
        "insert into `measurement` (`name`, `kind`, `description`, `keyed`)
         values ({}, {}, {}, {})",
        text(name),
        text(need.kind(entry).as_str()),
        text(entry.map_or("", |entry| entry.description)),
        need.keyed,
    );
    session.execute(doing, &insert).await?;
    let id = format!(
        "select `id` from `measurement` where `name` = {}",
        text(name)
    );
    session.query_value(doing, &id).await.map(Some)
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
    // Columns that an earlier try made keep their types.
    let existing = columns_of(session, doing, &text(&format!("m_{measurement}"))).await?;
    let mut columns = Vec::new();
    for (name, value_type) in &mut fields {
        match existing.iter().find(|(_, column, _)| column == name) {
            Some((_, _, sql_type)) => *value_type = type_of(doing, sql_type)?,
            None => columns.push(format!(
                "add column {} {} null",
                quoted(name),
                sql_type(*value_type)
            )),
        }
    }
    if !columns.is_empty() {
        let table = data_table(measurement);
        let alter = format!("alter table {table} {}", columns.join(", "));
        session.execute(doing, &alter).await?;
    }
    let rows: Vec<String> = (begin..)
        .zip(&fields)
        .map(|(ordinal, (name, value_type))| {
            let about = entry.and_then(|entry| entry.field(name));
            format!(
                "({id}, {}, {ordinal})",
                texts([
                    *name,
                    value_type.as_str(),
                    kind_of_field(entry, kind, name, *value_type).as_str(),
                    about.map_or("", |field| field.unit),
                    about.map_or("", |field| field.description),
                ])
            )
        })
        .collect();
    let insert = format!(
        "insert into `field`
         (`measurement_id`, `name`, `value_type`, `kind`, `unit`, `description`, `ordinal`)
         values {}",
        rows.join(", ")
    );
    session.execute(doing, &insert).await.map(|_| ())
}

pub(super) const fn sql_type(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Float => "double",
        ValueType::Bool => "boolean",
        ValueType::Text => "mediumtext",
    }
}

fn type_of(doing: &str, sql_type: &str) -> Result<ValueType, StoreError> {
    match sql_type {
        "double" => Ok(ValueType::Float),
        "tinyint" => Ok(ValueType::Bool),
        "mediumtext" => Ok(ValueType::Text),
        _ => Err(errors::unexpected(
            doing,
            format!("a column is there that has the type {sql_type}"),
        )),
    }
}

/// Brings a view up to date and answers the measurement as it is then. A query that holds the view
/// for long does not hold up the rows: then it is tried again later.
async fn refresh_view(session: &mut Session, name: &str) -> Result<Stored, StoreError> {
    let doing = format!("making the view {name}");
    let vanished = || errors::unexpected(doing.as_str(), "its measurement has vanished");
    let mut stored = load(session, &[name])
        .await?
        .remove(name)
        .ok_or_else(vanished)?;
    if stored.view_is_stale() {
        let statement = view::statement(name, &stored.tags, &stored.field_names());
        match session.execute(&doing, &statement).await {
            Ok(_) => {
                let list = text(name);
                let columns = columns_of(session, &doing, &list).await?;
                stored.view_columns = columns.into_iter().map(|(_, column, _)| column).collect();
            }
            Err(error) if error.code() == Some(errors::LOCK_WAIT_TIMEOUT) => {
                tracing::warn!(view = name, "view lacks new columns for now");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(stored)
}

/// Tries again for views that could not be brought up to date; answers whether some still are not.
pub(super) async fn refresh_views(session: &mut Session) -> Result<bool, StoreError> {
    let doing = "bringing the views up to date";
    begin_schema_change(session, doing).await?;
    let mut names: Vec<String> = Vec::new();
    for row in session
        .query(doing, "select `name` from `measurement`")
        .await?
    {
        names.push(value(doing, &row, 0)?);
    }
    let mut a_view_lacks = false;
    for name in &names {
        a_view_lacks |= refresh_view(session, name).await?.view_is_stale();
    }
    end_schema_change(session, doing).await?;
    a_view_lacks |= check_views::refresh(session).await?;
    Ok(a_view_lacks)
}
