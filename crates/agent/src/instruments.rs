//! An application's own gauges, counters and timers, where the agent is a part of it.
//!
//! ```text
//! application ── set, add, record ──> Instruments <── collect ── the agent's schedule
//! ```
//! An instrument is one series: measurement and tags. Using one takes an atomic operation, a timer
//! a short lock; memory is bounded by [`Instruments::MOST_SERIES`] and [`MOST_SAMPLES`]. What is
//! told is a point of its kind at each collection: a gauge and a counter in the field `value`, a
//! timer what was recorded since the collection before, if anything was.

use crate::collectors::{CollectError, Collector, OwnCollector};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegauge_model::{Clock, Kind, Name, Point, Tags, name};

/// So many durations of one interval are kept for the percentiles; of more, a random choice.
pub const MOST_SAMPLES: usize = 4_096;

/// The percentiles of a timer.
const PERCENTILES: [(Name, f64); 4] = [
    (name!("p50"), 0.5),
    (name!("p90"), 0.9),
    (name!("p95"), 0.95),
    (name!("p99"), 0.99),
];

/// Why there is no instrument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstrumentError {
    /// A measurement has one kind.
    #[error("making a {asked} of {measurement}, which is a {known}")]
    OtherKind {
        /// The measurement.
        measurement: Name,
        /// What it is.
        known: Kind,
        /// What was asked for.
        asked: Kind,
    },
    /// One more series than there may be.
    #[error("making a series of {measurement}: there are {most} already", most = Instruments::MOST_SERIES)]
    TooMany {
        /// The measurement.
        measurement: Name,
    },
}

/// A value that goes up and down. It is told from the first [`Gauge::set`] or [`Gauge::add`] on.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<AtomicU64>);

/// A number that only grows, from 0 at the start of the program.
#[derive(Debug, Clone)]
pub struct Counter(Arc<AtomicU64>);

/// Durations.
#[derive(Debug, Clone)]
pub struct Timer(Arc<Mutex<Durations>>);

/// The instruments of one program; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Instruments(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    places: HashMap<(Name, Tags), usize>,
    kinds: HashMap<Name, Kind>,
    series: Vec<Series>,
}

#[derive(Debug, Clone)]
struct Series {
    measurement: Name,
    tags: Tags,
    instrument: Instrument,
}

#[derive(Debug, Clone)]
enum Instrument {
    Gauge(Gauge),
    Counter(Counter),
    Timer(Timer),
}

/// What was recorded since the collection before.
#[derive(Debug, Default)]
struct Durations {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    samples: Vec<f64>,
    random: u64,
}

/// Whatever panicked, the numbers behind the lock are whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gauge {
    /// The value from now on. One that is not finite means that there is none.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Changes the value, which begins at 0.
    pub fn add(&self, change: f64) {
        let changed = |bits| {
            let value = f64::from_bits(bits);
            let value = if value.is_finite() { value } else { 0.0 };
            Some((value + change).to_bits())
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed)
            .expect("there is always a next value");
    }
}

impl Counter {
    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

impl Timer {
    /// Records how long something took.
    pub fn record(&self, duration: Duration) {
        lock(&self.0).record(duration.as_secs_f64());
    }
}

impl Durations {
    fn record(&mut self, seconds: f64) {
        let is_first = self.count == 0;
        self.count += 1;
        self.sum += seconds;
        self.min = if is_first {
            seconds
        } else {
            self.min.min(seconds)
        };
        self.max = if is_first {
            seconds
        } else {
            self.max.max(seconds)
        };
        if self.samples.len() < MOST_SAMPLES {
            self.samples.push(seconds);
            return;
        }
        // Each of the durations is kept with the same probability (Vitter's algorithm R); the
        // numbers are random enough for that (Marsaglia's xorshift).
        let mut random = self.random ^ seconds.to_bits() | 1;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random = random;
        if let Ok(place) = usize::try_from(random % self.count)
            && let Some(kept) = self.samples.get_mut(place)
        {
            *kept = seconds;
        }
    }

    fn fields(&mut self, mut point: Point) -> Point {
        self.samples.sort_unstable_by(f64::total_cmp);
        let last = self.samples.len().saturating_sub(1);
        for (name, share) in PERCENTILES {
            let place = (share * self.samples.len() as f64).ceil() as usize;
            point.set(name, self.samples[place.saturating_sub(1).min(last)]);
        }
        point
            .field(name!("count"), self.count)
            .field(name!("sum"), self.sum)
            .field(name!("min"), self.min)
            .field(name!("max"), self.max)
            .field(name!("mean"), self.sum / self.count as f64)
    }
}

impl Instruments {
    /// Series of one program at most.
    pub const MOST_SERIES: usize = 10_000;

    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The gauge of this series; asked for again it is the same one.
    ///
    /// # Errors
    /// When the measurement is of another kind, or there are too many series.
    pub fn gauge(&self, measurement: Name, tags: Tags) -> Result<Gauge, InstrumentError> {
        let none = || Instrument::Gauge(Gauge(Arc::new(AtomicU64::new(f64::NAN.to_bits()))));
        match self.find(measurement, tags, Kind::Gauge, none)? {
            Instrument::Gauge(gauge) => Ok(gauge),
            _ => unreachable!("a measurement has one kind"),
        }
    }

    /// The counter of this series; asked for again it is the same one.
    ///
    /// # Errors
    /// As [`Instruments::gauge`].
    pub fn counter(&self, measurement: Name, tags: Tags) -> Result<Counter, InstrumentError> {
        let none = || Instrument::Counter(Counter(Arc::default()));
        match self.find(measurement, tags, Kind::Counter, none)? {
            Instrument::Counter(counter) => Ok(counter),
            _ => unreachable!("a measurement has one kind"),
        }
    }

    /// The timer of this series; asked for again it is the same one. It tells seconds: a name that
    /// ends with `_seconds` says so.
    ///
    /// # Errors
    /// As [`Instruments::gauge`].
    pub fn timer(&self, measurement: Name, tags: Tags) -> Result<Timer, InstrumentError> {
        let none = || Instrument::Timer(Timer(Arc::default()));
        match self.find(measurement, tags, Kind::Timer, none)? {
            Instrument::Timer(timer) => Ok(timer),
            _ => unreachable!("a measurement has one kind"),
        }
    }

    /// The collector that tells them, for [`CollectSettings::own_collectors`].
    ///
    /// [`CollectSettings::own_collectors`]: crate::CollectSettings::own_collectors
    #[must_use]
    pub fn collector(&self, name: &'static str) -> OwnCollector {
        let instruments = self.clone();
        OwnCollector::new(name, move |_| {
            let instruments = instruments.clone();
            Box::new(Told { name, instruments })
        })
    }

    fn find(
        &self,
        measurement: Name,
        mut tags: Tags,
        kind: Kind,
        new: impl FnOnce() -> Instrument,
    ) -> Result<Instrument, InstrumentError> {
        tags.sort();
        let mut registry = lock(&self.0);
        let known = registry.kinds.get(&measurement).copied().unwrap_or(kind);
        if known != kind {
            return Err(InstrumentError::OtherKind {
                measurement,
                known,
                asked: kind,
            });
        }
        let key = (measurement, tags);
        if let Some(&place) = registry.places.get(&key) {
            return Ok(registry.series[place].instrument.clone());
        }
        let (measurement, tags) = key.clone();
        let place = registry.series.len();
        if place >= Self::MOST_SERIES {
            return Err(InstrumentError::TooMany { measurement });
        }
        let instrument = new();
        registry.places.insert(key, place);
        registry.kinds.insert(measurement.clone(), kind);
        registry.series.push(Series {
            measurement,
            tags,
            instrument: instrument.clone(),
        });
        Ok(instrument)
    }

    fn tell(&self, time_us: i64, points: &mut Vec<Point>) {
        for series in &lock(&self.0).series {
            let begin = |kind| {
                let point = Point::new(series.measurement.clone(), time_us).of_kind(kind);
                let tags = series.tags.iter().cloned();
                tags.fold(point, |point, (name, text)| point.tag(name, text))
            };
            points.push(match &series.instrument {
                Instrument::Gauge(Gauge(value)) => {
                    let value = f64::from_bits(value.load(Ordering::Relaxed));
                    if !value.is_finite() {
                        continue;
                    }
                    begin(Kind::Gauge).field(name!("value"), value)
                }
                Instrument::Counter(Counter(value)) => {
                    begin(Kind::Counter).field(name!("value"), value.load(Ordering::Relaxed))
                }
                Instrument::Timer(Timer(durations)) => {
                    let mut durations = std::mem::take(&mut *lock(durations));
                    if durations.count == 0 {
                        continue;
                    }
                    durations.fields(begin(Kind::Timer))
                }
            });
        }
    }
}

struct Told {
    name: &'static str,
    instruments: Instruments,
}

impl Collector for Told {
    fn name(&self) -> &'static str {
        self.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        self.instruments.tell(clock.now_us(), points);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::Value;

    fn tags(text: &'static str) -> Tags {
        vec![(name!("queue"), text.into())]
    }

    fn told(instruments: &Instruments) -> Vec<Point> {
        let mut points = Vec::new();
        instruments.tell(7, &mut points);
        points
    }

    #[test]
    fn each_kind_is_told_as_it_is() {
        let instruments = Instruments::new();
        let length = instruments
            .gauge(name!("length"), tags("mail"))
            .expect("a gauge");
        let done = instruments
            .counter(name!("done"), tags("mail"))
            .expect("a counter");
        let took = instruments
            .timer(name!("took_seconds"), tags("mail"))
            .expect("a timer");
        let points = told(&instruments);
        assert_eq!(
            points.len(),
            1,
            "the gauge has no value, the timer no durations: {points:?}"
        );
        length.set(4.0);
        length.add(-1.5);
        done.add(3);
        for milliseconds in 1..=100 {
            took.record(Duration::from_millis(milliseconds));
        }
        let points = told(&instruments);
        let kinds: Vec<Kind> = points.iter().map(Point::kind).collect();
        assert_eq!(kinds, [Kind::Gauge, Kind::Counter, Kind::Timer]);
        assert_eq!(points[0].value("value"), Some(&Value::Float(2.5)));
        assert_eq!(points[1].value("value"), Some(&Value::Float(3.0)));
        assert_eq!(points[1].tag_text("queue"), Some("mail"));
        for (field, value) in [
            ("count", 100.0),
            ("min", 0.001),
            ("max", 0.1),
            ("p50", 0.05),
            ("p90", 0.09),
            ("p99", 0.099),
        ] {
            assert_eq!(
                points[2].value(field),
                Some(&Value::Float(value)),
                "{field}"
            );
        }
        assert_eq!(told(&instruments).len(), 2, "no duration since");
        length.set(f64::NAN);
        assert_eq!(told(&instruments).len(), 1);
    }

    #[test]
    fn a_series_is_there_once_and_a_measurement_has_one_kind() {
        let instruments = Instruments::new();
        let first = instruments
            .counter(name!("done"), tags("a"))
            .expect("a counter");
        let again = instruments
            .counter(name!("done"), tags("a"))
            .expect("the same");
        instruments
            .counter(name!("done"), tags("b"))
            .expect("another");
        first.add(1);
        again.add(1);
        let values: Vec<_> = (told(&instruments).iter())
            .map(|point| point.value("value").cloned())
            .collect();
        assert_eq!(values, [Some(Value::Float(2.0)), Some(Value::Float(0.0))]);
        let refused = instruments
            .gauge(name!("done"), tags("c"))
            .expect_err("a counter");
        assert_eq!(
            refused.to_string(),
            "making a gauge of done, which is a counter"
        );
    }

    #[test]
    fn many_durations_take_bounded_memory_and_keep_their_percentiles_d11() {
        let mut durations = Durations::default();
        for number in 0..100_000_u32 {
            durations.record(f64::from(number.wrapping_mul(2_654_435_761) % 1_000));
        }
        assert_eq!(durations.samples.len(), MOST_SAMPLES);
        let point = durations.fields(Point::new(name!("t"), 1));
        let Some(Value::Float(p50)) = point.value("p50") else {
            panic!("{point:?}");
        };
        assert!((400.0..600.0).contains(p50), "{p50}");
        assert_eq!(point.value("count"), Some(&Value::Float(100_000.0)));
    }

    #[test]
    fn there_are_so_many_series_at_most_d14() {
        let instruments = Instruments::new();
        let text = |number: usize| vec![(name!("n"), number.to_string().into())];
        for number in 0..Instruments::MOST_SERIES {
            instruments
                .gauge(name!("g"), text(number))
                .expect("there is room");
        }
        let refused = instruments.gauge(name!("g"), text(usize::MAX));
        assert!(matches!(refused, Err(InstrumentError::TooMany { .. })));
        instruments.gauge(name!("g"), text(0)).expect("it is known");
    }
}
