//! Golden files of `compact/1`: as in `golden`, with the messages as `.bin`. Here they are made
//! field by field from the numbers of the schema, so that the files and the numbers check each
//! other; `UPDATE_GOLDEN=1` writes both. A message of a released version must never change.

use crate::golden::{compare_in, meaning, updating, written};
use std::fs;
use std::path::{Path, PathBuf};
use tidegauge_model::{BatchRef, Reason};
use tidegauge_wire::compact::Compact;
use tidegauge_wire::{Encoder as _, Encoding as _};

/// The index of the first text of a message; below are the words.
const OWN: u64 = 144;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, number: u64) -> Vec<u8> {
    [varint(field << 3), varint(number)].concat()
}

fn bytes(field: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&varint(field << 3 | 2), &varint(bytes.len() as u64), bytes].concat()
}

fn packed(field: u64, numbers: &[u64]) -> Vec<u8> {
    bytes(
        field,
        numbers.iter().flat_map(|n| varint(*n)).collect::<Vec<_>>(),
    )
}

fn signed(field: u64, numbers: &[i64]) -> Vec<u8> {
    let zigzag = |n: &i64| (n.cast_unsigned() << 1) ^ (n >> 63).cast_unsigned();
    packed(field, &numbers.iter().map(zigzag).collect::<Vec<_>>())
}

fn doubles(field: u64, numbers: &[f64]) -> Vec<u8> {
    bytes(
        field,
        numbers
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect::<Vec<_>>(),
    )
}

fn version() -> Vec<u8> {
    number(1, 1)
}

fn origin(agent: &str, epoch: u64, sequence: u64) -> Vec<u8> {
    bytes(
        2,
        [bytes(1, agent), number(2, epoch), number(3, sequence)].concat(),
    )
}

fn host() -> Vec<u8> {
    bytes(3, "h")
}

fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| bytes(4, text)).collect()
}

fn drop(numbers: [u64; 4]) -> Vec<u8> {
    let fields = (1..).zip(numbers).flat_map(|(field, n)| number(field, n));
    bytes(6, fields.collect::<Vec<_>>())
}

fn shape(measurement: u64, tags: &[u64], fields: &[u64]) -> Vec<u8> {
    bytes(
        7,
        [number(1, measurement), packed(2, tags), packed(3, fields)].concat(),
    )
}

fn block(lists: &[Vec<u8>]) -> Vec<u8> {
    bytes(8, lists.concat())
}

/// One point of `cpu` with the field `user_percent`, its value as it is given.
fn one(kind: u8, value: Vec<u8>) -> Vec<u8> {
    let lists = [signed(2, &[1]), bytes(4, [kind]), value];
    [shape(0, &[], &[1]), block(&lists)].concat()
}

/// The name of a file, what is wrong in it, and its parts.
type Case<R> = (&'static str, R, Vec<Vec<u8>>);

/// Messages that fail as a whole.
fn refused() -> Vec<Case<Reason>> {
    let sent = || vec![version(), origin("a", 1, 1), host()];
    let with = |parts: &[Vec<u8>]| [&[version(), host()][..], parts].concat();
    vec![
        (
            "bad_drop_range",
            Reason::BadIdentity,
            [sent(), vec![drop([1, 5, 4, 1])]].concat(),
        ),
        (
            "bad_drop_reason",
            Reason::WrongType,
            [sent(), vec![drop([1, 4, 5, 6])]].concat(),
        ),
        (
            "bad_host",
            Reason::BadHost,
            vec![version(), bytes(3, "a\nb")],
        ),
        (
            "bad_label",
            Reason::BadName,
            with(&[texts(&["A"]), packed(5, &[OWN, OWN])]),
        ),
        (
            "bad_label_text",
            Reason::BadText,
            with(&[texts(&["a\0"]), packed(5, &[0, OWN])]),
        ),
        (
            "bad_sequence",
            Reason::BadIdentity,
            vec![version(), origin("a", 1, 1 << 63), host()],
        ),
        (
            "drops_without_agent",
            Reason::BadIdentity,
            with(&[drop([1, 4, 5, 1])]),
        ),
        ("empty", Reason::Empty, vec![]),
        ("field_twice", Reason::DuplicateKey, with(&[host()])),
        (
            "half_identity",
            Reason::BadIdentity,
            vec![version(), bytes(2, bytes(1, "a")), host()],
        ),
        ("half_label", Reason::Syntax, with(&[packed(5, &[0])])),
        (
            "json",
            Reason::Syntax,
            vec![br#"{"v":1,"host":"h","points":[]}"#.to_vec()],
        ),
        (
            "kind_twice",
            Reason::DuplicateKey,
            with(&[packed(10, &[0, 1, 0, 2])]),
        ),
        (
            "label_twice",
            Reason::DuplicateKey,
            with(&[packed(5, &[0, 0, 0, 1])]),
        ),
        (
            "length_beyond_the_end",
            Reason::Syntax,
            with(&[varint(8 << 3 | 2), varint(1 << 32)]),
        ),
        ("missing_host", Reason::BadHost, vec![version()]),
        ("no_such_kind", Reason::Syntax, with(&[one(10, vec![])])),
        (
            "no_such_shape",
            Reason::Syntax,
            with(&[block(&[number(1, 1), signed(2, &[1])])]),
        ),
        (
            "no_such_text",
            Reason::Syntax,
            with(&[one(9, packed(8, &[OWN]))]),
        ),
        (
            "no_such_kind_of_measurements",
            Reason::WrongType,
            with(&[packed(10, &[0, 3])]),
        ),
        ("not_utf8", Reason::Syntax, with(&[bytes(4, b"a\xff")])),
        (
            "number_cut_off",
            Reason::Syntax,
            with(&[one(0, bytes(5, [0x80]))]),
        ),
        (
            "out_of_order",
            Reason::Syntax,
            vec![version(), host(), origin("a", 1, 1)],
        ),
        (
            "too_few_doubles",
            Reason::Syntax,
            with(&[one(7, bytes(6, [0; 7]))]),
        ),
        (
            "too_few_kinds",
            Reason::Syntax,
            with(&[shape(0, &[], &[1]), block(&[signed(2, &[1])])]),
        ),
        ("too_few_truths", Reason::Syntax, with(&[one(8, vec![])])),
        (
            "too_many_decimals",
            Reason::Syntax,
            with(&[one(0, signed(5, &[1, 2]))]),
        ),
        (
            "too_many_truths",
            Reason::Syntax,
            with(&[one(8, bytes(7, [1, 0]))]),
        ),
        ("unknown_field", Reason::UnknownKey, with(&[number(9, 1)])),
        (
            "version_2",
            Reason::UnknownVersion,
            vec![number(1, 2), bytes(99, "new")],
        ),
        ("version_not_first", Reason::Syntax, vec![host()]),
        (
            "wrong_type",
            Reason::WrongType,
            vec![version(), number(3, 1)],
        ),
    ]
}

/// Messages that are read, with the reasons of the points that are not.
fn understood() -> Vec<Case<Vec<Reason>>> {
    let words: Vec<_> = (0..OWN).collect();
    let bad_texts = ["A", "a\0", "fine"];
    let (bad_name, bad_text, fine) = (OWN, OWN + 1, OWN + 2);
    let times = |field| signed(field, &[1]);
    let value = || [bytes(4, [0]), signed(5, &[1])].concat();
    let bad_points = [
        shape(bad_name, &[], &[1]),
        shape(0, &[bad_name], &[1]),
        shape(0, &[], &[1, 1]),
        shape(0, &[], &[]),
        shape(0, &[fine], &[1]),
        shape(0, &[], &[bad_name]),
        shape(0, &[fine, fine], &[1]),
        block(&[times(2), value()]),
        block(&[number(1, 1), times(2), packed(3, &[fine]), value()]),
        block(&[number(1, 2), times(2), bytes(4, [0, 0]), signed(5, &[1, 2])]),
        block(&[number(1, 3), times(2)]),
        // Four rows: a bad text, a time before the year 1, a fine one, and one of no number.
        block(&[
            number(1, 4),
            signed(2, &[1, -62_135_596_800_000_006, 62_135_596_800_000_006, 0]),
            packed(3, &[bad_text, fine, fine, fine]),
            bytes(4, [7]),
            doubles(6, &[1.5, 2.5, 3.5, f64::NAN]),
        ]),
        block(&[number(1, 5), times(2), value()]),
        block(&[number(1, 6), times(2), packed(3, &[fine, fine]), value()]),
        block(&[
            number(1, 4),
            times(2),
            packed(3, &[fine]),
            bytes(4, [9]),
            packed(8, &[bad_text]),
        ]),
        block(&[number(1, 4), times(2), packed(3, &[fine]), value()]),
    ];
    let kinds = [
        shape(0, &[], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        block(&[
            signed(2, &[5, -10]),
            bytes(4, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
            signed(
                5,
                &[i64::MAX, i64::MIN, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            ),
            doubles(6, &[-0.0, f64::INFINITY]),
            bytes(7, [2]),
            packed(8, &[1, 2]),
        ]),
    ];
    let zeros = vec![0; OWN as usize];
    vec![
        (
            "bad_points",
            vec![
                Reason::BadName,
                Reason::BadName,
                Reason::DuplicateKey,
                Reason::NoFields,
                Reason::BadText,
                Reason::BadTime,
                Reason::NoFields,
                Reason::BadName,
                Reason::DuplicateKey,
                Reason::BadText,
            ],
            [&[version(), host(), texts(&bad_texts)][..], &bad_points].concat(),
        ),
        ("kinds", vec![], [&[version(), host()][..], &kinds].concat()),
        (
            "kinds_of_measurements",
            vec![],
            vec![
                version(),
                host(),
                texts(&["requests_total"]),
                packed(10, &[OWN, 1, 1, 2, 2, 0]),
            ],
        ),
        ("minimal", vec![], vec![version(), host()]),
        (
            "words",
            vec![],
            vec![
                version(),
                host(),
                shape(0, &[], &words),
                block(&[signed(2, &[1]), bytes(4, &zeros), bytes(5, &zeros)]),
            ],
        ),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/compact/v1")
}

/// The message of the golden file, which is what these parts make.
fn message(case: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let path = folder().join(format!("{case}.bin"));
    if updating() {
        fs::write(&path, parts.concat()).expect("the golden folder can be written");
    }
    let kept = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(kept, parts.concat(), "{case}");
    kept
}

#[test]
fn messages_that_fail_have_their_reason_and_place() {
    for (case, reason, parts) in refused() {
        let bytes = message(case, &parts);
        let error = Compact
            .decode(&bytes, &mut BatchRef::default())
            .expect_err(case);
        assert_eq!(error.reason, reason, "{case}: {error}");
        compare_in(&folder(), case, &format!("{error}\n"));
    }
}

#[test]
fn messages_that_are_read_mean_what_they_did() {
    for (case, reasons, parts) in understood() {
        let bytes = message(case, &parts);
        let mut batch = BatchRef::default();
        Compact
            .decode(&bytes, &mut batch)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let rejected: Vec<_> = batch.rejected.iter().map(|point| point.reason).collect();
        assert_eq!(rejected, reasons, "{case}: {:#?}", batch.rejected);
        compare_in(&folder(), case, &meaning(&batch));
        batch.to_batch().expect("names and host are checked");
    }
}

#[test]
fn the_agent_writes_the_bytes_that_it_did() {
    let mut bytes = Vec::new();
    Compact.encode(&written(), &mut bytes);
    let kept = message("agent", &[bytes]);
    let mut batch = BatchRef::default();
    Compact.decode(&kept, &mut batch).expect("our own message");
    compare_in(&folder(), "agent", &meaning(&batch));
}

#[test]
fn every_file_has_its_row() {
    let mut cases = vec!["agent"];
    cases.extend(refused().iter().map(|row| row.0));
    cases.extend(understood().iter().map(|row| row.0));
    for entry in fs::read_dir(folder()).expect("the golden folder is there") {
        let path = entry.expect("readable").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        assert!(
            cases.contains(&stem.expect("plain names")),
            "{}",
            path.display()
        );
    }
}
