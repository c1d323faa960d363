//! The fields of a data point, by its kind. Their names are those of columns that exist.

use super::message::{ExponentialPoint, HistogramPoint, KeyValue, NumberPoint, SummaryPoint};
use crate::check::{Checked, wrong};
use crate::foreign::names;
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
            let name = Cow::Owned(names::of_number("le", *bound));
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
            let name = Cow::Owned(names::of_quantile(at.quantile));
            points.field(name, ValueRef::Float(at.value))?;
        }
        Ok(())
    }
}
