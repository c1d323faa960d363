//! The limits that protect a store (D14). What exceeds one becomes a dead letter with that reason.

/// Limits on what the sink accepts; all are inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Measurements in one store.
    pub measurements: usize,
    /// Fields of one measurement.
    pub fields_per_measurement: usize,
    /// Series of one host.
    pub series_per_host: usize,
    /// Tags of one point.
    pub tags_per_point: usize,
    /// Bytes of one tag's text.
    pub tag_bytes: usize,
    /// Bytes of one text value.
    pub text_bytes: usize,
    /// Bytes of one message.
    pub message_bytes: usize,
    /// How much older than now a sample may be, in seconds.
    pub oldest_seconds: u64,
    /// How far ahead of now a sample may be, in seconds.
    pub ahead_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            measurements: 1_000,
            fields_per_measurement: 500,
            series_per_host: 100_000,
            tags_per_point: 32,
            tag_bytes: 1_024,
            text_bytes: 16_384,
            message_bytes: 16 * 1_024 * 1_024,
            oldest_seconds: 400 * 86_400,
            ahead_seconds: 3_600,
        }
    }
}
