//! The encoding `influx/1`: the line protocol of InfluxDB 1 and 2, one or many lines per message.
//! It is only read. `docs/wire-format.md` is its reference.
//!
//! 1. A line is a point, known by the number of the line in which it begins, from 1. A line that
//!    cannot be read fails alone. Where no line of a message is one of the format, it fails as a
//!    whole: it is something else.
//! 2. A text in quotes may have newlines. After a line of a wrong form reading goes on behind its
//!    first newline all the same, because the closing quote may be missing.
//! 3. Escapes are those of InfluxDB: `\,` `\=` and `\ ` in names and tags, `\"` and `\\` in texts;
//!    any other backslash is one.
//! 4. A tag that is there twice fails its line. Of a field that is there twice the last one counts.
//! 5. Texts are borrowed where they have no escapes. Decoding never panics and takes linear time.

mod lines;
mod number;

use crate::foreign::points::ForeignRules;
use crate::{DecodeContext, DecodeError, Encoding, Place};
use lines::{Lines, Read};
use tidegauge_model::{BatchRef, Reason};

/// The encoding `influx/1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Influx;

const VERSION: u32 = 1;

const RULES: ForeignRules = ForeignRules {
    host_tags: &["host"],
    cut_port: false,
    last_field_counts: true,
};

impl Encoding for Influx {
    fn name(&self) -> &'static str {
        "influx"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn decode_in<'a>(
        &self,
        bytes: &'a [u8],
        context: DecodeContext<'a>,
        into: &mut BatchRef<'a>,
    ) -> Result<(), DecodeError> {
        if bytes.is_empty() {
            let detail = "the message is empty";
            return Err(DecodeError::new(Reason::Empty, Place::default(), detail));
        }
        let mut read = Lines::new(bytes, context, into, true).read()?;
        if read == Read::Again {
            read = Lines::new(bytes, context, into, false).read()?;
        }
        debug_assert_eq!(read, Read::Whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
