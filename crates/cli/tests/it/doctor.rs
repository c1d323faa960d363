//! `tidegauge doctor` on a set-up that is well, and on broken ones: what is said, and the status.

use crate::produce::{look, make_topic, make_topic_with, numbered, send};
use crate::program::{PATIENCE, Program, command, text};
use crate::security::{Configuration, mtls, scram};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tidegauge_testkit::servers::{Operation, Resource, USERS, allow, free_port};
use tidegauge_testkit::{
    KafkaListeners, eventually, kafka, kafka_listeners, postgres_database, random_topic,
};

/// Within which it must have told, scenario 6.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct Answer {
    pub(crate) status: Option<i32>,
    pub(crate) findings: Vec<(String, String, String)>,
    pub(crate) errors: String,
    configuration: String,
}

impl Answer {
    /// Takes the path of the configuration out of what is said.
    pub(crate) fn hide_configuration(&mut self) {
        self.errors = self.errors.replace(&self.configuration, "CONFIG");
    }

    fn find(&self, check: &str) -> (&str, &str) {
        let found = self.findings.iter().find(|found| found.0 == check);
        let found = found.unwrap_or_else(|| panic!("{check} is not in {:?}", self.findings));
        (&found.1, &found.2)
    }
}

pub(crate) fn doctor(kafka: &str, more: &[&str]) -> Answer {
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
    let answer = ask(command(&[&fixed[..], state, more].concat()), file.clone());
    assert!(begin.elapsed() < TOLD_WITHIN, "{:?}", begin.elapsed());
    answer
}

/// The same of a state folder, by somebody to whom file modes apply: root without its power over them.
pub(crate) fn doctor_without_rights(state: &Path) -> Answer {
    let doctor = command(&["doctor", "--format", "json", "--state-dir", text(state)]);
    if !rustix::process::geteuid().is_root() {
        return ask(doctor, String::new());
    }
    let mut limited = Command::new("setpriv");
    limited
        .args([
            "--inh-caps=-all",
            "--bounding-set=-dac_override,-dac_read_search",
            "--",
        ])
        .arg(doctor.get_program())
        .args(doctor.get_args())
        .env_clear();
    ask(limited, String::new())
}

fn ask(mut command: Command, configuration: String) -> Answer {
    let output = command.output().unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let word = |found: &serde_json::Value, key: &str| found[key].as_str().unwrap().to_owned();
    let findings = all.iter().map(|found| {
        (
            word(found, "check"),
            word(found, "verdict"),
            word(found, "detail"),
        )
    });
    let answer = Answer {
        status: output.status.code(),
        findings: findings.collect(),
        errors: String::from_utf8(output.stderr).unwrap(),
        configuration,
    };
    let everything = format!("{:?} {}", answer.findings, answer.errors);
    for secret in ["wr0ng", "s3cret", USERS[0].1] {
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
        ("ok", "brokers answer by TLS and SASL (SCRAM-SHA-512)")
    );
    assert_eq!(
        answer.find("topic"),
        ("ok", format!("{topic}: 3 partitions, 1 copy").as_str())
    );
    for check in [
        "configuration",
        "broker",
        "certificates",
        "rights",
        "topic settings",
        "group",
        "database",
        "clock",
        "schema",
        "database rights",
        "store",
        "database disk",
        "dead letters",
        "losses",
        "lag",
        "collectors",
    ] {
        assert_eq!(answer.find(check).0, "ok", "{:?}", answer.findings);
    }
    let shown = answer.find("certificates").1;
    assert!(
        shown.contains("CN=localhost, signed by CN=Tidegauge test authority"),
        "{shown}"
    );
    assert_eq!(answer.find("lag").1, "the topic is empty");
    assert_eq!(
        answer.find("rights").1,
        format!("{topic}: READ and WRITE; transactions are not used")
    );
}

/// All rows of all tables, in an order of their own, and which tables there are.
const EVERYTHING: &str = "select md5(string_agg(query_to_xml(format('select * from %I order by 1', c.relname), true, false, '')::text, ',' order by c.relname))
    from pg_class c where c.relkind in ('r', 'v') and c.relnamespace = 'public'::regnamespace and c.relname <> 'freshness'";

#[test]
fn it_changes_nothing() {
    const TEST: &str = "doctor::it_changes_nothing";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let (topic, group) = (random_topic("untouched"), random_topic("group"));
    make_topic(&brokers, &topic, 2);
    send(&brokers, &topic, &numbered(0..20, 2));
    let store = [
        "sink",
        "--brokers",
        &brokers,
        "--topic",
        &topic,
        "--group",
        &group,
        "--until-end",
    ];
    let stored = command(&[&store[..], &["--store", &database.url]].concat())
        .output()
        .unwrap();
    assert!(stored.status.success());
    send(&brokers, &topic, &numbered(20..30, 2));
    let state = tempfile::tempdir().unwrap();
    let missing = random_topic("missing");
    let seen = || {
        let rows = database.query(EVERYTHING).unwrap();
        let files = std::fs::read_dir(state.path()).unwrap().count();
        (
            rows,
            look(&brokers, &topic),
            look(&brokers, &missing),
            files,
        )
    };
    let before = seen();
    let kafka = format!("[kafka]\nbrokers = \"{brokers}\"\n");
    let state_dir = ["--state-dir", text(state.path()), "--store", &database.url];
    let answer = doctor(&kafka, &[&["--topic", &topic][..], &state_dir].concat());
    assert_eq!(answer.status, Some(0), "{:?}", answer.findings);
    assert_eq!(answer.find("lag"), ("ok", "10 messages wait to be stored"));
    let of_missing = doctor(&kafka, &[&["--topic", &missing][..], &state_dir].concat());
    assert_eq!(of_missing.find("topic").0, "warning");
    assert_eq!(seen(), before);
}

/// The agent has its spool open and cannot send: what waits is told, and the agent is not disturbed.
#[test]
fn what_waits_in_the_spool_of_a_running_agent_is_told() {
    let state = tempfile::tempdir().unwrap();
    let closed = format!("127.0.0.1:{}", free_port());
    let folder = ["--state-dir", text(state.path())];
    let asked = || {
        let brokers = format!("[kafka]\nbrokers = \"{closed}\"\n");
        doctor(&brokers, &folder)
    };
    assert!(
        !asked().findings.iter().any(|found| found.0 == "spool"),
        "no agent was here"
    );
    let agent = [
        "agent",
        "--interval",
        "100ms",
        "--brokers",
        &closed,
        "--collectors",
        "memory",
    ];
    let agent = Program::start(&[&agent[..], &folder].concat());
    let batches = || {
        let answer = asked();
        let found = answer.findings.into_iter().find(|found| found.0 == "spool");
        let (_, verdict, detail) = found?;
        assert_eq!(verdict, "ok", "{detail}");
        let (count, rest) = detail.split_once(" batches wait to be sent, ")?;
        assert!(rest.contains("(0 %), the oldest for "), "{detail}");
        count.parse::<u64>().ok()
    };
    let before = eventually(PATIENCE, "batches wait", batches);
    let more = || batches().filter(|count| *count > before);
    eventually(PATIENCE, "the agent goes on", more);
    let said = agent.terminate();
    assert!(!said.contains("ERROR"), "{said}");
    assert!(
        batches().unwrap() > before,
        "they are there when it has ended"
    );
}

#[test]
fn topics_and_rights_that_will_not_do_are_told_with_the_command_that_mends_them() {
    const TEST: &str =
        "doctor::topics_and_rights_that_will_not_do_are_told_with_the_command_that_mends_them";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let brokers = &listeners.plaintext;
    let of_plaintext = format!("[kafka]\nbrokers = \"{brokers}\"\n");
    for (config, verdict, expected) in [
        (
            [("cleanup.policy", "compact")],
            "failed",
            "cleanup.policy = compact: compaction keeps one message of an agent and removes the others: kafka-configs --alter --topic TOPIC --add-config cleanup.policy=delete",
        ),
        (
            [("min.insync.replicas", "2")],
            "failed",
            "min.insync.replicas = 2, and 1 are in sync: nothing is acknowledged, agents keep their samples; bring brokers back, or kafka-configs --alter --topic TOPIC --add-config min.insync.replicas=1",
        ),
        (
            [("retention.ms", "3600000")],
            "warning",
            "retention.ms: messages are kept for 60m, and sinks or their database may be away for 3d (--outage); what they have not read by then is lost: kafka-configs --alter --topic TOPIC --add-config retention.ms=604800000",
        ),
        (
            [("retention.bytes", "1000000")],
            "warning",
            "retention.bytes = 1000000 of a partition: in an outage of the database messages go before their time; kafka-configs --alter --topic TOPIC --add-config retention.bytes=-1",
        ),
        (
            [("max.message.bytes", "100000")],
            "warning",
            "max.message.bytes = 100000: batches of many points may be refused; kafka-configs --alter --topic TOPIC --add-config max.message.bytes=1048588",
        ),
    ] {
        let topic = random_topic("settings");
        make_topic_with(brokers, &topic, 1, &config);
        let answer = doctor(&of_plaintext, &["--topic", &topic]);
        let (found, detail) = answer.find("topic settings");
        assert_eq!(
            (found, detail),
            (verdict, expected.replace("TOPIC", &topic).as_str())
        );
        let status = if verdict == "failed" { 1 } else { 0 };
        assert_eq!(answer.status, Some(status), "{:?}", answer.findings);
    }

    let (bob, password) = USERS[1];
    let kafka = scram(&listeners.sasl_ssl, &listeners.certificates, password);
    let kafka = kafka.replace(USERS[0].0, bob);
    let (topic, group) = (random_topic("bobs"), random_topic("group"));
    make_topic(brokers, &topic, 1);
    let ask = || {
        let configuration = format!("{kafka}[sink]\ngroup = \"{group}\"\n");
        doctor(&configuration, &["--topic", &topic])
    };
    let answer = ask();
    assert_eq!(answer.status, Some(1));
    let (found, detail) = answer.find("topic");
    let expected = format!(
        "this user lacks the right DESCRIBE on the topic {topic} (kafka-acls --add --allow-principal User:… --operation describe --topic {topic})"
    );
    assert!(found == "failed" && detail.contains(&expected), "{detail}");
    let (found, detail) = answer.find("group");
    let expected = format!("this user lacks the right READ on the group {group}");
    assert!(found == "warning" && detail.contains(&expected), "{detail}");
    allow(brokers, bob, Operation::Write, Resource::Topic(&topic)).unwrap();
    allow(brokers, bob, Operation::Read, Resource::Group(&group)).unwrap();
    let answer = ask();
    assert_eq!(
        answer.status,
        Some(0),
        "an agent works: {:?}",
        answer.findings
    );
    let expected = format!(
        "{topic}: no READ, by which sinks read: kafka-acls --add --allow-principal User:… --operation read --topic {topic}"
    );
    assert_eq!(answer.find("rights"), ("warning", expected.as_str()));
    assert_eq!(answer.find("group").0, "ok");
    assert_eq!(answer.find("topic settings").0, "ok");
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
        // The same address by another name, which is in no certificate.
        (
            mtls(&ssl.replace("127.0.0.1", "127.1"), certificates),
            vec![],
            "security",
            "failed",
            "it is not for `127.1`: name the broker in kafka.brokers",
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
            "schema",
            "failed",
            "`tidegauge store migrate`",
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
