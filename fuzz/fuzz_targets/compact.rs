//! The decoder of `compact`.

#![no_main]

mod decoding;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoding::decode(&tidegauge_wire::compact::Compact, bytes);
});
