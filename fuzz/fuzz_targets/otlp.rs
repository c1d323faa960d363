//! The decoder of `otlp`.

#![no_main]

mod decoding;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoding::decode(&tidegauge_wire::otlp::Otlp, bytes);
});
