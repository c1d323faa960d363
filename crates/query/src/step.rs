//! The usual time between samples, and the widths of buckets.

/// Widths of buckets that people can read, in seconds.
const WIDTHS_SECONDS: &[i64] = &[
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 10_800, 14_400,
    21_600, 43_200, 86_400,
];

/// The median time between neighbours of an ascending list, in microseconds.
pub(crate) fn usual_step_us(times_us: &[i64]) -> Option<i64> {
    let mut steps: Vec<i64> = times_us
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .filter(|&step| step > 0)
        .collect();
    if steps.is_empty() {
        return None;
    }
    let middle = steps.len() / 2;
    Some(*steps.select_nth_unstable(middle).1)
}

/// The narrowest readable width of which `max_points` cover `length_us`, counting the bucket
/// that the begin of the range cuts.
pub(crate) fn bucket_width_us(length_us: i64, max_points: u32) -> i64 {
    let buckets = i64::from(max_points.max(2)) - 1;
    let least_us = length_us.div_euclid(buckets) + i64::from(length_us % buckets != 0);
    WIDTHS_SECONDS
        .iter()
        .map(|seconds| seconds * 1_000_000)
        .find(|&width| width >= least_us)
        .unwrap_or_else(|| {
            let day_us = 86_400_000_000;
            (least_us / day_us + 1) * day_us
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_step_does_not_mind_a_gap() {
        assert_eq!(usual_step_us(&[0, 10, 20, 30, 500, 510]), Some(10));
        assert_eq!(usual_step_us(&[7]), None);
        assert_eq!(usual_step_us(&[]), None);
    }

    #[test]
    fn buckets_have_readable_widths_that_fit() {
        let minute_us = 60_000_000;
        assert_eq!(bucket_width_us(15 * minute_us, 901), 1_000_000);
        assert_eq!(bucket_width_us(15 * minute_us, 900), 2_000_000);
        assert_eq!(bucket_width_us(24 * 60 * minute_us, 800), 120_000_000);
        assert_eq!(
            bucket_width_us(400 * 1_440 * minute_us, 10),
            45 * 86_400_000_000
        );
        assert_eq!(bucket_width_us(1_000_000, 1), 1_000_000);
    }
}
