//! The kinds of columns, and numbers as decimals.

/// Columns of this kind are in `doubles`; those of a lower kind are in `decimals`, divided by 10
/// to the power of their kind.
pub(super) const DOUBLES: u8 = 7;
/// Columns of this kind are in `truths`.
pub(super) const TRUTHS: u8 = 8;
/// Columns of this kind are in `texts`.
pub(super) const TEXTS: u8 = 9;

/// What decimals of a kind are divided by; all of these are doubles.
const POWERS: [f64; DOUBLES as usize] = [1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Integers below this are doubles of their own (2^53).
const LARGEST_WHOLE: i64 = 1 << 53;

/// What a kind of decimals is divided by; `None` for other kinds.
pub(super) fn power(kind: u8) -> Option<f64> {
    POWERS.get(usize::from(kind)).copied()
}

/// The number as an integer that gives exactly this number, bit by bit, when it is divided by
/// `power`.
pub(super) fn decimal(number: f64, power: f64) -> Option<i64> {
    let integer = (number * power).round() as i64;
    let exact = (integer as f64 / power).to_bits() == number.to_bits();
    (exact && integer.unsigned_abs() < LARGEST_WHOLE.unsigned_abs()).then_some(integer)
}

/// The kind for these numbers: the smallest one of decimals that holds all of them exactly, or
/// [`DOUBLES`].
pub(super) fn kind_of(numbers: impl Iterator<Item = f64> + Clone) -> u8 {
    let holds = |kind: u8, number| power(kind).is_some_and(|by| decimal(number, by).is_some());
    let mut kind = 0;
    for number in numbers.clone() {
        while !holds(kind, number) {
            kind += 1;
            if kind >= DOUBLES {
                return DOUBLES;
            }
        }
    }
    // A large number before may be too large with the power that one behind it needs.
    if numbers.into_iter().all(|number| holds(kind, number)) {
        kind
    } else {
        DOUBLES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_the_smallest_kind_that_is_exact() {
        for (numbers, kind) in [
            (&[][..], 0),
            (&[0.0, 1.0, -7.0, 9_007_199_254_740_991.0], 0),
            (&[0.0, 22.772, -0.5], 3),
            (&[0.000_059], 6),
            (&[0.1 + 0.2], DOUBLES),
            (&[0.000_000_1], DOUBLES),
            (&[9_007_199_254_740_992.0], DOUBLES),
            // Each alone would be a decimal, both together are too wide.
            (&[9_007_199_254_740_991.0, 0.5], DOUBLES),
            (&[-0.0], DOUBLES),
            (&[f64::NAN], DOUBLES),
            (&[f64::INFINITY], DOUBLES),
            (&[f64::MIN_POSITIVE, f64::MAX], DOUBLES),
        ] {
            assert_eq!(kind_of(numbers.iter().copied()), kind, "{numbers:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_a_decimal_is_the_same_number_again(number in any::<f64>(), cents in any::<i32>()) {
            for number in [number, f64::from(cents) / 100.0, f64::from(cents) * 1e-6] {
                for power in POWERS {
                    if let Some(integer) = decimal(number, power) {
                        prop_assert_eq!((integer as f64 / power).to_bits(), number.to_bits());
                    }
                }
            }
            prop_assert!(kind_of([f64::from(cents) / 100.0].into_iter()) <= 2);
        }
    }
}
