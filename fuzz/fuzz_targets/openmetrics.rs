//! The reader of pages of metrics, in both formats.

#![no_main]

use tidegauge_wire::openmetrics::{Dialect, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for dialect in [Dialect::Prometheus, Dialect::OpenMetrics] {
        let page = read(bytes, dialect, 1);
        assert!(page.points.iter().all(|point| !point.fields().is_empty()));
    }
});
