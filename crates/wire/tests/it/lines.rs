//! Properties of `influx`: what an encoder of its own makes, written here after the reference of the
//! line protocol, is read back, with any bad lines between.

use proptest::prelude::*;
use tidegauge_model::{BatchRef, ValueRef};
use tidegauge_wire::Encoding as _;
use tidegauge_wire::influx::Influx;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Truth(bool),
    Text(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    measurement: String,
    host: String,
    tags: Vec<(String, String)>,
    fields: Vec<(String, Value)>,
    time_us: i64,
    /// What is finer than a microsecond, and lost.
    nanoseconds: i64,
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,9}"
}

/// A text that a tag can have: not empty, without a newline, no backslash where it would escape.
fn tag_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9,= é/:.-]{1,20}", "[a-z]{1,3}\\\\[a-z]{1,3}"]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::Float),
        (-1_000_000i32..1_000_000).prop_map(|cents| Value::Float(f64::from(cents) / 100.0)),
        any::<i64>().prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Unsigned),
        any::<bool>().prop_map(Value::Truth),
        any::<String>().prop_map(|text| Value::Text(text.replace('\0', ""))),
        "[a-z\"\\\\\n ,=#]{0,12}".prop_map(Value::Text),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let tags = prop::collection::btree_map(name(), tag_text(), 0..4);
    let fields = prop::collection::btree_map(name(), value(), 1..6);
    let time_us = -9_000_000_000_000_000i64..=9_000_000_000_000_000;
    let host = "[a-zA-Z0-9 .,=é-]{1,20}";
    (name(), host, tags, fields, time_us, 0..1_000i64).prop_map(
        |(measurement, host, mut tags, fields, time_us, nanoseconds)| {
            tags.remove("host");
            Line {
                measurement,
                host,
                tags: tags.into_iter().collect(),
                fields: fields.into_iter().collect(),
                time_us,
                nanoseconds,
            }
        },
    )
}

fn escaped(text: &str, characters: &[char]) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if characters.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

fn written(line: &Line) -> String {
    let tag = |text: &str| escaped(text, &[',', '=', ' ']);
    let mut text = format!("{},host={}", line.measurement, tag(&line.host));
    for (name, tagged) in &line.tags {
        text.push_str(&format!(",{name}={}", tag(tagged)));
    }
    for (at, (name, value)) in line.fields.iter().enumerate() {
        text.push_str(if at == 0 { " " } else { "," });
        let value = match value {
            Value::Float(number) => format!("{number:?}"),
            Value::Integer(number) => format!("{number}i"),
            Value::Unsigned(number) => format!("{number}u"),
            Value::Truth(truth) => truth.to_string(),
            Value::Text(quoted) => format!("\"{}\"", escaped(quoted, &['"', '\\'])),
        };
        text.push_str(&format!("{name}={value}"));
    }
    text + &format!(" {}", line.time_us * 1_000 + line.nanoseconds)
}

fn as_read(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Float(number) => ValueRef::Float(*number),
        Value::Integer(number) => ValueRef::Float(*number as f64),
        Value::Unsigned(number) => ValueRef::Float(*number as f64),
        Value::Truth(truth) => ValueRef::Bool(*truth),
        Value::Text(text) => ValueRef::Text(text.into()),
    }
}

/// Lines that cannot be read; none has a quote, which could reach over its end.
fn bad_line() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "x",
        ",",
        "m,host=h",
        "m,host=h f",
        "m,host=h f=1x 1",
        "m,t= f=1 1",
        "m f=1 1",
        "=",
        "m,host=h f=1 1 1",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_between_bad_lines(
        lines in prop::collection::vec((prop::option::weighted(0.2, bad_line()), line()), 1..8),
        end in prop::sample::select(vec!["\n", "\r\n", "\n\n# a comment\n"]),
    ) {
        let mut message = String::new();
        let mut bad = 0;
        for (before, line) in &lines {
            if let Some(before) = before {
                message.push_str(&format!("{before}{end}"));
                bad += 1;
            }
            message.push_str(&written(line));
            message.push_str(end);
        }
        let mut batch = BatchRef::default();
        Influx.decode(message.as_bytes(), &mut batch).expect("there is a good line");
        prop_assert_eq!(batch.rejected.len(), bad, "{:?}", &batch.rejected);
        prop_assert_eq!(batch.points().len(), lines.len());
        let hosts: Vec<_> = batch.hosts().collect();
        let numbered: Vec<&str> = message.split('\n').collect();
        for (point, (_, line)) in batch.points().zip(&lines) {
            prop_assert_eq!(point.measurement, &line.measurement);
            prop_assert_eq!(hosts[point.host as usize], &line.host);
            prop_assert_eq!(point.time_us, line.time_us);
            let tags: Vec<_> = point.tags.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
            prop_assert_eq!(&tags, &line.tags);
            let read: Vec<_> = point.fields.iter().map(|(n, v)| (n.as_ref(), v.clone())).collect();
            let expected: Vec<_> = line.fields.iter().map(|(n, v)| (n.as_str(), as_read(v))).collect();
            // Debug tells -0.0 from 0.0, equality does not.
            prop_assert_eq!(format!("{:?}", read), format!("{:?}", expected));
            let begins = numbered[point.index as usize - 1];
            prop_assert!(begins.starts_with(&line.measurement), "line {}", point.index);
        }
    }

    #[test]
    fn characters_of_the_format_never_panic(
        message in prop::collection::vec(
            prop::sample::select(vec![
                "m", ",", "=", " ", "\n", "\r", "\\", "\"", "#", "host=h", "f=1", "1", "i", "-", ".",
                "\t", "\0", "é", "t", "NaN", "1e999",
            ]),
            0..60,
        ),
    ) {
        let message = message.concat();
        let mut batch = BatchRef::default();
        let read = Influx.decode(message.as_bytes(), &mut batch);
        if read.is_ok() {
            prop_assert!(batch.points().all(|point| !point.fields.is_empty() && point.index > 0));
        }
    }
}
