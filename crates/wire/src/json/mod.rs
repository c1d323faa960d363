//! The encoding `json/1`: one JSON object (RFC 8259) per message, readable with any Kafka console
//! client. `docs/wire-format.md` is its reference.
//!
//! Not a mirror of the model by derive: the format is for ever, the model is not.
//!
//! 1. Keys are strict: an unknown, repeated or missing key of the envelope fails the message, one
//!    of a point fails that point alone.
//! 2. Keys may come in any order.
//! 3. A JSON syntax error fails the message, wherever it is: what follows cannot be trusted.
//! 4. Numbers are doubles, and what is written is read back as the same double. A number too
//!    large for a double is left out and counted. `null` as a field's value means absent.
//! 5. Decoding never panics and never takes more than linear time.

mod alike;
mod cursor;
mod decode;
mod encode;
mod point;
mod usual;
pub(crate) mod value;

use crate::{DecodeContext, DecodeError, Encoder, Encoding};
use tidegauge_model::{Batch, BatchRef};

/// The encoding `json/1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

/// What the key `v` says.
const VERSION: u32 = 1;

impl Encoding for Json {
    fn name(&self) -> &'static str {
        "json"
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

impl Encoder for Json {
    fn begins_with(&self) -> &'static [u8] {
        b"{\"v\":1,"
    }

    fn encode(&self, batch: &Batch, into: &mut Vec<u8>) {
        encode::encode(batch, into);
    }
}

#[cfg(test)]
mod tests;
