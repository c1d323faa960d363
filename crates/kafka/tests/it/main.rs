//! The crate on a real broker: what the mock of the unit tests can't do.

mod consuming;
mod producing;
mod support;
mod topics;
