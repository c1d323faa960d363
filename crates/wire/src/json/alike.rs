//! What the names of a point are expected to be: those of the point at its place in the message
//! before. Names that are as expected were checked then, and need no checks now.

use tidegauge_model::{BatchRef, Shape};

/// The shape that the open point has as far as it was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Alike(Option<u32>);

impl Alike {
    /// What is expected of the next point.
    #[inline]
    pub(super) fn expected(batch: &BatchRef<'_>) -> Self {
        Self(batch.expected_shape())
    }

    /// The name of the next tag, if nothing was different so far.
    #[inline]
    pub(super) fn next_tag<'b>(&self, batch: &'b BatchRef<'_>) -> Option<&'b str> {
        let shape = self.shape(batch)?;
        shape
            .tags()
            .get(batch.open_tags().len())
            .map(|name| &**name)
    }

    /// The name of the next field, if nothing was different so far.
    #[inline]
    pub(super) fn next_field<'b>(&self, batch: &'b BatchRef<'_>) -> Option<&'b str> {
        let shape = self.shape(batch)?;
        let place = batch.open_fields().len();
        shape.fields().get(place).map(|name| &**name)
    }

    /// Whether the next tag has the expected name; if not, nothing is expected any more.
    #[inline]
    pub(super) fn is_next_tag(&mut self, batch: &BatchRef<'_>, name: &str) -> bool {
        let is_expected = self.next_tag(batch) == Some(name);
        self.note(is_expected)
    }

    /// The same for the next field.
    #[inline]
    pub(super) fn is_next_field(&mut self, batch: &BatchRef<'_>, name: &str) -> bool {
        let is_expected = self.next_field(batch) == Some(name);
        self.note(is_expected)
    }

    /// Nothing is expected any more.
    pub(super) fn give_up(&mut self) {
        self.0 = None;
    }

    fn note(&mut self, is_expected: bool) -> bool {
        if !is_expected {
            self.give_up();
        }
        is_expected
    }

    /// The shape, if the open point has this measurement and no fewer names than were expected.
    #[inline]
    pub(super) fn whole(&self, batch: &BatchRef<'_>, measurement: &str) -> Option<u32> {
        let shape = self.shape(batch)?;
        let is_whole = shape.measurement() == measurement
            && shape.tags().len() == batch.open_tags().len()
            && shape.fields().len() == batch.open_fields().len();
        self.0.filter(|_| is_whole)
    }

    #[inline]
    fn shape<'b>(&self, batch: &'b BatchRef<'_>) -> Option<&'b Shape> {
        batch.shape(self.0?)
    }
}
