//! A place in a JSON text (RFC 8259) that goes forward over texts, numbers and signs.
//!
//! It knows well-formed JSON only: at anything else it answers `None`, and the caller has serde_json
//! read the whole text and say what is wrong with it.

use super::value::Scalar;
use std::borrow::Cow;

/// Digits that a `u64` holds whatever they are.
const SAFE_DIGITS: usize = 19;
/// Digits that an `i64` holds whatever they are.
const INTEGER_DIGITS: usize = 18;
/// Below this every whole number is a double of its own.
const EXACT: u64 = 1 << 53;
/// The powers of ten that are doubles: a whole number below [`EXACT`] divided by one of them is the
/// nearest double, because only the division rounds (Clinger 1990).
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of the bytes, if they are UTF-8.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        Some(Self { text, at: 0 })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Goes over a sign if it comes next.
    #[inline]
    pub(super) fn sign(&mut self, sign: u8) -> Option<()> {
        // Who writes for programs writes no blanks.
        if self.peek() != Some(sign) {
            self.skip_blanks();
        }
        (self.peek()? == sign).then(|| self.at += 1)
    }

    /// Whether another element comes, going over the sign before it, or the end of the list or
    /// object, going over that. `is_first` is true before the first element.
    #[inline]
    pub(super) fn more(&mut self, is_first: &mut bool, end: u8) -> Option<bool> {
        if std::mem::replace(is_first, false) {
            return Some(self.sign(end).is_none());
        }
        match self.sign(b',') {
            Some(()) => Some(true),
            None => self.sign(end).map(|()| false),
        }
    }

    /// Nothing but blanks may come.
    pub(super) fn end(&mut self) -> Option<()> {
        self.skip_blanks();
        (self.at == self.text.len()).then_some(())
    }

    /// Goes over this key and the colon behind it, if they come next.
    #[inline]
    pub(super) fn this_key(&mut self, key: &str) -> Option<&'a str> {
        self.skip_blanks();
        let (begin, end) = (self.at + 1, self.at + 1 + key.len());
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"')
            || bytes.get(end) != Some(&b'"')
            || &bytes[begin..end] != key.as_bytes()
        {
            return None;
        }
        let found = self.text.get(begin..end)?;
        self.at = end + 1;
        self.sign(b':').map(|()| found)
    }

    /// A key and the colon behind it.
    pub(super) fn key(&mut self) -> Option<Cow<'a, str>> {
        let key = self.string()?;
        self.sign(b':').map(|()| key)
    }

    /// A text.
    #[inline]
    pub(super) fn string(&mut self) -> Option<Cow<'a, str>> {
        self.skip_blanks();
        let bytes = self.text.as_bytes();
        let begin = self.at;
        if bytes.get(begin) != Some(&b'"') {
            return None;
        }
        let mut at = begin + 1;
        let mut is_escaped = false;
        loop {
            match *bytes.get(at)? {
                b'"' => break,
                b'\\' => {
                    is_escaped = true;
                    at += 2;
                }
                0..=0x1f => return None,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        if is_escaped {
            let unescaped: String = serde_json::from_str(self.text.get(begin..=at)?).ok()?;
            return Some(Cow::Owned(unescaped));
        }
        self.text.get(begin + 1..at).map(Cow::Borrowed)
    }

    /// A scalar.
    #[inline]
    pub(super) fn scalar(&mut self) -> Option<Scalar<'a>> {
        self.skip_blanks();
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Scalar::Text),
            b't' => self.word("true", Scalar::Bool(true)),
            b'f' => self.word("false", Scalar::Bool(false)),
            b'n' => self.word("null", Scalar::Null),
            _ => None,
        }
    }

    fn word(&mut self, word: &str, value: Scalar<'a>) -> Option<Scalar<'a>> {
        let rest = &self.text.as_bytes()[self.at..];
        rest.starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            value
        })
    }

    /// Goes over digits, as many as there are; their number.
    #[inline]
    fn digits(&mut self, value: &mut u64) -> usize {
        let begin = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            *value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        self.at - begin
    }

    #[inline]
    fn number(&mut self) -> Option<Scalar<'a>> {
        let begin = self.at;
        let is_negative = self.sign_of_number(b'-');
        let starts_with_zero = self.peek() == Some(b'0');
        let mut value = 0;
        let whole = self.digits(&mut value);
        if whole == 0 || starts_with_zero && whole > 1 {
            return None;
        }
        let next = self.peek();
        if !matches!(next, Some(b'.' | b'e' | b'E')) {
            return match whole <= INTEGER_DIGITS {
                // An integer has no minus zero, a double has.
                true if is_negative && value == 0 => Some(Scalar::Float(-0.0)),
                true if is_negative => Some(Scalar::Integer(-value.cast_signed())),
                true => Some(Scalar::Integer(value.cast_signed())),
                false => self.long_integer(begin),
            };
        }
        let mut fraction = 0;
        if self.sign_of_number(b'.') {
            fraction = self.digits(&mut value);
            if fraction == 0 {
                return None;
            }
        }
        if self.sign_of_number(b'e') || self.sign_of_number(b'E') {
            let _ = self.sign_of_number(b'-') || self.sign_of_number(b'+');
            if self.digits(&mut 0) == 0 {
                return None;
            }
        } else if whole + fraction <= SAFE_DIGITS
            && value < EXACT
            && let Some(power) = POWERS_OF_TEN.get(fraction)
        {
            let number = value as f64 / power;
            return Some(Scalar::Float(if is_negative { -number } else { number }));
        }
        let number: f64 = self.text.get(begin..self.at)?.parse().ok()?;
        number.is_finite().then_some(Scalar::Float(number))
    }

    #[cold]
    fn long_integer(&self, begin: usize) -> Option<Scalar<'a>> {
        let text = self.text.get(begin..self.at)?;
        if let Ok(integer) = text.parse() {
            return Some(Scalar::Integer(integer));
        }
        let number: f64 = text.parse().ok()?;
        number.is_finite().then_some(Scalar::Float(number))
    }

    #[inline]
    fn sign_of_number(&mut self, sign: u8) -> bool {
        let is_next = self.peek() == Some(sign);
        self.at += usize::from(is_next);
        is_next
    }
}
