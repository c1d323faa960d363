//! When a certificate expires: the one thing that a probe wants from an X.509 certificate whose
//! chain and signature rustls has already verified. Not a parser of certificates.
//!
//! RFC 5280, section 4.1:
//! `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber,
//! signature, issuer, validity SEQUENCE { notBefore, notAfter }, … }, … }`.

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity in seconds since 1970 UTC; `None` when the bytes are not
/// shaped like a certificate.
pub(super) fn not_after_seconds(der: &[u8]) -> Option<i64> {
    let certificate = Element::read(der)?.0.inside(SEQUENCE)?;
    let mut rest = Element::read(certificate)?.0.inside(SEQUENCE)?;
    let mut next = || {
        let (element, tail) = Element::read(rest)?;
        rest = tail;
        Some(element)
    };
    let first = next()?;
    if first.tag == EXPLICIT_VERSION {
        next()?;
    }
    // The serial number was just passed; the algorithm and the issuer follow it.
    next()?;
    next()?;
    let validity = next()?.inside(SEQUENCE)?;
    let (_not_before, rest) = Element::read(validity)?;
    let (not_after, _) = Element::read(rest)?;
    time_seconds(not_after)
}

/// One element of DER (X.690, section 8.1): tag, length, content.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads the first element; the rest of the bytes comes with it.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, bytes) = bytes.split_first()?;
        let (&first, bytes) = bytes.split_first()?;
        let (length, bytes) = match first {
            0..=0x7f => (usize::from(first), bytes),
            0x81..=0x84 => {
                let (length, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
                (
                    length
                        .iter()
                        .fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
                    bytes,
                )
            }
            _ => return None,
        };
        let (content, rest) = bytes.split_at_checked(length)?;
        Some((Self { tag, content }, rest))
    }

    fn inside(self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}

/// `YYMMDDHHMMSSZ` (1950 to 2049) or `YYYYMMDDHHMMSSZ`: RFC 5280, section 4.1.2.5.
fn time_seconds(element: Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(element.content)
        .ok()?
        .strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (element.tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                &text[2..],
            )
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    Some(days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

/// Days of the proleptic Gregorian calendar: years begin in March, so that the leap day is last.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms() {
        let time = |tag, text: &'static str| {
            time_seconds(Element {
                tag,
                content: text.as_bytes(),
            })
        };
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(
            time(GENERALIZED_TIME, "20500101000000Z"),
            Some(2_524_608_000)
        );
        assert_eq!(
            time(GENERALIZED_TIME, "20240229120000Z"),
            Some(1_709_208_000)
        );
        for bad in [
            "",
            "Z",
            "20241301000000Z",
            "2024010100000Z",
            "20240101000000",
            "éé0101000000Z",
        ] {
            assert_eq!(time(GENERALIZED_TIME, bad), None, "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_real_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let certificate = params.self_signed(&key).expect("a certificate");
        assert_eq!(not_after_seconds(certificate.der()), Some(1_927_843_200));
    }

    proptest::proptest! {
        #[test]
        fn bytes_that_are_no_certificate_do_no_harm(bytes: Vec<u8>) {
            not_after_seconds(&bytes);
        }
    }
}
