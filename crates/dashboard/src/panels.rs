//! The panels of a host: which measurements and fields each shows, and their answers as JSON.
//!
//! One row of [`PANELS`] per panel. How a panel looks is the front end's business.

use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use tidegauge_query::{
    Column, Counters, Frame, HostId, MeasurementInfo, Query, QueryError, RangeRequest,
    SeriesStates, StatesRequest,
};

/// One panel.
#[derive(Debug)]
pub(crate) struct PanelEntry {
    /// Its name in the API.
    pub(crate) name: &'static str,
    source: Source,
}

/// Where a panel's values come from.
#[derive(Debug)]
enum Source {
    /// One chart with these fields of the series with these tags.
    Fields {
        measurement: &'static str,
        tags: &'static [(&'static str, &'static str)],
        fields: &'static [&'static str],
    },
    /// One chart per series of each measurement whose name ends in `_check`: states and phases.
    Checks,
}

/// All panels, in the order of the page.
pub(crate) const PANELS: &[PanelEntry] = &[
    PanelEntry {
        name: "cpu",
        source: Source::Fields {
            measurement: "cpu",
            tags: &[("cpu", "total")],
            fields: &[
                "user_percent",
                "nice_percent",
                "system_percent",
                "irq_percent",
                "softirq_percent",
                "steal_percent",
                "iowait_percent",
                "idle_percent",
            ],
        },
    },
    PanelEntry {
        name: "load",
        source: Source::Fields {
            measurement: "load",
            tags: &[],
            fields: &["load1", "load5", "load15"],
        },
    },
    PanelEntry {
        name: "memory",
        source: Source::Fields {
            measurement: "memory",
            tags: &[],
            fields: &[
                "used_bytes",
                "buffers_bytes",
                "cached_bytes",
                "free_bytes",
                "available_bytes",
                "total_bytes",
            ],
        },
    },
    PanelEntry {
        name: "disk_io",
        source: Source::Fields {
            measurement: "disk_io",
            tags: &[],
            fields: &["read_bytes", "written_bytes"],
        },
    },
    PanelEntry {
        name: "network",
        source: Source::Fields {
            measurement: "network",
            tags: &[],
            fields: &["received_bytes", "transmitted_bytes"],
        },
    },
    PanelEntry {
        name: "filesystem",
        source: Source::Fields {
            measurement: "filesystem",
            tags: &[],
            fields: &[
                "used_percent",
                "available_bytes",
                "total_bytes",
                "responding",
            ],
        },
    },
    PanelEntry {
        name: "checks",
        source: Source::Checks,
    },
];

/// A panel's answer.
#[derive(Debug, Serialize)]
pub(crate) struct PanelAnswer {
    panel: &'static str,
    now_ms: i64,
    charts: Vec<Chart>,
}

/// Columns over one axis.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    /// What tells it apart inside of its panel: measurement and, of a check, its tags.
    pub(crate) key: String,
    measurement: String,
    /// Tags of the one series; empty where a chart shows several.
    tags: BTreeMap<String, String>,
    step_ms: Option<i64>,
    bucket_ms: Option<i64>,
    times_ms: Vec<i64>,
    columns: Vec<ChartColumn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    states: Option<ChartStates>,
    #[serde(skip)]
    last_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct ChartColumn {
    field: String,
    tags: BTreeMap<String, String>,
    unit: String,
    per_second: bool,
    values: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Vec<Option<f64>>>,
}

#[derive(Debug, Serialize)]
struct ChartStates {
    samples: u64,
    up_samples: u64,
    runs: Vec<ChartRun>,
}

#[derive(Debug, Serialize)]
struct ChartRun {
    from_ms: i64,
    to_ms: i64,
    up: bool,
    reason: Option<String>,
    detail: Option<String>,
}

impl PanelEntry {
    /// Whether it shows this measurement.
    pub(crate) fn shows(&self, measurement: &str) -> bool {
        match self.source {
            Source::Fields {
                measurement: name, ..
            } => name == measurement,
            Source::Checks => measurement.ends_with("_check"),
        }
    }
}

impl PanelAnswer {
    pub(crate) const fn new(panel: &PanelEntry, now_us: i64, charts: Vec<Chart>) -> Self {
        Self {
            panel: panel.name,
            now_ms: now_us / 1_000,
            charts,
        }
    }
}

impl Chart {
    /// The newest time with a value or a state.
    pub(crate) const fn last_ms(&self) -> Option<i64> {
        self.last_ms
    }

    /// The usual time between its samples.
    pub(crate) const fn step_ms(&self) -> Option<i64> {
        self.step_ms
    }

    /// Forgets the times and states up to `time_ms` (inclusive).
    pub(crate) fn keep_after(&mut self, time_ms: i64) {
        let first = self.times_ms.partition_point(|&time| time <= time_ms);
        self.times_ms.drain(..first);
        for column in &mut self.columns {
            let all = [
                Some(&mut column.values),
                column.min.as_mut(),
                column.max.as_mut(),
            ];
            for values in all.into_iter().flatten() {
                values.drain(..first);
            }
        }
        if let Some(states) = &mut self.states {
            states.runs.retain(|run| run.to_ms > time_ms);
        }
    }
}

/// Reads a panel. What was never stored is no error: a panel without charts.
pub(crate) async fn read(
    query: &Query,
    measurements: &[MeasurementInfo],
    host: HostId,
    panel: &PanelEntry,
    range_us: Range<i64>,
    pixels: u32,
) -> Result<Vec<Chart>, QueryError> {
    let mut charts = Vec::new();
    for measurement in measurements.iter().filter(|known| panel.shows(&known.name)) {
        let mut request = RangeRequest {
            measurement: measurement.name.clone(),
            host: Some(host),
            tags: Vec::new(),
            fields: Vec::new(),
            range_us: range_us.clone(),
            max_points: pixels,
            counters: Counters::Rates,
        };
        let is_known = |name: &str| measurement.fields.iter().any(|field| field.name == name);
        match &panel.source {
            Source::Fields { tags, fields, .. } => {
                let tags = tags.iter();
                request.tags = tags
                    .map(|&(name, text)| (name.to_owned(), text.to_owned()))
                    .collect();
                let fields = fields.iter().filter(|name| is_known(name));
                request.fields = fields.map(|&name| name.to_owned()).collect();
                let frame = query.range_of(measurement, &request).await?;
                if !frame.columns.is_empty() {
                    charts.push(chart(frame, BTreeMap::new(), None));
                }
            }
            Source::Checks if is_known("up") && is_known("reason") => {
                request.fields = phases(measurement);
                charts.extend(checks(query, measurement, &request).await?);
            }
            Source::Checks => {}
        }
    }
    Ok(charts)
}

/// The times that a check is made of, and their total.
fn phases(measurement: &MeasurementInfo) -> Vec<String> {
    let names = measurement.fields.iter().map(|field| field.name.as_str());
    let is_phase = |name: &&str| name.ends_with("_seconds") && !name.starts_with("certificate_");
    names.filter(is_phase).map(str::to_owned).collect()
}

async fn checks(
    query: &Query,
    measurement: &MeasurementInfo,
    request: &RangeRequest,
) -> Result<Vec<Chart>, QueryError> {
    let states_request = StatesRequest {
        measurement: request.measurement.clone(),
        host: request.host,
        tags: request.tags.clone(),
        up_field: "up".to_owned(),
        reason_field: "reason".to_owned(),
        detail_field: Some("detail".to_owned()),
        range_us: request.range_us.clone(),
        max_points: request.max_points,
    };
    let mut states: BTreeMap<_, _> = query
        .states_of(measurement, &states_request)
        .await?
        .into_iter()
        .map(|states| (states.tags.clone(), states))
        .collect();
    let mut charts = Vec::new();
    for frame in query.range_by_series(measurement, request).await? {
        let Some(column) = frame.columns.first() else {
            continue;
        };
        let tags = column.tags.clone();
        let states = states.remove(&tags);
        charts.push(chart(frame, tags.into_iter().collect(), states));
    }
    // A check that was down all the time may have no phase at all.
    for (tags, states) in states {
        let frame = Frame {
            measurement: measurement.name.clone(),
            from_us: request.range_us.start,
            to_us: request.range_us.end,
            bucket_us: None,
            step_us: None,
            times_us: Vec::new(),
            columns: Vec::new(),
        };
        charts.push(chart(frame, tags.into_iter().collect(), Some(states)));
    }
    charts.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(charts)
}

fn chart(frame: Frame, tags: BTreeMap<String, String>, states: Option<SeriesStates>) -> Chart {
    let mut key = frame.measurement.clone();
    for (name, text) in &tags {
        key = format!("{key} {name}={text}");
    }
    let last_run = states.as_ref().and_then(|states| states.runs.last());
    let last_us = frame.last_us().max(last_run.map(|run| run.to_us));
    Chart {
        key,
        tags,
        last_ms: last_us.map(|time| time / 1_000),
        step_ms: frame.step_us.map(|step| step / 1_000),
        bucket_ms: frame.bucket_us.map(|bucket| bucket / 1_000),
        times_ms: frame.times_us.iter().map(|time| time / 1_000).collect(),
        columns: frame.columns.into_iter().map(ChartColumn::from).collect(),
        measurement: frame.measurement,
        states: states.map(ChartStates::from),
    }
}

impl From<Column> for ChartColumn {
    fn from(column: Column) -> Self {
        let (min, max) = match column.envelope {
            Some(envelope) => (Some(rounded(envelope.min)), Some(rounded(envelope.max))),
            None => (None, None),
        };
        Self {
            field: column.field,
            tags: column.tags.into_iter().collect(),
            unit: column.unit,
            per_second: column.per_second,
            values: rounded(column.values),
            min,
            max,
        }
    }
}

impl From<SeriesStates> for ChartStates {
    fn from(states: SeriesStates) -> Self {
        let runs = states.runs.into_iter().map(|run| ChartRun {
            from_ms: run.from_us / 1_000,
            to_ms: run.to_us / 1_000,
            up: run.up,
            reason: run.reason,
            detail: run.detail,
        });
        Self {
            samples: states.samples,
            up_samples: states.up_samples,
            runs: runs.collect(),
        }
    }
}

/// Seven significant digits: more than a pixel or a legend can show, half of the bytes.
fn rounded(values: Vec<Option<f64>>) -> Vec<Option<f64>> {
    let round = |value: f64| {
        let digits = 6 - value.abs().max(1e-6).log10().floor() as i32;
        match digits {
            1.. => (value * 10f64.powi(digits)).round() / 10f64.powi(digits),
            _ => value.round(),
        }
    };
    values.into_iter().map(|value| value.map(round)).collect()
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn values_have_seven_digits_and_whole_numbers_stay() {
        let values = [1.0 / 3.0, 123.456_789, 16_384_300_032.4, 0.0, -2.0 / 3.0];
        let expected = [0.333_333_3, 123.456_8, 16_384_300_032.0, 0.0, -0.666_666_7];
        assert_eq!(rounded(values.map(Some).to_vec()), expected.map(Some));
        assert_eq!(rounded(vec![None]), [None]);
    }
}
