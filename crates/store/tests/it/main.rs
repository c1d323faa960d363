//! Integration tests of the stores: one conformance suite, instantiated by every database (S7).

mod conformance;
mod mysql;
mod postgres;
mod sqlite;
