//! Tests of Telegraf's JSON: both forms, and each error with its place.

use super::*;
use crate::ForeignSettings;

fn read_in(context: DecodeContext<'_>, message: &str) -> Result<Vec<String>, DecodeError> {
    let mut batch = BatchRef::default();
    TelegrafJson.decode_in(message.as_bytes(), context, &mut batch)?;
    let hosts: Vec<_> = batch.hosts().collect();
    let mut told: Vec<_> = batch
        .points()
        .map(|point| {
            let host = hosts[point.host as usize];
            let (measurement, time_us) = (point.measurement, point.time_us);
            let (tags, fields) = (point.tags, point.fields);
            let text = format!("{measurement}@{host} {tags:?} {fields:?} {time_us}");
            (point.index, text)
        })
        .collect();
    let rejected = batch.rejected.iter();
    told.extend(rejected.map(|r| (r.index, format!("{}: {}", r.reason, r.detail))));
    told.sort();
    Ok(told
        .into_iter()
        .map(|(index, text)| format!("{index} {text}"))
        .collect())
}

fn read(message: &str) -> Result<Vec<String>, DecodeError> {
    read_in(DecodeContext::default(), message)
}

#[test]
fn one_metric_and_a_batch() {
    let one = r#"{"fields":{"usageIdle":99.5,"n":3,"up":true,"s":"x","z":null},"name":"cpu","tags":{"cpu":"cpu0","host":"a","none":""},"timestamp":2}"#;
    let point = r#"cpu@a [("cpu", "cpu0")] [("usage_idle", Float(99.5)), ("n", Float(3.0)), ("up", Bool(true)), ("s", Text("x"))] 2000000"#;
    assert_eq!(
        read(&format!("{one}\n")).expect("a metric"),
        [format!("0 {point}")]
    );
    let other = one.replace(r#""host":"a""#, r#""host":"b""#);
    let batch = format!(r#"{{"metrics":[{one},{other}]}}"#);
    let told = read(&batch).expect("a batch");
    assert_eq!(told[0], format!("0 {point}"));
    assert_eq!(told[1], format!("1 {}", point.replace("@a", "@b")));
    assert_eq!(read(r#"{"metrics":[]}"#).expect("a batch"), [""; 0]);
}

#[test]
fn the_unit_of_times_is_a_setting() {
    let foreign = ForeignSettings {
        time_unit: Some(TimeUnit::Nanoseconds),
        ..ForeignSettings::default()
    };
    let context = DecodeContext {
        foreign: &foreign,
        received_us: None,
    };
    let message = r#"{"name":"m","fields":{"f":1},"tags":{"host":"h"},"timestamp":5000}"#;
    let told = read_in(context, message).expect("a metric");
    assert!(told[0].ends_with(" 5"), "{told:?}");
}

#[test]
fn d7_a_bad_metric_has_its_reason_and_place_and_its_neighbours_are_stored() {
    let good = r#"{"name":"m","tags":{"host":"h"},"fields":{"f":1},"timestamp":1}"#;
    for (metric, error) in [
        (
            "7",
            "wrong_type: at metrics[1]: expected an object, found a number",
        ),
        ("{}", "missing_key: at metrics[1].name: the key is missing"),
        (
            r#"{"name":"m"}"#,
            "bad_time: at metrics[1].timestamp: the key is missing",
        ),
        (
            r#"{"name":"m","timestamp":1}"#,
            "missing_key: at metrics[1].fields: the key is missing",
        ),
        (
            r#"{"name":1}"#,
            "wrong_type: at metrics[1].name: expected a text, found an integer",
        ),
        (
            r#"{"name":"m","name":"m"}"#,
            "duplicate_key: at metrics[1]: \"name\" is there twice",
        ),
        (
            r#"{"names":"m","x":[{}]}"#,
            "unknown_key: at metrics[1]: the key \"names\"",
        ),
        (
            r#"{"timestamp":1.5}"#,
            "bad_time: at metrics[1].timestamp: expected an integer of 64 bits, found a number that is no integer of 64 bits",
        ),
        (
            r#"{"tags":[]}"#,
            "wrong_type: at metrics[1].tags: expected an object, found a list",
        ),
        (
            r#"{"tags":{"a":1}}"#,
            "wrong_type: at metrics[1].tags: the tag \"a\" is no text",
        ),
        (
            r#"{"tags":{"a":"x","a":"y"}}"#,
            "duplicate_key: at metrics[1].tags: \"a\" is there twice",
        ),
        (
            r#"{"tags":{"a":"\u0000"}}"#,
            "bad_text: at metrics[1].tags: a text has U+0000",
        ),
        (
            r#"{"fields":7}"#,
            "wrong_type: at metrics[1].fields: expected an object, found a number",
        ),
        (
            r#"{"fields":{"f":1,"f":2}}"#,
            "duplicate_key: at metrics[1].fields: \"f\" is there twice",
        ),
        (
            r#"{"fields":{"f":[1]}}"#,
            "wrong_type: at metrics[1].fields: expected a scalar as \"f\", found a list",
        ),
        (
            r#"{"fields":{"%":1}}"#,
            "bad_name: at metrics[1].fields: \"%\" has no letter and no digit of ASCII",
        ),
        (
            r#"{"name":"m","tags":{"host":"h"},"fields":{},"timestamp":1}"#,
            "no_fields: at metrics[1]: no field has a value",
        ),
        (
            r#"{"name":"m","tags":{"a":"h"},"fields":{"f":1},"timestamp":1}"#,
            "missing_key: at metrics[1]: no tag names the host (host), and sink.default_host is not set",
        ),
        (
            r#"{"name":"m","tags":{"host":"h"},"fields":{"f":1},"timestamp":999999999999}"#,
            "bad_time: at metrics[1]: 999999999999000000 microseconds since 1970 are outside the years 1 to 9999",
        ),
    ] {
        let message = format!(r#"{{"metrics":[{good},{metric},{good}]}}"#);
        let told = read(&message).expect(metric);
        assert_eq!(
            (told.len(), &told[1]),
            (3, &format!("1 {error}")),
            "{metric}"
        );
        if metric != "7" {
            let alone = read(metric).expect(metric);
            let error = error
                .replace("metrics[1].", "")
                .replace("metrics[1]", "the top");
            assert_eq!(alone, [format!("0 {error}")], "{metric}");
        }
    }
    let told = read(r#"{"metrics":{},"x":1}"#).expect("an object");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn what_is_no_json_fails_as_a_whole() {
    for (message, reason, place) in [
        ("", Reason::Empty, "at the top"),
        ("[]", Reason::NotAnObject, "at the top"),
        (
            "m,host=h f=1",
            Reason::Syntax,
            "at the top (byte 0, line 1, column 1)",
        ),
        (
            r#"{"metrics":[{"name":"m"},{"name":x}]}"#,
            Reason::Syntax,
            "at metrics[1] (byte 33, line 1, column 34)",
        ),
        (
            r#"{"name":"m"} x"#,
            Reason::Syntax,
            "at the top (byte 13, line 1, column 14)",
        ),
    ] {
        let error = read(message).expect_err(message);
        assert_eq!(
            (error.reason, error.at.to_string().as_str()),
            (reason, place),
            "{message}"
        );
    }
}

#[test]
fn a_number_beyond_a_double_is_left_out() {
    let message = r#"{"name":"m","tags":{"host":"h"},"fields":{"f":1,"g":1e999},"timestamp":1}"#;
    let mut batch = BatchRef::default();
    TelegrafJson
        .decode(message.as_bytes(), &mut batch)
        .expect("a metric");
    assert_eq!((batch.left_out, batch.points().len()), (1, 1));
}
