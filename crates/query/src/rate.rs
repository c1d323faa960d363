//! Rates of counters: the change per second between neighbours.
//!
//! A counter that is less than before was reset; what it counted in between is not known, so that
//! interval has no rate. It is never negative, and never a guess.

/// The rates of a counter in units per second; the first value has none.
///
/// A value that is missing is passed over: the rate after it covers both intervals, unless they
/// are longer than `longest_us` together.
pub(crate) fn rates(times_us: &[i64], totals: &[Option<f64>], longest_us: i64) -> Vec<Option<f64>> {
    let mut before: Option<(i64, f64)> = None;
    times_us
        .iter()
        .zip(totals)
        .map(|(&time_us, total)| {
            let total = (*total)?;
            let (then_us, then_total) = before.replace((time_us, total))?;
            let elapsed_us = time_us - then_us;
            if total < then_total || elapsed_us <= 0 || elapsed_us > longest_us {
                return None;
            }
            Some((total - then_total) * 1e6 / elapsed_us as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_rate_is_the_change_per_second() {
        let times = [0, SECOND, 3 * SECOND];
        let totals = [Some(100.0), Some(150.0), Some(250.0)];
        assert_eq!(
            rates(&times, &totals, 10 * SECOND),
            [None, Some(50.0), Some(50.0)]
        );
    }

    #[test]
    fn a_reset_has_no_rate_and_never_a_negative_one() {
        let times = [0, SECOND, 2 * SECOND, 3 * SECOND];
        let totals = [Some(1e9), Some(1e9 + 5.0), Some(7.0), Some(10.0)];
        assert_eq!(
            rates(&times, &totals, 10 * SECOND),
            [None, Some(5.0), None, Some(3.0)]
        );
    }

    #[test]
    fn a_missing_value_is_passed_over_and_a_silence_is_not() {
        let times = [0, SECOND, 2 * SECOND, 60 * SECOND];
        let totals = [Some(0.0), None, Some(4.0), Some(64.0)];
        assert_eq!(
            rates(&times, &totals, 10 * SECOND),
            [None, None, Some(2.0), None]
        );
    }
}
