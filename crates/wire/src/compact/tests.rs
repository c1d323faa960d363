//! Tests of `compact/1` that need its insides; properties and golden files are in `tests/it`.

use super::*;
use crate::json::Json;
use prost::Message as _;
use tidegauge_model::name;
use tidegauge_model::{AgentId, DropNotice, Host, Name, Origin, Point, Reason, Value, ValueRef};

/// A collection of all default collectors on a small machine, as `json/1`.
const COLLECTION: &[u8] = include_bytes!("../../tests/fixtures/collection.json");

fn collection() -> Batch {
    let mut batch = BatchRef::default();
    Json.decode(COLLECTION, &mut batch).expect("a message");
    batch.to_batch().expect("checked names")
}

fn encoded(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    Compact.encode(batch, &mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Result<BatchRef<'_>, DecodeError> {
    let mut batch = BatchRef::default();
    Compact.decode(bytes, &mut batch)?;
    Ok(batch)
}

/// Columns of every kind, a shape that comes back, and a name that is no word.
fn mixture() -> Batch {
    let point = |time_us, number: f64| {
        Point::new(name!("cpu"), time_us)
            .tag(name!("cpu"), "total")
            .tag(name!("rack"), "7")
            .field(name!("user_percent"), number)
            .field(name!("up"), number > 2.0)
            .field(name!("reason"), if number > 2.0 { "refused" } else { "7" })
    };
    let queue = Point::new(name!("queue"), -5)
        .of_kind(Kind::Timer)
        .field(name!("length"), f64::MAX);
    Batch {
        origin: Some(Origin {
            agent: AgentId::new("a").expect("valid"),
            epoch: 1,
            sequence: 0,
        }),
        host: Host::new("h").expect("valid"),
        labels: vec![(name!("rack"), "7".into())],
        drops: vec![DropNotice {
            epoch: 0,
            first_sequence: 3,
            last_sequence: 4,
            reason: DropReason::Refused,
        }],
        points: vec![point(7, 1.5), point(7, 2.25), queue, point(9, 0.1 + 0.2)],
    }
}

#[test]
fn shapes_of_many_names_are_told_apart() {
    let wide = |measurement: Name| {
        (0..70).fold(Point::new(measurement, 1), |point, number| {
            let name = Name::new(&format!("f{number}")).expect("valid");
            point.field(name, f64::from(number))
        })
    };
    let batch = Batch {
        points: vec![wide(name!("a")), wide(name!("b"))],
        ..mixture()
    };
    let bytes = encoded(&batch);
    let decoded = decode(&bytes).expect("a message");
    assert_eq!(decoded.rejected, []);
    assert_eq!(decoded.to_batch().expect("checked names"), batch);
}

#[test]
fn a_collection_has_a_fifth_of_the_bytes_of_json() {
    let batch = collection();
    let mut json = Vec::new();
    Json.encode(&batch, &mut json);
    let compact = encoded(&batch);
    let ratio = compact.len() as f64 / json.len() as f64;
    assert!(ratio <= 0.2, "{} of {} bytes", compact.len(), json.len());
    let decoded = decode(&compact).expect("our own message");
    assert_eq!(decoded.to_batch(), Ok(batch));
}

#[test]
fn texts_are_borrowed() {
    let bytes = encoded(&mixture());
    let batch = decode(&bytes).expect("our own message");
    let within = |text: &str| bytes.as_ptr_range().contains(&text.as_ptr());
    let point = batch.points().next().expect("one");
    assert!(within(&batch.host) && within(&point.tags[1].0) && within(&point.tags[1].1));
    let words = words::words();
    assert!(
        words
            .iter()
            .any(|word| word.as_ptr() == point.measurement.as_ptr())
    );
    assert!(matches!(&point.fields[2].1, ValueRef::Text(text) if within(text)));
}

/// What the schema says, read the plain way: by `prost`, with a copy of everything.
fn read_plainly(bytes: &[u8]) -> Batch {
    let message = message::Batch::decode(bytes).expect("protobuf");
    let text = |index: &u32| match words::words().get(*index as usize) {
        Some(word) => (*word).to_owned(),
        None => message.texts[*index as usize - words::COUNT].clone(),
    };
    let name = |index: &u32| Name::new(&text(index)).expect("a name");
    let kind_of = |measurement: &u32| {
        let mut pairs = message.kinds.chunks_exact(2);
        let told = pairs.find(|pair| pair[0] == *measurement);
        told.map_or(Kind::Gauge, |pair| KINDS[pair[1] as usize])
    };
    let mut points = Vec::new();
    let mut time_us = 0;
    for block in &message.blocks {
        let shape = &message.shapes[block.shape as usize];
        let mut tags = block.tags.iter();
        let mut rows: Vec<Point> = Vec::new();
        for difference in &block.times {
            time_us += difference;
            let mut point =
                Point::new(name(&shape.measurement), time_us).of_kind(kind_of(&shape.measurement));
            for (tag, index) in shape.tags.iter().zip(&mut tags) {
                point = point.tag(name(tag), text(index));
            }
            rows.push(point);
        }
        let (mut decimals, mut doubles) = (block.decimals.iter(), block.doubles.iter());
        let mut texts = block.texts.iter();
        let bits = block.truths.iter();
        let mut bits = bits.flat_map(|byte| (0..8).map(move |bit| byte & (1 << bit) != 0));
        for (field, kind) in shape.fields.iter().zip(&block.kinds) {
            for point in &mut rows {
                let value = match *kind {
                    7 => Value::Float(*doubles.next().expect("a double")),
                    8 => Value::Bool(bits.next().expect("a truth value")),
                    9 => Value::from(text(texts.next().expect("a text"))),
                    scale => {
                        let decimal = *decimals.next().expect("a decimal") as f64;
                        Value::Float(decimal / 10f64.powi(scale.into()))
                    }
                };
                point.set(name(field), value);
            }
        }
        points.append(&mut rows);
    }
    let labels = message.labels.chunks_exact(2);
    Batch {
        origin: message.origin.as_ref().map(|origin| Origin {
            agent: AgentId::new(origin.agent.clone()).expect("an agent"),
            epoch: origin.epoch.cast_signed(),
            sequence: origin.sequence,
        }),
        host: Host::new(message.host.clone()).expect("a host"),
        labels: labels
            .map(|pair| (name(&pair[0]), text(&pair[1]).into()))
            .collect(),
        drops: message
            .drops
            .iter()
            .map(|notice| DropNotice {
                epoch: notice.epoch.cast_signed(),
                first_sequence: notice.first,
                last_sequence: notice.last,
                reason: DROP_REASONS[notice.reason as usize - 1],
            })
            .collect(),
        points,
    }
}

#[test]
fn a_protobuf_library_reads_what_we_read() {
    for batch in [collection(), mixture()] {
        let bytes = encoded(&batch);
        assert_eq!(read_plainly(&bytes), batch);
        assert_eq!(
            decode(&bytes).expect("our own message").to_batch(),
            Ok(batch)
        );
    }
}

#[test]
fn the_types_have_the_fields_of_the_schema() {
    let schema = include_str!("../../proto/compact_v1.proto");
    let schema = schema.split("\nmessage ").skip(1).flat_map(|message| {
        let body = message.split("\n}").next().unwrap_or(message);
        body.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
    });
    let of_schema = schema.filter_map(|line| {
        let (name, number) = line.trim().strip_suffix(';')?.split_once(" = ")?;
        Some((name.rsplit(' ').next()?, number))
    });
    let types = include_str!("message.rs").split("tag = \"").skip(1);
    let of_types = types.map(|rest| {
        let (number, rest) = rest.split_once("\")]").expect("an attribute");
        let (name, _) = rest.split_once(':').expect("a field");
        (name.trim().trim_start_matches("pub(super) "), number)
    });
    assert_eq!(of_types.clone().count(), 27);
    assert!(of_types.eq(of_schema));
    assert_eq!(
        DROP_REASONS,
        DropReason::ALL,
        "the schema has a number for each"
    );
}

#[test]
fn few_bytes_cannot_stand_for_more_than_the_bound() {
    // A block of 1,000 rows with 1,000 truth values, eight to a byte, over and over.
    let (rows, columns) = (1_000, 1_000);
    let mut message = message::Batch {
        version: VERSION,
        host: "h".to_owned(),
        texts: (0..columns).map(|number| format!("f{number}")).collect(),
        shapes: vec![message::Shape {
            measurement: 0,
            tags: vec![],
            fields: (words::COUNT as u32..).take(columns).collect(),
        }],
        blocks: vec![message::Block {
            times: vec![0; rows],
            kinds: vec![column::TRUTHS; columns],
            truths: vec![0; rows * columns / 8],
            ..message::Block::default()
        }],
        ..message::Batch::default()
    };
    let bytes = message.encode_to_vec();
    assert_eq!(
        decode(&bytes).expect("below the bound").points().len(),
        rows
    );
    message.blocks.push(message.blocks[0].clone());
    let bytes = message.encode_to_vec();
    let error = decode(&bytes).expect_err("above the bound");
    assert_eq!(
        (error.reason, error.at.path.as_str()),
        (Reason::MessageTooLarge, "blocks[1]")
    );
}

#[test]
fn every_cut_of_a_message_is_an_error_or_a_shorter_message() {
    let bytes = encoded(&mixture());
    for length in 0..bytes.len() {
        match decode(&bytes[..length]) {
            Ok(batch) => assert!(batch.points().len() < 4 || batch.kinds.is_empty()),
            Err(error) => assert!(error.at.byte <= length, "{error}"),
        }
    }
}
