//! The contract of an encoding and the table of all encodings.
//!
//! All are read; ours are also written ([`Encoder`]). Foreign ones, in which other programs send,
//! are read alone.
//!
//! A new encoding is one folder and one row in [`ENCODINGS`] (A2); header, settings and the shared
//! property tests come from that table.

use crate::compact::Compact;
use crate::influx::Influx;
use crate::json::Json;
use crate::otlp::Otlp;
use crate::{DecodeContext, DecodeError, Place, prometheus_remote_write, telegraf_json};
use std::fmt::Debug;
use tidegauge_model::{Batch, BatchRef, Reason};

/// The Kafka header that names a message's encoding and its version, as in `json/1`.
pub const HEADER: &str = "tidegauge-encoding";

/// One way to read a batch from bytes, in one version.
pub trait Encoding: Debug + Send + Sync {
    /// The name in the header and in settings, lower-case words with `-` between them.
    fn name(&self) -> &'static str;

    /// The version, from 1; a name and a version mean the same bytes for ever.
    fn version(&self) -> u32;

    /// Reads a message, borrowing its texts. What `into` held before is forgotten, its memory is
    /// used again; after an error its content means nothing.
    ///
    /// A point that cannot be stored fails alone: it is in [`BatchRef::rejected`] with its reason
    /// and place, and its neighbours are kept (D7).
    ///
    /// # Errors
    /// When the message as a whole cannot be read; trying again will not help.
    fn decode_in<'a>(
        &self,
        bytes: &'a [u8],
        context: DecodeContext<'a>,
        into: &mut BatchRef<'a>,
    ) -> Result<(), DecodeError>;

    /// As [`Encoding::decode_in`] with the default context, which does not matter to encodings
    /// that are ours.
    ///
    /// # Errors
    /// As [`Encoding::decode_in`].
    fn decode<'a>(&self, bytes: &'a [u8], into: &mut BatchRef<'a>) -> Result<(), DecodeError> {
        self.decode_in(bytes, DecodeContext::default(), into)
    }

    /// The same encoding for writing; `None` for one that is only read.
    fn encoder(&self) -> Option<&dyn Encoder> {
        None
    }
}

/// An encoding that agents can send.
pub trait Encoder: Encoding {
    /// The bytes that every message of [`Encoder::encode`] begins with. No two encodings share
    /// them, so that a message that was kept without its header can still be told.
    fn begins_with(&self) -> &'static [u8];

    /// Appends the message to `into`. Points without fields are not written.
    fn encode(&self, batch: &Batch, into: &mut Vec<u8>);
}

/// All encodings, the preferred version of each name first.
pub const ENCODINGS: &[&dyn Encoding] = &[
    &Json,
    &Compact,
    &Influx,
    &telegraf_json::TelegrafJson,
    &prometheus_remote_write::PrometheusRemoteWrite,
    &Otlp,
];

/// The encodings that agents can send, the default one first.
pub fn encoders() -> impl Iterator<Item = &'static dyn Encoder> {
    ENCODINGS.iter().filter_map(|encoding| encoding.encoder())
}

/// The text for [`HEADER`].
#[must_use]
pub fn header_value(encoding: &dyn Encoding) -> String {
    format!("{}/{}", encoding.name(), encoding.version())
}

/// The text for [`HEADER`] of a message that [`Encoder::encode`] wrote earlier, perhaps in another
/// run with other settings; `None` for bytes that none of these encodings wrote.
#[must_use]
pub fn header_value_of(message: &[u8]) -> Option<String> {
    header_value_among(message, &[])
}

/// As [`header_value_of`], with encodings that an application brings, which go first.
#[must_use]
pub fn header_value_among(message: &[u8], own: &[&'static dyn Encoder]) -> Option<String> {
    (own.iter().copied().chain(encoders()))
        .find(|encoder| message.starts_with(encoder.begins_with()))
        .map(|encoder| header_value(encoder))
}

/// The preferred version of the encoding of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Encoding> {
    ENCODINGS
        .iter()
        .copied()
        .find(|encoding| encoding.name() == name)
}

/// The encoding that the value of [`HEADER`] names.
///
/// # Errors
/// [`Reason::UnknownEncoding`] for a text that is not `<name>/<version>` or a name that this
/// program does not have, [`Reason::UnknownVersion`] for another version of a known name.
pub fn by_header(value: &[u8]) -> Result<&'static dyn Encoding, DecodeError> {
    let refuse = |reason, expected: &str| {
        let found = crate::error::quote(&String::from_utf8_lossy(value));
        let detail = format!("{expected}, found {found}");
        DecodeError::new(reason, Place::key(HEADER), detail)
    };
    let known = || {
        let known: Vec<_> = ENCODINGS.iter().map(|known| header_value(*known)).collect();
        format!("this program has {}", known.join(", "))
    };
    let parsed = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.split_once('/'))
        .and_then(|(name, version)| Some((name, version.parse::<u32>().ok()?)));
    let Some((name, version)) = parsed else {
        return Err(refuse(
            Reason::UnknownEncoding,
            "expected a header as json/1",
        ));
    };
    let named = |encoding: &&dyn Encoding| encoding.name() == name;
    match ENCODINGS
        .iter()
        .copied()
        .filter(named)
        .find(|encoding| encoding.version() == version)
    {
        Some(encoding) => Ok(encoding),
        None if ENCODINGS.iter().any(named) => Err(refuse(Reason::UnknownVersion, &known())),
        None => Err(refuse(Reason::UnknownEncoding, &known())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_is_found_by_its_header_and_its_name() {
        let mut seen = BTreeSet::new();
        for encoding in ENCODINGS {
            let header = header_value(*encoding);
            assert!(seen.insert(header.clone()), "{header} is there twice");
            let words = encoding.name().replace('-', "_");
            assert!(tidegauge_model::Name::check(&words).is_ok());
            let found = by_header(header.as_bytes()).expect("known");
            assert_eq!(header_value(found), header);
            assert!(by_name(encoding.name()).is_some());
        }
        assert!(by_name("xml").is_none());
    }

    #[test]
    fn a_message_without_its_header_is_still_told() {
        let batch = Batch {
            origin: None,
            host: tidegauge_model::Host::new("h").expect("valid"),
            labels: vec![],
            drops: vec![],
            points: vec![],
        };
        for encoder in encoders() {
            let begins = encoder.begins_with();
            let alike = |other: &&dyn Encoder| {
                other.begins_with().starts_with(begins) || begins.starts_with(other.begins_with())
            };
            assert_eq!(encoders().filter(alike).count(), 1, "{encoder:?}");
            let mut message = Vec::new();
            encoder.encode(&batch, &mut message);
            assert_eq!(header_value_of(&message), Some(header_value(encoder)));
        }
        assert_eq!(header_value_of(b"m f=1"), None);
        assert_eq!(header_value_of(b""), None);
    }

    #[test]
    fn other_headers_are_refused_with_a_reason() {
        for (header, reason) in [
            (&b"json/2"[..], Reason::UnknownVersion),
            (b"xml/1", Reason::UnknownEncoding),
            (b"json", Reason::UnknownEncoding),
            (b"json/one", Reason::UnknownEncoding),
            (b"", Reason::UnknownEncoding),
            (b"\xff/1", Reason::UnknownEncoding),
        ] {
            let error = by_header(header).expect_err("unknown");
            assert_eq!(error.reason, reason, "{error}");
        }
        let long = vec![b'x'; 10_000];
        assert!(by_header(&long).expect_err("unknown").to_string().len() < 250);
    }
}
