//! Queries over a few connections on which the server refuses writes.

use super::account;
use super::connect::{Pool, Session};
use super::errors;
use super::url::Target;
use super::values::{Interval, Time, data_table, json_object, parse_json_object, quoted, unsigned};
use crate::{
    Bucket, Buckets, BucketsRequest, ErrorClass, FieldInfo, HostFreshness, HostId, HostInfo, Loss,
    MeasurementInfo, PartitionProgress, Reader, RowsRequest, SeriesBuckets, SeriesFilter, SeriesId,
    SeriesInfo, SeriesRows, StoreCondition, StoreError, StoreSummary,
};
use std::borrow::Cow;
use std::collections::HashMap;
use tidegauge_model::{Kind, Value, ValueType};
use tokio_postgres::Row;

/// The bookkeeping tables, whose sizes are counted with those of the partitions.
pub(super) const BOOKKEEPING: &[&str] = &[
    "dead_letter",
    "dead_letter_removed",
    "field",
    "gap",
    "host",
    "ledger",
    "measurement",
    "partition",
    "position",
    "series",
    "tag",
];

/// A reader.
pub(super) struct PostgresReader {
    pool: Pool,
}

impl PostgresReader {
    pub(super) const fn new(target: Target) -> Self {
        let pool = Pool::new(target);
        Self { pool }
    }
}

#[async_trait::async_trait]
impl Reader for PostgresReader {
    async fn summary(&self) -> Result<StoreSummary, StoreError> {
        self.pool.run(summary).await
    }

    async fn condition(&self) -> Result<StoreCondition, StoreError> {
        self.pool.run(super::condition::condition).await
    }

    async fn hosts(&self) -> Result<Vec<HostInfo>, StoreError> {
        self.pool.run(hosts).await
    }

    async fn measurements(&self) -> Result<Vec<MeasurementInfo>, StoreError> {
        self.pool.run(measurements).await
    }

    async fn series(&self, filter: &SeriesFilter) -> Result<Vec<SeriesInfo>, StoreError> {
        self.pool
            .run(async |session| series(session, filter).await)
            .await
    }

    async fn rows(&self, request: &RowsRequest) -> Result<Vec<SeriesRows>, StoreError> {
        self.pool
            .run(async |session| rows(session, request).await)
            .await
    }

    async fn buckets(&self, request: &BucketsRequest) -> Result<Buckets, StoreError> {
        self.pool
            .run(async |session| buckets(session, request).await)
            .await
    }

    async fn losses(&self) -> Result<Vec<Loss>, StoreError> {
        self.pool.run(account::losses).await
    }

    async fn freshness(&self) -> Result<Vec<HostFreshness>, StoreError> {
        self.pool.run(account::freshness).await
    }

    async fn progress(&self) -> Result<Vec<PartitionProgress>, StoreError> {
        self.pool.run(account::progress).await
    }
}

async fn summary(session: &mut Session) -> Result<StoreSummary, StoreError> {
    let sql = "select (select count(*) from host), (select count(*) from measurement),
                      (select count(*) from series),
                      (select coalesce(sum(points), 0)::bigint from position),
                      (select count(*) from dead_letter),
                      (select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
                       from pg_class c
                       join pg_namespace n on n.oid = c.relnamespace
                       where n.nspname = current_schema() and c.relkind = 'r'
                       and (c.relname = any($1::text[]::name[])
                            or c.relname in (select name::name from partition)))";
    let row = session
        .query_one("reading the summary", sql, &[&BOOKKEEPING])
        .await?;
    let count = |column: usize| unsigned(row.get(column));
    Ok(StoreSummary {
        hosts: count(0),
        measurements: count(1),
        series: count(2),
        points: count(3),
        dead_letters: count(4),
        bytes: count(5),
    })
}

async fn hosts(session: &mut Session) -> Result<Vec<HostInfo>, StoreError> {
    let doing = "reading the hosts";
    let sql = "select id, identity, name, labels::text, first_seen from host
               order by name collate \"C\", id";
    let rows = session.query(doing, sql, &[]).await?;
    let host = |row: &Row| {
        Ok(HostInfo {
            id: HostId(row.get(0)),
            identity: row.get(1),
            name: row.get(2),
            labels: pairs(doing, row.get(3))?,
            first_seen_us: row.get::<_, Time>(4).0,
        })
    };
    rows.iter().map(host).collect()
}

async fn measurements(session: &mut Session) -> Result<Vec<MeasurementInfo>, StoreError> {
    let doing = "reading the measurements";
    let sql = "select id, name, kind, description from measurement order by name collate \"C\"";
    let mut found = Vec::new();
    let mut places: HashMap<i32, usize> = HashMap::new();
    for row in session.query(doing, sql, &[]).await? {
        places.insert(row.get(0), found.len());
        found.push(MeasurementInfo {
            name: row.get(1),
            kind: kind(row.get(2)),
            description: row.get(3),
            tags: Vec::new(),
            fields: Vec::new(),
        });
    }
    let sql = "select measurement_id, name from tag order by name collate \"C\"";
    for row in session.query(doing, sql, &[]).await? {
        if let Some(&place) = places.get(&row.get(0)) {
            found[place].tags.push(row.get(1));
        }
    }
    let sql = "select measurement_id, name, value_type, kind, unit, description from field
               order by ordinal";
    for row in session.query(doing, sql, &[]).await? {
        if let Some(&place) = places.get(&row.get(0)) {
            found[place].fields.push(FieldInfo {
                name: row.get(1),
                value_type: value_type(doing, row.get(2))?,
                kind: kind(row.get(3)),
                unit: row.get(4),
                description: row.get(5),
            });
        }
    }
    Ok(found)
}

async fn series(
    session: &mut Session,
    filter: &SeriesFilter,
) -> Result<Vec<SeriesInfo>, StoreError> {
    let doing = "reading the series";
    let sql = "select s.id, s.host_id, m.name, s.tags::text from series s
               join measurement m on m.id = s.measurement_id
               join host h on h.id = s.host_id
               where ($1::text is null or m.name = $1) and ($2::integer is null or h.id = $2)
               and s.tags @> $3::text::jsonb
               order by h.name collate \"C\", h.id, m.name collate \"C\", s.tags, s.id";
    let host = filter.host.map(|host| host.0);
    let tags = json_object(&filter.tags);
    let rows = session
        .query_once(doing, sql, &[&filter.measurement, &host, &tags])
        .await?;
    let series = |row: &Row| {
        Ok(SeriesInfo {
            id: SeriesId(row.get(0)),
            host: HostId(row.get(1)),
            measurement: row.get(2),
            tags: pairs(doing, row.get(3))?,
        })
    };
    rows.iter().map(series).collect()
}

async fn rows(session: &mut Session, request: &RowsRequest) -> Result<Vec<SeriesRows>, StoreError> {
    let doing = format!("reading rows of {}", request.measurement);
    let types = field_types(session, &doing, &request.measurement, &request.fields).await?;
    if request.series.is_empty() {
        return Ok(Vec::new());
    }
    let columns: String = request
        .fields
        .iter()
        .fold(String::new(), |list, field| list + ", " + &quoted(field));
    let sql = format!(
        "select series_id, time{columns} from
         (select *, row_number() over (partition by series_id order by time desc) as \"n#\"
          from {} where series_id = any($1) and time >= $2 and time < $3) newest
         where \"n#\" <= $4 order by series_id, time",
        data_table(&request.measurement)
    );
    let ids = ids(&request.series);
    let (from, to) = (Time(request.range_us.start), Time(request.range_us.end));
    let limit = i64::from(request.limit_per_series);
    let found = session
        .query_once(&doing, &sql, &[&ids, &from, &to, &limit])
        .await?;
    let mut answer: Vec<SeriesRows> = Vec::new();
    for row in &found {
        let series = SeriesId(row.get(0));
        if answer.last().is_none_or(|rows| rows.series != series) {
            answer.push(SeriesRows {
                series,
                times_us: Vec::new(),
                columns: vec![Vec::new(); types.len()],
            });
        }
        let Some(rows) = answer.last_mut() else {
            continue;
        };
        rows.times_us.push(row.get::<_, Time>(1).0);
        for (at, (column, value_type)) in rows.columns.iter_mut().zip(&types).enumerate() {
            column.push(value(row, at + 2, *value_type));
        }
    }
    Ok(answer)
}

async fn buckets(session: &mut Session, request: &BucketsRequest) -> Result<Buckets, StoreError> {
    let doing = format!("summing up rows of {}", request.measurement);
    let types = field_types(session, &doing, &request.measurement, &request.fields).await?;
    if request.bucket_us <= 0 {
        return Err(refused(&doing, "the width of a bucket is above 0"));
    }
    if types.contains(&ValueType::Text) {
        return Err(refused(&doing, "texts cannot be summed up"));
    }
    if request.series.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = String::new();
    for (field, value_type) in request.fields.iter().zip(&types) {
        let column = quoted(field);
        let number = match value_type {
            ValueType::Bool => format!("{column}::integer::double precision"),
            _ => column.clone(),
        };
        columns.push_str(&format!(
            ", count({column}), min({number}), max({number}), sum({number}),
             (array_agg({number} order by time desc) filter (where {column} is not null))[1]"
        ));
    }
    // Integers all the way: date_bin counts in microseconds from the origin.
    let sql = format!(
        "select series_id, date_bin($4, time, timestamptz '1970-01-01 00:00:00+00') as \"bucket#\"
         {columns} from {} where series_id = any($1) and time >= $2 and time < $3
         group by series_id, \"bucket#\" order by series_id, \"bucket#\"",
        data_table(&request.measurement)
    );
    let ids = ids(&request.series);
    let (from, to) = (Time(request.range_us.start), Time(request.range_us.end));
    let width = Interval(request.bucket_us);
    let found = session
        .query_once(&doing, &sql, &[&ids, &from, &to, &width])
        .await?;
    let mut answer: Buckets = Vec::new();
    for row in &found {
        let series = SeriesId(row.get(0));
        if answer.last().is_none_or(|buckets| buckets.series != series) {
            answer.push(SeriesBuckets {
                series,
                starts_us: Vec::new(),
                columns: vec![Vec::new(); types.len()],
            });
        }
        let Some(buckets) = answer.last_mut() else {
            continue;
        };
        buckets.starts_us.push(row.get::<_, Time>(1).0);
        for (at, column) in buckets.columns.iter_mut().enumerate() {
            column.push(bucket(row, 2 + at * 5));
        }
    }
    Ok(answer)
}

fn bucket(row: &Row, begin: usize) -> Option<Bucket> {
    Some(Bucket {
        count: unsigned(row.get(begin)),
        min: row.get::<_, Option<f64>>(begin + 1)?,
        max: row.get::<_, Option<f64>>(begin + 2)?,
        sum: row.get::<_, Option<f64>>(begin + 3)?,
        last: row.get::<_, Option<f64>>(begin + 4)?,
    })
}

fn value(row: &Row, column: usize, value_type: ValueType) -> Option<Value> {
    match value_type {
        ValueType::Float => row.get::<_, Option<f64>>(column).map(Value::Float),
        ValueType::Bool => row.get::<_, Option<bool>>(column).map(Value::Bool),
        ValueType::Text => row
            .get::<_, Option<String>>(column)
            .map(|text| Value::Text(Cow::Owned(text))),
    }
}

/// The types of fields by name; a measurement or field that is not there is the caller's fault.
async fn field_types(
    session: &mut Session,
    doing: &str,
    measurement: &str,
    fields: &[String],
) -> Result<Vec<ValueType>, StoreError> {
    let sql = "select f.name, f.value_type from measurement m
               left join field f on f.measurement_id = m.id where m.name = $1";
    let rows = session.query(doing, sql, &[&measurement]).await?;
    if rows.is_empty() {
        return Err(refused(doing, "there is no such measurement"));
    }
    let mut types = HashMap::new();
    for row in &rows {
        if let Some(name) = row.get::<_, Option<&str>>(0) {
            types.insert(name, value_type(doing, row.get(1))?);
        }
    }
    let of = |field: &String| {
        let found = types.get(field.as_str()).copied();
        found.ok_or_else(|| refused(doing, &format!("there is no field {field:?}")))
    };
    fields.iter().map(of).collect()
}

fn refused(doing: &str, why: &str) -> StoreError {
    StoreError::new(doing, ErrorClass::Usage).caused_by(why)
}

fn ids(series: &[SeriesId]) -> Vec<i32> {
    series.iter().map(|series| series.0).collect()
}

fn kind(word: &str) -> Kind {
    Kind::parse(word).unwrap_or(Kind::Gauge)
}

fn value_type(doing: &str, word: &str) -> Result<ValueType, StoreError> {
    ValueType::parse(word).ok_or_else(|| errors::unexpected(doing, "a field has an unknown type"))
}

fn pairs(doing: &str, text: &str) -> Result<Vec<(String, String)>, StoreError> {
    parse_json_object(text).ok_or_else(|| errors::unexpected(doing, "tags are not texts by name"))
}
