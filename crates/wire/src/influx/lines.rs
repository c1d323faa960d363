//! From the lines of a message to points, in one pass over its bytes: the hot path of the sink
//! for this encoding.

use super::{RULES, number};
use crate::check::{Wrong, wrong};
use crate::error::quote;
use crate::foreign::points::ForeignPoints;
use crate::{DecodeContext, DecodeError, Place, TimeUnit};
use std::borrow::Cow;
use tidegauge_model::{BatchRef, Reason, ValueRef};

/// Ends a measurement, a tag's name, a field's name or a tag's text.
const COMMA: u8 = 1;
const SPACE: u8 = 2;
const EQUALS: u8 = 4;
const NEWLINE: u8 = 8;
const BACKSLASH: u8 = 16;
const RETURN: u8 = 32;

/// What each byte ends.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    classes[b',' as usize] = COMMA;
    classes[b' ' as usize] = SPACE;
    classes[b'=' as usize] = EQUALS;
    classes[b'\n' as usize] = NEWLINE;
    classes[b'\\' as usize] = BACKSLASH;
    classes[b'\r' as usize] = RETURN;
    classes
};

/// What came of reading a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Its lines are in the batch.
    Whole,
    /// Errors were held back because the message seemed to be of another format, then a good line
    /// came: it has to be read again with all of its errors.
    Again,
}

/// What is wrong with a line, and the byte where.
#[derive(Debug)]
struct Problem {
    wrong: Wrong,
    at: usize,
}

#[derive(Debug)]
pub(super) struct Lines<'c, 'a> {
    message: &'a [u8],
    points: ForeignPoints<'c, 'a>,
    unit: TimeUnit,
    received_us: Option<i64>,
    /// Whole lines of UTF-8 that are being read, all of the message but in a broken one, and where
    /// in the message they begin.
    text: &'a str,
    begin: usize,
    /// The byte of `text` that is next, and the number of its line, from 1.
    at: usize,
    line: u32,
    /// No line was of this format so far.
    hold_back: bool,
    /// The first error that was held back, with its line.
    held: Option<(u32, Wrong, Place)>,
    /// More than one was.
    held_more: bool,
    /// They have to be told after all.
    again: bool,
}

impl<'c, 'a> Lines<'c, 'a> {
    /// With `hold_back` no error of the form is kept but the first, until there is a line of the
    /// format: a message of another one is one dead letter, not one for each of its lines.
    pub(super) fn new(
        message: &'a [u8],
        context: DecodeContext<'a>,
        into: &'c mut BatchRef<'a>,
        hold_back: bool,
    ) -> Self {
        Self {
            message,
            points: ForeignPoints::new(into, context, RULES),
            unit: context.foreign.time_unit.unwrap_or(TimeUnit::Nanoseconds),
            received_us: context.received_us,
            text: "",
            begin: 0,
            at: 0,
            line: 1,
            hold_back,
            held: None,
            held_more: false,
            again: false,
        }
    }

    /// Reads all lines.
    pub(super) fn read(mut self) -> Result<Read, DecodeError> {
        loop {
            let rest = &self.message[self.begin..];
            let valid = match std::str::from_utf8(rest) {
                Ok(text) => text,
                Err(error) => {
                    let valid = &rest[..error.valid_up_to()];
                    let lines = valid.iter().rposition(|byte| *byte == b'\n');
                    let lines = lines.map_or(0, |newline| newline + 1);
                    std::str::from_utf8(&valid[..lines]).unwrap_or_default()
                }
            };
            (self.text, self.at) = (valid, 0);
            self.read_text();
            if self.again {
                return Ok(Read::Again);
            }
            if valid.len() == rest.len() {
                break;
            }
            self.begin += self.step_over_bad_line(&rest[valid.len()..]) + valid.len();
        }
        match self.held {
            Some((_, wrong, place)) => Err(DecodeError::new(wrong.reason, place, wrong.detail)),
            None => Ok(Read::Whole),
        }
    }

    /// Reads the lines of `text`.
    fn read_text(&mut self) {
        while !self.again && self.begins_a_point() {
            let (line, begin) = (self.line, self.at);
            match self.point() {
                Ok(()) if self.hold_back => self.release(),
                Ok(()) => {}
                Err(problem) => {
                    let place = self.place(line, begin, problem.at);
                    // What is wrong with the form may be a closing quote that is missing, so what
                    // was taken for a text with newlines may be lines.
                    if problem.wrong.reason == Reason::Syntax {
                        self.at = begin;
                    }
                    let newline = self.text[self.at..].find('\n');
                    self.at = newline.map_or(self.text.len(), |newline| self.at + newline);
                    self.line = line.saturating_add(newlines(&self.text[begin..self.at]));
                    self.failed(line, problem.wrong, place);
                }
            }
        }
    }

    /// A line with bytes that are no UTF-8; returns its length.
    #[cold]
    fn step_over_bad_line(&mut self, bytes: &[u8]) -> usize {
        let newline = bytes.iter().position(|byte| *byte == b'\n');
        let length = newline.map_or(bytes.len(), |newline| newline + 1);
        let bad = match std::str::from_utf8(&bytes[..length]) {
            Ok(_) => 0,
            Err(error) => error.valid_up_to(),
        };
        let place = Place {
            byte: self.begin + self.text.len() + bad,
            line: self.line as usize,
            column: bad + 1,
            path: String::new(),
        };
        let (reason, detail) = (Reason::Syntax, "the line is no UTF-8".into());
        self.failed(self.line, Wrong { reason, detail }, place);
        self.line = self.line.saturating_add(1);
        length
    }

    /// There is a line of this format: what was held back is told.
    #[cold]
    fn release(&mut self) {
        self.hold_back = false;
        self.again = self.held_more;
        if let Some((line, wrong, place)) = self.held.take() {
            self.reject(line, &wrong, &place);
        }
    }

    #[cold]
    fn failed(&mut self, line: u32, wrong: Wrong, place: Place) {
        if self.hold_back && wrong.reason == Reason::Syntax {
            self.points.abandon();
            if self.held.is_some() {
                self.held_more = true;
            } else {
                self.held = Some((line, wrong, place));
            }
            return;
        }
        if self.hold_back {
            self.release();
        }
        self.reject(line, &wrong, &place);
    }

    fn reject(&mut self, line: u32, wrong: &Wrong, place: &Place) {
        let at = format!(
            "line {} (byte {}, column {})",
            place.line, place.byte, place.column
        );
        self.points.reject(line, &at, wrong);
    }

    /// The place of a byte of a point that begins at `begin` in this line.
    #[cold]
    fn place(&self, line: u32, begin: usize, at: usize) -> Place {
        let before = &self.text[..at];
        let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            byte: self.begin + at,
            line: line.saturating_add(newlines(&self.text[begin..at])) as usize,
            column: at - line_begin + 1,
            path: String::new(),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps to the next line that is neither empty nor a comment.
    #[inline]
    fn begins_a_point(&mut self) -> bool {
        loop {
            match self.peek() {
                None => return false,
                Some(b'\n') => {
                    self.at += 1;
                    self.line = self.line.saturating_add(1);
                }
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\r') if self.at_end_of_line() => self.at += 1,
                Some(b'#') => {
                    let newline = self.text[self.at..].find('\n');
                    self.at = newline.map_or(self.text.len(), |newline| self.at + newline);
                }
                Some(_) => return true,
            }
        }
    }

    fn at_end_of_line(&self) -> bool {
        matches!(
            &self.text.as_bytes()[self.at..],
            [] | [b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..]
        )
    }

    #[inline]
    fn spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Reads one point, to the end of its line or to what is wrong with its form. What is wrong in
    /// another way does not end the reading, so that the end of the line is found behind
    /// texts with newlines.
    fn point(&mut self) -> Result<(), Problem> {
        let (line, begin) = (self.line, self.at);
        let mut problem = None;
        let mut note = |noted: Result<(), Wrong>, at: usize| {
            if let Err(wrong) = noted {
                problem.get_or_insert(Problem { wrong, at });
            }
            problem.is_none()
        };
        let measurement = self.word(COMMA | SPACE | NEWLINE);
        if measurement.is_empty() {
            return self.syntax("expected a measurement");
        }
        let mut fine = true;
        while self.peek() == Some(b',') {
            self.at += 1;
            let at = self.at;
            let name = self.name("expected a tag, name=text")?;
            let text = self.word(COMMA | SPACE | EQUALS | NEWLINE);
            if text.is_empty() || self.peek() == Some(b'=') {
                return self.syntax("expected the text of a tag");
            }
            if fine {
                fine = note(self.points.tag(name, text), at);
            }
        }
        self.spaces();
        loop {
            let at = self.at;
            let name = self.name("expected a field, name=value")?;
            let value_at = self.at;
            match self.value()? {
                Ok(value) if fine => fine = note(self.points.field(name, value), at),
                Ok(_) => {}
                Err(wrong) => fine = note(Err(wrong), value_at),
            }
            if self.peek() != Some(b',') {
                break;
            }
            self.at += 1;
        }
        self.spaces();
        let time_at = self.at;
        let time = self.time_us();
        if !self.at_end_of_line() {
            return self.syntax("expected the end of the line");
        }
        if fine {
            let finished = time.and_then(|time_us| self.points.finish(line, measurement, time_us));
            note(finished, time_at);
        }
        match problem {
            None => Ok(()),
            Some(mut problem) => {
                // What concerns the point and not its time is told where it begins.
                if problem.at == time_at && problem.wrong.reason != Reason::BadTime {
                    problem.at = begin;
                }
                Err(problem)
            }
        }
    }

    #[cold]
    fn syntax<T>(&self, detail: &'static str) -> Result<T, Problem> {
        let (reason, detail) = (Reason::Syntax, detail.into());
        Err(Problem {
            wrong: Wrong { reason, detail },
            at: self.at,
        })
    }

    /// Reads a name and the `=` behind it.
    #[inline]
    fn name(&mut self, expected: &'static str) -> Result<Cow<'a, str>, Problem> {
        let name = self.word(COMMA | SPACE | EQUALS | NEWLINE);
        if self.peek() != Some(b'=') || name.is_empty() {
            return self.syntax(expected);
        }
        self.at += 1;
        Ok(name)
    }

    /// Reads until one of `ends`.
    #[inline]
    fn word(&mut self, ends: u8) -> Cow<'a, str> {
        let bytes = self.text.as_bytes();
        let begin = self.at;
        let mut escaped = false;
        while let Some(&byte) = bytes.get(self.at) {
            let class = CLASSES[usize::from(byte)];
            if class & (ends | BACKSLASH) == 0 {
                self.at += 1;
            } else if class == BACKSLASH {
                let escapes = matches!(bytes.get(self.at + 1), Some(b',' | b'=' | b' '));
                escaped |= escapes;
                self.at += 1 + usize::from(escapes);
            } else {
                break;
            }
        }
        let word = &self.text[begin..self.at];
        match escaped {
            true => Cow::Owned(unescaped(word, b",= ")),
            false => Cow::Borrowed(word),
        }
    }

    /// Reads the value of a field.
    #[inline]
    fn value(&mut self) -> Result<Result<ValueRef<'a>, Wrong>, Problem> {
        let ends = |byte: u8| CLASSES[usize::from(byte)] & (COMMA | SPACE | NEWLINE | RETURN) != 0;
        let bytes = &self.text.as_bytes()[self.at..];
        if bytes.first() == Some(&b'"') {
            let text = self.quoted()?;
            if self.peek().is_some_and(|byte| !ends(byte)) {
                return self.syntax("expected a comma, a space or the end of the line");
            }
            return Ok(Ok(ValueRef::Text(text)));
        }
        if let Some((number, length)) = number::short(bytes)
            && bytes.get(length).is_none_or(|byte| ends(*byte))
        {
            self.at += length;
            return Ok(Ok(ValueRef::Float(number)));
        }
        let length = bytes.iter().position(|byte| ends(*byte));
        let word = &self.text[self.at..][..length.unwrap_or(bytes.len())];
        if word.is_empty() {
            return self.syntax("expected the value of a field");
        }
        self.at += word.len();
        Ok(match word {
            "t" | "T" | "true" | "True" | "TRUE" => Ok(ValueRef::Bool(true)),
            "f" | "F" | "false" | "False" | "FALSE" => Ok(ValueRef::Bool(false)),
            _ => number::any(word).map(ValueRef::Float),
        })
    }

    /// Reads a text in quotes, which may have newlines.
    fn quoted(&mut self) -> Result<Cow<'a, str>, Problem> {
        let bytes = self.text.as_bytes();
        let begin = self.at + 1;
        let (mut at, mut escaped) = (begin, false);
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let escapes = matches!(bytes.get(at + 1), Some(b'"' | b'\\'));
                    escaped |= escapes;
                    at += 1 + usize::from(escapes);
                }
                Some(_) => at += 1,
                None => return self.syntax("the closing quote of a text is missing"),
            }
        }
        self.at = at + 1;
        let text = &self.text[begin..at];
        self.line = self.line.saturating_add(newlines(text));
        Ok(match escaped {
            true => Cow::Owned(unescaped(text, b"\"\\")),
            false => Cow::Borrowed(text),
        })
    }

    /// Reads the time; where there is none, it is that of the message.
    fn time_us(&mut self) -> Result<i64, Wrong> {
        if self.at_end_of_line() {
            let missing = "the line has no time, and that of its message is not known";
            return self
                .received_us
                .map_or_else(|| wrong(Reason::BadTime, missing), Ok);
        }
        let bytes = &self.text.as_bytes()[self.at..];
        let ends = |byte: &u8| CLASSES[usize::from(*byte)] & (SPACE | NEWLINE | RETURN) != 0;
        let length = bytes.iter().position(ends).unwrap_or(bytes.len());
        let word = &self.text[self.at..][..length];
        self.at += length;
        self.spaces();
        let time: Option<i64> = word.parse().ok();
        match time.and_then(|time| self.unit.microseconds(time)) {
            Some(time_us) => Ok(time_us),
            None => {
                let found = quote(word);
                let detail = format!("expected an integer of 64 bits as time, found {found}");
                wrong(Reason::BadTime, detail)
            }
        }
    }
}

/// Without the backslashes before bytes of `escapable`.
#[cold]
fn unescaped(text: &str, escapable: &[u8]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let next = rest.as_bytes().get(at + 1);
        let escapes = next.is_some_and(|next| escapable.contains(next));
        // The escaped byte is kept as it is, also when it is a backslash itself.
        let keep_from = at + usize::from(escapes);
        kept.push_str(&rest[..at]);
        kept.push_str(&rest[keep_from..=keep_from]);
        rest = &rest[keep_from + 1..];
    }
    kept.push_str(rest);
    kept
}

fn newlines(text: &str) -> u32 {
    let newlines = text.bytes().filter(|byte| *byte == b'\n').count();
    u32::try_from(newlines).unwrap_or(u32::MAX)
}
