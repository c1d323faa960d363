//! Samples of one flush interval, put together by series.
//!
//! | type | field | kind |
//! |---|---|---|
//! | counter | `total`: the sum of all samples since the series began | counter |
//! | gauge | `value`: the last one | gauge |
//! | timer | `count`, `sum`, `min`, `max`, `mean`, `p50`, `p90`, `p95`, `p99` of the interval | timer |
//! | set | `unique`: different texts in the interval | gauge |
//!
//! Counters and gauges are told in every interval until nothing came for the expiry; a counter that
//! comes back after that begins at 0. A counter's first point is preceded by one of 0 at the
//! beginning of its interval, so that its first increase is not lost to rates.

use super::super::Refusal;
use super::values::{Random, Values};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use tidegauge_model::{Kind, Name, Point, Reason};
use tidegauge_wire::clean_name;
use tidegauge_wire::statsd::{Line, LineError, MetricType, number};

/// So many values of all timers and texts of all sets are kept together: 4 MiB.
const MOST_KEPT: usize = 500_000;

/// Why a sample is refused, and what is wrong with it.
pub(super) type Refused = (Refusal, &'static str);

/// The same for a line that cannot be read.
pub(super) fn refused(error: LineError) -> Refused {
    match error {
        LineError::Bad(reason, detail) => (reason.into(), detail),
        LineError::Unsupported(detail) => (Refusal::Unsupported, detail),
        other => {
            tracing::debug!(%other, "a line of StatsD");
            (Reason::Syntax.into(), "it cannot be read")
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    metric: MetricType,
    measurement: Name,
    /// Sorted by name, each once.
    tags: Vec<(Name, String)>,
}

#[derive(Debug)]
enum State {
    Counter {
        total: f64,
        is_new: bool,
    },
    Gauge(f64),
    Timer(Values),
    /// Hashes of the texts.
    Set(HashSet<u64>),
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When the last sample came.
    last_us: i64,
}

/// The series and what came of them.
#[derive(Debug)]
pub(super) struct Aggregate {
    series: HashMap<Series, Entry>,
    most_series: usize,
    most_tag_bytes: usize,
    expiry_us: i64,
    room: usize,
    random: Random,
    interval_began_us: i64,
}

impl Aggregate {
    pub(super) fn new(
        most_series: usize,
        most_tag_bytes: usize,
        expiry_us: i64,
        now_us: i64,
    ) -> Self {
        Self {
            series: HashMap::new(),
            most_series,
            most_tag_bytes,
            expiry_us,
            room: MOST_KEPT,
            random: Random(now_us.cast_unsigned()),
            interval_began_us: now_us,
        }
    }

    /// Takes a line's values. Those before one that is refused are taken.
    pub(super) fn add(&mut self, line: &Line<'_>, now_us: i64) -> Result<(), Refused> {
        let series = self.series_of(line)?;
        let is_known = self.series.contains_key(&series);
        if !is_known && self.series.len() >= self.most_series {
            let detail = "one more series than the limit";
            return Err((Reason::TooManySeries.into(), detail));
        }
        // What cannot be read makes no series.
        if line.metric != MetricType::Set {
            let first = line.values().next().unwrap_or_default();
            counted(line.metric, value_of(first)?)?;
        }
        let entry = self.series.entry(series).or_insert_with(|| Entry {
            state: State::new(line.metric),
            last_us: now_us,
        });
        entry.last_us = now_us;
        let weight = 1.0 / line.rate;
        for text in line.values() {
            match &mut entry.state {
                State::Counter { total, .. } => {
                    *total += counted(line.metric, value_of(text)?)? * weight;
                }
                State::Gauge(value) => {
                    let number = value_of(text)?;
                    match text.starts_with(['+', '-']) {
                        true => *value += number,
                        false => *value = number,
                    }
                }
                State::Timer(values) => {
                    values.add(value_of(text)?, weight, &mut self.room, &mut self.random);
                }
                State::Set(texts) => {
                    let mut hasher = DefaultHasher::new();
                    text.hash(&mut hasher);
                    let hash = hasher.finish();
                    if !texts.contains(&hash) {
                        if self.room == 0 {
                            let detail = "one more text of sets than the limit";
                            return Err((Reason::TooManySeries.into(), detail));
                        }
                        self.room -= 1;
                        texts.insert(hash);
                    }
                }
            }
        }
        Ok(())
    }

    fn series_of(&self, line: &Line<'_>) -> Result<Series, Refused> {
        let bad = |detail| (Refusal::Bad(Reason::BadName), detail);
        let measurement = clean_name(line.name).ok_or(bad("the name has no letter"))?;
        let mut tags = Vec::new();
        for (name, text) in line.tags() {
            if text.len() > self.most_tag_bytes {
                return Err((Reason::TagTooLong.into(), "a tag is too long"));
            }
            if text.contains('\0') {
                return Err((Reason::BadText.into(), "a tag has U+0000"));
            }
            let name = clean_name(name).ok_or(bad("the name of a tag has no letter"))?;
            tags.push((name, text.to_owned()));
        }
        tags.sort();
        // Of a tag that is there twice the last text in the order of texts counts.
        tags.dedup_by(|later, kept| {
            let twice = later.0 == kept.0;
            if twice {
                std::mem::swap(later, kept);
            }
            twice
        });
        Ok(Series {
            metric: line.metric,
            measurement,
            tags,
        })
    }

    /// The points of the interval that ends now; the next one begins.
    pub(super) fn flush(&mut self, now_us: i64) -> Vec<Point> {
        let began_us = std::mem::replace(&mut self.interval_began_us, now_us);
        let expiry_us = self.expiry_us;
        let mut points = Vec::with_capacity(self.series.len());
        self.series.retain(|series, entry| {
            let idle_us = now_us.saturating_sub(entry.last_us);
            if idle_us >= expiry_us {
                return false;
            }
            entry.state.tell(series, began_us, now_us, &mut points);
            true
        });
        self.room = MOST_KEPT;
        points
    }
}

fn value_of(text: &str) -> Result<f64, Refused> {
    number(text).map_err(refused)
}

/// A value of this type, if it may be one.
fn counted(metric: MetricType, number: f64) -> Result<f64, Refused> {
    if metric == MetricType::Counter && number < 0.0 {
        let detail = "a counter only grows; use a gauge for what goes down";
        return Err((Reason::WrongType.into(), detail));
    }
    Ok(number)
}

impl State {
    fn new(metric: MetricType) -> Self {
        match metric {
            MetricType::Counter => Self::Counter {
                total: 0.0,
                is_new: true,
            },
            MetricType::Gauge => Self::Gauge(0.0),
            MetricType::Timer => Self::Timer(Values::default()),
            MetricType::Set => Self::Set(HashSet::new()),
        }
    }

    /// Adds the points of the interval.
    fn tell(&mut self, series: &Series, began_us: i64, now_us: i64, points: &mut Vec<Point>) {
        let point = |time_us| {
            let point = Point::new(series.measurement.clone(), time_us);
            let tags = series.tags.iter().cloned();
            tags.fold(point, |point, (name, text)| point.tag(name, text))
        };
        let field = |name| Name::literal(name);
        match self {
            Self::Counter { total, is_new } => {
                let of = |time_us, total: f64| {
                    let point = point(time_us).field(field("total"), total);
                    point.of_kind(Kind::Counter)
                };
                if std::mem::take(is_new) && began_us < now_us {
                    points.push(of(began_us, 0.0));
                }
                points.push(of(now_us, *total));
            }
            Self::Gauge(value) => points.push(point(now_us).field(field("value"), *value)),
            Self::Timer(values) => {
                let fields = values.take();
                if !fields.is_empty() {
                    let told = fields.into_iter();
                    let told = told.fold(point(now_us), |point, (name, number)| {
                        point.field(field(name), number)
                    });
                    points.push(told.of_kind(Kind::Timer));
                }
            }
            Self::Set(texts) => {
                if !texts.is_empty() {
                    let count = std::mem::take(texts).len() as u64;
                    points.push(point(now_us).field(field("unique"), count));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
