//! Built-in measurements: own.

use super::MeasurementEntry;

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[];
