//! Tests of `json/1` that need its insides; the golden files and the properties are in `tests/it`.

use super::*;
use proptest::prelude::*;
use std::fmt::Write;
use tidegauge_model::{Reason, ValueRef};

fn decode(text: &str) -> Result<BatchRef<'_>, DecodeError> {
    let mut batch = BatchRef::default();
    Json.decode(text.as_bytes(), &mut batch)?;
    Ok(batch)
}

#[test]
fn texts_without_escapes_are_borrowed() {
    let text = r#"{"v":1,"host":"h","points":[
        {"measurement":"m","time_us":1,"tags":{"plain":"é"},"fields":{"a":"x","b":"\n"}}]}"#;
    let batch = decode(text).expect("valid");
    let point = batch.points().next().expect("one");
    let within = |part: &str| text.as_bytes().as_ptr_range().contains(&part.as_ptr());
    assert!(within(point.measurement) && within(&point.tags[0].0) && within(&point.tags[0].1));
    let [(_, ValueRef::Text(plain)), (_, ValueRef::Text(escaped))] = point.fields else {
        panic!("two texts expected, found {:?}", point.fields);
    };
    assert!(within(plain) && !within(escaped));
    assert_eq!(escaped, "\n");
}

#[test]
fn a_number_beyond_a_double_is_left_out_and_counted() {
    let text = r#"{"v":1,"host":"h","labels":{"a":"b"},"points":[
        {"measurement":"m","time_us":1,"tags":{"t":"\u00e9"},"fields":{"a":1e999,"b":-1.5,"c":true,"d":"x"}},
        {"measurement":"m","time_us":1e999,"fields":{"a":1}},
        {"measurement":"m","time_us":2,"fields":{"a":-1e999}},
        {"measurement":"m","time_us":3,"fields":{"a":18446744073709551616,"b":1e-999}}]}"#;
    let batch = decode(text).expect("valid");
    assert_eq!(
        batch.left_out, 1,
        "a rejected point's numbers are not counted"
    );
    let points: Vec<_> = batch
        .points()
        .map(|point| (point.index, point.fields.len()))
        .collect();
    assert_eq!(points, [(0, 3), (3, 2)]);
    let rejected: Vec<_> = batch.rejected.iter().map(|r| (r.index, r.reason)).collect();
    assert_eq!(rejected, [(1, Reason::BadTime), (2, Reason::NoFields)]);
}

#[test]
fn many_fields_take_linear_time_and_duplicates_are_still_found() {
    let mut fields = String::new();
    for number in 0..50_000 {
        write!(fields, "\"f{number}\":1,").expect("a string");
    }
    let message = |last: &str| {
        format!(
            r#"{{"v":1,"host":"h","points":[{{"measurement":"m","time_us":1,"fields":{{{fields}{last}}}}}]}}"#
        )
    };
    let text = message("\"last\":1");
    let batch = decode(&text).expect("valid");
    assert_eq!(batch.points().next().expect("one").fields.len(), 50_001);
    let text = message("\"f49999\":2");
    let batch = decode(&text).expect("valid");
    assert_eq!(batch.rejected[0].reason, Reason::DuplicateKey);
}

#[test]
fn nesting_without_end_is_an_error_and_no_overflow() {
    for part in ["[", "{\"a\":", "{\"v\":1,\"points\":[{\"tags\":{\"t\":["] {
        let text = part.repeat(100_000);
        let error = decode(&text).expect_err("not JSON");
        assert!(
            [Reason::Syntax, Reason::UnknownKey].contains(&error.reason),
            "{error}"
        );
    }
}

#[test]
fn an_error_quotes_little_of_the_message() {
    let long = "x".repeat(5_000);
    for text in [
        format!(r#"{{"v":1,"{long}":1}}"#),
        format!(r#"{{"v":1,"host":"h","labels":{{"{long}":1}}}}"#),
        format!(r#"{{"v":1,"host":"{long}"}}"#),
        format!(r#"{{"v":1,"agent":"{long}"}}"#),
        format!(r#"{{"v":1,"drops":[{{"reason":"{long}"}}]}}"#),
        long.clone(),
    ] {
        let error = decode(&text).expect_err("refused").to_string();
        assert!(error.len() < 250, "{error}");
    }
    let text = format!(
        r#"{{"v":1,"host":"h","points":[{{"{long}":1}},{{"measurement":"{long}"}},"{long}",
        {{"measurement":"m","time_us":1,"tags":{{"{long}":1}}}}]}}"#
    );
    let batch = decode(&text).expect("valid");
    assert_eq!(batch.rejected.len(), 4);
    assert!(
        batch
            .rejected
            .iter()
            .all(|rejected| rejected.detail.len() < 200)
    );
}

#[test]
fn the_version_is_named_whatever_else_is_in_the_message() {
    for text in [
        r#"{"v":2,"host":"h","points":[]}"#,
        r#"{"new":{"x":[1e999]},"host":"h","v":2}"#,
        r#"{"host":7,"v":0}"#,
    ] {
        let error = decode(text).expect_err("another version");
        assert_eq!(error.reason, Reason::UnknownVersion, "{error}");
    }
    let error = decode(r#"{"v":"1","host":"h","points":[]}"#).expect_err("a text");
    assert_eq!(error.reason, Reason::WrongType);
}

#[test]
fn an_error_says_where() {
    let error = decode("{\"v\":1,\n \"host\":\"h\",\n \"points\":[{},\n  {x}]}").expect_err("bad");
    assert_eq!(error.reason, Reason::Syntax);
    assert_eq!(
        (error.at.path.as_str(), error.at.line, error.at.column),
        ("points[1]", 4, 4)
    );
    let error = decode(r#"{"v":1,"drops":[{"epoch":-1}]}"#).expect_err("bad");
    assert_eq!(
        error.to_string(),
        "decoding a message failed with bad_identity at drops[0].epoch (byte 27, line 1, column 28): expected at least 0, found -1"
    );
}

#[test]
fn a_buffer_can_be_used_again_after_an_error() {
    let mut batch = BatchRef::default();
    let bad = br#"{"v":1,"host":"h","labels":{"a":"b"},"points":[{"measurement":"m","time_us":1,"fields":{"a":1}}"#;
    assert!(Json.decode(bad, &mut batch).is_err());
    let good = br#"{"v":1,"host":"g","points":[]}"#;
    Json.decode(good, &mut batch).expect("valid");
    assert_eq!(
        (
            batch.host.as_ref(),
            batch.labels.len(),
            batch.points().len()
        ),
        ("g", 0, 0)
    );
}

#[test]
fn the_pass_for_huge_numbers_reads_all_else_alike() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/json/v1");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the golden folder is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("readable");
        if bytes.windows(5).any(|part| part == b"1e400") {
            continue;
        }
        let read = |huge_numbers| {
            let mut batch = BatchRef::default();
            let result = super::decode::decode_with(&bytes, &mut batch, huge_numbers);
            result
                .map(|()| format!("{batch:?}"))
                .map_err(|error| (error.reason, error.detail))
        };
        assert_eq!(read(true), read(false), "{}", path.display());
        files += 1;
    }
    assert!(files > 20, "{files} files");
}

/// What the reader of usual messages makes of a text: its points' fields as bits, so that a minus
/// zero is told from a zero.
fn usual(text: &[u8]) -> Option<Vec<Vec<u64>>> {
    let mut batch = BatchRef::default();
    usual::decode(text, &mut batch)?;
    Some(bits(&batch))
}

fn general(text: &[u8]) -> Option<Vec<Vec<u64>>> {
    let mut batch = BatchRef::default();
    decode::decode_with(text, &mut batch, false).ok()?;
    (batch.rejected.is_empty() && batch.left_out == 0).then(|| bits(&batch))
}

fn bits(batch: &BatchRef<'_>) -> Vec<Vec<u64>> {
    let of = |value: &ValueRef<'_>| match value {
        ValueRef::Float(number) => number.to_bits(),
        ValueRef::Bool(truth) => u64::from(*truth),
        ValueRef::Text(text) => text.len() as u64,
    };
    let points = batch.points();
    points
        .map(|point| point.fields.iter().map(|(_, value)| of(value)).collect())
        .collect()
}

fn with_number(number: &str) -> String {
    format!(
        r#"{{"v":1,"host":"h","points":[{{"measurement":"m","time_us":1,"fields":{{"a":{number}}}}}]}}"#
    )
}

#[test]
fn numbers_are_read_to_the_last_bit() {
    for number in [
        "0",
        "-0",
        "7",
        "-7",
        "0.0",
        "-0.0",
        "0.1",
        "-0.3",
        "1.5e3",
        "1E-7",
        "123456789012345678",
        "1234567890123456789",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "9007199254740993",
        "0.000000000000000000000123",
        "1e22",
        "1e23",
        "4.35",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "5e-324",
        "1e-400",
        "9007199254740993.5",
        "90071992547409.93",
        "12345678901234567890.5",
        "8.41e+21",
    ] {
        let text = with_number(number);
        let read = usual(text.as_bytes());
        assert!(read.is_some(), "{number} is usual");
        assert_eq!(read, general(text.as_bytes()), "{number}");
    }
    for number in [
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e3",
        "1e",
        "1e+",
        "--1",
        "0x1",
        "1e999",
        "NaN",
        "tru",
        "[1]",
        "{}",
        "\"\\ud800\"",
        "\"a\nb\"",
        "\"\\u0000\"",
    ] {
        let text = with_number(number);
        assert_eq!(usual(text.as_bytes()), None, "{number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn doubles_are_read_to_the_last_bit(number in any::<f64>(), digits in 0..20usize) {
        for number in [format!("{number}"), format!("{number:e}"), format!("{:.digits$}", number % 1e9)] {
            let text = with_number(&number);
            prop_assert_eq!(usual(text.as_bytes()), general(text.as_bytes()), "{}", number);
        }
    }

    #[test]
    fn a_changed_message_is_read_the_same_or_not_at_all(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<prop::sample::Index>()), 1..4)
    ) {
        const SIGNS: &[u8] = b"{}[]\",:\\ \n\t0159-+.eEtfnv_\x00\x1f\x7f\xc3\xa9u";
        let text = r#"{"v":1,"agent":"a","epoch":1,"sequence":7,"host":"h","labels":{"l":"x"},"points":[
            {"measurement":"m","time_us":1,"tags":{"t":"\u00e9"},"fields":{"a":1.25,"b":true,"c":"x\\y"}},
            {"time_us":2,"measurement":"m","fields":{"a":-3e2,"b":null,"c":"é"}} ] }"#;
        let mut bytes = text.as_bytes().to_vec();
        for (place, change, sign) in changes {
            if bytes.is_empty() {
                break;
            }
            let (at, sign) = (place.index(bytes.len()), SIGNS[sign.index(SIGNS.len())]);
            match change {
                0 => bytes[at] = sign,
                1 => bytes.insert(at, sign),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        if let Some(read) = usual(&bytes) {
            prop_assert_eq!(Some(read), general(&bytes));
        }
        // The debug assertion in it compares everything.
        drop(Json.decode(&bytes, &mut BatchRef::default()));
    }
}

#[test]
fn what_is_written_is_usual() {
    let text = r#"{"v":1,"agent":"a","epoch":1,"sequence":7,"host":"h","labels":{"l":"x"},"points":[
        {"measurement":"m","time_us":1,"tags":{"t":"x"},"fields":{"a":1.25,"b":true,"c":"x\\y"}},
        {"measurement":"m","time_us":2,"tags":{"t":"y"},"fields":{"a":1.25,"b":true,"c":"x"}},
        {"measurement":"other","time_us":2,"tags":{},"fields":{"z":1}}]}"#;
    let batch = decode(text).expect("valid").to_batch().expect("one host");
    let mut written = Vec::new();
    Json.encode(&batch, &mut written);
    let mut read = BatchRef::default();
    for _ in 0..2 {
        // The second time the names are as expected.
        read = read.recycle();
        assert_eq!(usual::decode(&written, &mut read), Some(()));
        assert_eq!(read.to_batch().as_ref(), Ok(&batch));
    }
}
