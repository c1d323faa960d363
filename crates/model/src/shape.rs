//! Shapes: which names points have, in which order. Found once, then known by a number.
//!
//! An agent sends the same points in the same order again and again. So the point at a place of a
//! message nearly always has the names of the one at that place of the message before: who decodes
//! compares names instead of checking them, and who packs finds the columns of a shape once per
//! step instead of once per point. A wrong expectation costs a look-up, nothing else.

use crate::ValueRef;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// Shapes that are kept; above it the book begins anew, between two messages.
const MOST_SHAPES: usize = 10_000;

/// The names of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    measurement: Box<str>,
    tags: Box<[Box<str>]>,
    fields: Box<[Box<str>]>,
}

impl Shape {
    /// The measurement.
    #[must_use]
    #[inline]
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// The names of the tags.
    #[must_use]
    #[inline]
    pub fn tags(&self) -> &[Box<str>] {
        &self.tags
    }

    /// The names of the fields.
    #[must_use]
    #[inline]
    pub fn fields(&self) -> &[Box<str>] {
        &self.fields
    }

    fn is_of(&self, names: &Names<'_, '_>) -> bool {
        fn same<T>(known: &[Box<str>], pairs: &[(Cow<'_, str>, T)]) -> bool {
            let names = known.iter().zip(pairs);
            known.len() == pairs.len() && names.into_iter().all(|(a, (b, _))| **a == **b)
        }
        *self.measurement == *names.measurement
            && same(&self.tags, names.tags)
            && same(&self.fields, names.fields)
    }
}

/// A point whose shape is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a, 'b> {
    pub(crate) measurement: &'b str,
    pub(crate) tags: &'b [(Cow<'a, str>, Cow<'a, str>)],
    pub(crate) fields: &'b [(Cow<'a, str>, ValueRef<'a>)],
}

/// All shapes that were met, and those of the points of two messages.
#[derive(Clone, Default)]
pub(crate) struct ShapeBook {
    shapes: Vec<Shape>,
    by_names: HashMap<Box<[u8]>, u32>,
    scratch: Vec<u8>,
    /// Those of the message before, by the place of the point.
    expected: Vec<u32>,
    current: Vec<u32>,
    generation: u64,
}

impl fmt::Debug for ShapeBook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.shapes).finish()
    }
}

impl ShapeBook {
    /// Begins a message. One without points changes nothing.
    pub(crate) fn begin_message(&mut self) {
        if !self.current.is_empty() {
            std::mem::swap(&mut self.expected, &mut self.current);
            self.current.clear();
        }
        if self.shapes.len() > MOST_SHAPES {
            *self = Self {
                generation: self.generation + 1,
                ..Self::default()
            };
        }
    }

    /// Changes when numbers begin anew.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The shape of the point of the message before at the place of the next one.
    #[inline]
    pub(crate) fn expected(&self) -> Option<u32> {
        self.expected.get(self.current.len()).copied()
    }

    #[inline]
    pub(crate) fn get(&self, shape: u32) -> Option<&Shape> {
        self.shapes.get(shape as usize)
    }

    /// Notes the shape of the next point.
    #[inline]
    pub(crate) fn note(&mut self, shape: u32) {
        self.current.push(shape);
    }

    /// The shape of these names.
    pub(crate) fn find(&mut self, names: &Names<'_, '_>) -> u32 {
        if let Some(expected) = self.expected()
            && self
                .get(expected)
                .is_some_and(|expected| expected.is_of(names))
        {
            return expected;
        }
        self.look_up(names)
    }

    fn look_up(&mut self, names: &Names<'_, '_>) -> u32 {
        // Neither character is in a name.
        let key = &mut self.scratch;
        key.clear();
        key.extend_from_slice(names.measurement.as_bytes());
        for (name, _) in names.tags {
            key.push(1);
            key.extend_from_slice(name.as_bytes());
        }
        for (name, _) in names.fields {
            key.push(2);
            key.extend_from_slice(name.as_bytes());
        }
        if let Some(&known) = self.by_names.get(key.as_slice()) {
            return known;
        }
        fn owned<T>(pairs: &[(Cow<'_, str>, T)]) -> Box<[Box<str>]> {
            pairs.iter().map(|(name, _)| name.as_ref().into()).collect()
        }
        let shape = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
        self.by_names.insert(key.as_slice().into(), shape);
        self.shapes.push(Shape {
            measurement: names.measurement.into(),
            tags: owned(names.tags),
            fields: owned(names.fields),
        });
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(book: &mut ShapeBook, measurement: &str, tags: &[&str], fields: &[&str]) -> u32 {
        let tags: Vec<_> = tags
            .iter()
            .map(|tag| (Cow::Borrowed(*tag), Cow::Borrowed("text")))
            .collect();
        let fields: Vec<_> = fields
            .iter()
            .map(|field| (Cow::Borrowed(*field), ValueRef::Float(1.0)))
            .collect();
        let names = Names {
            measurement,
            tags: &tags,
            fields: &fields,
        };
        let shape = book.find(&names);
        book.note(shape);
        shape
    }

    #[test]
    fn what_differs_in_any_name_is_another_shape() {
        let mut book = ShapeBook::default();
        let all: Vec<u32> = (0..2)
            .flat_map(|_| {
                book.begin_message();
                [
                    find(&mut book, "m", &["a"], &["b"]),
                    find(&mut book, "m", &[], &["a", "b"]),
                    find(&mut book, "m", &["a", "b"], &[]),
                    find(&mut book, "m", &["a"], &["b", "c"]),
                    find(&mut book, "m", &[], &["b", "a"]),
                    find(&mut book, "ma", &[], &["b"]),
                    find(&mut book, "m", &[], &["ab"]),
                ]
            })
            .collect();
        assert_eq!(all[..7], [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(all[..7], all[7..]);
        assert_eq!(book.get(3).map(|shape| shape.fields().len()), Some(2));
    }

    #[test]
    fn the_message_before_says_what_to_expect() {
        let mut book = ShapeBook::default();
        assert_eq!(book.expected(), None);
        for _ in 0..3 {
            find(&mut book, "a", &[], &["x"]);
            find(&mut book, "b", &[], &["x"]);
            // Begun twice is begun once.
            book.begin_message();
            book.begin_message();
            let expected = book.expected().and_then(|shape| book.get(shape));
            assert_eq!(expected.map(Shape::measurement), Some("a"));
        }
        find(&mut book, "b", &[], &["x"]);
        let expected = book.expected().and_then(|shape| book.get(shape));
        assert_eq!(expected.map(Shape::measurement), Some("b"));
    }

    #[test]
    fn a_book_that_is_full_begins_anew_between_messages() {
        let mut book = ShapeBook::default();
        let generation = book.generation();
        for number in 0..=MOST_SHAPES {
            find(&mut book, "m", &[], &[&format!("f{number}")]);
        }
        assert_eq!(book.generation(), generation);
        book.begin_message();
        assert_eq!((book.generation(), book.expected()), (generation + 1, None));
        assert_eq!(find(&mut book, "m", &[], &["f1"]), 0);
    }
}
