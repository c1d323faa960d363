//! The encoding `compact/1`: protobuf with names and tags once per batch and columns of values, a
//! quarter of the bytes of JSON. `proto/compact_v1.proto` is its schema, `docs/wire-format.md` its
//! reference.
//!
//! 1. Points keep their order, and their index in it is the one that dead letters name.
//! 2. Numbers are read back bit by bit as they were, -0.0 too.
//! 3. An error of the form fails the message, with the byte where it is. A name, a time or a text
//!    that cannot be stored fails the points that have it.
//! 4. Decoding borrows all texts, never panics, and takes memory in proportion to the bytes that
//!    are there; what a few bytes can stand for has the bound [`decode::MAX_ITEMS`].

mod column;
mod decode;
mod encode;
mod lists;
mod message;
mod reader;
mod words;

use crate::{DecodeContext, DecodeError, Encoder, Encoding};
use tidegauge_model::{Batch, BatchRef, DropReason, Kind};

/// The encoding `compact/1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compact;

/// What the field `version` says.
const VERSION: u32 = 1;

impl Encoding for Compact {
    fn name(&self) -> &'static str {
        "compact"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn decode_in<'a>(
        &self,
        bytes: &'a [u8],
        _: DecodeContext<'a>,
        into: &mut BatchRef<'a>,
    ) -> Result<(), DecodeError> {
        decode::decode(bytes, into)
    }

    fn encoder(&self) -> Option<&dyn Encoder> {
        Some(self)
    }
}

impl Encoder for Compact {
    fn begins_with(&self) -> &'static [u8] {
        &[0x08, 0x01]
    }

    fn encode(&self, batch: &Batch, into: &mut Vec<u8>) {
        encode::encode(batch, into);
    }
}

/// The reasons in the order of the schema, which begins with 1.
const DROP_REASONS: [DropReason; 5] = [
    DropReason::SpoolFull,
    DropReason::SpoolAge,
    DropReason::DiskFull,
    DropReason::SpoolCorrupt,
    DropReason::Refused,
];

/// The kinds of measurements in the order of the schema, which begins with 0.
const KINDS: [Kind; 3] = [Kind::Gauge, Kind::Counter, Kind::Timer];

#[cfg(test)]
mod tests;
