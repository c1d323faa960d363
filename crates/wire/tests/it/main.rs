//! Tests of the public face of this crate: golden files and properties, for every encoding.

mod golden;
mod golden_compact;
mod golden_foreign;
mod lines;
mod openmetrics;
mod properties;
