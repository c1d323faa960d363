//! The sink over a scripted source, into real databases.

mod bad_rows;
mod lost_positions;
mod overtaken;
mod properties;
