//! Queries over a few connections on which the server refuses writes.

use super::account;
use super::connect::{Pool, Session, value};
use super::errors;
use super::url::Target;
use super::values::{
    data_table, parse_json_object, push_time, quoted, text, time_condition, time_us,
};
use crate::{
    Bucket, Buckets, BucketsRequest, ErrorClass, FieldInfo, HostFreshness, HostId, HostInfo, Loss,
    MeasurementInfo, PartitionProgress, Reader, RowsRequest, SeriesBuckets, SeriesFilter, SeriesId,
    SeriesInfo, SeriesRows, StoreCondition, StoreError, StoreSummary,
};
use mysql_async::Row;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tidegauge_model::{Kind, Value, ValueType};

/// Series whose rows are read by one statement.
const SERIES_AT_ONCE: usize = 50;

/// Single rows that are read by one statement.
const ROWS_AT_ONCE: usize = 500;

/// A reader.
pub(super) struct MysqlReader {
    pool: Pool,
}

impl MysqlReader {
    pub(super) const fn new(target: Target) -> Self {
        let pool = Pool::new(target);
        Self { pool }
    }
}

#[async_trait::async_trait]
impl Reader for MysqlReader {
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
    let doing = "reading the summary";
    let sql = "select (select count(*) from `host`), (select count(*) from `measurement`),
               (select count(*) from `series`),
               (select cast(coalesce(sum(`points`), 0) as signed) from `position`),
               (select count(*) from `dead_letter`),
               (select cast(coalesce(sum(data_length + index_length), 0) as signed)
                from information_schema.tables
                where table_schema = database() and table_type = 'BASE TABLE')";
    let rows = session.query(doing, sql).await?;
    let row = rows.first();
    let row = row.ok_or_else(|| errors::unexpected(doing, "the server answered no row"))?;
    let count = |column| value::<i64>(doing, row, column).map(i64::unsigned_abs);
    Ok(StoreSummary {
        hosts: count(0)?,
        measurements: count(1)?,
        series: count(2)?,
        points: count(3)?,
        dead_letters: count(4)?,
        bytes: count(5)?,
    })
}

async fn hosts(session: &mut Session) -> Result<Vec<HostInfo>, StoreError> {
    let doing = "reading the hosts";
    let sql = "select `id`, `identity`, `name`, `labels`, `first_seen` from `host`
               order by `name`, `id`";
    let rows = session.query(doing, sql).await?;
    let host = |row: &Row| {
        Ok(HostInfo {
            id: HostId(value(doing, row, 0)?),
            identity: value(doing, row, 1)?,
            name: value(doing, row, 2)?,
            labels: pairs(doing, row, 3)?,
            first_seen_us: time(doing, row, 4)?,
        })
    };
    rows.iter().map(host).collect()
}

async fn measurements(session: &mut Session) -> Result<Vec<MeasurementInfo>, StoreError> {
    let doing = "reading the measurements";
    let sql = "select `id`, `name`, `kind`, `description` from `measurement` order by `name`";
    let mut found = Vec::new();
    let mut places: HashMap<i32, usize> = HashMap::new();
    for row in session.query(doing, sql).await? {
        places.insert(value(doing, &row, 0)?, found.len());
        found.push(MeasurementInfo {
            name: value(doing, &row, 1)?,
            kind: kind(doing, &row, 2)?,
            description: value(doing, &row, 3)?,
            tags: Vec::new(),
            fields: Vec::new(),
        });
    }
    let sql = "select `measurement_id`, `name` from `tag` order by `name`";
    for row in session.query(doing, sql).await? {
        if let Some(&place) = places.get(&value(doing, &row, 0)?) {
            found[place].tags.push(value(doing, &row, 1)?);
        }
    }
    let sql = "select `measurement_id`, `name`, `value_type`, `kind`, `unit`, `description`
               from `field` order by `ordinal`";
    for row in session.query(doing, sql).await? {
        if let Some(&place) = places.get(&value(doing, &row, 0)?) {
            found[place].fields.push(FieldInfo {
                name: value(doing, &row, 1)?,
                value_type: value_type(doing, &row, 2)?,
                kind: kind(doing, &row, 3)?,
                unit: value(doing, &row, 4)?,
                description: value(doing, &row, 5)?,
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
    let mut conditions = vec!["true".to_owned()];
    if let Some(measurement) = &filter.measurement {
        conditions.push(format!("m.`name` = {}", text(measurement)));
    }
    if let Some(host) = filter.host {
        conditions.push(format!("s.`host_id` = {}", host.0));
    }
    let sql = format!(
        "select s.`id`, s.`host_id`, m.`name`, s.`tags` from `series` s
         join `measurement` m on m.`id` = s.`measurement_id`
         join `host` h on h.`id` = s.`host_id`
         where {} order by h.`name`, h.`id`, m.`name`, s.`tags`, s.`id`",
        conditions.join(" and ")
    );
    let mut found = Vec::new();
    for row in session.query(doing, &sql).await? {
        let tags = pairs(doing, &row, 3)?;
        if filter.tags.iter().all(|wanted| tags.contains(wanted)) {
            found.push(SeriesInfo {
                id: SeriesId(value(doing, &row, 0)?),
                host: HostId(value(doing, &row, 1)?),
                measurement: value(doing, &row, 2)?,
                tags,
            });
        }
    }
    Ok(found)
}

/// Each series is a walk through the clustered key by itself, newest first, which ends at the limit.
async fn rows(session: &mut Session, request: &RowsRequest) -> Result<Vec<SeriesRows>, StoreError> {
    let doing = format!("reading rows of {}", request.measurement);
    let types = field_types(session, &doing, &request.measurement, &request.fields).await?;
    let Some(times) = time_condition("`time`", &request.range_us) else {
        return Ok(Vec::new());
    };
    let columns = column_list(&request.fields);
    let table = data_table(&request.measurement);
    let mut answer = Vec::new();
    for chunk in request.series.chunks(SERIES_AT_ONCE) {
        let selects: Vec<String> = chunk
            .iter()
            .map(|series| {
                format!(
                    "(select `series_id`, `time`{columns} from {table}
                      where `series_id` = {} and {times} order by `time` desc limit {})",
                    series.0, request.limit_per_series
                )
            })
            .collect();
        let mut found: BTreeMap<i32, Vec<(i64, Row)>> = BTreeMap::new();
        for row in session.query(&doing, &selects.join(" union all ")).await? {
            let series = value(&doing, &row, 0)?;
            let time_us = time(&doing, &row, 1)?;
            found.entry(series).or_default().push((time_us, row));
        }
        for (series, mut rows) in found {
            rows.sort_by_key(|(time_us, _)| *time_us);
            let mut columns = vec![Vec::with_capacity(rows.len()); types.len()];
            for (at, (column, value_type)) in columns.iter_mut().zip(&types).enumerate() {
                for (_, row) in &rows {
                    column.push(field(&doing, row, at + 2, *value_type)?);
                }
            }
            answer.push(SeriesRows {
                series: SeriesId(series),
                times_us: rows.iter().map(|(time_us, _)| *time_us).collect(),
                columns,
            });
        }
    }
    Ok(answer)
}

/// One query sums up and says where the youngest value of each field is; then those are read. Both
/// see the same state of the database.
async fn buckets(session: &mut Session, request: &BucketsRequest) -> Result<Buckets, StoreError> {
    let doing = format!("summing up rows of {}", request.measurement);
    let types = field_types(session, &doing, &request.measurement, &request.fields).await?;
    if request.bucket_us <= 0 {
        return Err(refused(&doing, "the width of a bucket is above 0"));
    }
    if types.contains(&ValueType::Text) {
        return Err(refused(&doing, "texts cannot be summed up"));
    }
    let Some(times) = time_condition("`time`", &request.range_us) else {
        return Ok(Vec::new());
    };
    if request.series.is_empty() {
        return Ok(Vec::new());
    }
    let snapshot = "start transaction with consistent snapshot, read only";
    session.execute(&doing, snapshot).await?;
    let summed = sums(session, &doing, request, &times).await?;
    let wanted: BTreeSet<(i32, i64)> = summed
        .iter()
        .flat_map(|sums| {
            let last = sums.fields.iter().flatten();
            last.map(|field| (sums.series, field.last_us))
        })
        .collect();
    let youngest = youngest(session, &doing, request, wanted).await?;
    session.commit().await?;
    let mut answer: Buckets = Vec::new();
    for sums in summed {
        let series = SeriesId(sums.series);
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
        buckets.starts_us.push(sums.start_us);
        for (at, (column, field)) in buckets.columns.iter_mut().zip(sums.fields).enumerate() {
            let bucket = field.and_then(|field| {
                let row = youngest.get(&(sums.series, field.last_us))?;
                let last = row.get(at).copied().flatten()?;
                Some(Bucket {
                    last,
                    ..field.bucket
                })
            });
            column.push(bucket);
        }
    }
    Ok(answer)
}

/// One bucket of one series; a field without values in it is `None`.
struct Sums {
    series: i32,
    start_us: i64,
    fields: Vec<Option<FieldSums>>,
}

struct FieldSums {
    /// All but its `last`.
    bucket: Bucket,
    /// The time of the youngest value.
    last_us: i64,
}

async fn sums(
    session: &mut Session,
    doing: &str,
    request: &BucketsRequest,
    times: &str,
) -> Result<Vec<Sums>, StoreError> {
    let mut columns = String::new();
    for field in &request.fields {
        let column = quoted(field);
        // Truth values become doubles too.
        let number = format!("({column} + 0e0)");
        columns.push_str(&format!(
            ", count({column}), min({number}), max({number}), sum({number}),
             max(case when {column} is not null then `time` end)"
        ));
    }
    // Integers all the way; `div` cuts towards zero, times before 1970 need the floor.
    let width = request.bucket_us;
    let since = "timestampdiff(microsecond, '1970-01-01 00:00:00', `time`)";
    let ids: Vec<String> = request
        .series
        .iter()
        .map(|series| series.0.to_string())
        .collect();
    let sql = format!(
        "select `series_id`, {since} div {width} - ({since} % {width} < 0) as `bucket#` {columns}
         from {} where `series_id` in ({}) and {times}
         group by `series_id`, `bucket#` order by `series_id`, `bucket#`",
        data_table(&request.measurement),
        ids.join(", ")
    );
    let rows = session.query(doing, &sql).await?;
    let sums = |row: &Row| {
        let field = |at: usize| {
            let begin = 2 + at * 5;
            let count: u64 = value(doing, row, begin)?;
            if count == 0 {
                return Ok(None);
            }
            let number = |offset| value::<f64>(doing, row, begin + offset);
            Ok(Some(FieldSums {
                bucket: Bucket {
                    count,
                    min: number(1)?,
                    max: number(2)?,
                    sum: number(3)?,
                    last: 0.0,
                },
                last_us: time(doing, row, begin + 4)?,
            }))
        };
        let fields = (0..request.fields.len()).map(field);
        let bucket: i64 = value(doing, row, 1)?;
        Ok(Sums {
            series: value(doing, row, 0)?,
            start_us: bucket.saturating_mul(width),
            fields: fields.collect::<Result<_, StoreError>>()?,
        })
    };
    rows.iter().map(sums).collect()
}

/// Single rows by series and time, their fields as numbers.
async fn youngest(
    session: &mut Session,
    doing: &str,
    request: &BucketsRequest,
    wanted: BTreeSet<(i32, i64)>,
) -> Result<HashMap<(i32, i64), Vec<Option<f64>>>, StoreError> {
    let table = data_table(&request.measurement);
    let columns: String = request.fields.iter().fold(String::new(), |list, field| {
        format!("{list}, ({} + 0e0)", quoted(field))
    });
    let wanted: Vec<(i32, i64)> = wanted.into_iter().collect();
    let mut found = HashMap::with_capacity(wanted.len());
    for chunk in wanted.chunks(ROWS_AT_ONCE) {
        let mut selects = Vec::new();
        for rows in chunk.chunk_by(|one, other| one.0 == other.0) {
            let mut list = String::new();
            for (_, time_us) in rows {
                if !list.is_empty() {
                    list.push_str(", ");
                }
                push_time(&mut list, *time_us);
            }
            selects.push(format!(
                "select `series_id`, `time`{columns} from {table}
                 where `series_id` = {} and `time` in ({list})",
                rows[0].0
            ));
        }
        for row in session.query(doing, &selects.join(" union all ")).await? {
            let key = (value(doing, &row, 0)?, time(doing, &row, 1)?);
            let numbers = (0..request.fields.len()).map(|at| value(doing, &row, at + 2));
            found.insert(key, numbers.collect::<Result<_, _>>()?);
        }
    }
    Ok(found)
}

fn column_list(fields: &[String]) -> String {
    fields
        .iter()
        .fold(String::new(), |list, field| list + ", " + &quoted(field))
}

fn field(
    doing: &str,
    row: &Row,
    column: usize,
    value_type: ValueType,
) -> Result<Option<Value>, StoreError> {
    Ok(match value_type {
        ValueType::Float => value::<Option<f64>>(doing, row, column)?.map(Value::Float),
        ValueType::Bool => value::<Option<bool>>(doing, row, column)?.map(Value::Bool),
        ValueType::Text => {
            value::<Option<String>>(doing, row, column)?.map(|text| Value::Text(Cow::Owned(text)))
        }
    })
}

/// The types of fields by name; a measurement or field that is not there is the caller's fault.
async fn field_types(
    session: &mut Session,
    doing: &str,
    measurement: &str,
    fields: &[String],
) -> Result<Vec<ValueType>, StoreError> {
    let sql = format!(
        "select f.`name`, f.`value_type` from `measurement` m
         left join `field` f on f.`measurement_id` = m.`id` where m.`name` = {}",
        text(measurement)
    );
    let rows = session.query(doing, &sql).await?;
    if rows.is_empty() {
        return Err(refused(doing, "there is no such measurement"));
    }
    let mut types = HashMap::new();
    for row in &rows {
        if let Some(name) = value::<Option<String>>(doing, row, 0)? {
            types.insert(name, value_type(doing, row, 1)?);
        }
    }
    let of = |field: &String| {
        let found = types.get(field).copied();
        found.ok_or_else(|| refused(doing, &format!("there is no field {field:?}")))
    };
    fields.iter().map(of).collect()
}

fn refused(doing: &str, why: &str) -> StoreError {
    StoreError::new(doing, ErrorClass::Usage).caused_by(why)
}

fn time(doing: &str, row: &Row, column: usize) -> Result<i64, StoreError> {
    let time = row.as_ref(column).and_then(time_us);
    time.ok_or_else(|| errors::unexpected(doing, "a time is not in its form"))
}

fn kind(doing: &str, row: &Row, column: usize) -> Result<Kind, StoreError> {
    let word: String = value(doing, row, column)?;
    Ok(Kind::parse(&word).unwrap_or(Kind::Gauge))
}

fn value_type(doing: &str, row: &Row, column: usize) -> Result<ValueType, StoreError> {
    let word: String = value(doing, row, column)?;
    ValueType::parse(&word).ok_or_else(|| errors::unexpected(doing, "a field has an unknown type"))
}

fn pairs(doing: &str, row: &Row, column: usize) -> Result<Vec<(String, String)>, StoreError> {
    let text: String = value(doing, row, column)?;
    parse_json_object(&text).ok_or_else(|| errors::unexpected(doing, "tags are not texts by name"))
}
