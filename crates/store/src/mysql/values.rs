//! Names and values as MySQL takes them: quoted identifiers, literals that need no escapes, times,
//! and fields of LOAD DATA.
//!
//! In statements texts and bytes are hexadecimal literals, so that neither `sql_mode` nor a character
//! in them can change what a statement means (D14). Times are `datetime(6)`, always in UTC.

use mysql_async::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The first and the last microsecond of the years 1 to 9999, since 1970 UTC.
pub(super) const TIMES_US: std::ops::RangeInclusive<i64> =
    -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The longest identifier in characters (MySQL manual, "Identifier Length Limits").
pub(super) const IDENTIFIER_CHARACTERS: usize = 64;

const DAY_US: i64 = 86_400_000_000;

const INTO_MEMORY: &str = "writing into memory does not fail";

/// Quotes an identifier: the one way in which names get into SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The data table of a measurement, quoted.
pub(super) fn data_table(measurement: &str) -> String {
    quoted(&format!("m_{measurement}"))
}

/// Appends a literal of bytes.
pub(super) fn push_bytes(sql: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    sql.reserve(bytes.len() * 2 + 3);
    sql.push_str("x'");
    for byte in bytes {
        sql.push(char::from(DIGITS[usize::from(byte >> 4)]));
        sql.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    sql.push('\'');
}

/// Appends a literal of a text.
pub(super) fn push_text(sql: &mut String, text: &str) {
    sql.push_str("_utf8mb4 ");
    push_bytes(sql, text.as_bytes());
}

/// A text as an SQL literal.
pub(super) fn text(text: &str) -> String {
    let mut sql = String::new();
    push_text(&mut sql, text);
    sql
}

/// Texts as literals with commas between them.
pub(super) fn texts<'a>(list: impl IntoIterator<Item = &'a str>) -> String {
    let literals: Vec<String> = list.into_iter().map(text).collect();
    literals.join(", ")
}

/// Bytes as an SQL literal.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let mut sql = String::new();
    push_bytes(&mut sql, bytes);
    sql
}

/// Appends a time as a literal; false when no column takes it.
pub(super) fn push_time(sql: &mut String, time_us: i64) -> bool {
    sql.push('\'');
    let is_in_range = push_bare_time(sql, time_us);
    sql.push('\'');
    is_in_range
}

/// Appends a time without quotes; false when no column takes it.
pub(super) fn push_bare_time(text: &mut String, time_us: i64) -> bool {
    if !TIMES_US.contains(&time_us) {
        return false;
    }
    let (year, month, day) = civil(time_us.div_euclid(DAY_US));
    let of_day = time_us.rem_euclid(DAY_US);
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    // By hand: this is done for every row.
    let mut written = *b"0000-00-00 00:00:00.000000";
    let parts = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, hour),
        (14..16, minute),
        (17..19, second),
        (20..26, micros),
    ];
    for (places, mut number) in parts {
        for place in places.rev() {
            written[place] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    }
    text.push_str(str::from_utf8(&written).expect("digits are ASCII"));
    true
}

/// Appends a whole number.
pub(super) fn push_integer(text: &mut String, number: i64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// The condition that `column` is in a range of times; `None` when no stored time can be.
pub(super) fn time_condition(column: &str, range_us: &std::ops::Range<i64>) -> Option<String> {
    let first = range_us.start.max(*TIMES_US.start());
    let last = range_us.end.saturating_sub(1).min(*TIMES_US.end());
    if first > last {
        return None;
    }
    let mut sql = format!("{column} >= ");
    push_time(&mut sql, first);
    write!(sql, " and {column} <= ").expect(INTO_MEMORY);
    push_time(&mut sql, last);
    Some(sql)
}

/// Appends a finite number so that the server reads the very same one: as a literal of a double.
pub(super) fn push_float(sql: &mut String, number: f64) {
    let begin = sql.len();
    push_bare_float(sql, number);
    // Without an exponent it would be a decimal.
    if !sql[begin..].contains('e') {
        sql.push_str("e0");
    }
}

/// Appends a finite number as a field of LOAD DATA: the fewest digits that mean it and no other.
pub(super) fn push_bare_float(data: &mut String, number: f64) {
    data.push_str(zmij::Buffer::new().format_finite(number));
}

/// Appends a text as a field of LOAD DATA with tabs between fields, lines that end with a line feed
/// and `\` as escape.
pub(super) fn push_field(data: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '\t', '\n', '\0']) {
        data.push_str(&rest[..at]);
        data.push_str(match rest.as_bytes()[at] {
            b'\t' => "\\t",
            b'\n' => "\\n",
            b'\0' => "\\0",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    data.push_str(rest);
}

/// A `datetime(6)` in microseconds since 1970 UTC.
pub(super) fn time_us(value: &Value) -> Option<i64> {
    let Value::Date(year, month, day, hour, minute, second, micros) = *value else {
        return None;
    };
    let days = days(i64::from(year), i64::from(month), i64::from(day));
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    Some(days * DAY_US + seconds * 1_000_000 + i64::from(micros))
}

/// A count as the database's signed integer.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Names and texts as a JSON object with sorted names: equal pairs are equal texts.
pub(super) fn json_object(pairs: &[(String, String)]) -> String {
    let object: BTreeMap<&str, &str> = pairs
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    serde_json::to_string(&object).expect("a map of texts is always JSON")
}

/// The names and texts of a JSON object, sorted by name; `None` when it is none of ours.
pub(super) fn parse_json_object(text: &str) -> Option<Vec<(String, String)>> {
    let parsed: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    Some(parsed.into_iter().collect())
}

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
    let month = shifted + if shifted < 10 { 3 } else { -9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The other way round (the same source, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_leave_their_quotes_d14() {
        assert_eq!(quoted("cpu"), "`cpu`");
        assert_eq!(quoted("a`; drop table x; --"), "`a``; drop table x; --`");
        assert_eq!(text("it's\\"), "_utf8mb4 x'697427735c'");
        assert_eq!(texts(["a", ""]), "_utf8mb4 x'61', _utf8mb4 x''");
    }

    #[test]
    fn times_as_text_and_back() {
        for (time_us, expected, parts) in [
            (0, "'1970-01-01 00:00:00.000000'", (1970, 1, 1, 0, 0, 0, 0)),
            (
                -1,
                "'1969-12-31 23:59:59.999999'",
                (1969, 12, 31, 23, 59, 59, 999_999),
            ),
            (
                1_795_183_200_123_456,
                "'2026-11-20 14:00:00.123456'",
                (2026, 11, 20, 14, 0, 0, 123_456),
            ),
            (
                *TIMES_US.start(),
                "'0001-01-01 00:00:00.000000'",
                (1, 1, 1, 0, 0, 0, 0),
            ),
            (
                *TIMES_US.end(),
                "'9999-12-31 23:59:59.999999'",
                (9999, 12, 31, 23, 59, 59, 999_999),
            ),
        ] {
            let mut sql = String::new();
            assert!(push_time(&mut sql, time_us));
            assert_eq!(sql, expected);
            let (year, month, day, hour, minute, second, micros) = parts;
            let value = Value::Date(year, month, day, hour, minute, second, micros);
            assert_eq!(super::time_us(&value), Some(time_us));
        }
        assert!(!push_time(&mut String::new(), TIMES_US.start() - 1));
        assert!(!push_time(&mut String::new(), i64::MAX));
        assert_eq!(time_condition("t", &(5..5)), None);
        assert_eq!(time_condition("t", &(i64::MAX - 1..i64::MAX)), None);
        assert!(time_condition("t", &(i64::MIN..i64::MAX)).is_some());
    }

    #[test]
    fn numbers_are_literals_of_doubles() {
        for (number, literal) in [
            (1.0, "1.0e0"),
            (-0.1, "-0.1e0"),
            (-0.0, "-0.0e0"),
            (18_446_744_073_709_551_615.0, "1.8446744073709552e+19"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            let mut sql = String::new();
            push_float(&mut sql, number);
            assert_eq!(sql, literal);
            let read: f64 = sql.parse().expect("a number");
            assert_eq!(read.to_bits(), number.to_bits());
        }
    }

    #[test]
    fn texts_are_fields_of_data() {
        for (text, field) in [
            ("", ""),
            ("it's \r ß", "it's \r ß"),
            ("a\tb\nc", "a\\tb\\nc"),
            ("\\N", "\\\\N"),
            ("\0\\", "\\0\\\\"),
        ] {
            let mut data = String::new();
            push_field(&mut data, text);
            assert_eq!(data, field);
        }
    }
}
