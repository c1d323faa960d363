//! Numbers of the line protocol: `1`, `-2.5`, `1e9`, `3i`, `4u`.
//!
//! Numbers of few digits, which nearly all are, are made in the pass that finds their end.

use crate::check::{Checked, wrong};
use crate::error::quote;
use tidegauge_model::Reason;

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Integers up to this one are doubles without loss.
const EXACT: u64 = 1 << 53;
/// So many digits fit into 64 bits.
const DIGITS: usize = 18;

/// The number at the beginning of `bytes`, and its length, where it is a plain decimal of few
/// digits. The quotient of two exact doubles is rounded once, so it is the nearest double.
#[inline]
pub(super) fn short(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let begin = usize::from(negative);
    let (mut mantissa, mut at, mut point) = (0u64, begin, None);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => break,
        }
        at += 1;
        if at - begin > DIGITS {
            return None;
        }
    }
    let decimals = point.map_or(0, |point| at - point - 1);
    let digits = at - begin - usize::from(point.is_some());
    let integer = bytes.get(at) == Some(&b'i') && point.is_none();
    if digits == 0 || mantissa > EXACT {
        return None;
    }
    let number = mantissa as f64 / POWERS.get(decimals)?;
    let number = match negative && !(integer && mantissa == 0) {
        true => -number,
        false => number,
    };
    Some((number, at + usize::from(integer)))
}

/// Any number, from its whole text.
pub(super) fn any(text: &str) -> Checked<f64> {
    let number = match text.as_bytes().last() {
        Some(b'i') => text[..text.len() - 1]
            .parse::<i64>()
            .map(|number| number as f64)
            .ok(),
        Some(b'u') => text[..text.len() - 1]
            .parse::<u64>()
            .map(|number| number as f64)
            .ok(),
        _ if is_decimal(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    match number.or_else(|| not_finite(text)) {
        Some(number) => Ok(number),
        None => wrong(
            Reason::WrongType,
            format!(
                "expected a number, a truth value or a text in quotes, found {}",
                quote(text)
            ),
        ),
    }
}

/// Only what the format has: `f64` would read other things too.
fn is_decimal(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
}

/// What some senders write for numbers that are not finite; InfluxDB refuses them.
fn not_finite(text: &str) -> Option<f64> {
    let word = text.trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
        .then_some(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_are_the_same_as_long_ones() {
        for text in [
            "0",
            "1",
            "-1",
            "0.1",
            "3.14159",
            "99.93",
            ".5",
            "1.",
            "-0",
            "9007199254740992",
            "0.000000000001",
            "123456789.123456",
        ] {
            let expected: f64 = text.parse().expect(text);
            let (number, length) = short(text.as_bytes()).expect(text);
            assert_eq!((number.to_bits(), length), (expected.to_bits(), text.len()));
            assert_eq!(any(text).expect(text).to_bits(), expected.to_bits());
        }
        for decimals in 0..=15 {
            for mantissa in [1u64, 7, 33, 12_345, 999_999_999_999_999] {
                let text = format!("{}e-{decimals}", mantissa);
                let plain = format!("{:.*}", decimals, text.parse::<f64>().expect("a number"));
                if let Some((number, _)) = short(plain.as_bytes()) {
                    assert_eq!(
                        number.to_bits(),
                        plain.parse::<f64>().expect("one").to_bits()
                    );
                }
            }
        }
        assert_eq!(short(b"12i,"), Some((12.0, 3)));
        assert_eq!(short(b"-0i").map(|(zero, _)| zero.to_bits()), Some(0));
        for long in ["", "-", ".", "9007199254740993", "1234567890123456789"] {
            assert_eq!(short(long.as_bytes()), None, "{long}");
        }
    }

    #[test]
    fn only_numbers_of_the_format_are_numbers() {
        let exponent = any("-1.5e-3").expect("a number");
        assert_eq!(exponent.to_bits(), (-0.0015f64).to_bits());
        assert_eq!(any("9223372036854775807i"), Ok(9_223_372_036_854_775_807.0));
        assert_eq!(
            any("18446744073709551615u"),
            Ok(18_446_744_073_709_551_615.0)
        );
        assert!(any("NaN").is_ok_and(f64::is_nan) && any("-Inf").is_ok_and(f64::is_nan));
        assert!(any("1e999").is_ok_and(f64::is_infinite));
        for bad in [
            "",
            "1x",
            "0x10",
            "1e",
            "--1",
            "i",
            "1.5i",
            "-1u",
            "9223372036854775808i",
            "1_000",
            "nano",
        ] {
            assert_eq!(any(bad).expect_err(bad).reason, Reason::WrongType);
        }
    }
}
