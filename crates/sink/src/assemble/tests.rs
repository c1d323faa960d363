//! Tests of packing, against a store that grants everything that is asked for.

use super::*;
use bytes::Bytes;
use std::collections::HashMap;
use tidegauge_model::{Limits, ManualClock, ValueType};
use tidegauge_store::{
    Catalog, FieldColumn, HostId, KnownHost, Measurement, RowBlock, SeriesId, SeriesSlot,
};

const NOW_US: i64 = 1_795_183_200_000_000;

/// Makes what is asked for, as a store would.
fn grant(requirements: &Requirements, catalog: &mut Catalog) {
    for (host, labels) in &requirements.hosts {
        let id = HostId(1 + host.agent.len() as i32);
        let known = KnownHost {
            id,
            name: host.name.clone(),
            labels: labels.clone(),
        };
        catalog.learn_host(host.identity(), known);
    }
    for (name, need) in &requirements.measurements {
        if name == "ledger" {
            catalog.learn_measurement(name.clone(), Err(Reason::ReservedName));
            continue;
        }
        let mut measurement = match catalog.measurement(name) {
            Some(Ok(known)) => Measurement::clone(known),
            _ => Measurement {
                id: 1,
                name: name.clone(),
                kind: tidegauge_model::Kind::Gauge,
                keyed: false,
                fields: Vec::new(),
                tags: Vec::new(),
                refused: std::collections::BTreeMap::new(),
            },
        };
        measurement.keyed |= need.keyed;
        measurement.tags.extend(need.tags.iter().cloned());
        for (field, &value_type) in &need.fields {
            match measurement.fields.len() < catalog.limits.fields_per_measurement {
                true => measurement.fields.push(FieldColumn {
                    name: field.clone(),
                    value_type,
                }),
                false => {
                    measurement
                        .refused
                        .insert(field.clone(), Reason::TooManyFields);
                }
            }
        }
        catalog.learn_measurement(name.clone(), Ok(Arc::new(measurement)));
    }
    for (number, raws) in requirements.series.values().enumerate() {
        for raw in raws {
            let id = SeriesId((catalog.series_count() + number + 1) as i32);
            catalog.learn_series(raw.clone(), SeriesSlot::Known(id));
        }
    }
}

struct Bench {
    assembler: Assembler,
    messages: Vec<Message>,
    positions: HashMap<(SourceId, i32), i64>,
    rounds: usize,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let settings = SinkSettings {
            limits,
            ..SinkSettings::default()
        };
        let clock = Arc::new(ManualClock::at(NOW_US));
        let source = SourceId::kafka("id", "topic");
        Self {
            assembler: Assembler::new(&settings, clock),
            messages: Vec::new(),
            positions: HashMap::from([((source, 0), 0)]),
            rounds: 0,
        }
    }

    fn send(&mut self, text: &str) -> &mut Self {
        self.messages.push(Message {
            source: SourceId::kafka("id", "topic"),
            partition: 0,
            offset: self.messages.len() as i64,
            received_us: None,
            encoding: None,
            payload: Bytes::from(text.to_owned()),
        });
        self
    }

    fn pack(&mut self) -> Packed {
        for _ in 0..4 {
            self.rounds += 1;
            match self.assembler.assemble(&self.messages, &self.positions) {
                Assembled::Packed(packed) => return *packed,
                Assembled::Needs(needs) => {
                    grant(&needs.requirements, &mut self.assembler.catalog);
                    let keys: Vec<_> = needs.ledger.into_iter().collect();
                    self.assembler.learn_ledger(&keys, HashMap::new());
                }
            }
        }
        panic!("it asks for ever");
    }
}

fn batch(sequence: u64, points: &str) -> String {
    format!(
        r#"{{"v":1,"agent":"a","epoch":1,"sequence":{sequence},"host":"web-1","points":[{points}]}}"#
    )
}

fn point(fields: &str) -> String {
    format!(
        r#"{{"measurement":"cpu","time_us":{NOW_US},"tags":{{"cpu":"total"}},"fields":{{{fields}}}}}"#
    )
}

fn values(block: &RowBlock, row: usize) -> Vec<(String, Option<f64>)> {
    let fields = &block.measurement().fields;
    let cells = block.cells(row).iter();
    fields
        .iter()
        .zip(cells)
        .map(|(f, c)| (f.name.clone(), (!c.is_null()).then(|| c.as_float())))
        .collect()
}

#[test]
fn asks_once_then_packs_without_asking() {
    let mut bench = Bench::new(Limits::default());
    bench
        .send(&batch(0, &point(r#""a":1,"b":2"#)))
        .send(&batch(1, &point(r#""b":4,"a":3"#)));
    let packed = bench.pack();
    assert_eq!(
        bench.rounds, 2,
        "hosts, measurement, series and ledger in one round"
    );
    let block = &packed.step.blocks[0];
    assert_eq!(block.len(), 2);
    let expected = |a, b| vec![("a".to_owned(), Some(a)), ("b".to_owned(), Some(b))];
    assert_eq!(values(block, 0), expected(1.0, 2.0));
    assert_eq!(
        values(block, 1),
        expected(3.0, 4.0),
        "another order of fields"
    );
    let position = &packed.step.moves[0];
    assert_eq!(
        (
            position.from,
            position.to,
            position.messages,
            position.points
        ),
        (0, 2, 2, 2)
    );
    assert_eq!(packed.step.ledger[0].row.next_sequence, 2);
    bench.pack();
    assert_eq!(bench.rounds, 3, "nothing is asked twice");
}

#[test]
fn d6_a_repeated_batch_leaves_no_row_and_no_dead_letter() {
    let mut bench = Bench::new(Limits::default());
    let points = format!("{},{}", point(r#""a":1"#), r#"{"measurement":"cpu"}"#);
    bench.send(&batch(0, &points)).send(&batch(0, &points));
    let packed = bench.pack();
    assert_eq!(packed.step.rows(), 1);
    assert_eq!(packed.step.dead_letters.len(), 1);
    assert_eq!(
        (
            packed.tally.repeated_batches,
            packed.step.moves[0].duplicate_points
        ),
        (1, 1)
    );
    assert_eq!(packed.step.ledger[0].row.duplicate_batches, 1);
}

#[test]
fn d7_bad_points_and_messages_become_dead_letters_and_their_neighbours_rows() {
    let mut bench = Bench::new(Limits::default());
    let old = format!(
        r#"{{"measurement":"cpu","time_us":{},"fields":{{"a":1}}}}"#,
        NOW_US - 500 * 86_400_000_000
    );
    let ahead = format!(
        r#"{{"measurement":"cpu","time_us":{},"fields":{{"a":1}}}}"#,
        NOW_US + 7_200_000_000
    );
    let reserved = format!(r#"{{"measurement":"ledger","time_us":{NOW_US},"fields":{{"a":1}}}}"#);
    let points = [
        point(r#""a":1"#),
        old,
        ahead,
        reserved,
        point(r#""a":"text""#),
        point(r#""a":2"#),
    ]
    .join(",");
    bench.send("not json").send(&batch(0, &points));
    let packed = bench.pack();
    let found: Vec<_> = packed
        .step
        .dead_letters
        .iter()
        .map(|d| (d.offset, d.index, d.reason))
        .collect();
    assert_eq!(
        found,
        [
            (0, None, Reason::Syntax),
            (1, Some(1), Reason::TooOld),
            (1, Some(2), Reason::TooFarAhead),
            (1, Some(3), Reason::ReservedName),
            (1, Some(4), Reason::TypeConflict),
        ]
    );
    assert_eq!(packed.step.rows(), 2);
    assert_eq!(packed.step.moves[0].dead_letters, 5);
    let held: Vec<bool> = packed
        .step
        .dead_letters
        .iter()
        .map(|d| !d.payload.is_empty())
        .collect();
    assert_eq!(
        held,
        [true, true, false, false, false],
        "the bytes are kept once per message"
    );
}

#[test]
fn d14_limits_are_reasons() {
    let limits = Limits {
        tags_per_point: 1,
        tag_bytes: 4,
        text_bytes: 5,
        message_bytes: 400,
        fields_per_measurement: 2,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    let with = |tags: &str, fields: &str| {
        format!(
            r#"{{"measurement":"m","time_us":{NOW_US},"tags":{{{tags}}},"fields":{{{fields}}}}}"#
        )
    };
    bench
        .send(&batch(0, &with(r#""a":"x","b":"y""#, r#""f":1"#)))
        .send(&batch(1, &with(r#""a":"12345""#, r#""f":1"#)))
        .send(&batch(2, &with("", r#""t":"123456""#)))
        .send(&batch(
            3,
            &with("", &format!(r#""t":"{}""#, "x".repeat(400))),
        ))
        .send(&batch(4, &with("", r#""f":1,"g":1,"h":1"#)));
    let packed = bench.pack();
    let found: Vec<_> = packed.step.dead_letters.iter().map(|d| d.reason).collect();
    let expected = [
        Reason::TooManyTags,
        Reason::TagTooLong,
        Reason::TextTooLong,
        Reason::MessageTooLarge,
        Reason::TooManyFields,
    ];
    assert_eq!(found, expected);
}

#[test]
fn messages_of_a_partition_that_is_not_ours_are_passed_over() {
    let mut bench = Bench::new(Limits::default());
    bench
        .send(&batch(0, &point(r#""a":1"#)))
        .send(&batch(1, &point(r#""a":2"#)));
    bench.messages[0].partition = 7;
    let packed = bench.pack();
    assert_eq!(
        (packed.consumed, packed.step.rows(), packed.step.moves.len()),
        (2, 1, 1)
    );
}

#[test]
fn d5_messages_below_the_stored_position_were_applied_before() {
    let mut bench = Bench::new(Limits::default());
    bench
        .send(&batch(0, &point(r#""a":1"#)))
        .send(&batch(1, &point(r#""a":2"#)));
    bench
        .positions
        .insert((SourceId::kafka("id", "topic"), 0), 1);
    let packed = bench.pack();
    assert_eq!(
        (
            packed.step.moves[0].from,
            packed.step.moves[0].to,
            packed.step.rows()
        ),
        (1, 2, 1)
    );
}

#[test]
fn s4_a_step_is_bounded_but_takes_one_message_at_least() {
    let mut bench = Bench::new(Limits::default());
    let message = batch(0, &point(r#""a":1"#));
    for _ in 0..5 {
        bench.send(&message);
    }
    bench.assembler.step_bytes = message.len() * 2;
    assert_eq!(bench.pack().consumed, 2);
    bench.assembler.step_bytes = 1;
    assert_eq!(bench.pack().consumed, 1);
}

#[test]
fn batches_without_an_agent_need_a_key() {
    let mut bench = Bench::new(Limits::default());
    bench.send(&format!(
        r#"{{"v":1,"host":"h","points":[{}]}}"#,
        point(r#""a":true"#)
    ));
    let packed = bench.pack();
    assert!(packed.step.blocks[0].measurement().keyed && packed.step.ledger.is_empty());
    assert_eq!(packed.step.blocks[0].column_type(0), ValueType::Bool);
    // A numbered one may follow into the same table.
    bench.send(&batch(0, &point(r#""a":false"#)));
    assert_eq!(bench.pack().step.rows(), 2);
}

#[test]
fn two_agents_of_one_host_name_are_two_hosts() {
    let mut bench = Bench::new(Limits::default());
    bench.send(&batch(0, &point(r#""a":1"#)));
    bench.send(&batch(0, &point(r#""a":1"#)).replace(r#""agent":"a""#, r#""agent":"other""#));
    let packed = bench.pack();
    let block = &packed.step.blocks[0];
    assert_ne!(block.key(0).series, block.key(1).series);
    assert_eq!(packed.step.ledger.len(), 2);
}

#[test]
fn points_of_several_hosts_in_one_message_are_series_of_their_hosts() {
    let mut bench = Bench::new(Limits::default());
    let time = NOW_US * 1_000;
    let lines = [
        format!("m,host=a f=1 {time}"),
        format!("m,host=b f=2 {time}"),
        "m,host=a f=3".to_owned(),
        format!("m f=4 {time}"),
    ];
    bench.send(&lines.join("\n"));
    bench.messages[0].encoding = Some(Bytes::from_static(b"influx/1"));
    bench.messages[0].received_us = Some(NOW_US - 1);
    let packed = bench.pack();
    let block = &packed.step.blocks[0];
    assert!(block.measurement().keyed && packed.step.ledger.is_empty());
    let keys: Vec<_> = (0..block.len()).map(|row| block.key(row)).collect();
    assert_eq!(keys[0].series, keys[2].series);
    assert_ne!(keys[0].series, keys[1].series);
    assert_eq!((keys[0].time_us, keys[2].time_us), (NOW_US, NOW_US - 1));
    for identity in ["name:a", "name:b"] {
        assert!(bench.assembler.catalog.host(identity).is_some());
    }
    let letters = &packed.step.dead_letters;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].index, letters[0].reason),
        (Some(4), Reason::MissingKey)
    );
    assert_eq!(letters[0].encoding, "influx/1");
    bench.pack();
    assert_eq!(bench.rounds, 3, "nothing is asked twice");
}

#[test]
fn d11_of_a_message_full_of_bad_points_the_first_are_letters_and_the_others_counted() {
    let mut bench = Bench::new(Limits::default());
    let too_old = "load,host=a load1=1 1\n".repeat(60);
    let garbage = "no line at all\n".repeat(250);
    let lines = format!("{too_old}{garbage}load,host=a load1=2 {NOW_US}000\n");
    bench.send(&lines).send("{}");
    bench.messages[0].encoding = Some(Bytes::from_static(b"influx/1"));
    let packed = bench.pack();
    let step = &packed.step;
    assert_eq!(step.rows(), 1, "a good point among them is stored");
    let of_first = step.dead_letters.iter().filter(|letter| letter.offset == 0);
    let (letters, holding): (Vec<_>, Vec<_>) = of_first
        .map(|letter| (letter.index, !letter.payload.is_empty()))
        .unzip();
    assert_eq!(letters.len(), 100);
    assert_eq!(holding.iter().filter(|holds| **holds).count(), 1);
    let further: u64 = step
        .further_letters
        .iter()
        .map(|further| further.letters)
        .sum();
    assert_eq!(further, 210);
    // The next message has letters of its own.
    assert_eq!(step.dead_letters.len(), 101);
    assert_eq!((step.rejected(), step.moves[0].dead_letters), (311, 311));
    assert_eq!(packed.tally.dead_letters.values().sum::<u64>(), 311);
}
