//! The decoder of `prometheus-remote-write`.

#![no_main]

mod decoding;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let encoding = tidegauge_wire::prometheus_remote_write::PrometheusRemoteWrite;
    decoding::decode(&encoding, bytes);
});
