//! The encoding `telegraf-json/1`: Telegraf's data format `json`, one metric or a batch of them
//! per message. It is only read. `docs/wire-format.md` is its reference.
//!
//! 1. A message is a metric, `{"fields":{},"name":"","tags":{},"timestamp":0}`, or
//!    `{"metrics":[…]}`; keys may come in any order. A metric alone has the index 0.
//! 2. Keys are strict, as in `json/1`: an unknown, repeated or missing one fails its metric.
//! 3. A JSON syntax error fails the message, wherever it is.
//! 4. `null` as a field's value means absent. A number too large for a double is left out and
//!    counted.
//! 5. Decoding never panics and never takes more than linear time.

mod metric;

use crate::foreign::points::{ForeignPoints, ForeignRules};
use crate::json::value::{Found, KeySeed, OUT_OF_RANGE, Read, ReadSeed, ScalarSeed, without_place};
use crate::{DecodeContext, DecodeError, Encoding, Place, TimeUnit};
use metric::{Metric, Metrics};
use serde::de::{DeserializeSeed, MapAccess};
use tidegauge_model::{BatchRef, Reason};

/// The encoding `telegraf-json/1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TelegrafJson;

const VERSION: u32 = 1;

const RULES: ForeignRules = ForeignRules {
    host_tags: &["host"],
    cut_port: false,
    last_field_counts: false,
};

impl Encoding for TelegrafJson {
    fn name(&self) -> &'static str {
        "telegraf-json"
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
        match decode(bytes, context, into, false) {
            Err(error) if error.reason == Reason::Syntax && error.detail == OUT_OF_RANGE => {
                // Rare, so a second pass over the message is no matter.
                decode(bytes, context, into, true)
            }
            decoded => decoded,
        }
    }
}

/// With `huge_numbers`, numbers beyond a double are infinite instead of an error of the text.
fn decode<'a>(
    bytes: &'a [u8],
    context: DecodeContext<'a>,
    into: &mut BatchRef<'a>,
    huge_numbers: bool,
) -> Result<(), DecodeError> {
    if bytes.is_empty() {
        let detail = "the message is empty";
        return Err(DecodeError::new(Reason::Empty, Place::default(), detail));
    }
    let mut metrics = Metrics {
        points: ForeignPoints::new(into, context, RULES),
        scalar: ScalarSeed { huge_numbers },
        unit: context.foreign.time_unit.unwrap_or(TimeUnit::Seconds),
        index: None,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = ReadSeed(Message(&mut metrics)).deserialize(&mut reader);
    match read.and_then(|found| reader.end().map(|()| found)) {
        Ok(Found::Expected) => Ok(()),
        Ok(Found::Other(found)) => {
            let detail = format!("expected an object, found {found}");
            Err(DecodeError::new(
                Reason::NotAnObject,
                Place::default(),
                detail,
            ))
        }
        Err(error) => {
            let path = metrics.path();
            let at = Place::in_text(bytes, error.line(), error.column(), path);
            let detail = without_place(&error.to_string());
            Err(DecodeError::new(Reason::Syntax, at, detail))
        }
    }
}

/// A message: a metric, or an object with a list of them.
struct Message<'m, 'c, 'a>(&'m mut Metrics<'c, 'a>);

impl<'de> Read<'de> for Message<'_, '_, 'de> {
    const EXPECTED: &'static str = "an object";

    fn read_object<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let first = object.next_key_seed(KeySeed)?;
        if first.as_deref() != Some("metrics") {
            return Metric::new(self.0).read_from(first, object);
        }
        self.0.read_batch(object)
    }
}

#[cfg(test)]
mod tests;
