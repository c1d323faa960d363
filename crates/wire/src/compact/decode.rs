//! A message into a [`BatchRef`], borrowing its texts: the hot path of the sink.
//!
//! What is said once per batch is checked once per batch: a point costs its values alone.

use super::lists::Lists;
use super::reader::{Read, Reader, fault};
use super::{DROP_REASONS, VERSION, column, words};
use crate::check::{self, Checked, SeenNames, Wrong};
use crate::{DecodeError, Place};
use std::borrow::Cow;
use std::ops::Range;
use tidegauge_model::{BatchRef, DropNotice, Origin, Reason, ValueRef};

/// How much a message may have of texts, names in shapes, points, tags and values of points, all
/// together. It is what bounds the memory for a message of few bytes that stand for much, such as
/// eight truth values in a byte.
pub(super) const MAX_ITEMS: usize = 1 << 20;

/// What a message of one collection has, about: room for it is made at once.
const USUAL_TEXTS: usize = 64;
const USUAL_NAMES: usize = 256;
const USUAL_SHAPES: usize = 32;

/// The fields of the batch, by their numbers; 0 is none of them.
const FIELDS: [&str; 11] = [
    "", "version", "origin", "host", "texts", "labels", "drops", "shapes", "blocks", "", "kinds",
];
const VERSION_FIELD: u64 = 1;
const ORIGIN: u64 = 2;
const HOST: u64 = 3;
const TEXTS: u64 = 4;
const LABELS: u64 = 5;
const DROPS: u64 = 6;
const SHAPES: u64 = 7;
const BLOCKS: u64 = 8;
const KINDS: u64 = 10;
/// Those of them that may be repeated.
const LISTS: [u64; 4] = [TEXTS, DROPS, SHAPES, BLOCKS];

pub(super) fn decode<'a>(bytes: &'a [u8], into: &mut BatchRef<'a>) -> Result<(), DecodeError> {
    *into = std::mem::take(into).recycle();
    if bytes.is_empty() {
        let detail = "the message is empty";
        return Err(DecodeError::new(Reason::Empty, Place::default(), detail));
    }
    let mut decoder = Decoder {
        batch: into,
        texts: Texts {
            words: words::words(),
            own: Vec::with_capacity(USUAL_TEXTS),
        },
        names: Vec::with_capacity(USUAL_NAMES),
        seen: SeenNames::default(),
        shapes: Vec::with_capacity(USUAL_SHAPES),
        cells: Vec::with_capacity(USUAL_NAMES),
        items: 0,
        time_us: 0,
        index: 0,
        place: (VERSION_FIELD, 0),
    };
    decoder.message(Reader::new(bytes)).map_err(|mut error| {
        let (field, at) = decoder.place;
        let name = FIELDS.get(field as usize).unwrap_or(&FIELDS[0]);
        error.at.path = match LISTS.contains(&field) {
            true => format!("{name}[{at}]"),
            false => (*name).to_owned(),
        };
        *error
    })
}

#[derive(Debug)]
struct Decoder<'c, 'a> {
    batch: &'c mut BatchRef<'a>,
    texts: Texts<'a>,
    /// Names of all shapes, which hold their ranges of them.
    names: Vec<(&'a str, ())>,
    seen: SeenNames<&'a str>,
    shapes: Vec<Shape<'a>>,
    /// The values of one block by row, as bits: of a double, of a truth value, of a text index.
    cells: Vec<u64>,
    /// What counts for [`MAX_ITEMS`].
    items: usize,
    /// The time of the point before.
    time_us: i64,
    /// The index of the point that is being read.
    index: u32,
    /// The number of the field of the batch that is being read, and which one of a list.
    place: (u64, usize),
}

/// The words and the texts of the message.
#[derive(Debug)]
struct Texts<'a> {
    words: &'static [&'static str],
    own: Vec<Text<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    text: &'a str,
    /// Databases can hold it.
    is_fine: bool,
}

#[derive(Debug)]
struct Shape<'a> {
    measurement: &'a str,
    tags: Range<usize>,
    fields: Range<usize>,
    problem: Option<Problem>,
    is_checked: bool,
    /// Its number in the batch, once it is known.
    known: Option<u32>,
}

/// What is wrong with a point or a shape.
#[derive(Debug)]
struct Problem {
    key: Cow<'static, str>,
    wrong: Wrong,
}

/// Notes a problem at `key`; the first one stays.
fn note(problem: &mut Option<Problem>, key: impl Into<Cow<'static, str>>, checked: Checked) {
    if let Err(wrong) = checked {
        let key = key.into();
        problem.get_or_insert(Problem { key, wrong });
    }
}

impl Text<'_> {
    fn check(&self, problem: &mut Option<Problem>, pairs: &str, name: &str) {
        if !self.is_fine {
            note(problem, format!("{pairs}.{name}"), check::text(self.text));
        }
    }
}

impl<'a> Texts<'a> {
    fn get(&self, index: u64) -> Option<Text<'a>> {
        let index = usize::try_from(index).ok()?;
        match self.words.get(index) {
            Some(text) => Some(Text {
                text,
                is_fine: true,
            }),
            None => self.own.get(index - self.words.len()).copied(),
        }
    }

    /// The text of the next index in a list.
    #[inline]
    fn next(&self, indexes: &mut Reader<'_>) -> Read<Text<'a>> {
        let index = indexes.varint()?;
        self.get(index).ok_or_else(|| no_text(index, indexes.at()))
    }
}

#[cold]
fn no_text(index: u64, at: usize) -> Box<DecodeError> {
    fault(Reason::Syntax, at, format!("there is no text {index}"))
}

/// Counts for [`MAX_ITEMS`].
fn count(items: &mut usize, more: usize, byte: usize) -> Read<()> {
    *items = items.saturating_add(more);
    if *items > MAX_ITEMS {
        let detail = format!("more than {MAX_ITEMS} texts, points, tags and values");
        return Err(fault(Reason::MessageTooLarge, byte, detail));
    }
    Ok(())
}

fn no_fields() -> Checked {
    check::wrong(Reason::NoFields, "no field has a value")
}

/// What is wrong with the message as a whole.
fn whole<T>(checked: Checked<T>, byte: usize) -> Read<T> {
    checked.map_err(|wrong| fault(wrong.reason, byte, wrong.detail))
}

impl<'a> Decoder<'_, 'a> {
    fn message(&mut self, mut reader: Reader<'a>) -> Read<()> {
        match reader.field(&[])? {
            Some(field) if field.number() == VERSION_FIELD => match reader.number(field)? {
                version if version == u64::from(VERSION) => {}
                version => {
                    let detail = format!("expected version {VERSION}, found {version}");
                    return Err(fault(Reason::UnknownVersion, 0, detail));
                }
            },
            _ => return Err(fault(Reason::Syntax, 0, "the version does not come first")),
        }
        let mut host = "";
        while let Some(field) = reader.field(&LISTS)? {
            self.place = match self.place {
                (before, at) if before == field.number() => (before, at + 1),
                _ => (field.number(), 0),
            };
            match field.number() {
                ORIGIN => self.batch.origin = Some(read_origin(reader.stretch(field)?)?),
                HOST => {
                    host = reader.text(field)?;
                    whole(check::host(host), reader.at())?;
                }
                TEXTS => {
                    let text = reader.text(field)?;
                    count(&mut self.items, 1, reader.at())?;
                    let is_fine = check::text(text).is_ok();
                    self.texts.own.push(Text { text, is_fine });
                }
                LABELS => self.labels(reader.stretch(field)?)?,
                DROPS => {
                    let notice = read_drop(reader.stretch(field)?)?;
                    count(&mut self.items, 1, reader.at())?;
                    self.batch.drops.push(notice);
                }
                SHAPES => self.shape(reader.stretch(field)?)?,
                BLOCKS => self.block(reader.stretch(field)?)?,
                KINDS => self.kinds(reader.stretch(field)?)?,
                _ => return reader.unknown(field),
            }
        }
        self.batch.host = Cow::Borrowed(host);
        self.place = (HOST, 0);
        whole(check::host(host), reader.at())?;
        self.place = (DROPS, 0);
        let told = check::drops_of(self.batch.origin.as_ref(), !self.batch.drops.is_empty());
        whole(told, reader.at())
    }

    fn labels(&mut self, mut indexes: Reader<'a>) -> Read<()> {
        let mut names = SeenNames::default();
        let mut known = Vec::new();
        while !indexes.is_empty() {
            let name = self.texts.next(&mut indexes)?.text;
            let at = indexes.at();
            whole(check::new_name(name, names.seen(&name, &known)), at)?;
            let text = self.texts.next(&mut indexes)?.text;
            whole(check::text(text), at)?;
            count(&mut self.items, 1, at)?;
            known.push((name, ()));
            let label = (Cow::Borrowed(name), Cow::Borrowed(text));
            self.batch.labels.push(label);
        }
        Ok(())
    }

    fn kinds(&mut self, mut pairs: Reader<'a>) -> Read<()> {
        let mut names = SeenNames::default();
        while !pairs.is_empty() {
            let name = Cow::Borrowed(self.texts.next(&mut pairs)?.text);
            let at = pairs.at();
            let seen = names.seen(&name, &self.batch.kinds);
            whole(check::new_name(&name, seen), at)?;
            let kind = usize::try_from(pairs.varint()?).ok();
            let Some(&kind) = kind.and_then(|kind| super::KINDS.get(kind)) else {
                let detail = "there is no such kind of measurements";
                return Err(fault(Reason::WrongType, at, detail));
            };
            count(&mut self.items, 1, at)?;
            self.batch.kinds.push((name, kind));
        }
        Ok(())
    }

    fn shape(&mut self, mut reader: Reader<'a>) -> Read<()> {
        let (mut measurement, mut tags, mut fields) = (0, reader.nothing(), reader.nothing());
        while let Some(field) = reader.field(&[])? {
            match field.number() {
                1 => measurement = reader.number(field)?,
                2 => tags = reader.stretch(field)?,
                3 => fields = reader.stretch(field)?,
                _ => return reader.unknown(field),
            }
        }
        let at = reader.at();
        let Some(Text {
            text: measurement, ..
        }) = self.texts.get(measurement)
        else {
            return Err(no_text(measurement, at));
        };
        count(
            &mut self.items,
            1 + tags.count_varints() + fields.count_varints(),
            at,
        )?;
        let tags = self.names(tags)?;
        let fields = self.names(fields)?;
        self.shapes.push(Shape {
            measurement,
            tags,
            fields,
            problem: None,
            is_checked: false,
            known: None,
        });
        Ok(())
    }

    fn names(&mut self, mut indexes: Reader<'a>) -> Read<Range<usize>> {
        let begin = self.names.len();
        while !indexes.is_empty() {
            let name = self.texts.next(&mut indexes)?.text;
            self.names.push((name, ()));
        }
        Ok(begin..self.names.len())
    }

    /// Checks the names of a shape when the first block of it comes. Nearly always they are those of
    /// the message before at the same place, and were checked then.
    fn check_shape(&mut self, place: usize) {
        let shape = &mut self.shapes[place];
        if std::mem::replace(&mut shape.is_checked, true) {
            return;
        }
        let tags = &self.names[shape.tags.clone()];
        let fields = &self.names[shape.fields.clone()];
        let same = |known: &[Box<str>], names: &[(&str, ())]| {
            known.len() == names.len() && known.iter().zip(names).all(|(a, (b, ()))| **a == **b)
        };
        let expected = self.batch.expected_shape().filter(|&expected| {
            self.batch.shape(expected).is_some_and(|expected| {
                expected.measurement() == shape.measurement
                    && same(expected.tags(), tags)
                    && same(expected.fields(), fields)
            })
        });
        shape.known = expected;
        if expected.is_some() {
            return;
        }
        let problem = &mut shape.problem;
        note(problem, "measurement", check::name(shape.measurement));
        for (key, names) in [("tags", tags), ("fields", fields)] {
            self.seen.begin();
            for (at, (name, ())) in names.iter().enumerate() {
                let seen = self.seen.seen(name, &names[..at]);
                note(problem, key, check::new_name(name, seen));
            }
        }
        if fields.is_empty() {
            note(problem, "fields", no_fields());
        }
    }

    fn block(&mut self, mut reader: Reader<'a>) -> Read<()> {
        let (index, mut lists) = Lists::read(&mut reader)?;
        let at = reader.at();
        let place = usize::try_from(index).ok();
        let Some(place) = place.filter(|place| *place < self.shapes.len()) else {
            let detail = format!("there is no shape {index}");
            return Err(fault(Reason::Syntax, at, detail));
        };
        self.check_shape(place);
        let shape = &mut self.shapes[place];
        let (columns, kinds) = (shape.fields.len(), lists.kinds.bytes().len());
        if columns != kinds {
            let detail = format!("expected {columns} kinds of columns, found {kinds}");
            return Err(fault(Reason::Syntax, lists.kinds.at(), detail));
        }
        let rows = lists.times.count_varints();
        let width = 1 + shape.tags.len() + columns;
        count(&mut self.items, rows.saturating_mul(width), at)?;
        lists.read_cells(rows, &mut self.cells)?;
        let tags = &self.names[shape.tags.clone()];
        let fields = &self.names[shape.fields.clone()];
        let all_are_numbers = lists
            .kinds
            .bytes()
            .iter()
            .all(|kind| *kind <= column::DOUBLES);
        for row in 0..rows {
            self.time_us = self.time_us.wrapping_add(lists.times.zigzag()?);
            let mut problem = None;
            note(&mut problem, "time_us", check::time_us(self.time_us));
            for (name, ()) in tags {
                let text = self.texts.next(&mut lists.tags)?;
                text.check(&mut problem, "tags", name);
                let (name, text) = (Cow::Borrowed(*name), Cow::Borrowed(text.text));
                self.batch.push_tag(name, text);
            }
            let mut left_out = 0;
            let cells = &self.cells[row * columns..][..columns];
            let is_finite = |cell: &u64| f64::from_bits(*cell).is_finite();
            let rest = if all_are_numbers && cells.iter().all(is_finite) {
                let numbers = cells
                    .iter()
                    .map(|cell| ValueRef::Float(f64::from_bits(*cell)));
                let names = fields.iter().map(|(name, ())| Cow::Borrowed(*name));
                self.batch.push_fields(names.zip(numbers));
                &[]
            } else {
                cells
            };
            for (((name, ()), kind), cell) in fields.iter().zip(lists.kinds.bytes()).zip(rest) {
                let name = Cow::Borrowed(*name);
                match *kind {
                    column::TRUTHS => self.batch.push_field(name, ValueRef::Bool(*cell != 0)),
                    column::TEXTS => {
                        let Some(text) = self.texts.get(*cell) else {
                            return Err(no_text(*cell, lists.texts.at()));
                        };
                        text.check(&mut problem, "fields", &name);
                        let text = Cow::Borrowed(text.text);
                        self.batch.push_field(name, ValueRef::Text(text));
                    }
                    _ => match f64::from_bits(*cell) {
                        number if number.is_finite() => {
                            self.batch.push_field(name, ValueRef::Float(number));
                        }
                        _ => left_out += 1,
                    },
                }
            }
            if self.batch.open_fields().is_empty() {
                note(&mut problem, "fields", no_fields());
            }
            let index = self.index;
            match shape.problem.as_ref().or(problem.as_ref()) {
                None => {
                    self.batch.left_out += left_out;
                    let measurement = Cow::Borrowed(shape.measurement);
                    let (batch, time_us) = (&mut *self.batch, self.time_us);
                    match shape.known.filter(|_| left_out == 0) {
                        Some(known) => batch.finish_point_in(known, index, measurement, time_us),
                        None => {
                            let found = batch.finish_point_of(0, index, measurement, time_us);
                            if left_out == 0 {
                                shape.known = Some(found);
                            }
                        }
                    }
                }
                Some(Problem { key, wrong }) => {
                    let detail = format!("at points[{index}].{key}: {}", wrong.detail);
                    self.batch.reject_point(index, wrong.reason, detail);
                }
            }
            self.index = index.saturating_add(1);
        }
        lists.times.end("times")?;
        lists.tags.end("tags")
    }
}

fn read_origin(mut reader: Reader<'_>) -> Read<Origin> {
    let (mut agent, mut epoch, mut sequence) = ("", 0, 0);
    while let Some(field) = reader.field(&[])? {
        match field.number() {
            1 => agent = reader.text(field)?,
            2 => epoch = reader.number(field)?,
            3 => sequence = reader.number(field)?,
            _ => return reader.unknown(field),
        }
    }
    let at = reader.at();
    Ok(Origin {
        agent: whole(check::agent(agent), at)?,
        epoch: whole(check::count(epoch.into(), 1), at)?.cast_signed(),
        sequence: whole(check::count(sequence.into(), 0), at)?,
    })
}

fn read_drop(mut reader: Reader<'_>) -> Read<DropNotice> {
    let (mut epoch, mut first, mut last, mut reason) = (0, 0, 0, 0);
    while let Some(field) = reader.field(&[])? {
        match field.number() {
            1 => epoch = reader.number(field)?,
            2 => first = reader.number(field)?,
            3 => last = reader.number(field)?,
            4 => reason = reader.number(field)?,
            _ => return reader.unknown(field),
        }
    }
    let at = reader.at();
    let known = (1..)
        .zip(DROP_REASONS)
        .find(|(number, _)| *number == reason);
    let Some((_, reason)) = known else {
        let detail = format!("there is no reason {reason} for drops");
        return Err(fault(Reason::WrongType, at, detail));
    };
    let notice = DropNotice {
        epoch: whole(check::count(epoch.into(), 0), at)?.cast_signed(),
        first_sequence: whole(check::count(first.into(), 0), at)?,
        last_sequence: whole(check::count(last.into(), 0), at)?,
        reason,
    };
    whole(check::drop_range(first, last), at)?;
    Ok(notice)
}
