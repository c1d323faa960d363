//! Scenario 3: corrupted messages among good ones.

use crate::produce::{make_topic, now_us, send};
use crate::program::{command, sink_to_the_end};
use crate::stores::{Kind, Scratch, on_every_store};
use tidegauge_testkit::servers::{Distribution, send_in_transactions};
use tidegauge_testkit::{kafka, random_topic};

on_every_store! {
    d7_each_bad_message_is_a_dead_letter_and_its_neighbours_are_stored,
}

fn d7_each_bad_message_is_a_dead_letter_and_its_neighbours_are_stored(kind: Kind, test: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some(database) = Scratch::start(kind, test) else {
        return;
    };
    let topic = random_topic("bad-messages");
    make_topic(&brokers, &topic, 1);
    let now = now_us();
    let point = |target: &str, time: &str| {
        format!(
            r#"{{"v":1,"host":"h","points":[{{"measurement":"probe","time_us":{time},"tags":{{"target":"{target}"}},"fields":{{"value":1}}}}]}}"#
        )
    };
    let at = |n: i64| (now + n).to_string();
    let messages = [
        (point("good", &at(0)), None),
        ("not json".to_owned(), Some("syntax")),
        ("[1,2]".to_owned(), Some("not_an_object")),
        (String::new(), Some("empty")),
        (r#"{"v":1,"points":[]}"#.to_owned(), Some("missing_key")),
        (
            point("x", &at(1)).replace(r#""host""#, r#""extra":1,"host""#),
            Some("unknown_key"),
        ),
        (point("x", "\"yesterday\""), Some("bad_time")),
        (point("it's; drop table \\\"host\\\"; --", &at(2)), None),
        (
            format!(
                r#"{{"points":[{{"fields":{{"value":2}},"tags":{{"target":"reordered"}},"time_us":{},"measurement":"probe"}}],"host":"h","v":1}}"#,
                at(3)
            ),
            None,
        ),
        (point("good", &at(4)), None),
    ];
    let sent: Vec<(String, Vec<u8>)> = messages
        .iter()
        .map(|(text, _)| ("h".to_owned(), text.clone().into_bytes()))
        .collect();
    send(&brokers, &topic, &sent);
    for round in 1..=2 {
        sink_to_the_end(&brokers, &topic, &database.url());
        assert_eq!(
            database.number("select count(*) from probe"),
            Some(4),
            "round {round}"
        );
        assert_eq!(
            database.number("select count(*) from dead_letter"),
            Some(6),
            "round {round}"
        );
    }
    let targets = database
        .query("select target from probe order by time")
        .unwrap();
    let targets: Vec<&str> = targets
        .iter()
        .map(|row| row[0].as_deref().unwrap())
        .collect();
    assert_eq!(
        targets,
        ["good", "it's; drop table \"host\"; --", "reordered", "good"]
    );
    let letters = database
        .query("select topic, message_offset, reason from dead_letter order by message_offset")
        .unwrap();
    let expected: Vec<Vec<Option<String>>> = messages
        .iter()
        .enumerate()
        .filter_map(|(offset, (_, reason))| {
            let reason = (*reason)?;
            Some(vec![
                Some(topic.clone()),
                Some(offset.to_string()),
                Some(reason.into()),
            ])
        })
        .collect();
    assert_eq!(letters, expected);
    // What the command shows is the same.
    let output = command(&[
        "dead-letters",
        "list",
        "--store",
        &database.url(),
        "--format",
        "json",
    ])
    .output()
    .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 6, "{lines}");
    assert!(
        lines.contains(r#""reason":"syntax""#) && lines.contains(r#""payload":"not json""#),
        "{lines}"
    );
}

/// The mark of a transaction is an offset without a message, the last one of the log here.
#[test]
fn a_topic_that_ends_with_the_mark_of_a_transaction_is_read_to_its_end() {
    const TEST: &str =
        "bad_messages::a_topic_that_ends_with_the_mark_of_a_transaction_is_read_to_its_end";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(distribution) = Distribution::of_environment(TEST) else {
        return;
    };
    let Some(database) = Scratch::start(Kind::Sqlite, TEST) else {
        return;
    };
    let topic = random_topic("transactions");
    make_topic(&brokers, &topic, 2);
    for (round, messages) in (1..).zip([300, 7]) {
        send_in_transactions(&distribution, &brokers, &topic, messages).unwrap();
        for _ in 0..2 {
            sink_to_the_end(&brokers, &topic, &database.url());
            let letters = database.number("select sum(dead_letters) from position");
            assert_eq!(letters, Some([300, 307][round - 1]), "round {round}");
        }
    }
    let positions = database.number("select sum(next_offset) from position");
    assert!(positions >= Some(307), "{positions:?}");
}
