//! The probe `kafka` against a real broker, and against some that are none.

use crate::scripted::{Act, Scripted, check, hurried, say, settings};
use std::collections::BTreeMap;
use std::time::Duration;
use tidegauge_agent::probes::{
    CheckReason as Reason, CheckResult, CheckSettings, KeyValue, ProbeContext, check_once,
};
use tidegauge_kafka::{Admin, KafkaSettings, TopicPlan};
use tidegauge_model::{SystemClock, Value};
use tidegauge_testkit as testkit;
use tidegauge_testkit::servers::USERS;

const DEADLINE: Duration = Duration::from_secs(30);

fn with(url: &str, pairs: &[(&'static str, KeyValue)]) -> CheckSettings {
    let set = |made: CheckSettings, (key, value): &(&'static str, KeyValue)| {
        made.with(key, value.clone())
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    };
    pairs.iter().fold(settings(url), set)
}

fn number(result: &CheckResult, field: &str) -> Option<f64> {
    match result.value(field) {
        Some(Value::Float(number)) => Some(*number),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_answer_and_topics_are_there() {
    let Some(listeners) = testkit::kafka_listeners("agent: probe kafka") else {
        return;
    };
    let topic = testkit::random_topic("probe");
    let plain = KafkaSettings {
        brokers: vec![listeners.plaintext.clone()],
        ..KafkaSettings::default()
    };
    let admin = Admin::new(&plain).expect("a client");
    let plan = TopicPlan {
        name: topic.clone(),
        partitions: 3,
        replication: 1,
        config: BTreeMap::new(),
    };
    let made = admin.ensure_topic(&plan, DEADLINE).await;
    made.expect("made");

    let (user, password) = USERS[0];
    let file =
        |name: &str| KeyValue::from(listeners.certificates.join(name).to_string_lossy().as_ref());
    let tls = |ca: &str| ("ca_file", file(ca));
    let login = |password: &str| [("username", user.into()), ("password", password.into())];
    let urls = [&listeners.plaintext, &listeners.ssl, &listeners.sasl_ssl];
    let [open, by_certificate, by_password] = urls.map(|address| format!("kafka://{address}"));
    let mut scram = vec![tls("ca.pem")];
    scram.extend(login(password));
    let mut plain_words = scram.clone();
    plain_words.push(("sasl_mechanism", "PLAIN".into()));
    let mut wrong = vec![tls("ca.pem")];
    wrong.extend(login("not-the-secret"));
    let mut stranger = vec![tls("other-ca.pem")];
    stranger.extend(login(password));
    let identity = vec![
        tls("ca.pem"),
        ("certificate_file", file("client.pem")),
        ("key_file", file("client.key")),
    ];
    for (url, pairs, reason, told) in [
        (open.clone(), vec![], Reason::Ok, ""),
        (format!("{open}/{topic}"), vec![], Reason::Ok, ""),
        (
            format!("{open}/{topic}-not"),
            vec![],
            Reason::AnswerMismatch,
            "there is no topic",
        ),
        (format!("{by_password}/{topic}"), scram, Reason::Ok, ""),
        (
            format!("{by_password}/{topic}"),
            plain_words,
            Reason::Ok,
            "",
        ),
        (
            format!("{by_certificate}/{topic}"),
            identity,
            Reason::Ok,
            "",
        ),
        (by_password.clone(), wrong, Reason::LoginFailed, ""),
        (
            by_password.clone(),
            stranger,
            Reason::CertificateUntrusted,
            "",
        ),
    ] {
        let result = check(with(&url, &pairs)).await;
        assert_eq!(result.finding.reason, reason, "{url}: {result:?}");
        let detail = result.finding.detail.as_deref().unwrap_or_default();
        assert!(detail.contains(told), "{detail}");
        assert!(!format!("{result:?}").contains("secret"), "{result:?}");
        assert!(number(&result, "connect_seconds").is_some(), "{result:?}");
        if reason == Reason::Ok {
            assert!(number(&result, "brokers") >= Some(1.0), "{result:?}");
            let partitions = url.ends_with(&topic).then_some(3.0);
            assert_eq!(number(&result, "partitions"), partitions, "{result:?}");
        }
    }
    admin.delete_topic(&topic, DEADLINE).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_broker_has_a_reason_of_its_own() {
    let hangs = Scripted::start(vec![Act::Hang]).await;
    let closes = Scripted::start(vec![]).await;
    let chatters = Scripted::start(vec![say("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Hang]).await;
    let of = |server: &Scripted| {
        let settings = settings(&format!("kafka://localhost:{}/t", server.address.port()));
        settings
            .with_deadline(Duration::from_secs(2))
            .expect("a deadline")
    };
    for (settings, reasons) in [
        (
            settings("kafka://127.0.0.1:1/t"),
            [Reason::ConnectRefused].as_slice(),
        ),
        (hurried(of(&hangs)), &[Reason::Deadline]),
        (of(&closes), &[Reason::ConnectionLost]),
        (of(&chatters), &[Reason::Protocol]),
    ] {
        let result = check(settings).await;
        assert!(reasons.contains(&result.finding.reason), "{result:?}");
    }
}

#[tokio::test]
async fn settings_of_kafka_that_do_not_fit_together_are_refused() {
    for (url, pairs, key) in [
        ("kafka://u:p@localhost/t", vec![], "url"),
        (
            "kafka://localhost/t",
            vec![("username", KeyValue::from("u"))],
            "username",
        ),
        (
            "kafka://localhost/t",
            vec![("sasl_mechanism", KeyValue::from("PLAIN"))],
            "username",
        ),
        (
            "kafka://localhost/t",
            vec![("ca_file", KeyValue::from("/nowhere/ca.pem"))],
            "url",
        ),
        (
            "kafka://localhost/t",
            vec![
                ("username", "u".into()),
                ("password", "s3cret".into()),
                ("sasl_mechanism", "PLAIN".into()),
            ],
            "url",
        ),
    ] {
        let error = check_once(with(url, &pairs), &ProbeContext::new(), &SystemClock).await;
        let error = error.expect_err("cannot be used").to_string();
        assert!(
            error.starts_with(&format!("checking the setting {key}: ")),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
}
