//! Names and values as PostgreSQL takes them: quoted identifiers, times and JSON texts.
//!
//! Times are microseconds since 1970 UTC on our side and microseconds since 2000 UTC on the wire
//! (`timestamptz`, PostgreSQL's `src/include/datatype/timestamp.h`): integers, exact.

use bytes::{BufMut, BytesMut};
use std::error::Error;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// 2000-01-01 UTC in microseconds since 1970.
const EPOCH_2000_US: i64 = 946_684_800_000_000;

/// The first (4713 BC) and the last (294276 AD) microsecond that `timestamptz` takes, since 2000.
const RANGE: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Quotes an identifier: the one way in which names get into SQL (D14).
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text as an SQL literal, for the few statements that take no parameters.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The data table of a measurement, quoted.
pub(super) fn data_table(measurement: &str) -> String {
    quoted(&format!("m_{measurement}"))
}

/// What PostgreSQL has on the wire for a time; `None` when it is outside of what it takes.
pub(super) fn wire_time(time_us: i64) -> Option<i64> {
    let since_2000 = time_us.checked_sub(EPOCH_2000_US)?;
    RANGE.contains(&since_2000).then_some(since_2000)
}

/// A `timestamptz`, in microseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub i64);

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let since_2000 = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(since_2000.saturating_add(EPOCH_2000_US)))
    }

    accepts!(TIMESTAMPTZ);
}

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // A bound of a range may lie beyond what PostgreSQL takes; a stored time never does.
        let since_2000 = self.0.saturating_sub(EPOCH_2000_US);
        out.put_i64(since_2000.clamp(RANGE.start, RANGE.end - 1));
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

/// An `interval` of microseconds, without days and months.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval(pub i64);

impl ToSql for Interval {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0);
        out.put_i32(0);
        out.put_i32(0);
        Ok(IsNull::No)
    }

    accepts!(INTERVAL);
    to_sql_checked!();
}

/// A count as the database's signed integer.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as it was stored by [`signed`].
pub(super) fn unsigned(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// A text that the database can hold: U+0000 becomes U+FFFD.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Names and texts as a JSON object.
pub(super) fn json_object(pairs: &[(String, String)]) -> String {
    let object: serde_json::Map<String, serde_json::Value> = pairs
        .iter()
        .map(|(name, text)| (storable(name), storable(text).into()))
        .collect();
    serde_json::Value::Object(object).to_string()
}

/// The names and texts of a JSON object, sorted by name; `None` when it is none of ours.
pub(super) fn parse_json_object(text: &str) -> Option<Vec<(String, String)>> {
    let parsed: std::collections::BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    Some(parsed.into_iter().collect())
}

/// A time as text that PostgreSQL reads whatever its settings: `2026-11-21 00:00:00.000000+00`,
/// with ` BC` where it belongs.
pub(super) fn time_literal(time_us: i64) -> String {
    let (year, month, day) = civil(time_us.div_euclid(DAY_US));
    let of_day = time_us.rem_euclid(DAY_US);
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let (year, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    format!("'{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}+00{era}'")
}

/// A time as a part of a name: `20261121T0000`.
pub(super) fn time_name(time_us: i64) -> String {
    let (year, month, day) = civil(time_us.div_euclid(DAY_US));
    let minutes = time_us.rem_euclid(DAY_US) / 60_000_000;
    let (hour, minute) = (minutes / 60, minutes % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}")
}

/// Microseconds of a day.
pub(super) const DAY_US: i64 = 86_400_000_000;

/// Year, month and day of a day since 1970 in the proleptic Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_is_in_them_d14() {
        assert_eq!(quoted("cpu"), "\"cpu\"");
        assert_eq!(
            quoted("a\"; drop table host; --"),
            "\"a\"\"; drop table host; --\""
        );
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn times_as_text() {
        for (time_us, text) in [
            (0, "'1970-01-01 00:00:00.000000+00'"),
            (-1, "'1969-12-31 23:59:59.999999+00'"),
            (951_782_400_000_000, "'2000-02-29 00:00:00.000000+00'"),
            (1_795_183_200_123_456, "'2026-11-20 14:00:00.123456+00'"),
            (-62_135_596_800_000_000, "'0001-01-01 00:00:00.000000+00'"),
            (
                -62_135_596_800_000_001,
                "'0001-12-31 23:59:59.999999+00 BC'",
            ),
        ] {
            assert_eq!(time_literal(time_us), text);
        }
        assert_eq!(time_name(1_795_183_200_123_456), "20261120T1400");
    }

    #[test]
    fn times_beyond_what_is_stored_are_known() {
        assert_eq!(wire_time(EPOCH_2000_US), Some(0));
        assert_eq!(wire_time(i64::MIN), None);
        assert_eq!(
            wire_time(RANGE.start + EPOCH_2000_US - 1),
            None,
            "before 4713 BC"
        );
        assert!(wire_time(RANGE.start + EPOCH_2000_US).is_some());
    }

    #[test]
    fn json_objects_hold_any_text() {
        let pairs = vec![
            ("a".to_owned(), "quote \" and\nnewline".to_owned()),
            ("b".to_owned(), "é".to_owned()),
        ];
        assert_eq!(parse_json_object(&json_object(&pairs)), Some(pairs));
        assert!(!json_object(&[("a".into(), "\0".into())]).contains("u0000"));
        assert_eq!(parse_json_object("{\"a\":1}"), None);
    }
}
