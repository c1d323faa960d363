//! Properties of every row of `ENCODINGS`: what is written is read back, and nothing that is read
//! makes the decoder panic.

use proptest::prelude::*;
use std::borrow::Cow;
use tidegauge_model::{
    AgentId, Batch, BatchRef, DropNotice, DropReason, Host, Kind, Name, Origin, Point, Tags, Value,
};
use tidegauge_wire::{Collection, ENCODINGS, Splitter, encoders};

/// Any text that databases can hold: quotes, backslashes, control characters, emoji.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 /:.-]{0,20}",
        "[\\u{1}-\\u{1f}\"\\\\\\u{7f}\\u{2028}é😀]{0,8}",
        any::<String>().prop_map(|text| text.replace('\0', "")),
    ]
}

fn checked_name() -> impl Strategy<Value = Name> {
    prop_oneof!["[a-z][a-z0-9_]{0,8}", "[a-z][a-z0-9_]{59}"]
        .prop_map(|name| Name::new(&name).expect("the pattern is that of names"))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(Value::Float),
        (-1_000_000i32..1_000_000).prop_map(|cents| Value::Float(f64::from(cents) / 100.0)),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            9_007_199_254_740_991.0,
            9_007_199_254_740_992.0,
            -9_007_199_254_740_994.0,
            1.844_674_407_370_955_2e19,
        ])
        .prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
        text().prop_map(|text| Value::Text(Cow::Owned(text))),
    ]
}

fn tags() -> impl Strategy<Value = Tags> {
    prop::collection::btree_map(checked_name(), text().prop_map(Cow::Owned), 0..4)
        .prop_map(|tags| tags.into_iter().collect())
}

fn point() -> impl Strategy<Value = Point> {
    let time_us = -62_135_596_800_000_000i64..=253_402_300_799_999_999;
    let fields = prop::collection::vec((checked_name(), value()), 0..6);
    (checked_name(), time_us, tags(), fields).prop_map(|(measurement, time_us, tags, fields)| {
        let point = tags
            .into_iter()
            .fold(Point::new(measurement, time_us), |point, (name, text)| {
                point.tag(name, text)
            });
        fields
            .into_iter()
            .fold(point, |point, (name, value)| point.field(name, value))
    })
}

/// A measurement has one kind in a batch: that of its first letter.
fn of_kind(point: Point) -> Point {
    let kind = match point.measurement().as_str().as_bytes()[0] {
        b'a'..b'j' => Kind::Counter,
        b'j'..b'p' => Kind::Timer,
        _ => Kind::Gauge,
    };
    point.of_kind(kind)
}

/// A point of one of a few shapes, so that points that follow each other are often alike.
fn alike_point() -> impl Strategy<Value = Point> {
    let of = |word: &str| Name::new(word).expect("a name");
    let number = prop_oneof![
        (-1_000i32..1_000).prop_map(|tenths| f64::from(tenths) / 10.0),
        any::<f64>(),
    ];
    let rest = (text(), number, any::<bool>(), prop::option::of(value()));
    (0..2u8, -100i64..100, rest).prop_map(move |(which, time_us, (text, number, truth, more))| {
        Point::new(of(["cpu", "m"][usize::from(which)]), time_us)
            .tag(of("cpu"), text.clone())
            .field(of("number"), number)
            .field(of("up"), truth)
            .field(of("text"), text)
            .field_if(of("more"), more)
    })
}

fn origin() -> impl Strategy<Value = Origin> {
    ("[A-Za-z0-9_.:-]{1,64}", 1..=i64::MAX, 0..=u64::MAX / 2).prop_map(
        |(agent, epoch, sequence)| Origin {
            agent: AgentId::new(agent).expect("the pattern is that of agents"),
            epoch,
            sequence,
        },
    )
}

fn drop_notice() -> impl Strategy<Value = DropNotice> {
    let reason = prop::sample::select(DropReason::ALL.to_vec());
    (0..=i64::MAX, 0..u64::MAX / 4, 0..u64::MAX / 4, reason).prop_map(
        |(epoch, first_sequence, more, reason)| DropNotice {
            epoch,
            first_sequence,
            last_sequence: first_sequence + more,
            reason,
        },
    )
}

fn batch() -> impl Strategy<Value = Batch> {
    let host = "[a-zA-Z0-9é \"'.-]{1,60}";
    let origin = prop::option::of((origin(), prop::collection::vec(drop_notice(), 0..3)));
    let points = prop_oneof![
        prop::collection::vec(point(), 0..6),
        prop::collection::vec(alike_point(), 0..30),
    ];
    (origin, host, tags(), points).prop_map(|(origin, host, labels, points)| {
        let (origin, drops) = origin.unzip();
        Batch {
            origin,
            host: Host::new(host).expect("the pattern is that of hosts"),
            labels,
            drops: drops.unwrap_or_default(),
            points: points.into_iter().map(of_kind).collect(),
        }
    })
}

/// A point as it comes back: what was left out of it is not known any more.
fn as_sent(point: &Point) -> Point {
    let empty = Point::new(point.measurement().clone(), point.time_us()).of_kind(point.kind());
    let tagged = point.tags().iter().fold(empty, |point, (name, text)| {
        point.tag(name.clone(), text.clone())
    });
    let fields = point.fields().iter();
    fields.fold(tagged, |point, (name, value)| {
        point.field(name.clone(), value.clone())
    })
}

/// A text made of the words of the formats, so that decoding gets deep.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"v\":1",
        "\"v\":2",
        "\"agent\":\"a\"",
        "\"epoch\":1",
        "\"sequence\":0",
        "\"host\":\"h\"",
        "\"labels\":{\"a\":\"b\"}",
        "\"kinds\":{\"m\":\"counter\"}",
        "\"drops\":[",
        "\"first\":1",
        "\"last\":1",
        "\"reason\":\"refused\"",
        "\"points\":[",
        "\"measurement\":\"m\"",
        "\"time_us\":1",
        "\"tags\":{",
        "\"fields\":{\"a\":1}",
        "1e999",
        "-1e-999",
        "-",
        "18446744073709551616",
        "null",
        "true",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"a\":",
        "\u{feff}",
        " ",
        "\n",
        "\0",
        "é",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes())
}

fn decode_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    for encoding in ENCODINGS {
        let mut batch = BatchRef::default();
        match encoding.decode(bytes, &mut batch) {
            // Whatever was read can be trusted: names, host, texts.
            Ok(()) => {
                if batch.hosts().count() == 1 {
                    let owned = batch.to_batch().expect("the decoder checks names and host");
                    prop_assert_eq!(owned.points.len(), batch.points().len());
                }
                prop_assert!(batch.hosts().all(|host| Host::check(host).is_ok()));
                prop_assert!(batch.points().all(|point| !point.fields.is_empty()));
            }
            Err(error) => {
                prop_assert!(error.at.byte <= bytes.len());
                prop_assert!(error.to_string().len() < 400, "{}", error);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(batch in batch()) {
        for encoding in encoders() {
            let mut bytes = Vec::new();
            encoding.encode(&batch, &mut bytes);
            let mut decoded = BatchRef::default();
            encoding.decode(&bytes, &mut decoded).expect("our own message");
            prop_assert_eq!(&decoded.rejected, &[]);
            let mut expected = batch.clone();
            expected.points = expected.points.iter().map(as_sent).collect();
            expected.points.retain(|point| !point.fields().is_empty());
            let decoded = decoded.to_batch().expect("checked names");
            // Debug tells -0.0 from 0.0, equality does not.
            prop_assert_eq!(format!("{:?}", &decoded), format!("{:?}", &expected));
            prop_assert_eq!(decoded, expected);
        }
    }

    #[test]
    fn what_was_decoded_before_changes_nothing(batches in prop::collection::vec(batch(), 1..5)) {
        for encoding in encoders() {
            let mut messages = Vec::new();
            for batch in &batches {
                let mut bytes = Vec::new();
                encoding.encode(batch, &mut bytes);
                // Cut off, it is read in part before it fails.
                messages.push(bytes[..bytes.len() / 2].to_vec());
                messages.push(bytes);
            }
            let mut kept = BatchRef::default();
            for bytes in messages.iter().chain(&messages) {
                let mut fresh = BatchRef::default();
                let expected = encoding.decode(bytes, &mut fresh);
                let mut again = kept.recycle();
                prop_assert_eq!(&encoding.decode(bytes, &mut again), &expected);
                if expected.is_ok() {
                    prop_assert_eq!(again.to_batch(), fresh.to_batch());
                    prop_assert_eq!(&again.rejected, &fresh.rejected);
                }
                for point in again.points() {
                    let shape = again.shape(point.shape).expect("a shape of the book");
                    prop_assert_eq!(shape.measurement(), point.measurement);
                    prop_assert!(shape.tags().iter().map(AsRef::as_ref).eq(point.tags.iter().map(|(name, _)| name.as_ref())));
                    prop_assert!(shape.fields().iter().map(AsRef::as_ref).eq(point.fields.iter().map(|(name, _)| name.as_ref())));
                }
                kept = again.recycle();
            }
        }
    }

    #[test]
    fn a_split_collection_is_whole_and_below_the_limit(batch in batch(), max_bytes in 200usize..2_000) {
        for encoding in encoders() {
            let collection = Collection {
                host: batch.host.clone(),
                labels: batch.labels.clone(),
                drops: batch.drops.clone(),
                points: batch.points.clone(),
            };
            let mut expected: Vec<_> = batch.points.iter().map(as_sent).collect();
            expected.retain(|point| !point.fields().is_empty());
            let mut splitter = Splitter::new(encoding, max_bytes, collection);
            let (mut bytes, mut sent) = (Vec::new(), Vec::new());
            while let Some(message) = splitter.next(None, &mut bytes) {
                match message {
                    Ok(message) if message.drops == 0 => {
                        prop_assert!(bytes.len() <= max_bytes);
                        let mut decoded = BatchRef::default();
                        encoding.decode(&bytes, &mut decoded).expect("our own message");
                        sent.extend(decoded.to_batch().expect("checked names").points);
                    }
                    // Drops without an agent are no message; only the limit matters here.
                    Ok(message) => {
                        prop_assert!(bytes.len() <= max_bytes);
                        sent.extend(expected[sent.len()..][..message.points].to_vec());
                    }
                    Err(oversized) => {
                        prop_assert!(oversized.bytes > max_bytes);
                        sent.extend(oversized.point.as_ref().map(as_sent));
                    }
                }
            }
            prop_assert_eq!(sent, expected);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&bytes)?;
    }

    #[test]
    fn words_of_the_format_never_panic(bytes in soup()) {
        decode_all(&bytes)?;
    }

    #[test]
    fn mutated_messages_never_panic(
        batch in batch(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        for encoding in encoders() {
            let mut bytes = Vec::new();
            encoding.encode(&batch, &mut bytes);
            for (at, byte, change) in &changes {
                let at = at.index(bytes.len().max(1));
                match change {
                    0 if at < bytes.len() => bytes[at] = *byte,
                    1 => bytes.insert(at, *byte),
                    _ => bytes.truncate(at),
                }
            }
            decode_all(&bytes)?;
        }
    }
}
