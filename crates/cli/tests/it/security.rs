//! Scenario 6: TLS and SASL on a real broker; what is wrong is told, and nothing falls back to
//! plaintext (D13).

use crate::program::{PATIENCE, Program, command, number, text};
use crate::refused;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tidegauge_testkit::golden::Masks;
use tidegauge_testkit::servers::USERS;
use tidegauge_testkit::{
    KafkaListeners, eventually, kafka_listeners, postgres_database, random_topic,
};

/// Within which a bad case must be told.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// A configuration file with these settings in `[kafka]`, and the password of `alice` beside it.
pub(crate) struct Configuration(tempfile::TempDir);

impl Configuration {
    pub(crate) fn new(kafka: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), kafka).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self) -> String {
        text(&self.0.path().join("config.toml")).to_owned()
    }
}

pub(crate) fn mtls(brokers: &str, certificates: &Path) -> String {
    let folder = certificates.display();
    format!(
        "[kafka]\nbrokers = \"{brokers}\"\n[kafka.tls]\nca_file = \"{folder}/ca.pem\"\n\
         certificate_file = \"{folder}/client.pem\"\nkey_file = \"{folder}/client.key\"\n"
    )
}

pub(crate) fn scram(brokers: &str, certificates: &Path, password: &str) -> String {
    let folder = certificates.display();
    format!(
        "[kafka]\nbrokers = \"{brokers}\"\n[kafka.tls]\nca_file = \"{folder}/ca.pem\"\n\
         [kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\nusername = \"{}\"\n\
         password_command = \"echo {password}\"\n",
        USERS[0].0
    )
}

fn agent(configuration: &Configuration, topic: &str, more: &[&str]) -> Program {
    let (config, state) = (configuration.file(), configuration.0.path().join("state"));
    let arguments = ["agent", "--config", &config, "--topic", topic];
    let fixed = ["--interval", "1s", "--state-dir", text(&state)];
    Program::start(&[&arguments[..], &fixed, more].concat())
}

#[test]
fn d13_mtls_scram_and_plaintext_deliver() {
    const TEST: &str = "security::d13_mtls_scram_and_plaintext_deliver";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let KafkaListeners {
        plaintext,
        ssl,
        sasl_ssl,
        certificates,
    } = &listeners;
    for kafka in [
        mtls(ssl, certificates),
        scram(sasl_ssl, certificates, USERS[0].1),
        scram(sasl_ssl, certificates, USERS[0].1).replace("SCRAM-SHA-512", "PLAIN"),
        format!("[kafka]\nbrokers = \"{plaintext}\"\n"),
    ] {
        let Some(database) = postgres_database(TEST) else {
            return;
        };
        let configuration = Configuration::new(&kafka);
        let topic = random_topic("security");
        let agent = agent(&configuration, &topic, &[]);
        let file = configuration.file();
        let sink = Program::start(&[
            "sink",
            "--config",
            &file,
            "--topic",
            &topic,
            "--group",
            &topic,
            "--store",
            &database.url,
        ]);
        let rows = || number(&database, "select count(*) from load").filter(|rows| *rows >= 2);
        eventually(PATIENCE, "rows arrive", rows);
        let said = agent.terminate() + &sink.terminate();
        assert!(!said.contains(USERS[0].1), "{said}");
    }
}

/// What the start says when the files alone show that it cannot work: status 2 and one line.
#[test]
fn d13_bad_files_end_the_start_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    tidegauge_testkit::servers::write_certificates(folder.path()).unwrap();
    let good = mtls("127.0.0.1:1", folder.path());
    let one_line = fs::read_to_string(folder.path().join("client.pem")).unwrap();
    fs::write(folder.path().join("line.pem"), one_line.replace('\n', "")).unwrap();
    let of_sasl = "[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.sasl]\n";
    let cases = [
        (
            good.replace("key_file", "#"),
            "kafka.tls.key_file: it is missing: the certificate of kafka.tls.certificate_file needs its key",
        ),
        (
            good.replace("certificate_file", "#"),
            "kafka.tls.certificate_file: it is missing: the key of kafka.tls.key_file needs its certificate",
        ),
        (
            good.replace("client.pem", "line.pem"),
            "CONFIG:5: kafka.tls.certificate_file: FOLDER/line.pem: the PEM has no line breaks: put them back, after the BEGIN line, every 64 characters, and before the END line",
        ),
        (
            good.replace("client.", "expired."),
            "CONFIG:5: kafka.tls.certificate_file: FOLDER/expired.pem: the certificate expired at 2021-01-01T00:00:00Z: have a new one made",
        ),
        (
            good.replace("client.key", "encrypted.key"),
            "kafka.tls.key_password_file: it is missing: the key FOLDER/encrypted.key is encrypted",
        ),
        (
            good.replace("ca_file", "enabled = false\nca_file"),
            "CONFIG:5: kafka.tls.ca_file: it has no effect, as kafka.tls.enabled is false",
        ),
        (
            format!("{of_sasl}mechanism = \"SCRAM-SHA-1\"\n"),
            "CONFIG:4: kafka.sasl.mechanism: `SCRAM-SHA-1`: expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER",
        ),
        (
            format!("{of_sasl}mechanism = \"PLAIN\"\nusername = \"alice\"\n"),
            "kafka.sasl.password_file: it is missing: [kafka.sasl] needs it",
        ),
        (
            format!("{of_sasl}username = \"alice\"\npassword = \"s3cret\"\n"),
            "kafka.sasl.mechanism: it is missing: [kafka.sasl] needs it",
        ),
        (
            format!(
                "{of_sasl}mechanism = \"PLAIN\"\nusername = \"alice\"\npassword_file = \"/none\"\n"
            ),
            "CONFIG:6: kafka.sasl.password_file: /none: the file cannot be read: No such file or directory (os error 2)",
        ),
        (
            "[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.properties]\nacks = 1\n".to_owned(),
            "CONFIG:3: kafka.properties: take `acks` out: the delivery contract fixes it (acknowledged by all replicas, in order, never expired)",
        ),
        (
            "[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.properties]\nssl.ca.location = \"/ca\"\n"
                .to_owned(),
            "CONFIG:3: kafka.properties: take `ssl.ca.location` out: say it in [kafka.tls]",
        ),
    ];
    for (kafka, expected) in cases {
        let configuration = Configuration::new(&kafka);
        let state = configuration.0.path().join("state");
        let arguments = [
            "agent",
            "--config",
            &configuration.file(),
            "--state-dir",
            text(&state),
        ];
        let output = command(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.replace(&configuration.file(), "CONFIG");
        let said = said.replace(text(folder.path()), "FOLDER");
        assert_eq!(said.trim_end(), format!("tidegauge: {expected}"), "{kafka}");
        assert_eq!(output.status.code(), Some(2), "{kafka}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

/// What only the broker shows: the agent keeps its samples and says within 30 s what is wrong, and so does a sink.
#[test]
fn d13_what_the_broker_refuses_is_told_in_log_and_healthz() {
    const TEST: &str = "security::d13_what_the_broker_refuses_is_told_in_log_and_healthz";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let KafkaListeners {
        plaintext,
        ssl,
        sasl_ssl,
        certificates,
    } = &listeners;
    let port = |address: &str| format!(":{}", address.rsplit_once(':').unwrap().1);
    let no_certificate = format!(
        "[kafka]\nbrokers = \"{ssl}\"\n[kafka.tls]\nca_file = \"{}/ca.pem\"\n",
        certificates.display()
    );
    let cases = [
        (
            "wrong_ca",
            mtls(ssl, certificates).replace("/ca.pem", "/other-ca.pem"),
            "the broker's certificate is not accepted: its authority is not among those of kafka.tls.ca_file",
        ),
        (
            "no_client_certificate",
            no_certificate,
            "kafka.tls.certificate_file",
        ),
        (
            "certificate_of_a_stranger",
            mtls(ssl, certificates).replace("client.", "stranger."),
            "kafka.tls.certificate_file",
        ),
        (
            "wrong_password",
            scram(sasl_ssl, certificates, "wr0ng"),
            "the broker refuses name or password: look at kafka.sasl.username",
        ),
        (
            "tls_to_a_plaintext_port",
            mtls(plaintext, certificates),
            "take the port of the TLS listener",
        ),
        (
            "plaintext_to_a_tls_port",
            format!("[kafka]\nbrokers = \"{ssl}\"\n"),
            "the broker hangs up on plaintext: if this port speaks TLS, say kafka.tls.enabled = true",
        ),
        (
            "unknown_name",
            "[kafka]\nbrokers = \"none.invalid:9092\"\n".to_owned(),
            "this name is not known: look at kafka.brokers",
        ),
    ];
    let started: Vec<_> = cases
        .iter()
        .map(|(_, kafka, _)| (refused::agent(kafka), refused::sink(kafka)))
        .collect();
    for ((name, _, expected), (agent, sink)) in cases.iter().zip(started) {
        let masks = || {
            Masks::default()
                .hide(port(plaintext), ":PLAINTEXT")
                .hide(port(ssl), ":TLS")
                .hide(port(sasl_ssl), ":SASL")
        };
        agent.assert_told(&format!("agent_{name}"), expected, masks());
        sink.assert_told(&format!("sink_{name}"), expected, masks());
    }
}

/// A certificate that the broker does not take is replaced while agent and sink run: they connect anew, and what
/// was kept until then is delivered.
#[test]
fn certificates_that_are_replaced_are_taken_up_and_nothing_is_lost() {
    const TEST: &str = "security::certificates_that_are_replaced_are_taken_up_and_nothing_is_lost";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    tidegauge_testkit::servers::write_certificates(folder.path()).unwrap();
    let (good, ours) = (&listeners.certificates, folder.path());
    fs::copy(good.join("ca.pem"), ours.join("ca.pem")).unwrap();
    let configuration = Configuration::new(&mtls(&listeners.ssl, ours));
    let topic = random_topic("replaced");
    let mut agent = agent(&configuration, &topic, &[]);
    let file = configuration.file();
    let arguments = [
        "sink", "--config", &file, "--topic", &topic, "--group", &topic,
    ];
    let mut sink = Program::start(&[&arguments[..], &["--store", &database.url]].concat());
    for program in [&agent, &sink] {
        eventually(TOLD_WITHIN, "the certificate is refused", || {
            let said = program.output();
            said.contains("kafka.tls.certificate_file").then_some(())
        });
    }
    // Half of a pair changes nothing; `expired.key` is that of another certificate.
    fs::copy(ours.join("expired.key"), ours.join("client.key")).unwrap();
    for program in [&agent, &sink] {
        eventually(TOLD_WITHIN, "the half is told", || {
            let said = program.output();
            said.contains("does not fit the certificate").then_some(())
        });
    }
    for file in ["client.pem", "client.key"] {
        let beside = ours.join("new");
        fs::copy(good.join(file), &beside).unwrap();
        fs::rename(&beside, ours.join(file)).unwrap();
    }
    let rows = || number(&database, "select count(*) from load").filter(|rows| *rows >= 4);
    eventually(PATIENCE, "rows arrive", rows);
    assert!(agent.is_running() && sink.is_running());
    for said in [agent.terminate(), sink.terminate()] {
        assert!(
            said.contains("the files of [kafka.tls] were replaced, connecting anew"),
            "{said}"
        );
    }
    let lost = "select sum(missing_batches + dropped_batches)::bigint from ledger";
    assert_eq!(number(&database, lost), Some(0));
}

/// The authority that Kafka's brokers are trusted by is none for checks: the broker's own TLS port, whose
/// certificate it signed, is not trusted by one.
#[test]
fn what_is_said_for_kafka_changes_nothing_for_checks() {
    const TEST: &str = "security::what_is_said_for_kafka_changes_nothing_for_checks";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let configuration = Configuration::new(&mtls(&listeners.ssl, &listeners.certificates));
    let topic = random_topic("trust");
    let check = format!("https://{}/", listeners.ssl);
    let agent = agent(&configuration, &topic, &["--check", &check]);
    let file = configuration.file();
    let arguments = [
        "sink", "--config", &file, "--topic", &topic, "--group", &topic,
    ];
    let sink = Program::start(&[&arguments[..], &["--store", &database.url]].concat());
    let reasons =
        "select count(*) from http_check where not up and reason = 'certificate_untrusted'";
    eventually(
        PATIENCE,
        "Kafka delivers that the check does not trust",
        || number(&database, reasons).filter(|rows| *rows >= 1),
    );
    let others = "select count(*) from http_check where reason <> 'certificate_untrusted'";
    assert_eq!(number(&database, others), Some(0));
    agent.terminate();
    sink.terminate();
}
