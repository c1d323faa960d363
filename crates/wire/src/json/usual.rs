//! The usual message, read straight: well-formed, of this version, with nothing wrong in it.
//!
//! At the first thing that is not usual this gives up without a word, and the decoder that knows
//! everything ([`super::decode`]) reads the message from its beginning. So there is one place that
//! says what is wrong, and this one only has to be right where it answers: then the batch is the
//! same (a property in `tests/it`, and the fuzz target `json`).

use super::alike::Alike;
use super::cursor::Cursor;
use super::value::Scalar;
use crate::check::{self, SeenNames};
use std::borrow::Cow;
use tidegauge_model::{BatchRef, Origin, ValueRef};

/// Labels that are compared one by one; a message with more is not usual.
const MOST_LABELS: usize = 64;

/// Reads the message, or gives up: then what the batch holds means nothing.
pub(super) fn decode<'a>(bytes: &'a [u8], batch: &mut BatchRef<'a>) -> Option<()> {
    let mut reader = UsualReader {
        cursor: Cursor::new(bytes)?,
        batch,
        names: SeenNames::default(),
    };
    reader.message()
}

struct UsualReader<'c, 'a> {
    cursor: Cursor<'a>,
    batch: &'c mut BatchRef<'a>,
    names: SeenNames<Cow<'a, str>>,
}

/// Sets what may be there once.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

impl<'a> UsualReader<'_, 'a> {
    fn message(&mut self) -> Option<()> {
        let (mut version, mut host, mut labels) = (None, None, None);
        let (mut kinds, mut points) = (None, None);
        let (mut agent, mut epoch, mut sequence) = (None, None, None);
        self.cursor.sign(b'{')?;
        let mut is_first = true;
        while self.cursor.more(&mut is_first, b'}')? {
            match &*self.cursor.key()? {
                "v" => once(&mut version, self.integer()?)?,
                "agent" => {
                    let text = self.cursor.string()?;
                    once(&mut agent, check::agent(text).ok()?)?;
                }
                "epoch" => once(&mut epoch, self.count(1)?)?,
                "sequence" => once(&mut sequence, self.count(0)?)?,
                "host" => {
                    let name = self.cursor.string()?;
                    check::host(&name).ok()?;
                    once(&mut host, name)?;
                }
                "labels" => once(&mut labels, self.labels()?)?,
                "kinds" => once(&mut kinds, self.kinds()?)?,
                "points" => once(&mut points, self.points()?)?,
                _ => return None,
            }
        }
        self.cursor.end()?;
        if version? != i64::from(super::VERSION) {
            return None;
        }
        points?;
        self.batch.host = host?;
        self.batch.origin = match (agent, epoch, sequence) {
            (Some(agent), Some(epoch), Some(sequence)) => Some(Origin {
                agent,
                epoch: epoch.cast_signed(),
                sequence,
            }),
            (None, None, None) => None,
            _ => return None,
        };
        Some(())
    }

    fn integer(&mut self) -> Option<i64> {
        match self.cursor.scalar()? {
            Scalar::Integer(number) => Some(number),
            _ => None,
        }
    }

    fn count(&mut self, least: u64) -> Option<u64> {
        let number = self.integer()?;
        check::count(number.into(), least).ok()
    }

    fn labels(&mut self) -> Option<()> {
        self.cursor.sign(b'{')?;
        let mut is_first = true;
        while self.cursor.more(&mut is_first, b'}')? {
            let name = self.cursor.key()?;
            let labels = &mut self.batch.labels;
            let seen = labels.iter().any(|(known, _)| *known == name);
            check::new_name(&name, seen).ok()?;
            let text = self.cursor.string()?;
            check::text(&text).ok()?;
            labels.push((name, text));
            if labels.len() > MOST_LABELS {
                return None;
            }
        }
        Some(())
    }

    fn kinds(&mut self) -> Option<()> {
        self.cursor.sign(b'{')?;
        self.names.begin();
        let mut is_first = true;
        while self.cursor.more(&mut is_first, b'}')? {
            let known = &self.batch.kinds;
            let name = new_name(&mut self.cursor, &mut self.names, known)?;
            let kind = check::kind(&self.cursor.string()?).ok()?;
            self.batch.kinds.push((name, kind));
        }
        Some(())
    }

    fn points(&mut self) -> Option<()> {
        self.cursor.sign(b'[')?;
        let mut is_first = true;
        let mut index = 0_u32;
        while self.cursor.more(&mut is_first, b']')? {
            self.point(index)?;
            index = index.checked_add(1)?;
        }
        Some(())
    }

    fn point(&mut self, index: u32) -> Option<()> {
        let mut alike = Alike::expected(self.batch);
        let (mut measurement, mut time_us, mut tags, mut fields) = (None, None, None, None);
        self.cursor.sign(b'{')?;
        let mut is_first = true;
        while self.cursor.more(&mut is_first, b'}')? {
            match &*self.cursor.key()? {
                "measurement" => once(&mut measurement, self.cursor.string()?)?,
                "time_us" => once(&mut time_us, self.integer()?)?,
                "tags" => once(&mut tags, self.tags(&mut alike)?)?,
                "fields" => once(&mut fields, self.fields(&mut alike)?)?,
                _ => return None,
            }
        }
        let (measurement, time_us) = (measurement?, time_us?);
        check::time_us(time_us).ok()?;
        if self.batch.open_fields().is_empty() {
            return None;
        }
        match alike.whole(self.batch, &measurement) {
            Some(shape) => {
                let batch = &mut self.batch;
                batch.finish_point_in(shape, index, measurement, time_us);
            }
            None => {
                check::name(&measurement).ok()?;
                self.batch.finish_point(index, measurement, time_us);
            }
        }
        Some(())
    }

    fn tags(&mut self, alike: &mut Alike) -> Option<()> {
        self.cursor.sign(b'{')?;
        self.names.begin();
        let mut is_first = true;
        while self.cursor.more(&mut is_first, b'}')? {
            let expected = alike.next_tag(self.batch);
            let name = match expected.and_then(|name| self.cursor.this_key(name)) {
                Some(name) => Cow::Borrowed(name),
                None => {
                    alike.give_up();
                    let known = self.batch.open_tags();
                    new_name(&mut self.cursor, &mut self.names, known)?
                }
            };
            let text = self.cursor.string()?;
            accept(&text)?;
            self.batch.push_tag(name, text);
        }
        Some(())
    }

    fn fields(&mut self, alike: &mut Alike) -> Option<()> {
        self.cursor.sign(b'{')?;
        self.names.begin();
        let mut is_first = true;
        while self.cursor.more(&mut is_first, b'}')? {
            let expected = alike.next_field(self.batch);
            let name = match expected.and_then(|name| self.cursor.this_key(name)) {
                Some(name) => Cow::Borrowed(name),
                None => {
                    alike.give_up();
                    let known = self.batch.open_fields();
                    new_name(&mut self.cursor, &mut self.names, known)?
                }
            };
            let value = match self.cursor.scalar()? {
                Scalar::Integer(number) => ValueRef::Float(number as f64),
                Scalar::Float(number) => ValueRef::Float(number),
                Scalar::Bool(truth) => ValueRef::Bool(truth),
                Scalar::Text(text) => {
                    accept(&text)?;
                    ValueRef::Text(text)
                }
                Scalar::Null => continue,
                Scalar::List | Scalar::Object => return None,
            };
            self.batch.push_field(name, value);
        }
        Some(())
    }
}

/// A name that was not expected, which is to be checked.
fn new_name<'a, T>(
    cursor: &mut Cursor<'a>,
    names: &mut SeenNames<Cow<'a, str>>,
    known: &[(Cow<'a, str>, T)],
) -> Option<Cow<'a, str>> {
    let name = cursor.key()?;
    let seen = names.seen(&name, known);
    check::new_name(&name, seen).ok().map(|()| name)
}

/// Only an escaped text can have a U+0000, and an escaped text is never borrowed.
#[expect(clippy::ptr_arg, reason = "whether it is borrowed is the point")]
fn accept(text: &Cow<'_, str>) -> Option<()> {
    match text {
        Cow::Borrowed(_) => Some(()),
        Cow::Owned(text) => check::text(text).ok(),
    }
}
