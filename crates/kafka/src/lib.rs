//! Produce and consume opaque records; the only crate that knows librdkafka.
