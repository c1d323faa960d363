//! What a running agent or sink says of brokers that refuse it, in its log and in `/healthz`, word for word as
//! `tests/golden/refused/`; it goes on meanwhile.

use crate::program::{Program, http_get, text};
use crate::security::Configuration;
use std::time::Duration;
use tidegauge_testkit::golden::Masks;
use tidegauge_testkit::servers::{USERS, free_port};
use tidegauge_testkit::{assert_golden, eventually, random_topic};

/// Within which a bad case must be told.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// A program that runs and is refused.
pub(crate) struct Refused {
    program: Program,
    listen: String,
    topic: String,
    /// How its log begins to say so.
    says: &'static str,
    _configuration: Configuration,
    _state: tempfile::TempDir,
}

/// An agent with these settings of Kafka.
pub(crate) fn agent(kafka: &str) -> Refused {
    let state = tempfile::tempdir().unwrap();
    let folder = text(state.path()).to_owned();
    let more = ["--interval", "1s", "--state-dir", &folder];
    start("agent", kafka, &more, state, "WARN broker away")
}

/// A sink with these settings of Kafka, and a database in a file.
pub(crate) fn sink(kafka: &str) -> Refused {
    let state = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", state.path().join("store.db").display());
    let says = "WARN Kafka brokers can't be reached";
    start("sink", kafka, &["--store", &store], state, says)
}

fn start(
    command: &str,
    kafka: &str,
    more: &[&str],
    state: tempfile::TempDir,
    says: &'static str,
) -> Refused {
    let configuration = Configuration::new(kafka);
    let (file, topic) = (configuration.file(), random_topic("refused"));
    let listen = format!("127.0.0.1:{}", free_port());
    let common = [
        command, "--config", &file, "--topic", &topic, "--listen", &listen,
    ];
    Refused {
        program: Program::start(&[&common[..], more].concat()),
        listen,
        topic,
        says,
        _configuration: configuration,
        _state: state,
    }
}

impl Refused {
    /// Waits until `/healthz` and the log say this, and compares all that they say of it.
    pub(crate) fn assert_told(mut self, name: &str, expected: &str, masks: Masks) {
        let page = eventually(TOLD_WITHIN, &format!("/healthz tells: {expected}"), || {
            let page = http_get(&self.listen, "/healthz")?;
            let (head, body) = page.split_once("\r\n\r\n")?;
            (head.contains(" 503 ") && body.contains(expected)).then(|| body.to_owned())
        });
        let line = eventually(TOLD_WITHIN, &format!("the log tells: {expected}"), || {
            let said = self.program.output();
            let told = |line: &&str| line.contains(self.says) && line.contains(expected);
            let line = said.lines().rfind(told)?;
            Some(line[line.find("WARN")?..].to_owned())
        });
        assert!(self.program.is_running(), "it goes on");
        let said = self.program.output() + &page;
        for secret in ["wr0ng", "s3cret", "opaque", "eyJ", USERS[0].1] {
            assert!(!said.contains(secret), "{said}");
        }
        let masks = masks
            .hide(&self.topic, "TOPIC")
            .number_before(" s, samples are kept")
            .number_before(" s: ")
            .number_before(" collections, ")
            .number_before(" batches wait");
        let story = format!("in the log:\n{line}\n\n/healthz:\n{page}");
        assert_golden!(&format!("refused/{name}"), &masks.apply(&story));
    }
}
