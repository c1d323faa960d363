//! The bounds of the dead letters: in age and in bytes, the oldest go first, and are counted.
//!
//! What all databases do alike is here; a database says how letters are measured and taken out, in
//! transactions of bounded size ([`Shelf`]).

use crate::StoreError;
use std::time::Duration;
use tokio::time::Instant;

/// Letters that one transaction takes out at most.
const CHUNK_LETTERS: usize = 1_000;

/// Bytes of letters that one transaction takes out at most, beyond the first letter.
const CHUNK_BYTES: u64 = 64 << 20;

/// What a letter takes beside its message and its detail.
pub(crate) const LETTER_BYTES: u64 = 200;

/// How often all letters are measured; in between only new ones are.
const MEASURE_EVERY: Duration = Duration::from_secs(3_600);

/// How many dead letters are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterBounds {
    /// The time now, microseconds since 1970 UTC.
    pub now_us: i64,
    /// How long they are kept, microseconds; `None`: for ever.
    pub keep_us: Option<i64>,
    /// Bytes that they may take, messages, details and 200 for each; `None`: any number.
    pub bytes: Option<u64>,
}

/// Dead letters that a bound removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedLetters {
    /// The word of their reason.
    pub reason: String,
    /// The bound.
    pub bound: LetterBound,
    /// How many.
    pub letters: u64,
}

/// Which bound removed a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterBound {
    /// It was too old.
    Age,
    /// All of them were too many bytes.
    Bytes,
}

impl LetterBound {
    /// The word in the database and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Bytes => "bytes",
        }
    }
}

/// A letter, as far as the bounds are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) id: i64,
    pub(crate) stored_us: i64,
    pub(crate) bytes: u64,
}

/// The letters of a database.
#[async_trait::async_trait]
pub(crate) trait Shelf: Send {
    /// The greatest number, and the bytes of all letters whose number is greater than `above`.
    async fn measure(&mut self, above: i64) -> Result<(i64, u64), StoreError>;

    /// The letters of the lowest numbers, in order.
    async fn oldest(&mut self, at_most: usize) -> Result<Vec<Measured>, StoreError>;

    /// Takes letters out and counts them as removed, in one transaction; `None`: not all of them are
    /// there, so another program is at it, and nothing was done.
    async fn remove(
        &mut self,
        ids: &[i64],
        bound: LetterBound,
    ) -> Result<Option<Vec<RemovedLetters>>, StoreError>;
}

/// What is known of the letters' bytes, so that not all are measured each time. Letters that were
/// taken out by others make it too large, never too small for long; before any goes all are measured.
#[derive(Debug, Default)]
pub(crate) struct HeldBytes {
    above: i64,
    bytes: u64,
    measured: Option<Instant>,
}

impl HeldBytes {
    async fn update(&mut self, shelf: &mut dyn Shelf) -> Result<u64, StoreError> {
        let is_old = |measured: Instant| measured.elapsed() >= MEASURE_EVERY;
        if self.measured.is_none_or(is_old) {
            return self.measure_all(shelf).await;
        }
        let (greatest, bytes) = shelf.measure(self.above).await?;
        self.above = greatest.max(self.above);
        self.bytes += bytes;
        Ok(self.bytes)
    }

    async fn measure_all(&mut self, shelf: &mut dyn Shelf) -> Result<u64, StoreError> {
        let (greatest, bytes) = shelf.measure(0).await?;
        *self = Self {
            above: greatest,
            bytes,
            measured: Some(Instant::now()),
        };
        Ok(bytes)
    }
}

/// Takes out what the bounds do not allow. Two programs that do so at once would take out too much:
/// whoever finds that letters vanish that it did not take leaves it to the other.
pub(crate) async fn keep_bounds(
    shelf: &mut dyn Shelf,
    held: &mut HeldBytes,
    bounds: &DeadLetterBounds,
) -> Result<Vec<RemovedLetters>, StoreError> {
    let mut removed: Vec<RemovedLetters> = Vec::new();
    let before_us = bounds.keep_us.map(|us| bounds.now_us.saturating_sub(us));
    let mut excess = None;
    let mut expected = None;
    loop {
        // One more than is taken, to know which one is the next.
        let oldest = shelf.oldest(CHUNK_LETTERS + 1).await?;
        let first = oldest.first().map(|letter| letter.id);
        if expected.is_some_and(|expected| expected != first) {
            return Ok(removed);
        }
        let mut chosen = before_us.map_or_else(Vec::new, |us| too_old(&oldest, us));
        let mut bound = LetterBound::Age;
        if let (true, Some(limit)) = (chosen.is_empty(), bounds.bytes) {
            let too_many = match excess {
                Some(excess) => excess,
                None if held.update(shelf).await? <= limit => 0,
                None => held.measure_all(shelf).await?.saturating_sub(limit),
            };
            bound = LetterBound::Bytes;
            chosen = too_large(&oldest, too_many);
            let bytes = oldest.iter().take(chosen.len()).map(|letter| letter.bytes);
            excess = Some(too_many.saturating_sub(bytes.sum()));
        }
        if chosen.is_empty() {
            return Ok(removed);
        }
        expected = Some(oldest.get(chosen.len()).map(|letter| letter.id));
        let Some(chunk) = shelf.remove(&chosen, bound).await? else {
            return Ok(removed);
        };
        held.measured = None;
        for letters in chunk {
            let same = |known: &&mut RemovedLetters| {
                known.reason == letters.reason && known.bound == letters.bound
            };
            match removed.iter_mut().find(same) {
                Some(known) => known.letters += letters.letters,
                None => removed.push(letters),
            }
        }
    }
}

/// The letters from the first on that are too old, as many as one transaction takes.
fn too_old(oldest: &[Measured], before_us: i64) -> Vec<i64> {
    let mut bytes = 0;
    let old = oldest.iter().take(CHUNK_LETTERS).take_while(|letter| {
        let fits = letter.stored_us < before_us && bytes < CHUNK_BYTES;
        bytes += letter.bytes;
        fits
    });
    old.map(|letter| letter.id).collect()
}

/// The letters from the first on that are so many bytes, as many as one transaction takes.
fn too_large(oldest: &[Measured], excess: u64) -> Vec<i64> {
    let mut bytes = 0;
    let large = oldest.iter().take(CHUNK_LETTERS).take_while(|letter| {
        let fits = bytes < excess.min(CHUNK_BYTES);
        bytes += letter.bytes;
        fits
    });
    large.map(|letter| letter.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(bytes: &[u64]) -> Vec<Measured> {
        let letters = (1_i64..).zip(bytes);
        letters
            .map(|(id, &bytes)| Measured {
                id,
                stored_us: id * 10,
                bytes,
            })
            .collect()
    }

    #[test]
    fn the_oldest_go_and_no_more_than_must() {
        let oldest = letters(&[100, 100, 100]);
        assert_eq!(too_old(&oldest, 25), [1, 2]);
        assert!(too_old(&oldest, 10).is_empty());
        assert_eq!(too_large(&oldest, 101), [1, 2]);
        assert_eq!(too_large(&oldest, 100), [1]);
        assert!(too_large(&oldest, 0).is_empty());
        let large = letters(&[CHUNK_BYTES, 1, 1]);
        assert_eq!(too_old(&large, 100), [1]);
        assert_eq!(too_large(&large, u64::MAX), [1]);
    }
}
