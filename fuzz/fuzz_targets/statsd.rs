//! The reader of lines of StatsD.

#![no_main]

use tidegauge_wire::statsd::{number, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = parse(line) else { continue };
        assert!(line.rate > 0.0 && line.rate <= 1.0);
        assert!(line.values().count() > 0);
        assert!(line.values().filter_map(|text| number(text).ok()).all(f64::is_finite));
        for (_, text) in line.tags() {
            assert!(!text.is_empty());
        }
        if let Some(name) = tidegauge_wire::clean_name(line.name) {
            assert_eq!(tidegauge_wire::clean_name(name.as_str()), Some(name));
        }
    }
});
