//! Built-in measurements: host.

use super::MeasurementEntry;

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[];
