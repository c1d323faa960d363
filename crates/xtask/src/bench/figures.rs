//! Figures of several measurements as one.

/// The one in the middle, the upper one of two; not a number when there is none.
pub(super) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    percentile(&sorted(numbers), 50.0)
}

/// In ascending order.
pub(super) fn sorted(numbers: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// The least of sorted numbers that is above `percent` of them (the greatest for 100).
pub(super) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let at = (sorted.len() as f64 * percent / 100.0) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(at.min(last)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median([4.0, 1.0]).to_bits(), 4.0_f64.to_bits());
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_percentile_has_so_many_numbers_below_it() {
        let numbers = sorted((0..1_000).rev().map(f64::from));
        for (percent, expected) in [(0.0, 0.0), (50.0, 500.0), (99.0, 990.0), (100.0, 999.0)] {
            let found = percentile(&numbers, percent);
            assert_eq!(found.to_bits(), f64::to_bits(expected), "{percent}");
        }
        assert!(percentile(&[], 99.0).is_nan());
    }
}
