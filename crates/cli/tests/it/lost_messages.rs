//! Positions that are not in the log any more: the sink stops, or records the gap and goes on; and a
//! topic that is made again, which is another topic.

use crate::crashes::{COUNT, DISTINCT, wait_for};
use crate::produce::{delete_before, make_topic, make_topic_again, numbered, send};
use crate::program::{PATIENCE, command, http_get, metric_with, start_sink_with};
use crate::several_sinks::start_with_pages;
use crate::stores::{Kind, Scratch, on_every_store};
use tidegauge_testkit::{eventually, kafka, random_topic};

on_every_store! {
    removed_messages_stop_the_sink_or_are_recorded,
}

const GAPS: &str = "select from_offset, to_offset, reason from gap order by noted";

/// Reads the topic to its end; whether that went well, and what was said.
fn read(brokers: &str, topic: &str, database: &Scratch, lost: &str) -> (bool, String) {
    let output = command(&["sink", "--until-end", "--brokers", brokers])
        .args(["--topic", topic, "--group", topic])
        .args(["--store", &database.url(), "--on-lost-messages", lost])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

fn gaps(database: &Scratch) -> Vec<Vec<String>> {
    let rows = database.query(GAPS).unwrap();
    rows.into_iter()
        .map(|row| row.into_iter().flatten().collect())
        .collect()
}

fn removed_messages_stop_the_sink_or_are_recorded(kind: Kind, test: &str) {
    let Some(brokers) = kafka(test) else { return };
    let Some(database) = Scratch::start(kind, test) else {
        return;
    };
    let topic = random_topic("retention");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..120, 1);
    send(&brokers, &topic, &all[..50]);
    assert!(read(&brokers, &topic, &database, "stop").0);
    send(&brokers, &topic, &all[50..]);
    delete_before(&brokers, &topic, 0, 80);

    let (well, said) = read(&brokers, &topic, &database, "stop");
    let told = format!("reading {topic} partition 0: the stored position 50 is outside of the log");
    assert!(
        !well && said.contains(&told) && said.contains("sink.on_lost_messages"),
        "{said}"
    );
    assert_eq!(database.number(COUNT), Some(50));
    assert_eq!(gaps(&database), [[""; 0]; 0]);

    for _ in 0..2 {
        let (well, said) = read(&brokers, &topic, &database, "skip_and_record");
        assert!(well, "{said}");
        assert_eq!(database.number(COUNT), Some(90), "{said}");
        assert_eq!(gaps(&database), [["50", "80", "retention"]], "{said}");
    }
    let lost = "select count from losses where what = 'unread_messages'";
    let lost = match kind {
        Kind::Mysql => lost.replace("count", "`count`"),
        _ => lost.to_owned(),
    };
    assert_eq!(database.number(&lost), Some(30));
    let missing = database.number("select sum(missing_batches) from ledger");
    assert_eq!(missing, Some(30), "the ledger knows which");
}

#[test]
fn messages_that_are_removed_while_the_sink_runs_are_recorded_and_told() {
    const TEST: &str =
        "lost_messages::messages_that_are_removed_while_the_sink_runs_are_recorded_and_told";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let topic = random_topic("outrun");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..150, 1);
    let more = [("TIDEGAUGE_SINK_ON_LOST_MESSAGES", "skip_and_record")];
    let (sink, pages) = start_with_pages(&brokers, &topic, &database.url(), &more);
    send(&brokers, &topic, &all[..50]);
    wait_for(&database, 50);
    // It sleeps, though not for so long that the group misses it, and retention overtakes it.
    sink.signal(rustix::process::Signal::STOP);
    send(&brokers, &topic, &all[50..100]);
    delete_before(&brokers, &topic, 0, 90);
    sink.signal(rustix::process::Signal::CONT);
    send(&brokers, &topic, &all[100..]);
    let last = "select count(*) from numbered where n = 149";
    eventually(PATIENCE, "the last sample is stored", || {
        database.number(last).filter(|count| *count == 1)
    });
    // What was on its way to the sink when it fell asleep came through.
    let lost = database.number("select sum(to_offset - from_offset) from gap");
    let lost = lost.unwrap();
    assert!((1..=40).contains(&lost), "{lost}");
    assert_eq!(database.number(COUNT), Some(150 - lost));
    let name = "tidegauge_sink_gap_messages_total";
    let counted = metric_with(&pages, name, r#"reason="retention""#);
    assert_eq!(counted, Some(lost as f64));
    let health = http_get(&pages, "/healthz").unwrap();
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("1 gaps were recorded"),
        "{health}"
    );
    let said = sink.terminate();
    assert!(said.contains("were removed from the log before"), "{said}");
}

#[test]
fn a_log_that_was_cut_is_read_again_without_doubling() {
    const TEST: &str = "lost_messages::a_log_that_was_cut_is_read_again_without_doubling";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let topic = random_topic("cut");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..60, 2);
    send(&brokers, &topic, &all[..50]);
    assert!(read(&brokers, &topic, &database, "stop").0);
    // As if the log had been longer once.
    database
        .query("update position set next_offset = 58")
        .unwrap();
    let (well, said) = read(&brokers, &topic, &database, "stop");
    assert!(!well && said.contains("the log was cut"), "{said}");
    // Messages that were sent again, and new ones.
    send(&brokers, &topic, &all[48..55]);
    database
        .query("update position set next_offset = 70")
        .unwrap();
    let (well, said) = read(&brokers, &topic, &database, "skip_and_record");
    assert!(well, "{said}");
    assert_eq!(gaps(&database), [["57", "70", "truncated"]], "{said}");
    assert_eq!(database.number(COUNT), Some(55));
    assert_eq!(database.number(DISTINCT), Some(55));
    let position = database.number("select next_offset from position");
    assert_eq!(position, Some(57));
}

#[test]
fn d5_a_topic_that_is_made_again_is_another_one() {
    const TEST: &str = "lost_messages::d5_a_topic_that_is_made_again_is_another_one";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = Scratch::start(Kind::Postgres, TEST) else {
        return;
    };
    let topic = random_topic("again");
    make_topic(&brokers, &topic, 1);
    let all = numbered(0..200, 2);
    send(&brokers, &topic, &all[..50]);
    assert!(read(&brokers, &topic, &database, "stop").0);
    // Made again while no sink runs.
    make_topic_again(&brokers, &topic, 1);
    send(&brokers, &topic, &all[50..100]);
    let mut sink = start_sink_with(&brokers, &topic, &database.url(), &[]);
    wait_for(&database, 100);
    // And while one runs: it has read further than the new log goes.
    make_topic_again(&brokers, &topic, 1);
    send(&brokers, &topic, &all[100..110]);
    wait_for(&database, 110);
    send(&brokers, &topic, &all[110..]);
    wait_for(&database, 200);
    assert!(sink.is_running());
    sink.terminate();
    assert_eq!(database.number(COUNT), Some(200));
    assert_eq!(database.number(DISTINCT), Some(200));
    let sources = database.number("select count(distinct source) from position");
    assert_eq!(sources, Some(3));
    assert_eq!(gaps(&database), [[""; 0]; 0]);
}
