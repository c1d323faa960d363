//! Batches to bytes and back: `trait Encoding`, one folder per encoding, and the splitting of a
//! collection into messages below a limit.
//!
//! This crate knows no Kafka: the header [`HEADER`] and the key are set by whoever sends. It keeps
//! no limits of the store either (D14); it refuses what breaks the format, and names the reason
//! from the closed list of [`tidegauge_model::Reason`] (D7).
//!
//! Wire formats are for ever: an encoding's version is never changed, only followed by another,
//! and golden files of every version stay in `golden/`.

mod check;
pub mod compact;
mod encoding;
mod error;
mod foreign;
pub mod influx;
pub mod json;
pub mod openmetrics;
pub mod otlp;
pub mod prometheus_remote_write;
mod split;
pub mod statsd;
pub mod telegraf_json;

pub use encoding::{
    ENCODINGS, Encoder, Encoding, HEADER, by_header, by_name, encoders, header_value,
    header_value_among, header_value_of,
};
pub use error::{DecodeError, Place};
pub use foreign::{DecodeContext, ForeignSettings, TimeUnit, clean_name};
pub use split::{Collection, Message, Oversized, Splitter};
