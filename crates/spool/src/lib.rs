//! A durable, bounded, checksummed queue of opaque bytes: what the agent keeps until the broker
//! has it (D1, D2). The API blocks; it knows no metrics, no Kafka and no encoding.
//!
//! # The file
//! One SQLite database (application id `TGsp`, format 1) in WAL mode, synchronous FULL but for `acknowledge`, and two
//! shortcuts in memory (`memory`): the newest entry need not be read, and what is acknowledged goes with the next append:
//!
//! | table | row | columns |
//! |---|---|---|
//! | `meta` | one | `id`: random text, one per file; `epoch`, `next_sequence`: what the next append carries |
//! | `entry` | one per batch | `id` (grows, never used again), `epoch`, `sequence`, `created_us`, `bytes`, `crc32`, `payload` |
//! | `dropped` | one per range of batches that were given up | `id` (as above), `epoch`, `first_sequence`, `last_sequence`, `cause`, `told_by` |
//!
//! `crc32` is the checksum (IEEE) of `epoch` and `sequence` as 8 bytes each, little endian, and
//! the payload. `told_by` is the entry whose payload tells the drop, or null.
//!
//! # Invariants
//! - **Q1** When `append` returns, the batch is on the disk.
//! - **Q2** An entry goes by `acknowledge`, or it is given up: forced out by a bound, refused, or
//!   found corrupt. Whatever is given up is in `dropped` by the same transaction. What was
//!   acknowledged last may be back after a power failure or the kill of the process: it is sent again, and
//!   the receiver knows it.
//! - **Q3** Entries are read in the order of their append, and the oldest is forced out first.
//! - **Q4** No (epoch, sequence) is used twice: the next one is stored by the transaction that
//!   uses the one before, and epochs only grow.
//! - **Q5** A drop is kept until an entry that tells it is acknowledged. When that entry is given
//!   up itself, the drop is told again. A drop that is changed gets a new id, so what was told of
//!   it before never counts for what it is now. Telling twice is harmless: drops are ranges.
//! - **Q6** After an append the payloads have at most `max_bytes` in sum and none is older than
//!   `max_age_us`. The file is larger by a few percent, the WAL by up to 8 MiB; it does not
//!   shrink, its free pages are used again.
//! - **Q7** A payload is handed out only when its checksum fits; else it is given up, and its
//!   neighbours are not touched.
//! - **Q8** One process at a time, by a lock on `<path>.lock` that ends with the process.
//! - **Q9** A file that is corrupt as a whole never stops the agent and is never deleted: it is set
//!   aside as `<path>.corrupt-<microseconds>`, a new file begins, and the loss, of unknown size, is
//!   a drop of epoch 0 whose sequence is that moment.
//!
//! A file of another program or of a newer format is neither: it is an error that says so.

mod drops;
mod entries;
mod error;
mod file;
mod look;
mod memory;
mod spool;
mod state;

pub use drops::{DropCause, Dropped};
pub use entries::{Entry, Page};
pub use error::SpoolError;
pub use look::SpoolLook;
pub use spool::{Opened, Spool, SpoolStats};
pub use state::{Appended, NewBatch, SpoolSettings};

/// As the database has it: its integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// From the database, which holds no negative counts.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
