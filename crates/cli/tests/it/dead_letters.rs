//! Dead letters by hand: shown, exported, replayed after a fix, deleted.

use crate::produce::{make_topic, now_us, send};
use crate::program::{command, number, sink_to_the_end, text};
use std::process::Output;
use tidegauge_testkit::{Database, kafka, postgres_database, random_topic};

fn dead_letters(database: &Database, arguments: &[&str]) -> (Option<i32>, String) {
    let mut all = vec!["dead-letters"];
    all.extend(arguments);
    all.extend(["--store", &database.url]);
    let Output {
        status,
        stdout,
        stderr,
    } = command(&all).output().unwrap();
    let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    (status.code(), said)
}

#[test]
fn d7_they_are_shown_exported_replayed_once_and_deleted() {
    const TEST: &str = "dead_letters::d7_they_are_shown_exported_replayed_once_and_deleted";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("dead-letters");
    make_topic(&brokers, &topic, 1);
    let point = |name: &str, value: &str| {
        let now = now_us();
        format!(
            r#"{{"measurement":"queue","time_us":{now},"tags":{{"name":"{name}"}},"fields":{{"length":{value}}}}}"#
        )
    };
    let message =
        |points: &[String]| format!(r#"{{"v":1,"host":"h","points":[{}]}}"#, points.join(","));
    let mixed = message(&[point("a", "1"), point("b", "\"long\""), point("c", "true")]);
    let sent = [
        message(&[point("a", "0")]),
        mixed.clone(),
        "not json".to_owned(),
    ];
    let sent: Vec<_> = sent
        .iter()
        .map(|m| ("h".to_owned(), m.clone().into_bytes()))
        .collect();
    send(&brokers, &topic, &sent);
    sink_to_the_end(&brokers, &topic, &database.url);
    assert_eq!(number(&database, "select count(*) from queue"), Some(2));

    // Two of one message, and a message as a whole; each is shown with its message.
    let (code, said) = dead_letters(
        &database,
        &["list", "--reason", "type_conflict", "--since", "1h"],
    );
    assert_eq!(
        (code, said.matches("type_conflict").count()),
        (Some(0), 2),
        "{said}"
    );
    let (code, said) = dead_letters(&database, &["show", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("field length is float") && said.contains(&mixed),
        "{said}"
    );
    assert_eq!(dead_letters(&database, &["show", "99"]).0, Some(2));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letters.jsonl");
    let export = ["export", "--to", text(&file), "--of", &topic];
    assert_eq!(dead_letters(&database, &export).0, Some(0));
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert_ne!(
        dead_letters(&database, &export).0,
        Some(0),
        "a file is never overwritten"
    );

    // Nothing is changed without being told which.
    assert_eq!(dead_letters(&database, &["replay"]).0, Some(2));
    assert_eq!(dead_letters(&database, &["delete"]).0, Some(2));

    // Before a fix all stay; after one, what was fixed is stored, once.
    let (code, said) = dead_letters(&database, &["replay", "--all"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("0 replayed, which made 0 rows; 3 stay"),
        "{said}"
    );
    let fixed = message(&[point("d", "4")]);
    let fix = format!(
        "update dead_letter set payload = convert_to('{fixed}', 'UTF8') where reason = 'syntax'"
    );
    database.query(&fix).unwrap();
    for expected in [
        "1 replayed, which made 1 rows; 0 stay",
        "0 replayed, which made 0 rows; 0 stay",
    ] {
        let (code, said) = dead_letters(&database, &["replay", "--reason", "syntax"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(expected), "{said}");
        assert_eq!(number(&database, "select count(*) from queue"), Some(3));
    }

    let (code, said) = dead_letters(&database, &["delete", "1", "99"]);
    assert_eq!(
        (code, said.contains("1 deleted")),
        (Some(0), true),
        "{said}"
    );
    let (_, said) = dead_letters(&database, &["show", "2"]);
    assert!(said.contains(&mixed), "the message was handed on: {said}");
    let (_, said) = dead_letters(&database, &["delete", "--until", "2100-01-01T00:00:00Z"]);
    assert!(said.contains("1 deleted"), "{said}");
    let (_, said) = dead_letters(&database, &["list"]);
    assert!(said.contains("there are no dead letters"), "{said}");
}
