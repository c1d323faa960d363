//! Short ways to say points, steps and stored rows in the cases.
//!
//! [`Writer`] does what the sink does around a store: it ensures what points need and builds the
//! step's rows against its catalog.

use super::Subject;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use tidegauge_model::{Limits, Reason, Value, ValueType};
use tidegauge_store::{
    Applied, Catalog, Cell, DeadLetter, HostKey, Measurement, MeasurementNeed, PositionMove,
    Reader, Requirements, RowBlock, RowKey, RowOrigin, RowsRequest, SeriesFilter, SeriesId,
    SeriesNeed, SeriesSlot, SourceId, Step, Store, StoreError,
};

/// A time in 2026, so that partitions by time are of a usual kind.
pub(crate) const BEGIN_US: i64 = 1_795_183_200_000_000;

/// The years 1 to 9999.
pub(crate) const ALL_TIMES_US: Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// The source of steps that do not say another.
pub(crate) fn source() -> SourceId {
    SourceId::kafka("uuid-1", "metrics")
}

/// A point to be stored, of host `web-1` unless it says another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TestPoint {
    pub(crate) host: HostKey,
    pub(crate) measurement: String,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) time_us: i64,
    pub(crate) fields: BTreeMap<String, Value>,
    pub(crate) keyed: bool,
    pub(crate) slot: u32,
}

/// The host key of an agent.
pub(crate) fn agent_host(agent: &str, name: &str) -> HostKey {
    HostKey {
        agent: agent.to_owned(),
        name: name.to_owned(),
    }
}

/// A point at `BEGIN_US` plus so many seconds.
pub(crate) fn point(measurement: &str, seconds: i64) -> TestPoint {
    TestPoint {
        host: agent_host("agent-1", "web-1"),
        measurement: measurement.to_owned(),
        tags: Vec::new(),
        time_us: BEGIN_US + seconds * 1_000_000,
        fields: BTreeMap::new(),
        keyed: false,
        slot: 0,
    }
}

impl TestPoint {
    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn tag(mut self, name: &str, text: &str) -> Self {
        self.tags.push((name.to_owned(), text.to_owned()));
        self.tags.sort();
        self
    }

    pub(crate) fn host(mut self, host: HostKey) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    pub(crate) fn slot(mut self, slot: u32) -> Self {
        self.slot = slot;
        self
    }

    fn series_need(&self) -> SeriesNeed {
        SeriesNeed {
            host: self.host.clone(),
            measurement: self.measurement.clone(),
            tags: self.tags.clone(),
        }
    }

    fn series_raw(&self) -> Box<[u8]> {
        format!("{:?}", self.series_need())
            .into_bytes()
            .into_boxed_slice()
    }
}

/// What the points need, all of it, known or not.
pub(crate) fn requirements(points: &[TestPoint]) -> Requirements {
    let mut needs = Requirements::default();
    for point in points {
        needs.hosts.entry(point.host.clone()).or_default();
        let measurement: &mut MeasurementNeed = needs
            .measurements
            .entry(point.measurement.clone())
            .or_default();
        measurement.keyed |= point.keyed;
        for (name, value) in &point.fields {
            let value_type = value_type(value);
            measurement.fields.entry(name.clone()).or_insert(value_type);
        }
        let tags = point.tags.iter().map(|(name, _)| name.clone());
        measurement.tags.extend(tags);
        needs
            .series
            .insert(point.series_need(), vec![point.series_raw()]);
    }
    needs
}

fn value_type(value: &Value) -> ValueType {
    match value {
        Value::Float(_) => ValueType::Float,
        Value::Bool(_) => ValueType::Bool,
        Value::Text(_) => ValueType::Text,
    }
}

/// A move of partition 0 of [`source`].
pub(crate) fn moved(range: Range<i64>) -> PositionMove {
    moved_in(&source(), 0, range)
}

/// A move of some partition.
pub(crate) fn moved_in(source: &SourceId, partition: i32, range: Range<i64>) -> PositionMove {
    PositionMove {
        source: source.clone(),
        partition,
        from: range.start,
        to: range.end,
        messages: u64::try_from(range.end - range.start).unwrap_or_default(),
        points: 0,
        duplicate_points: 0,
        dead_letters: 0,
        left_out_values: 0,
    }
}

/// A dead letter of the step's first partition.
pub(crate) fn dead_letter(offset: i64, index: Option<u32>, reason: Reason) -> DeadLetter {
    DeadLetter {
        slot: 0,
        offset,
        index,
        reason,
        detail: format!("what is wrong at {offset}"),
        encoding: "json/1".to_owned(),
        payload: b"{\"v\":1, \xff\0".as_slice().into(),
    }
}

/// A store and its catalog, as the sink holds them.
pub(crate) struct Writer {
    pub(crate) store: Box<dyn Store>,
    pub(crate) catalog: Catalog,
}

impl Writer {
    /// A new writer on the subject, migrated, with [`source`]'s partition 0 at offset 0.
    pub(crate) async fn open(subject: &impl Subject) -> Self {
        Self::open_with(subject, Limits::default()).await
    }

    /// The same with other limits.
    pub(crate) async fn open_with(subject: &impl Subject, limits: Limits) -> Self {
        let mut store = subject.store();
        store.migrate().await.expect("migrated");
        store
            .positions(&source(), &[(0, 0)])
            .await
            .expect("positions");
        Self {
            store,
            catalog: Catalog::new(limits),
        }
    }

    /// Ensures what the points need.
    pub(crate) async fn ensure(&mut self, points: &[TestPoint]) {
        let needs = requirements(points);
        self.store
            .ensure(&needs, &mut self.catalog)
            .await
            .expect("ensured");
    }

    /// The measurement as the catalog has it.
    pub(crate) fn measurement(&self, name: &str) -> Arc<Measurement> {
        let known = self.catalog.measurement(name).expect("known");
        Arc::clone(known.as_ref().expect("not refused"))
    }

    /// The number of a point's series.
    pub(crate) fn series(&mut self, point: &TestPoint) -> SeriesId {
        match self.slot(point) {
            SeriesSlot::Known(series) => series,
            SeriesSlot::Refused(reason) => panic!("{point:?} is refused: {reason:?}"),
        }
    }

    /// What the catalog says of a point's series.
    pub(crate) fn slot(&mut self, point: &TestPoint) -> SeriesSlot {
        let raw = point.series_raw();
        self.catalog.series(&raw).expect("the series was ensured")
    }

    /// A step with rows for these points, after ensuring what they need.
    pub(crate) async fn step(&mut self, moves: Vec<PositionMove>, points: &[TestPoint]) -> Step {
        self.ensure(points).await;
        let mut step = Step {
            moves,
            ..Step::default()
        };
        for (index, point) in (0..).zip(points) {
            let at = step
                .blocks
                .iter()
                .position(|block| block.measurement().name == point.measurement);
            let at = at.unwrap_or_else(|| {
                let measurement = self.measurement(&point.measurement);
                step.blocks.push(RowBlock::new(measurement));
                step.blocks.len() - 1
            });
            let partition = &mut step.moves[point.slot as usize];
            partition.points += 1;
            let origin = RowOrigin {
                slot: point.slot,
                offset: partition.from,
                index,
            };
            let series = self.series(point);
            push(&mut step.blocks[at], series, origin, point);
        }
        step
    }

    /// Builds and applies a step of partition 0.
    pub(crate) async fn apply(
        &mut self,
        range: Range<i64>,
        points: &[TestPoint],
    ) -> Result<Applied, StoreError> {
        let step = self.step(vec![moved(range)], points).await;
        self.store.apply(&step).await
    }

    /// Builds and applies a step that must be committed with so many new rows.
    pub(crate) async fn commit(&mut self, range: Range<i64>, points: &[TestPoint]) {
        let rows = points.len() as u64;
        let applied = self.apply(range, points).await.expect("applied");
        assert_eq!(applied, committed(rows, 0));
    }

    /// The stored position of a partition of [`source`].
    pub(crate) async fn position(&mut self, partition: i32) -> Option<i64> {
        let known = self.store.known_positions(&source()).await.expect("known");
        let position = known.iter().find(|known| known.partition == partition)?;
        Some(position.next_offset)
    }
}

/// Appends a point to a block; every field must have a column of its type.
pub(crate) fn push(block: &mut RowBlock, series: SeriesId, origin: RowOrigin, point: &TestPoint) {
    let time_us = point.time_us;
    let row = block.push(RowKey { series, time_us }, origin);
    let measurement = Arc::clone(block.measurement());
    for (name, value) in &point.fields {
        let column = measurement.column(name).expect("the column was ensured");
        match value {
            Value::Float(number) => block.set(row, column, Cell::float(*number)),
            Value::Bool(truth) => block.set(row, column, Cell::bool(*truth)),
            Value::Text(text) => block.set_text(row, column, text),
        }
    }
}

/// The answer to a step that is committed.
pub(crate) fn committed(rows: u64, duplicates: u64) -> Applied {
    Applied::Committed { rows, duplicates }
}

/// A row as it is stored: host name, tags, time, fields that are there.
pub(crate) type StoredRow = (String, Vec<(String, String)>, i64, BTreeMap<String, Value>);

/// A point as the row that it makes.
pub(crate) fn as_row(point: &TestPoint) -> StoredRow {
    let (tags, fields) = (point.tags.clone(), point.fields.clone());
    (point.host.name.clone(), tags, point.time_us, fields)
}

/// All rows of a measurement, sorted by host, tags and time; none if there is no such measurement.
pub(crate) async fn stored(reader: &Arc<dyn Reader>, measurement: &str) -> Vec<StoredRow> {
    let hosts = reader.hosts().await.expect("hosts");
    let measurements = reader.measurements().await.expect("measurements");
    let Some(info) = measurements.iter().find(|info| info.name == measurement) else {
        return Vec::new();
    };
    let filter = SeriesFilter {
        measurement: Some(measurement.to_owned()),
        ..SeriesFilter::default()
    };
    let series = reader.series(&filter).await.expect("series");
    let request = RowsRequest {
        measurement: measurement.to_owned(),
        series: series.iter().map(|series| series.id).collect(),
        fields: info.fields.iter().map(|field| field.name.clone()).collect(),
        range_us: ALL_TIMES_US,
        limit_per_series: u32::MAX,
    };
    let mut stored = Vec::new();
    for rows in reader.rows(&request).await.expect("rows") {
        let series = series.iter().find(|info| info.id == rows.series);
        let series = series.expect("asked for");
        let host = hosts.iter().find(|host| host.id == series.host);
        let name = &host.expect("every series has a host").name;
        for (row, &time_us) in rows.times_us.iter().enumerate() {
            let fields = request.fields.iter().zip(&rows.columns);
            let fields =
                fields.filter_map(|(name, column)| Some((name.clone(), column[row].clone()?)));
            let fields = fields.collect();
            stored.push((name.clone(), series.tags.clone(), time_us, fields));
        }
    }
    stored.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    stored
}

/// The rows that points make, sorted as [`stored`] sorts them.
pub(crate) fn as_rows(points: &[TestPoint]) -> Vec<StoredRow> {
    let mut rows: Vec<StoredRow> = points.iter().map(as_row).collect();
    rows.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    rows
}
