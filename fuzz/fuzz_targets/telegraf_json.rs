//! The decoder of `telegraf-json`.

#![no_main]

mod decoding;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoding::decode(&tidegauge_wire::telegraf_json::TelegrafJson, bytes);
});
