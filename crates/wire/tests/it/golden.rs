//! Golden files of `json/1`: `golden/json/v1/<case>.json` is a message as it is on the wire, `<case>.txt` what it means. `UPDATE_GOLDEN=1` rewrites the texts, and the
//! messages in [`written`]; a message of a released version must never change.

use std::fmt::{Display, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use tidegauge_model::{
    AgentId, Batch, BatchRef, DropNotice, DropReason, Host, Origin, Point, Reason, ValueRef, name,
};
use tidegauge_wire::json::Json;
use tidegauge_wire::{Encoder as _, Encoding as _};

/// Messages that fail as a whole.
const REFUSED: &[(&str, Reason)] = &[
    ("bad_drop_range", Reason::BadIdentity),
    ("bad_drop_reason", Reason::WrongType),
    ("bad_host", Reason::BadHost),
    ("bad_kind", Reason::WrongType),
    ("bad_label", Reason::BadName),
    ("bad_sequence", Reason::BadIdentity),
    ("duplicate_key", Reason::DuplicateKey),
    ("duplicate_kind", Reason::DuplicateKey),
    ("drops_without_agent", Reason::BadIdentity),
    ("empty", Reason::Empty),
    ("half_identity", Reason::BadIdentity),
    ("list", Reason::NotAnObject),
    ("missing_host", Reason::MissingKey),
    ("missing_points", Reason::MissingKey),
    ("missing_version", Reason::MissingKey),
    ("not_json", Reason::Syntax),
    ("points_no_list", Reason::WrongType),
    ("trailing", Reason::Syntax),
    ("truncated", Reason::Syntax),
    ("unknown_key", Reason::UnknownKey),
    ("version_2", Reason::UnknownVersion),
];

/// Messages that are read, with the reasons of the points that are not.
const READ: &[(&str, &[Reason])] = &[
    ("agent", &[]),
    (
        "bad_points",
        &[
            Reason::WrongType,
            Reason::MissingKey,
            Reason::BadTime,
            Reason::BadTime,
            Reason::BadTime,
            Reason::MissingKey,
            Reason::NoFields,
            Reason::NoFields,
            Reason::UnknownKey,
            Reason::DuplicateKey,
            Reason::DuplicateKey,
            Reason::DuplicateKey,
            Reason::BadName,
            Reason::BadName,
            Reason::BadName,
            Reason::WrongType,
            Reason::WrongType,
            Reason::WrongType,
            Reason::BadText,
            Reason::BadText,
        ],
    ),
    ("bad_time", &[Reason::BadTime]),
    ("kinds", &[]),
    ("minimal", &[]),
    ("numbers", &[]),
    ("quote", &[]),
    ("reordered", &[]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/json/v1")
}

pub(crate) fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

fn read(case: &str) -> Vec<u8> {
    let path = folder().join(format!("{case}.json"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compare(case: &str, meaning: &str) {
    compare_in(&folder(), case, meaning);
}

pub(crate) fn compare_in(folder: &Path, case: &str, meaning: &str) {
    let path = folder.join(format!("{case}.txt"));
    if updating() {
        fs::write(&path, meaning).expect("the golden folder can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        meaning,
        expected,
        "{}; UPDATE_GOLDEN=1 accepts",
        path.display()
    );
}

#[test]
fn messages_that_fail_have_their_reason_and_place() {
    for (case, reason) in REFUSED {
        let bytes = read(case);
        let error = Json
            .decode(&bytes, &mut BatchRef::default())
            .expect_err(case);
        assert_eq!(error.reason, *reason, "{case}: {error}");
        compare(case, &format!("{error}\n"));
    }
}

#[test]
fn messages_that_are_read_mean_what_they_did() {
    for (case, reasons) in READ {
        let bytes = read(case);
        let mut batch = BatchRef::default();
        Json.decode(&bytes, &mut batch)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let rejected: Vec<_> = batch
            .rejected
            .iter()
            .map(|rejected| rejected.reason)
            .collect();
        assert_eq!(rejected, *reasons, "{case}: {:#?}", batch.rejected);
        compare(case, &meaning(&batch));
        batch.to_batch().expect("names and host are checked");
    }
}

#[test]
fn every_file_has_its_row() {
    for entry in fs::read_dir(folder()).expect("the golden folder is there") {
        let path = entry.expect("readable").path();
        let case = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("plain names");
        let rows = REFUSED
            .iter()
            .map(|row| row.0)
            .chain(READ.iter().map(|row| row.0));
        assert!(rows.into_iter().any(|row| row == case), "{case} has no row");
    }
}

#[test]
fn the_agent_writes_the_bytes_that_it_did() {
    let mut bytes = Vec::new();
    Json.encode(&written(), &mut bytes);
    let path = folder().join("agent.json");
    if updating() {
        fs::write(&path, &bytes).expect("the golden folder can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(String::from_utf8(bytes).expect("JSON is UTF-8"), expected);
}

#[test]
fn the_examples_of_the_documentation_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/wire-format.md");
    let page = fs::read_to_string(path).expect("the page is there");
    let blocks = page.split("```json\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or(rest));
    let messages: Vec<_> = blocks.filter(|block| block.starts_with("{\"v\"")).collect();
    assert_eq!(messages.len(), 2);
    for message in messages {
        let mut batch = BatchRef::default();
        Json.decode(message.as_bytes(), &mut batch)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((batch.points().len(), batch.rejected.len()), (1, 0));
    }
    for reason in REFUSED
        .iter()
        .map(|row| &row.1)
        .chain(READ.iter().flat_map(|row| row.1))
    {
        assert!(
            page.contains(&format!("| `{reason}` |")),
            "{reason} is not explained"
        );
    }
}

/// What `agent.json` and `agent.bin` hold.
pub(crate) fn written() -> Batch {
    let cpu = Point::new(name!("cpu"), 1_795_183_200_000_000)
        .tag(name!("cpu"), "total")
        .field(name!("user_percent"), 3.1)
        .field(name!("system_percent"), 0.8)
        .field(name!("idle_percent"), 96.0)
        .field(name!("steal_percent"), 0.0);
    let check = Point::new(name!("http_check"), 1_795_183_200_250_000)
        .tag(name!("target"), "https://example.org/?q=\"x\"&p=\\")
        .field(name!("up"), true)
        .field(name!("reason"), "none\n\u{1f600}")
        .field(name!("exact"), 9_007_199_254_740_993_u64)
        .field(name!("tiny"), 5e-324);
    Batch {
        origin: Some(Origin {
            agent: AgentId::new("0b6f2c64a1e94d0c8a57").expect("valid"),
            epoch: 1_795_183_100_000_000,
            sequence: 1_812,
        }),
        host: Host::new("web-1").expect("valid"),
        labels: vec![(name!("env"), "prod".into())],
        drops: vec![DropNotice {
            epoch: 1_795_183_100_000_000,
            first_sequence: 1_700,
            last_sequence: 1_720,
            reason: DropReason::SpoolFull,
        }],
        points: vec![cpu, Point::new(name!("empty"), 1), check],
    }
}

pub(crate) fn meaning(batch: &BatchRef<'_>) -> String {
    let mut text = String::new();
    let mut line = |line: &dyn Display| writeln!(text, "{line}").expect("a string");
    match &batch.origin {
        Some(origin) => line(&format_args!(
            "agent {} epoch {} sequence {}",
            origin.agent, origin.epoch, origin.sequence
        )),
        None => line(&"no agent"),
    }
    line(&format_args!("host {:?}", batch.host));
    for (name, label) in &batch.labels {
        line(&format_args!("label {name} = {label:?}"));
    }
    for (measurement, kind) in &batch.kinds {
        line(&format_args!("kind {measurement} = {kind}"));
    }
    for notice in &batch.drops {
        line(&format_args!("drop {notice:?}"));
    }
    let hosts: Vec<&str> = batch.hosts().collect();
    for point in batch.points() {
        let host = match point.host {
            0 => String::new(),
            place => format!(" of host {:?}", hosts[place as usize]),
        };
        line(&format_args!(
            "point {} {} at {}{host}",
            point.index, point.measurement, point.time_us
        ));
        for (name, tag) in point.tags {
            line(&format_args!("    tag {name} = {tag:?}"));
        }
        for (name, value) in point.fields {
            match value {
                ValueRef::Float(number) => line(&format_args!("    field {name} = {number:?}")),
                ValueRef::Bool(truth) => line(&format_args!("    field {name} = {truth}")),
                ValueRef::Text(text) => line(&format_args!("    field {name} = {text:?}")),
            }
        }
    }
    for rejected in &batch.rejected {
        line(&format_args!(
            "rejected {} {}: {}",
            rejected.index, rejected.reason, rejected.detail
        ));
    }
    line(&format_args!("left out {}", batch.left_out));
    text
}
