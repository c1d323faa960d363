//! `tidegauge doctor` on a set-up that is well, and on broken ones: what is said, and the status.

use crate::produce::make_topic;
use crate::program::{command, text};
use crate::security::{Configuration, mtls, scram};
use std::time::{Duration, Instant};
use tidegauge_testkit::servers::{USERS, free_port};
use tidegauge_testkit::{KafkaListeners, kafka_listeners, postgres_database, random_topic};

/// Within which it must have told, scenario 6.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

struct Answer {
    status: Option<i32>,
    findings: Vec<(String, String, String)>,
    errors: String,
}

impl Answer {
    fn find(&self, check: &str) -> (&str, &str) {
        let found = self.findings.iter().find(|found| found.0 == check);
        let found = found.unwrap_or_else(|| panic!("{check} is not in {:?}", self.findings));
        (&found.1, &found.2)
    }
}

fn doctor(kafka: &str, more: &[&str]) -> Answer {
    let configuration = Configuration::new(kafka);
    let state = tempfile::tempdir().unwrap();
    let file = configuration.file();
    let fixed = ["doctor", "--format", "json", "--config", &file];
    let begin = Instant::now();
    let state = ["--state-dir", text(state.path())];
    let state = if more.contains(&"--state-dir") {
        &[][..]
    } else {
        &state[..]
    };
    let output = command(&[&fixed[..], state, more].concat())
        .output()
        .unwrap();
    assert!(begin.elapsed() < TOLD_WITHIN, "{:?}", begin.elapsed());
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let word = |found: &serde_json::Value, key: &str| found[key].as_str().unwrap().to_owned();
    let answer = Answer {
        status: output.status.code(),
        findings: all
            .iter()
            .map(|found| {
                (
                    word(found, "check"),
                    word(found, "verdict"),
                    word(found, "detail"),
                )
            })
            .collect(),
        errors: String::from_utf8(output.stderr).unwrap(),
    };
    let everything = format!("{:?} {}", answer.findings, answer.errors);
    for secret in ["wr0ng", USERS[0].1] {
        assert!(!everything.contains(secret), "{everything}");
    }
    answer
}

#[test]
fn a_healthy_set_up_is_told_to_be_so() {
    const TEST: &str = "doctor::a_healthy_set_up_is_told_to_be_so";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("doctor");
    make_topic(&listeners.plaintext, &topic, 3);
    let migrated = command(&["store", "migrate", "--store", &database.url])
        .output()
        .unwrap();
    assert!(migrated.status.success());
    let kafka = scram(&listeners.sasl_ssl, &listeners.certificates, USERS[0].1);
    let answer = doctor(&kafka, &["--topic", &topic, "--store", &database.url]);
    assert_eq!(answer.status, Some(0), "{:?}", answer.findings);
    assert_eq!(
        answer.find("security"),
        ("ok", "brokers answer by TLS and SASL")
    );
    assert_eq!(
        answer.find("topic"),
        ("ok", format!("{topic}: 3 partitions").as_str())
    );
    for check in [
        "configuration",
        "broker",
        "store",
        "dead letters",
        "losses",
        "collectors",
    ] {
        assert_eq!(answer.find(check).0, "ok", "{:?}", answer.findings);
    }
}

#[test]
fn d13_each_broken_set_up_is_told_with_what_to_do() {
    const TEST: &str = "doctor::d13_each_broken_set_up_is_told_with_what_to_do";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let KafkaListeners {
        plaintext,
        ssl,
        sasl_ssl,
        certificates,
    } = &listeners;
    let closed = free_port();
    let of_plaintext = format!("[kafka]\nbrokers = \"{plaintext}\"\n");
    let no_certificate = format!(
        "[kafka]\nbrokers = \"{ssl}\"\n[kafka.tls]\nca_file = \"{}/ca.pem\"\n",
        certificates.display()
    );
    let by_name = |brokers: &str| format!("[kafka]\nbrokers = \"{brokers}\"\n");
    let away = format!("postgres://me:wr0ng@127.0.0.1:{closed}/metrics");
    let file = certificates.join("ca.pem");
    let cases: Vec<(String, Vec<&str>, &str, &str, &str)> = vec![
        (
            mtls(ssl, certificates).replace("/ca.pem", "/other-ca.pem"),
            vec![],
            "security",
            "failed",
            "kafka.tls.ca_file",
        ),
        (
            no_certificate,
            vec![],
            "security",
            "failed",
            "kafka.tls.certificate_file",
        ),
        (
            scram(sasl_ssl, certificates, "wr0ng"),
            vec![],
            "security",
            "failed",
            "the broker refuses name or password",
        ),
        (
            mtls(plaintext, certificates),
            vec![],
            "security",
            "failed",
            "take the port of the TLS listener",
        ),
        (
            by_name(ssl),
            vec![],
            "security",
            "failed",
            "the broker hangs up on plaintext",
        ),
        (
            by_name("none.invalid:9092"),
            vec![],
            "broker",
            "failed",
            "look at kafka.brokers",
        ),
        (
            by_name(&format!("127.0.0.1:{closed}")),
            vec![],
            "broker",
            "failed",
            "Connection refused",
        ),
        (
            of_plaintext.clone(),
            vec!["--topic", "not-there"],
            "topic",
            "warning",
            "does not exist",
        ),
        (
            of_plaintext.clone(),
            vec!["--state-dir", text(&file)],
            "state folder",
            "failed",
            "say another --state-dir",
        ),
        (
            of_plaintext.clone(),
            vec!["--store", &away],
            "store",
            "failed",
            "127.0.0.1",
        ),
        (
            of_plaintext,
            vec!["--store", &database.url],
            "store",
            "failed",
            "migrate",
        ),
    ];
    for (kafka, more, check, verdict, expected) in cases {
        let answer = doctor(&kafka, &more);
        let (found, detail) = answer.find(check);
        assert!(
            found == verdict && detail.contains(expected),
            "{expected}: {:?}",
            answer.findings
        );
        let status = if verdict == "failed" { 1 } else { 0 };
        assert_eq!(answer.status, Some(status), "{:?}", answer.findings);
    }
    let expired = mtls(ssl, certificates).replace("client.", "expired.");
    let answer = doctor(&expired, &[]);
    assert_eq!(answer.status, Some(2));
    assert!(
        answer
            .errors
            .contains("expired.pem: the certificate expired"),
        "{}",
        answer.errors
    );
}
