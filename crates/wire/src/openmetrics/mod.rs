//! Pages of metrics as programs serve them to Prometheus: its text format and OpenMetrics 1.0. Not
//! an encoding of messages: listeners read it, and hand on points.
//!
//! Specifications: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
//!
//! 1. A sample is a point as in `prometheus-remote-write`: its name is the measurement, its labels
//!    are tags, its number is the field `value`. Labels without text are left out.
//! 2. The samples of a histogram or a summary are one point with the fields of `otlp`: `count`,
//!    `sum`, `le_0_5` for what was at most 0.5, `p99` for the quantile 0.99. The bucket `+Inf` is
//!    `count`.
//! 3. Counters and histograms have the kind `counter`, and so has what has no type and a name that
//!    ends with `_total`; all else is a gauge. The times `_created` are stepped over.
//! 4. A number that is not finite is left out and counted. Exemplars are stepped over.
//! 5. A line that cannot be read fails alone, with its number: the others are kept. A page of
//!    OpenMetrics without its last line `# EOF`, and the last line of a page without its end, were
//!    cut off: the whole page, or that line, is refused, because half a number is another number.
//! 6. Reading never panics, takes linear time, and memory in proportion to the page.

mod line;

use crate::check::{self, Checked, Wrong, wrong};
use crate::error::quote;
use crate::foreign::names;
use line::{Line, Sample, Type};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use tidegauge_model::{Kind, MOST_REJECTED, Name, Point, Reason, RejectedPoint};

/// Which of the two formats a page is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus' own: times are whole milliseconds.
    Prometheus,
    /// OpenMetrics: times are seconds, and the last line is `# EOF`.
    OpenMetrics,
}

impl Dialect {
    /// The format that a header `Content-Type` names.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Self {
        match content_type
            .trim_start()
            .starts_with("application/openmetrics-text")
        {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The format of a page that has no such header: only one of the two has a last line.
    #[must_use]
    pub fn of_page(page: &[u8]) -> Self {
        match page.trim_ascii_end().ends_with(b"# EOF") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }
}

/// What was read of a page.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Page {
    /// The points, in the order in which they begin.
    pub points: Vec<Point>,
    /// What was refused; the index is the number of the line, from 1.
    pub rejected: Vec<RejectedPoint>,
    /// Further ones than [`MOST_REJECTED`], by their reason.
    pub further_rejected: BTreeMap<Reason, u64>,
    /// Points that had no finite number.
    pub left_out: u64,
}

/// Reads a page that was taken at `taken_us`, which is the time of samples that have none.
#[must_use]
pub fn read(page: &[u8], dialect: Dialect, taken_us: i64) -> Page {
    let mut reader = Reader {
        dialect,
        taken_us,
        types: HashMap::new(),
        drafts: Vec::new(),
        places: HashMap::new(),
        page: Page::default(),
    };
    reader.read(page);
    reader.page
}

/// A point in the making.
struct Draft {
    point: Point,
    line: u32,
    /// Of a histogram: whether its count is there, and what its last bucket says.
    count: Option<Count>,
}

#[derive(Default)]
struct Count {
    is_there: bool,
    at_most_infinity: Option<f64>,
}

struct Reader<'a> {
    dialect: Dialect,
    taken_us: i64,
    types: HashMap<Cow<'a, str>, Type>,
    drafts: Vec<Draft>,
    /// The place of each series and time among the drafts.
    places: HashMap<Vec<u8>, usize>,
    page: Page,
}

/// What a sample is in its family.
struct Role<'s> {
    measurement: &'s str,
    part: Part,
    kind: Kind,
}

enum Part {
    Value,
    Count,
    Sum,
    /// Its label `le` or `quantile` says the rest.
    Bucket,
    Quantile,
    Nothing,
}

impl<'a> Reader<'a> {
    fn read(&mut self, page: &'a [u8]) {
        let mut number = 0;
        let mut ended = false;
        for whole in page.split_inclusive(|byte| *byte == b'\n') {
            number += 1;
            let line = whole.strip_suffix(b"\n");
            let (line, is_whole) = (line.unwrap_or(whole), line.is_some());
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match self.line(line, number, is_whole) {
                Ok(end) => ended = end,
                Err(wrong) => self.reject(number, &wrong),
            }
            if ended {
                break;
            }
        }
        if self.dialect == Dialect::OpenMetrics && !ended {
            self.drafts.clear();
            let detail = "the last line is not # EOF: the page was cut off";
            let (reason, detail) = (Reason::Syntax, Cow::Borrowed(detail));
            self.reject(number, &Wrong { reason, detail });
        }
        self.finish();
    }

    /// Reads a line; true for the last one of OpenMetrics.
    fn line(&mut self, line: &'a [u8], number: u32, is_whole: bool) -> Checked<bool> {
        let Ok(text) = std::str::from_utf8(line) else {
            return wrong(Reason::Syntax, "the line is not UTF-8");
        };
        match line::read(text)? {
            Line::End => return Ok(self.dialect == Dialect::OpenMetrics),
            Line::Sample(_) if !is_whole => {
                return wrong(Reason::Syntax, "the line has no end: the page was cut off");
            }
            Line::Sample(sample) => self.sample(sample, number)?,
            Line::Type(family, kind) => {
                if self
                    .types
                    .insert(family.clone(), kind)
                    .is_some_and(|known| known != kind)
                {
                    let detail = format!("{} has another type before", quote(&family));
                    return wrong(Reason::TypeConflict, detail);
                }
            }
            Line::Other => {}
        }
        Ok(false)
    }

    fn sample(&mut self, mut sample: Sample<'a>, number: u32) -> Checked {
        let time_us = self.time_us(sample.time)?;
        let name = std::mem::take(&mut sample.name);
        let role = self.role(&name, &sample);
        let part_label = match role.part {
            Part::Nothing => return Ok(()),
            Part::Bucket => Some("le"),
            Part::Quantile => Some("quantile"),
            _ => None,
        };
        let mut bound = None;
        sample.labels.retain(|(name, text)| {
            let is_part = part_label.is_some_and(|part| part == name);
            if is_part {
                bound = text.parse::<f64>().ok().filter(|bound| !bound.is_nan());
            }
            !is_part && !text.is_empty()
        });
        sample.labels.sort();
        let place = self.place(&role, sample.labels, time_us, number)?;
        let draft = &mut self.drafts[place];
        let field = match (&role.part, bound) {
            (Part::Value, _) => Cow::Borrowed("value"),
            (Part::Sum, _) => Cow::Borrowed("sum"),
            (Part::Count, _) => {
                if let Some(count) = &mut draft.count {
                    count.is_there = true;
                }
                Cow::Borrowed("count")
            }
            (Part::Bucket, Some(f64::INFINITY)) => {
                if let Some(count) = &mut draft.count {
                    count.at_most_infinity = Some(sample.value);
                }
                return Ok(());
            }
            (Part::Bucket, Some(bound)) => Cow::Owned(names::of_number("le", bound)),
            (Part::Quantile, Some(quantile)) => Cow::Owned(names::of_quantile(quantile)),
            (_, None) | (Part::Nothing, _) => {
                let label = part_label.unwrap_or_default();
                return wrong(Reason::Syntax, format!("the label {label} is no number"));
            }
        };
        let field = name_of(field)?;
        if draft.point.value(field.as_str()).is_some() {
            let detail = format!("the same series is there twice, see line {}", draft.line);
            return wrong(Reason::DuplicateKey, detail);
        }
        draft.point.set(field, sample.value);
        Ok(())
    }

    fn time_us(&self, time: Option<&str>) -> Checked<i64> {
        let Some(text) = time else {
            return Ok(self.taken_us);
        };
        let microseconds = match self.dialect {
            Dialect::Prometheus => (text.parse::<i64>().ok()).and_then(|ms| ms.checked_mul(1_000)),
            // Beyond 2^53 microseconds a double is no more exact, which is the year 2255.
            Dialect::OpenMetrics => (text.parse::<f64>().ok())
                .filter(|seconds| seconds.is_finite())
                .map(|seconds| (seconds * 1e6).round() as i64),
        };
        match microseconds {
            Some(time_us) => check::time_us(time_us).map(|()| time_us),
            None => wrong(
                Reason::BadTime,
                format!("expected a time, found {}", quote(text)),
            ),
        }
    }

    /// What a sample is, by the types that the page has told so far.
    fn role<'s>(&self, name: &'s str, sample: &Sample<'_>) -> Role<'s> {
        let suffixes: [(&str, Part, &[Type]); 6] = [
            (
                "_bucket",
                Part::Bucket,
                &[Type::Histogram, Type::GaugeHistogram],
            ),
            ("_count", Part::Count, &[Type::Histogram, Type::Summary]),
            ("_sum", Part::Sum, &[Type::Histogram, Type::Summary]),
            ("_gcount", Part::Count, &[Type::GaugeHistogram]),
            ("_gsum", Part::Sum, &[Type::GaugeHistogram]),
            (
                "_created",
                Part::Nothing,
                &[Type::Histogram, Type::Summary, Type::Counter],
            ),
        ];
        for (suffix, part, types) in suffixes {
            if let Some(family) = name.strip_suffix(suffix)
                && let Some(kind) = self.types.get(family).filter(|kind| types.contains(kind))
            {
                let kind = match kind {
                    Type::Histogram | Type::Counter => Kind::Counter,
                    _ => Kind::Gauge,
                };
                return Role {
                    measurement: family,
                    part,
                    kind,
                };
            }
        }
        let of_counters = name
            .strip_suffix("_total")
            .and_then(|family| self.types.get(family));
        let (part, kind) = match self.types.get(name) {
            Some(Type::Summary) if sample.labels.iter().any(|(name, _)| name == "quantile") => {
                (Part::Quantile, Kind::Gauge)
            }
            Some(Type::Counter) => (Part::Value, Kind::Counter),
            None | Some(Type::Unknown) if name.ends_with("_total") => match of_counters {
                None | Some(Type::Counter | Type::Unknown) => (Part::Value, Kind::Counter),
                Some(_) => (Part::Value, Kind::Gauge),
            },
            _ => (Part::Value, Kind::Gauge),
        };
        Role {
            measurement: name,
            part,
            kind,
        }
    }

    /// The place of the point that the sample belongs to, which may be a new one.
    fn place(
        &mut self,
        role: &Role<'_>,
        labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
        time_us: i64,
        line: u32,
    ) -> Checked<usize> {
        let mut key = Vec::with_capacity(64);
        key.extend_from_slice(role.measurement.as_bytes());
        key.extend_from_slice(&time_us.to_le_bytes());
        for (name, text) in &labels {
            for part in [name, text] {
                key.extend_from_slice(&(part.len() as u64).to_le_bytes());
                key.extend_from_slice(part.as_bytes());
            }
        }
        if let Some(&place) = self.places.get(&key) {
            return Ok(place);
        }
        let measurement = name_of(Cow::Borrowed(role.measurement))?;
        let mut point = Point::new(measurement, time_us).of_kind(role.kind);
        for (foreign, text) in labels {
            check::text(&text)?;
            let name = name_of(foreign)?;
            if point.tag_text(name.as_str()).is_some() {
                let detail = format!("two labels are both the tag {name}");
                return wrong(Reason::DuplicateKey, detail);
            }
            point = point.tag(name, text.into_owned());
        }
        self.places.insert(key, self.drafts.len());
        let counts = matches!(role.part, Part::Bucket | Part::Count | Part::Sum);
        let is_histogram =
            counts && !matches!(self.types.get(role.measurement), Some(Type::Summary));
        self.drafts.push(Draft {
            point,
            line,
            count: is_histogram.then(Count::default),
        });
        Ok(self.drafts.len() - 1)
    }

    /// A histogram without its count was cut off, or lost lines that could not be read.
    fn finish(&mut self) {
        for mut draft in std::mem::take(&mut self.drafts) {
            match draft.count {
                Some(Count {
                    is_there: false,
                    at_most_infinity: Some(count),
                }) => draft.point.set(tidegauge_model::name!("count"), count),
                Some(Count {
                    is_there: false, ..
                }) => {
                    let detail = Cow::Borrowed("the histogram has no count and no bucket +Inf");
                    let reason = Reason::MissingKey;
                    self.reject(draft.line, &Wrong { reason, detail });
                    continue;
                }
                _ => {}
            }
            match draft.point.fields().is_empty() {
                true => self.page.left_out += 1,
                false => self.page.points.push(draft.point),
            }
        }
    }

    #[cold]
    fn reject(&mut self, line: u32, wrong: &Wrong) {
        let page = &mut self.page;
        if page.rejected.len() >= MOST_REJECTED {
            *page.further_rejected.entry(wrong.reason).or_default() += 1;
            return;
        }
        page.rejected.push(RejectedPoint {
            index: line,
            reason: wrong.reason,
            detail: format!("at line {line}: {}", wrong.detail),
        });
    }
}

fn name_of(foreign: Cow<'_, str>) -> Checked<Name> {
    let ours = names::name(foreign)?;
    Name::new(&ours).or_else(|error| wrong(Reason::BadName, error.to_string()))
}

#[cfg(test)]
mod tests;
