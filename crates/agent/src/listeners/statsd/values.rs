//! The values of one timer in one interval: count, sum, minimum and maximum of all of them, and the
//! percentiles of those that are kept.
//!
//! All are kept up to [`MOST_VALUES`]; of more, an even random sample of so many is (Vitter's
//! algorithm R), so memory is bounded and percentiles are then estimates. Percentiles are by the
//! nearest rank: each is a value that was there.

/// So many values of one timer are kept.
pub(super) const MOST_VALUES: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Values {
    kept: Vec<f64>,
    /// How many came, and how many there were: one that was sent for every tenth stands for ten.
    received: u64,
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Values {
    /// Adds a value that stands for `weight` of them. `room` says how many more values all timers
    /// together may keep.
    pub(super) fn add(&mut self, value: f64, weight: f64, room: &mut usize, random: &mut Random) {
        if self.received == 0 {
            (self.min, self.max) = (value, value);
        }
        self.received += 1;
        self.count += weight;
        self.sum += value * weight;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if self.kept.len() < MOST_VALUES && (*room > 0) {
            *room -= 1;
            self.kept.push(value);
        } else if !self.kept.is_empty() {
            let place = random.below(self.received);
            if let Some(slot) = usize::try_from(place)
                .ok()
                .and_then(|at| self.kept.get_mut(at))
            {
                *slot = value;
            }
        }
    }

    /// The fields of the interval, and begins the next one; none when no value came.
    pub(super) fn take(&mut self) -> Vec<(&'static str, f64)> {
        let mut taken = std::mem::take(self);
        if taken.received == 0 {
            return Vec::new();
        }
        let kept = &mut taken.kept;
        kept.sort_unstable_by(f64::total_cmp);
        let mut fields = vec![
            ("count", taken.count),
            ("sum", taken.sum),
            ("min", taken.min),
            ("max", taken.max),
            ("mean", taken.sum / taken.count),
        ];
        for (name, percent) in [("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)] {
            let rank = (kept.len() * percent).div_ceil(100);
            if let Some(value) = kept.get(rank.saturating_sub(1)) {
                fields.push((name, *value));
            }
        }
        fields
    }
}

/// Random enough for a sample: SplitMix64.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let wide = u128::from(mixed ^ (mixed >> 31)) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn told(values: &[f64]) -> BTreeMap<&'static str, f64> {
        let (mut timer, mut room, mut random) = (Values::default(), 1_000_000, Random(1));
        for value in values {
            timer.add(*value, 1.0, &mut room, &mut random);
        }
        let told = timer.take().into_iter().collect();
        assert!(timer.take().is_empty(), "the next interval is empty");
        told
    }

    #[test]
    fn a_hundred_values_are_told_exactly() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let expected = [
            ("count", 100.0),
            ("sum", 5_050.0),
            ("min", 1.0),
            ("max", 100.0),
            ("mean", 50.5),
            ("p50", 50.0),
            ("p90", 90.0),
            ("p95", 95.0),
            ("p99", 99.0),
        ];
        assert_eq!(told(&values), expected.into());
        assert_eq!(told(&[7.0])["p99"], 7.0);
    }

    #[test]
    fn a_million_values_take_the_memory_of_a_thousand_d11() {
        let (mut timer, mut room, mut random) = (Values::default(), 1_000_000, Random(1));
        for value in 0..1_000_000 {
            timer.add(f64::from(value), 1.0, &mut room, &mut random);
        }
        assert_eq!(timer.kept.len(), MOST_VALUES);
        let told: BTreeMap<_, _> = timer.take().into_iter().collect();
        assert_eq!((told["count"], told["max"]), (1e6, 999_999.0));
        // Four standard deviations of a sample of 1,024.
        assert!((told["p50"] - 5e5).abs() < 6.3e4, "{told:?}");
        assert!((told["p99"] - 9.9e5).abs() < 1.3e4, "{told:?}");
    }

    #[test]
    fn without_room_counts_go_on() {
        let (mut timer, mut room, mut random) = (Values::default(), 1, Random(1));
        for value in [3.0, 4.0, 5.0] {
            timer.add(value, 10.0, &mut room, &mut random);
        }
        assert_eq!((room, timer.kept.len()), (0, 1));
        let told: BTreeMap<_, _> = timer.take().into_iter().collect();
        assert_eq!(
            (told["count"], told["sum"], told["mean"]),
            (30.0, 120.0, 4.0)
        );
    }

    proptest! {
        #[test]
        fn figures_are_in_order(values in proptest::collection::vec(-1e6_f64..1e6, 1..3_000)) {
            let told = told(&values);
            prop_assert_eq!(told["count"], values.len() as f64);
            let order = ["min", "p50", "p90", "p95", "p99", "max"].map(|name| told[name]);
            prop_assert!(order.is_sorted(), "{:?}", order);
            prop_assert!(values.contains(&told["p90"]));
        }
    }
}
