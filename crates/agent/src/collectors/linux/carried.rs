//! Counters that the kernel keeps in 32 bits or per core, carried on to one that only grows.
//!
//! Not a rate. A sum over cores whose parts wrap, or whose cores are unplugged, would fall, and
//! whoever takes a falling counter for one that began again would see everything since boot as
//! the growth of one interval. So the growth of each part is summed instead.

const WRAP: u64 = 1 << 32;
const HALF: u64 = WRAP / 2;

/// One part as it was seen last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    last: u64,
}

impl Carried {
    /// How much the part has grown since it was seen last; the first time, since boot.
    ///
    /// A part that fell has wrapped if it was in the upper half of 32 bits and is in the lower
    /// now; else it began again at 0.
    pub(super) fn grown(&mut self, now: u64) -> u64 {
        let last = std::mem::replace(&mut self.last, now);
        match now.checked_sub(last) {
            Some(grown) => grown,
            None if (HALF..WRAP).contains(&last) && now < HALF => now + WRAP - last,
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_growth_never_falls_and_never_jumps() {
        let mut part = Carried::default();
        let grown: Vec<u64> = [5, 7, 7, WRAP - 1, 4, 100, 3, WRAP + 9, 1]
            .into_iter()
            .map(|now| part.grown(now))
            .collect();
        assert_eq!(grown, [5, 2, 0, WRAP - 8, 5, 96, 3, WRAP + 6, 1]);
    }
}
