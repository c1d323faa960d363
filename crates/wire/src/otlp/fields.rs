//! The fields of a data point, by its kind. Their names are those of columns that exist.

use super::message::{ExponentialPoint, HistogramPoint, KeyValue, NumberPoint, SummaryPoint};
use crate::check::{Checked, wrong};
use crate::foreign::points::ForeignPoints;
use std::borrow::Cow;
use tidegauge_model::{Reason, ValueRef};

/// What data points of all kinds have.
pub(super) trait DataPoint {
    fn attributes(&self) -> &[KeyValue];
    fn time_unix_nano(&self) -> u64;
    fn flags(&self) -> u32;
    /// Hands over the fields.
    fn fields(&self, points: &mut ForeignPoints<'_, '_>) -> Checked;
}

/// The accessors, which are the same for every kind.
macro_rules! what_all_have {
    () => {
        fn attributes(&self) -> &[KeyValue] {
            &self.attributes
        }

        fn time_unix_nano(&self) -> u64 {
            self.time_unix_nano
        }

        fn flags(&self) -> u32 {
            self.flags
        }
    };
}

fn number(points: &mut ForeignPoints<'_, '_>, name: &'static str, number: f64) -> Checked {
    points.field(Cow::Borrowed(name), ValueRef::Float(number))
}

fn number_if(
    points: &mut ForeignPoints<'_, '_>,
    name: &'static str,
    value: Option<f64>,
) -> Checked {
    value.map_or(Ok(()), |value| number(points, name, value))
}

impl DataPoint for NumberPoint {
    what_all_have!();

    fn fields(&self, points: &mut ForeignPoints<'_, '_>) -> Checked {
        let value = self.as_double.or(self.as_int.map(|integer| integer as f64));
        number_if(points, "value", value)
    }
}

impl DataPoint for HistogramPoint {
    what_all_have!();

    /// Buckets are counted from below, as Prometheus does: `le_0_5` counts what was at most 0.5.
    /// What is above the last bound is in `count` alone.
    fn fields(&self, points: &mut ForeignPoints<'_, '_>) -> Checked {
        number(points, "count", self.count as f64)?;
        number_if(points, "sum", self.sum)?;
        number_if(points, "min", self.min)?;
        number_if(points, "max", self.max)?;
        let (bounds, counts) = (self.explicit_bounds.len(), self.bucket_counts.len());
        if counts > 0 && counts != bounds + 1 {
            let detail = format!("{bounds} bounds part {counts} buckets");
            return wrong(Reason::WrongType, detail);
        }
        let mut below = 0.0;
        for (bound, count) in self.explicit_bounds.iter().zip(&self.bucket_counts) {
            below += *count as f64;
            let name = Cow::Owned(name_of("le", *bound));
            points.field(name, ValueRef::Float(below))?;
        }
        Ok(())
    }
}

impl DataPoint for ExponentialPoint {
    what_all_have!();

    fn fields(&self, points: &mut ForeignPoints<'_, '_>) -> Checked {
        number(points, "count", self.count as f64)?;
        number_if(points, "sum", self.sum)?;
        number_if(points, "min", self.min)?;
        number_if(points, "max", self.max)
    }
}

impl DataPoint for SummaryPoint {
    what_all_have!();

    fn fields(&self, points: &mut ForeignPoints<'_, '_>) -> Checked {
        number(points, "count", self.count as f64)?;
        number(points, "sum", self.sum)?;
        for at in &self.quantile_values {
            // Percents, without what the multiplication adds behind the sixth decimal.
            let percent = (at.quantile * 1e8).round() / 1e6;
            let name = Cow::Owned(name_of("p", percent));
            points.field(name, ValueRef::Float(at.value))?;
        }
        Ok(())
    }
}

/// `le_0_5`, `le_minus_1`, `p99`, `p99_9`: the number as it is written, in characters of names.
fn name_of(begin: &str, number: f64) -> String {
    let text = number.abs().to_string().replace('.', "_");
    match (begin, number < 0.0) {
        ("p", _) => format!("p{text}"),
        (_, true) => format!("{begin}_minus_{text}"),
        (_, false) => format!("{begin}_{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_quantiles_are_names() {
        for (begin, number, name) in [
            ("le", 0.005, "le_0_005"),
            ("le", 10_000.0, "le_10000"),
            ("le", -1.5, "le_minus_1_5"),
            ("le", 0.0, "le_0"),
            ("p", 50.0, "p50"),
            ("p", 99.9, "p99_9"),
        ] {
            assert_eq!(name_of(begin, number), name);
            assert!(tidegauge_model::Name::check(name).is_ok());
        }
    }
}
