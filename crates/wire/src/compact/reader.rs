//! The protobuf wire format (<https://protobuf.dev/programming-guides/encoding/>), read in place:
//! fields, numbers, and stretches of bytes that are borrowed from the message.
//!
//! Stricter than protobuf asks, as the schema says: fields come in order, and none that is no list
//! is there twice.

use crate::{DecodeError, Place};
use std::num::NonZeroU64;
use tidegauge_model::Reason;

/// What was read, or why the message fails; boxed, because numbers are what is read most.
pub(super) type Read<T> = Result<T, Box<DecodeError>>;

/// A stretch of the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Where the stretch ends in the message.
    end: usize,
    /// The number of the field before.
    last: u64,
}

/// The head of a field: its number in the schema and its wire type, as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field(NonZeroU64);

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// An error at a byte of the message; its path is set by whoever knows it.
#[cold]
pub(super) fn fault(reason: Reason, byte: usize, detail: impl Into<String>) -> Box<DecodeError> {
    let at = Place {
        byte,
        ..Place::default()
    };
    Box::new(DecodeError::new(reason, at, detail))
}

impl Field {
    /// Its number in the schema.
    pub(super) fn number(self) -> u64 {
        self.0.get() >> 3
    }

    fn wire_type(self) -> u8 {
        (self.0.get() & 7) as u8
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            end: message.len(),
            last: 0,
        }
    }

    /// The empty stretch at the end of this one: a list that is not there.
    pub(super) const fn nothing(&self) -> Self {
        Self {
            rest: &[],
            end: self.end,
            last: 0,
        }
    }

    /// Where reading is, in bytes from the beginning of the message.
    pub(super) fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that are left.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// How many varints are left, if all of them are whole.
    pub(super) fn count_varints(&self) -> usize {
        self.rest.iter().filter(|byte| **byte < 0x80).count()
    }

    /// The head of the next field, `None` at the end. The fields in `lists` may be repeated.
    #[inline]
    pub(super) fn field(&mut self, lists: &[u64]) -> Read<Option<Field>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (at, head) = (self.at(), self.varint()?);
        let Some(field) = NonZeroU64::new(head).map(Field) else {
            return Err(fault(Reason::Syntax, at, "a field has the number 0"));
        };
        let before = std::mem::replace(&mut self.last, field.number());
        if self.last > before || (self.last == before && lists.contains(&before)) {
            return Ok(Some(field));
        }
        Err(self.out_of_order(at, before))
    }

    #[cold]
    fn out_of_order(&self, at: usize, before: u64) -> Box<DecodeError> {
        if self.last == before {
            let detail = format!("the field {before} is there twice");
            return fault(Reason::DuplicateKey, at, detail);
        }
        let detail = format!("the field {} comes after {before}", self.last);
        fault(Reason::Syntax, at, detail)
    }

    /// The schema has no field of this number.
    #[cold]
    pub(super) fn unknown<T>(&self, field: Field) -> Read<T> {
        let detail = format!("the field {}", field.number());
        Err(fault(Reason::UnknownKey, self.at(), detail))
    }

    fn expect(&self, field: Field, wire_type: u8) -> Read<()> {
        if field.wire_type() == wire_type {
            return Ok(());
        }
        let (number, found) = (field.number(), field.wire_type());
        let detail = format!("the field {number} has the wire type {wire_type}, found {found}");
        Err(fault(Reason::WrongType, self.at(), detail))
    }

    /// The value of a field that is a number.
    pub(super) fn number(&mut self, field: Field) -> Read<u64> {
        self.expect(field, VARINT)?;
        self.varint()
    }

    /// The value of a field that is a message, a packed list or bytes.
    pub(super) fn stretch(&mut self, field: Field) -> Read<Self> {
        self.expect(field, LENGTH_DELIMITED)?;
        let length = self.varint()?;
        let parts = usize::try_from(length).map(|length| self.rest.split_at_checked(length));
        let Ok(Some((stretch, rest))) = parts else {
            let detail = format!("expected {length} bytes, found {}", self.rest.len());
            return Err(fault(Reason::Syntax, self.at(), detail));
        };
        self.rest = rest;
        Ok(Self {
            rest: stretch,
            end: self.at(),
            last: 0,
        })
    }

    /// The value of a field that is a text.
    pub(super) fn text(&mut self, field: Field) -> Read<&'a str> {
        let stretch = self.stretch(field)?;
        std::str::from_utf8(stretch.rest).map_err(|error| {
            let byte = stretch.at() + error.valid_up_to();
            fault(Reason::Syntax, byte, "a text is not UTF-8")
        })
    }

    /// An unsigned number of up to 64 bits.
    #[inline]
    pub(super) fn varint(&mut self) -> Read<u64> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Read<u64> {
        let mut number = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                if at == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        let detail = "a number is cut off, or has more than 64 bits";
        Err(fault(Reason::Syntax, self.at(), detail))
    }

    /// A signed number of up to 64 bits.
    #[inline]
    pub(super) fn zigzag(&mut self) -> Read<i64> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A double.
    #[inline]
    pub(super) fn double(&mut self) -> Read<f64> {
        let Some((double, rest)) = self.rest.split_first_chunk() else {
            return Err(fault(Reason::Syntax, self.at(), "a double is cut off"));
        };
        self.rest = rest;
        Ok(f64::from_le_bytes(*double))
    }

    /// Nothing must be left.
    pub(super) fn end(&self, list: &str) -> Read<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let detail = format!("more {list} than the points have");
        Err(fault(Reason::Syntax, self.at(), detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_they_must() {
        for (bytes, number) in [
            (&[0][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0x80, 0x80, 0x00], 0),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                u64::MAX,
            ),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.varint().expect("a number"), number);
            assert!(reader.is_empty());
        }
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x80; 11],
        ] {
            let error = Reader::new(bytes).varint().expect_err("no number");
            assert_eq!(error.reason, Reason::Syntax);
        }
        for (byte, number) in [(0, 0), (1, -1), (2, 1), (3, -2)] {
            assert_eq!(Reader::new(&[byte]).zigzag().expect("a number"), number);
        }
    }

    #[test]
    fn a_stretch_knows_its_place_in_the_message() {
        let message = [0x08, 0x01, 0x12, 0x02, b'a', 0xff, 0x1a, 0x05, b'b'];
        let mut reader = Reader::new(&message);
        let version = reader.field(&[]).expect("a head").expect("one");
        assert_eq!((version.number(), reader.number(version)), (1, Ok(1)));
        let text = reader.field(&[]).expect("a head").expect("one");
        assert_eq!(reader.text(text).expect_err("not UTF-8").at.byte, 5);
        let cut = reader.field(&[]).expect("a head").expect("one");
        assert_eq!(reader.stretch(cut).expect_err("cut off").at.byte, 8);
    }
}
