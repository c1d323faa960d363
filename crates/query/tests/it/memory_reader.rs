//! A [`Reader`] over points in memory, by the letter of the contract; no database, no files.
//!
//! It lets tests of this crate and of the page say exact numbers. The stores' own suite checks
//! that the databases keep the same contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use tidegauge_model::{Kind, Point, Value, ValueType, catalog};
use tidegauge_store::{
    Bucket, Buckets, BucketsRequest, ErrorClass, FieldInfo, HostFreshness, HostId, HostInfo, Loss,
    MeasurementInfo, PartitionProgress, Reader, RowsRequest, SeriesBuckets, SeriesFilter, SeriesId,
    SeriesInfo, SeriesRows, StoreCondition, StoreError, StoreSummary,
};

type SeriesKey = (i32, String, Vec<(String, String)>);
type Row = BTreeMap<String, Value>;

#[derive(Default)]
struct Tables {
    hosts: Vec<HostInfo>,
    measurements: BTreeMap<String, MeasurementInfo>,
    series: BTreeMap<SeriesKey, SeriesId>,
    rows: BTreeMap<SeriesId, BTreeMap<i64, Row>>,
    asked: Vec<&'static str>,
}

/// Points in memory.
#[derive(Default)]
pub(crate) struct MemoryReader(Mutex<Tables>);

impl MemoryReader {
    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a point of the host of this name.
    pub(crate) fn store(&self, host: &str, point: &Point) {
        let mut tables = self.tables();
        let known = tables.hosts.iter().find(|known| known.name == host);
        let host_id = known.map_or(HostId(tables.hosts.len() as i32 + 1), |known| known.id);
        if known.is_none() {
            tables.hosts.push(HostInfo {
                id: host_id,
                identity: format!("agent:{host}"),
                name: host.to_owned(),
                labels: Vec::new(),
                first_seen_us: point.time_us(),
            });
        }
        let mut tags: Vec<(String, String)> = point
            .tags()
            .iter()
            .map(|(name, text)| (name.as_str().to_owned(), text.to_string()))
            .collect();
        tags.sort();
        let name = point.measurement().as_str().to_owned();
        learn(&mut tables, &name, point, &tags);
        let next = SeriesId(tables.series.len() as i32 + 1);
        let key = (host_id.0, name, tags);
        let series = *tables.series.entry(key).or_insert(next);
        let fields = point.fields().iter();
        let row = fields.map(|(name, value)| (name.as_str().to_owned(), value.clone()));
        let rows = tables.rows.entry(series).or_default();
        rows.insert(point.time_us(), row.collect());
    }

    /// What was asked since the last call: `rows` or `buckets`.
    pub(crate) fn take_asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.tables().asked)
    }
}

fn learn(tables: &mut Tables, name: &str, point: &Point, tags: &[(String, String)]) {
    let entry = catalog::measurement(name);
    let known = tables
        .measurements
        .entry(name.to_owned())
        .or_insert_with(|| MeasurementInfo {
            name: name.to_owned(),
            kind: entry.map_or(Kind::Gauge, |entry| entry.kind),
            description: entry.map_or("", |entry| entry.description).to_owned(),
            tags: Vec::new(),
            fields: Vec::new(),
        });
    let seen: BTreeSet<String> = known.tags.iter().cloned().collect();
    let new = tags
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !seen.contains(*name));
    known.tags.extend(new.cloned());
    for (field, value) in point.fields() {
        if known.fields.iter().any(|info| info.name == field.as_str()) {
            continue;
        }
        let built_in = entry.and_then(|entry| entry.field(field.as_str()));
        let is_total = field.as_str().ends_with("_total");
        known.fields.push(FieldInfo {
            name: field.as_str().to_owned(),
            value_type: match value {
                Value::Float(_) => ValueType::Float,
                Value::Bool(_) => ValueType::Bool,
                Value::Text(_) => ValueType::Text,
            },
            kind: built_in.map_or(if is_total { Kind::Counter } else { Kind::Gauge }, |f| {
                f.kind
            }),
            unit: built_in.map_or("", |field| field.unit).to_owned(),
            description: String::new(),
        });
    }
}

fn check(tables: &Tables, measurement: &str, fields: &[String]) -> Result<(), StoreError> {
    let refuse = |what: &str| StoreError::new(format!("reading {what}"), ErrorClass::Usage);
    let known = tables
        .measurements
        .get(measurement)
        .ok_or_else(|| refuse(measurement))?;
    let is_known = |name: &&String| known.fields.iter().any(|field| field.name == **name);
    match fields.iter().find(|name| !is_known(name)) {
        Some(name) => Err(refuse(name)),
        None => Ok(()),
    }
}

#[async_trait::async_trait]
impl Reader for MemoryReader {
    async fn summary(&self) -> Result<StoreSummary, StoreError> {
        let tables = self.tables();
        Ok(StoreSummary {
            hosts: tables.hosts.len() as u64,
            measurements: tables.measurements.len() as u64,
            series: tables.series.len() as u64,
            points: tables.rows.values().map(|rows| rows.len() as u64).sum(),
            dead_letters: 0,
            bytes: 0,
        })
    }

    async fn condition(&self) -> Result<StoreCondition, StoreError> {
        Ok(StoreCondition::default())
    }

    async fn hosts(&self) -> Result<Vec<HostInfo>, StoreError> {
        let mut hosts = self.tables().hosts.clone();
        hosts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(hosts)
    }

    async fn measurements(&self) -> Result<Vec<MeasurementInfo>, StoreError> {
        Ok(self.tables().measurements.values().cloned().collect())
    }

    async fn series(&self, filter: &SeriesFilter) -> Result<Vec<SeriesInfo>, StoreError> {
        let tables = self.tables();
        let all = tables
            .series
            .iter()
            .map(|((host, measurement, tags), id)| SeriesInfo {
                id: *id,
                host: HostId(*host),
                measurement: measurement.clone(),
                tags: tags.clone(),
            });
        let wanted = |series: &SeriesInfo| {
            filter
                .measurement
                .as_ref()
                .is_none_or(|name| *name == series.measurement)
                && filter.host.is_none_or(|host| host == series.host)
                && filter.tags.iter().all(|tag| series.tags.contains(tag))
        };
        Ok(all.filter(wanted).collect())
    }

    async fn rows(&self, request: &RowsRequest) -> Result<Vec<SeriesRows>, StoreError> {
        let mut tables = self.tables();
        tables.asked.push("rows");
        check(&tables, &request.measurement, &request.fields)?;
        let mut found = Vec::new();
        for series in &request.series {
            let Some(rows) = tables.rows.get(series) else {
                continue;
            };
            let mut rows: Vec<_> = rows
                .range(request.range_us.clone())
                .rev()
                .take(request.limit_per_series as usize)
                .collect();
            rows.reverse();
            if rows.is_empty() {
                continue;
            }
            let column = |field: &String| -> Vec<Option<Value>> {
                let cells = rows.iter().map(|(_, row)| row.get(field).cloned());
                cells.collect()
            };
            found.push(SeriesRows {
                series: *series,
                times_us: rows.iter().map(|(time, _)| **time).collect(),
                columns: request.fields.iter().map(column).collect(),
            });
        }
        Ok(found)
    }

    async fn buckets(&self, request: &BucketsRequest) -> Result<Buckets, StoreError> {
        let mut tables = self.tables();
        tables.asked.push("buckets");
        check(&tables, &request.measurement, &request.fields)?;
        let mut found = Vec::new();
        for series in &request.series {
            let Some(rows) = tables.rows.get(series) else {
                continue;
            };
            let mut buckets: BTreeMap<i64, Vec<Option<Bucket>>> = BTreeMap::new();
            for (time_us, row) in rows.range(request.range_us.clone()) {
                let start = time_us.div_euclid(request.bucket_us) * request.bucket_us;
                let empty = || vec![None; request.fields.len()];
                let columns = buckets.entry(start).or_insert_with(empty);
                for (slot, field) in columns.iter_mut().zip(&request.fields) {
                    let value = match row.get(field) {
                        Some(Value::Float(number)) => *number,
                        Some(Value::Bool(truth)) => f64::from(u8::from(*truth)),
                        _ => continue,
                    };
                    let before = slot.unwrap_or(Bucket {
                        count: 0,
                        min: value,
                        max: value,
                        sum: 0.0,
                        last: value,
                    });
                    *slot = Some(Bucket {
                        count: before.count + 1,
                        min: before.min.min(value),
                        max: before.max.max(value),
                        sum: before.sum + value,
                        last: value,
                    });
                }
            }
            if buckets.is_empty() {
                continue;
            }
            let column = |index: usize| buckets.values().map(|columns| columns[index]).collect();
            found.push(SeriesBuckets {
                series: *series,
                starts_us: buckets.keys().copied().collect(),
                columns: (0..request.fields.len()).map(column).collect(),
            });
        }
        Ok(found)
    }

    async fn losses(&self) -> Result<Vec<Loss>, StoreError> {
        Ok(Vec::new())
    }

    async fn freshness(&self) -> Result<Vec<HostFreshness>, StoreError> {
        Ok(Vec::new())
    }

    async fn progress(&self) -> Result<Vec<PartitionProgress>, StoreError> {
        Ok(Vec::new())
    }
}
