//! Scenario 8: settings as flags, variables and file with their precedence, on a real broker; topics that do
//! not exist yet.

use crate::produce::look;
use crate::program::{command, text};
use std::path::Path;
use std::time::{Duration, Instant};
use tidegauge_testkit::servers::free_port;
use tidegauge_testkit::{kafka, random_topic};

/// Within which a topic that does not exist yet must have its first messages.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);

/// Runs an agent for so many collections, until it has ended well.
fn collect(cycles: u64, state: &Path, arguments: &[&str], environment: &[(&str, &str)]) {
    let begun = Instant::now();
    let cycles = cycles.to_string();
    let fixed = [
        "agent",
        "--cycles",
        &cycles,
        "--interval",
        "200ms",
        "--collectors",
        "load",
    ];
    let output = command(&[&fixed[..], &["--state-dir", text(state)], arguments].concat())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        begun.elapsed() < DELIVERED_WITHIN,
        "{:?}: {said}",
        begun.elapsed()
    );
}

/// Messages in a topic; 0 also where it does not exist.
fn messages(brokers: &str, topic: &str) -> i64 {
    let marks = look(brokers, topic).map_or_else(Vec::new, |(_, marks)| marks);
    marks.iter().map(|mark| mark.high - mark.low).sum()
}

#[test]
fn twenty_random_topics_in_a_row_are_made_and_delivered_to() {
    const TEST: &str = "settings::twenty_random_topics_in_a_row_are_made_and_delivered_to";
    let Some(brokers) = kafka(TEST) else { return };
    let state = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let topic = random_topic("row");
        collect(
            1,
            state.path(),
            &["--brokers", &brokers, "--topic", &topic],
            &[],
        );
        assert!(messages(&brokers, &topic) >= 1, "{topic}");
    }
}

#[test]
fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    const TEST: &str = "settings::a_flag_goes_before_a_variable_and_that_before_the_file";
    let Some(brokers) = kafka(TEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("t.toml");
    let (by_file, by_variable, by_flag) = (
        random_topic("file"),
        random_topic("variable"),
        random_topic("flag"),
    );
    // Two brokers, of which the first is not there.
    let list = format!("127.0.0.1:{},{brokers}", free_port());
    std::fs::write(
        &config,
        format!("[kafka]\nbrokers = \"{list}\"\ntopic = \"{by_file}\"\n"),
    )
    .unwrap();
    let of_file = ["--config", text(&config)];
    let variable = [("TIDEGAUGE_KAFKA_TOPIC", by_variable.as_str())];
    let counts = || [&by_file, &by_variable, &by_flag].map(|topic| messages(&brokers, topic));
    let state = folder.path().join("state");
    collect(3, &state, &of_file, &[]);
    let [first, 0, 0] = counts() else {
        panic!("{:?}", counts());
    };
    assert!(
        first >= 3,
        "three collections are three batches at least: {first}"
    );
    collect(1, &state, &of_file, &variable);
    let [same, second, 0] = counts() else {
        panic!("{:?}", counts());
    };
    assert!(same == first && second >= 1, "{:?}", counts());
    collect(
        1,
        &state,
        &[&of_file[..], &["--topic", &by_flag]].concat(),
        &variable,
    );
    let [same_first, same_second, third] = counts();
    assert!(
        (same_first, same_second) == (first, second) && third >= 1,
        "{:?}",
        counts()
    );
}
