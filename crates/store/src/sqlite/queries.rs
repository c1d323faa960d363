//! What readers ask, on a read-only connection, each in one read transaction.

use super::bookkeeping::parsed;
use super::tables::{quoted, table};
use crate::{
    Bucket, BucketsRequest, FieldInfo, HostId, HostInfo, MeasurementInfo, RowsRequest,
    SeriesBuckets, SeriesFilter, SeriesId, SeriesInfo, SeriesRows, StoreSummary,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;
use tidegauge_model::{Kind, Value, ValueType};

/// Why a question has no answer.
pub(super) enum Failure {
    /// The caller's fault, in words.
    Usage(String),
    /// The database's error.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

pub(super) fn summary(connection: &Connection) -> Result<StoreSummary, Failure> {
    let sql = "select (select count(*) from host), (select count(*) from measurement),
               (select count(*) from series), (select coalesce(sum(points), 0) from position),
               (select count(*) from dead_letter), page_count * page_size
               from pragma_page_count, pragma_page_size";
    let summary = connection.query_row(sql, [], |row| {
        let number = |column| row.get(column).map(i64::unsigned_abs);
        Ok(StoreSummary {
            hosts: number(0)?,
            measurements: number(1)?,
            series: number(2)?,
            points: number(3)?,
            dead_letters: number(4)?,
            bytes: number(5)?,
        })
    })?;
    Ok(summary)
}

pub(super) fn hosts(connection: &Connection) -> Result<Vec<HostInfo>, Failure> {
    let hosts = connection
        .prepare_cached(
            "select id, identity, name, labels, first_seen from host order by name, id",
        )?
        .query_map([], |row| {
            Ok(HostInfo {
                id: HostId(row.get(0)?),
                identity: row.get(1)?,
                name: row.get(2)?,
                labels: pairs(row, 3)?,
                first_seen_us: row.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(hosts)
}

pub(super) fn measurements(connection: &Connection) -> Result<Vec<MeasurementInfo>, Failure> {
    let mut tags: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut select =
        connection.prepare_cached("select measurement_id, name from tag order by rowid")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        tags.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    let mut fields: BTreeMap<i32, Vec<FieldInfo>> = BTreeMap::new();
    let mut select = connection.prepare_cached(
        "select measurement_id, name, value_type, kind, unit, description from field
         order by measurement_id, ordinal",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        fields.entry(row.get(0)?).or_default().push(FieldInfo {
            name: row.get(1)?,
            value_type: parsed(row, 2, ValueType::parse)?,
            kind: parsed(row, 3, Kind::parse)?,
            unit: row.get(4)?,
            description: row.get(5)?,
        });
    }
    let found = connection
        .prepare_cached("select id, name, kind, description from measurement order by name")?
        .query_map([], |row| {
            let id: i32 = row.get(0)?;
            Ok(MeasurementInfo {
                name: row.get(1)?,
                kind: parsed(row, 2, Kind::parse)?,
                description: row.get(3)?,
                tags: tags.remove(&id).unwrap_or_default(),
                fields: fields.remove(&id).unwrap_or_default(),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

pub(super) fn series(
    connection: &Connection,
    filter: &SeriesFilter,
) -> Result<Vec<SeriesInfo>, Failure> {
    let mut select = connection.prepare_cached(
        "select s.id, s.host_id, m.name, s.tags from series s
         join measurement m on m.id = s.measurement_id
         where (?1 is null or m.name = ?1) and (?2 is null or s.host_id = ?2) order by s.id",
    )?;
    let mut rows = select.query(params![filter.measurement, filter.host.map(|host| host.0)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let tags = pairs(row, 3)?;
        if filter.tags.iter().all(|wanted| tags.contains(wanted)) {
            found.push(SeriesInfo {
                id: SeriesId(row.get(0)?),
                host: HostId(row.get(1)?),
                measurement: row.get(2)?,
                tags,
            });
        }
    }
    Ok(found)
}

pub(super) fn rows(
    connection: &Connection,
    request: &RowsRequest,
) -> Result<Vec<SeriesRows>, Failure> {
    let types = types(connection, &request.measurement, &request.fields)?;
    let select = select(&request.measurement, &request.fields);
    let mut select =
        connection.prepare_cached(&format!("{select} order by \"time\" desc limit ?4"))?;
    let mut found = Vec::new();
    for &series in &request.series {
        let range = &request.range_us;
        let mut rows = select.query(params![
            series.0,
            range.start,
            range.end,
            request.limit_per_series
        ])?;
        let mut times_us = Vec::new();
        let mut columns = vec![Vec::new(); types.len()];
        while let Some(row) = rows.next()? {
            times_us.push(row.get(0)?);
            for (at, (column, &value_type)) in columns.iter_mut().zip(&types).enumerate() {
                column.push(value(row, at + 1, value_type)?);
            }
        }
        if times_us.is_empty() {
            continue;
        }
        // They came newest first, for the limit.
        times_us.reverse();
        columns.iter_mut().for_each(|column| column.reverse());
        found.push(SeriesRows {
            series,
            times_us,
            columns,
        });
    }
    Ok(found)
}

/// Sums up while the rows stream by in key order: they travel no further than this process, and
/// SQL would have to sort what comes sorted.
pub(super) fn buckets(
    connection: &Connection,
    request: &BucketsRequest,
) -> Result<Vec<SeriesBuckets>, Failure> {
    if request.bucket_us <= 0 {
        let width = request.bucket_us;
        return Err(Failure::Usage(format!("a bucket of {width} microseconds")));
    }
    let types = types(connection, &request.measurement, &request.fields)?;
    if let Some(at) = types.iter().position(|&found| found == ValueType::Text) {
        let field = &request.fields[at];
        return Err(Failure::Usage(format!("the texts of {field} summed up")));
    }
    let select = select(&request.measurement, &request.fields);
    let mut select = connection.prepare_cached(&format!("{select} order by \"time\""))?;
    let mut found = Vec::new();
    for &series in &request.series {
        let range = &request.range_us;
        let mut rows = select.query(params![series.0, range.start, range.end])?;
        let mut starts_us: Vec<i64> = Vec::new();
        let mut columns: Vec<Vec<Option<Bucket>>> = vec![Vec::new(); types.len()];
        while let Some(row) = rows.next()? {
            let time_us: i64 = row.get(0)?;
            let start_us = time_us - time_us.rem_euclid(request.bucket_us);
            if starts_us.last() != Some(&start_us) {
                starts_us.push(start_us);
                columns.iter_mut().for_each(|column| column.push(None));
            }
            for (at, column) in columns.iter_mut().enumerate() {
                if let (Some(number), Some(bucket)) =
                    (row.get::<_, Option<f64>>(at + 1)?, column.last_mut())
                {
                    *bucket = Some(with(*bucket, number));
                }
            }
        }
        if !starts_us.is_empty() {
            found.push(SeriesBuckets {
                series,
                starts_us,
                columns,
            });
        }
    }
    Ok(found)
}

/// The bucket after one more value, the youngest so far.
fn with(bucket: Option<Bucket>, number: f64) -> Bucket {
    match bucket {
        None => Bucket {
            count: 1,
            min: number,
            max: number,
            sum: number,
            last: number,
        },
        Some(bucket) => Bucket {
            count: bucket.count + 1,
            min: bucket.min.min(number),
            max: bucket.max.max(number),
            sum: bucket.sum + number,
            last: number,
        },
    }
}

/// `select` of time and fields of a series (?1) in a range (?2, ?3).
fn select(measurement: &str, fields: &[String]) -> String {
    let columns: String = fields
        .iter()
        .map(|field| format!(", {}", quoted(field)))
        .collect();
    let table = table(measurement);
    format!(
        "select \"time\"{columns} from {table}
         where \"series_id\" = ?1 and \"time\" >= ?2 and \"time\" < ?3"
    )
}

/// The types of fields; all of them must be there.
fn types(
    connection: &Connection,
    measurement: &str,
    fields: &[String],
) -> Result<Vec<ValueType>, Failure> {
    let Some(known) = super::ensure::measurement(connection, measurement)? else {
        return Err(Failure::Usage(format!(
            "an unknown measurement {measurement:?}"
        )));
    };
    fields
        .iter()
        .map(|field| match known.column(field) {
            Some(column) => Ok(known.fields[column].value_type),
            None => Err(Failure::Usage(format!(
                "an unknown field {field:?} of {measurement}"
            ))),
        })
        .collect()
}

fn value(row: &Row<'_>, column: usize, value_type: ValueType) -> rusqlite::Result<Option<Value>> {
    if matches!(row.get_ref(column)?, ValueRef::Null) {
        return Ok(None);
    }
    Ok(Some(match value_type {
        ValueType::Float => Value::Float(row.get(column)?),
        ValueType::Bool => Value::Bool(row.get(column)?),
        ValueType::Text => Value::from(row.get::<_, String>(column)?),
    }))
}

/// Tags or labels, sorted by name.
fn pairs(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<(String, String)>> {
    let pairs = parsed(row, column, |text| {
        serde_json::from_str::<BTreeMap<String, String>>(text).ok()
    })?;
    Ok(pairs.into_iter().collect())
}
