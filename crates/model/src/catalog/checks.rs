//! Built-in measurements: checks.

use super::MeasurementEntry;

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[];
