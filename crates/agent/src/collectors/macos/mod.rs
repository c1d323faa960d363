//! The collectors of macOS, all through the library `sysinfo`, one file and one row of
//! [`COLLECTORS`] each.
//!
//! They have the names of those of Linux and fill those fields of the same measurements that the
//! library knows; others are absent. The roots of [`super::CollectorContext`] mean nothing here: the
//! host is always the one that the program runs on.

mod cpu;
mod disk_io;
mod filesystem;
mod load;
mod memory;
mod network;
mod swap;
mod system;

use super::{CollectError, Collector, CollectorEntry, as_tag, percent_of, rounded};

/// All collectors, by name.
pub(super) const COLLECTORS: &[CollectorEntry] = &[
    cpu::ENTRY,
    disk_io::ENTRY,
    filesystem::ENTRY,
    load::ENTRY,
    memory::ENTRY,
    network::ENTRY,
    swap::ENTRY,
    system::ENTRY,
];

/// What the library said, as the failure of a collection.
fn failed(source: sysinfo::Error) -> CollectError {
    CollectError::Ask {
        service: "the system",
        source: Box::new(source),
    }
}

/// What the library keeps between collections, made at the first one.
fn kept<T>(
    place: &mut Option<T>,
    new: fn() -> Result<T, sysinfo::Error>,
) -> Result<&mut T, CollectError> {
    Ok(match place {
        Some(made) => made,
        none => none.insert(new().map_err(failed)?),
    })
}

#[cfg(test)]
mod tests;
