//! OAUTHBEARER: tokens of a provider, of a file and of a command, on a real broker; refreshed before they
//! expire, and told of where there are none (D13).

use crate::doctor::doctor;
use crate::doctor_texts::story;
use crate::program::{PATIENCE, Program, command, number, text};
use crate::refused;
use crate::security::Configuration;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};
use tidegauge_testkit::golden::Masks;
use tidegauge_testkit::servers::free_port;
use tidegauge_testkit::{
    Database, KafkaListeners, TokenProvider, assert_golden, eventually, kafka_listeners,
    postgres_database, random_topic, unsecured_token,
};

const LIFE: Duration = Duration::from_secs(8);

fn kafka(listeners: &KafkaListeners, sasl: &str) -> String {
    format!(
        "[kafka]\nbrokers = \"{}\"\n[kafka.tls]\nca_file = \"{}/ca.pem\"\n[kafka.sasl]\nmechanism = \"OAUTHBEARER\"\n{sasl}",
        listeners.sasl_ssl,
        listeners.certificates.display()
    )
}

fn of_provider(listeners: &KafkaListeners, url: &str) -> String {
    let client = "client_id = \"agent:1\"\nclient_secret = \"s3cret/+\"\nscope = \"kafka write\"\naudience = \"brokers\"\n";
    kafka(listeners, &format!("token_url = \"{url}\"\n{client}"))
}

fn granted() -> (u16, String) {
    let token = unsecured_token("alice", LIFE);
    (
        200,
        format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":8}}"#),
    )
}

/// Agent and sink with this configuration until rows come that were taken `after` their start; something is
/// done meanwhile, again and again.
fn deliver(
    configuration: &Configuration,
    database: &Database,
    after: Duration,
    mut meanwhile: impl FnMut(),
) -> String {
    let topic = random_topic("tokens");
    let (file, begun) = (configuration.file(), Instant::now());
    let state = tempfile::tempdir().unwrap();
    let common = ["--config", &file, "--topic", &topic];
    let of_agent = ["--interval", "1s", "--state-dir", text(state.path())];
    let agent = Program::start(&[&["agent"][..], &common, &of_agent].concat());
    let of_sink = ["--group", &topic, "--store", &database.url];
    let sink = Program::start(&[&["sink"][..], &common, &of_sink].concat());
    let mut before = None;
    eventually(PATIENCE, "rows arrive, also after tokens expired", || {
        meanwhile();
        let rows = number(database, "select count(*) from load").filter(|rows| *rows >= 2)?;
        if begun.elapsed() < after {
            return None;
        }
        (rows > *before.get_or_insert(rows)).then_some(())
    });
    agent.terminate() + &sink.terminate()
}

#[test]
fn tokens_of_a_provider_are_taken_and_refreshed_before_they_expire() {
    const TEST: &str = "tokens::tokens_of_a_provider_are_taken_and_refreshed_before_they_expire";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let provider = TokenProvider::start(granted);
    let configuration = Configuration::new(&of_provider(&listeners, provider.url()));
    let said = deliver(&configuration, &database, LIFE * 3, || {});
    assert!(!said.contains("s3cret") && !said.contains("eyJ"), "{said}");
    let asked = provider.asked();
    assert!(
        asked.len() >= 4,
        "agent and sink, and both again: {}",
        asked.len()
    );
    let first = &asked[0];
    assert!(first.starts_with("POST /token HTTP/1.1\r\n"), "{first}");
    // agent%3A1:s3cret%2F%2B
    assert!(
        first.contains("authorization: Basic YWdlbnQlM0ExOnMzY3JldCUyRiUyQg==\r\n"),
        "{first}"
    );
    assert!(
        first.ends_with("grant_type=client_credentials&scope=kafka+write&audience=brokers"),
        "{first}"
    );
    let gaps = "select sum(missing_batches + dropped_batches)::bigint from ledger";
    assert_eq!(number(&database, gaps), Some(0));
}

#[test]
fn tokens_of_a_file_and_a_command_are_read_again() {
    const TEST: &str = "tokens::tokens_of_a_file_and_a_command_are_read_again";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let write = |file: &Path, life| {
        let beside = file.with_extension("new");
        std::fs::write(&beside, unsecured_token("alice", life)).unwrap();
        std::fs::rename(&beside, file).unwrap();
    };
    for key in ["token_file = \"FILE\"", "token_command = \"cat FILE\""] {
        let Some(database) = postgres_database(TEST) else {
            return;
        };
        write(&file, LIFE);
        let sasl = key.replace("FILE", text(&file)) + "\n";
        let configuration = Configuration::new(&kafka(&listeners, &sasl));
        let mut written = Instant::now();
        let rotate = || {
            if written.elapsed() > LIFE / 4 {
                write(&file, LIFE);
                written = Instant::now();
            }
        };
        let said = deliver(&configuration, &database, LIFE + LIFE / 2, rotate);
        assert!(!said.contains("eyJ"), "{said}");
    }
}

/// A server of HTTP without TLS, as it answers the first bytes of a handshake. Its thread ends with the process.
fn answers_anything_with_400() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let heard = stream.read(&mut [0; 512]);
            let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
            // Who has hung up meanwhile is told nothing.
            let _gone = heard.and_then(|_| stream.write_all(answer));
        }
    });
    address
}

#[test]
fn d13_what_stands_in_the_way_of_a_token_is_told_with_what_to_do() {
    const TEST: &str = "tokens::d13_what_stands_in_the_way_of_a_token_is_told_with_what_to_do";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let refuses = TokenProvider::start(|| {
        let said = r#"{"error":"invalid_client","error_description":"unknown client"}"#;
        (401, said.to_owned())
    });
    let talks = TokenProvider::start(|| (200, "<html>".to_owned()));
    let foreign = TokenProvider::start(|| {
        (
            200,
            r#"{"access_token":"opaque","expires_in":60}"#.to_owned(),
        )
    });
    let closed = format!("http://127.0.0.1:{}/token", free_port());
    let without_tls = format!("https://{}/token", answers_anything_with_400());
    // The broker's own port has a certificate by an authority that is not the system's.
    let not_trusted = format!("https://{}/token", listeners.ssl);
    let masks = || {
        [
            (refuses.url(), ":REFUSES"),
            (talks.url(), ":TALKS"),
            (closed.as_str(), ":CLOSED"),
            (without_tls.as_str(), ":WITHOUT_TLS"),
            (not_trusted.as_str(), ":TLS"),
        ]
        .into_iter()
        .fold(Masks::default(), |masks, (url, word)| {
            let port = url.rsplit_once(':').unwrap().1;
            let port = port.trim_end_matches(|letter: char| !letter.is_ascii_digit());
            masks.hide(format!(":{port}"), word)
        })
        .hide(
            format!(":{}", listeners.sasl_ssl.rsplit_once(':').unwrap().1),
            ":SASL",
        )
    };
    let cases = [
        (
            "client_refused",
            of_provider(&listeners, refuses.url()),
            "the provider answers 401: invalid_client unknown client",
        ),
        (
            "no_token_in_the_answer",
            of_provider(&listeners, talks.url()),
            "the provider's answer is no token",
        ),
        (
            "nobody_listens",
            of_provider(&listeners, &closed),
            "Connection refused",
        ),
        (
            "unknown_name",
            of_provider(&listeners, "https://none.invalid/token"),
            "none.invalid",
        ),
        (
            "provider_not_trusted",
            of_provider(&listeners, &not_trusted),
            "kafka.sasl.token_ca_file",
        ),
        (
            "provider_without_tls",
            of_provider(&listeners, &without_tls),
            "kafka.sasl.token_url",
        ),
        (
            "not_accepted",
            of_provider(&listeners, foreign.url()),
            "the broker does not accept the token: look at kafka.sasl.token_url",
        ),
    ];
    let started: Vec<_> = cases
        .iter()
        .map(|(_, kafka, _)| refused::agent(kafka))
        .collect();
    for ((name, kafka, expected), agent) in cases.iter().zip(started) {
        agent.assert_told(&format!("token_{name}"), expected, masks());
        let mut answer = doctor(kafka, &[]);
        answer.hide_configuration();
        let told = story(&answer, &masks());
        assert_golden!(&format!("doctor/kafka_token_{name}"), &told);
        assert_eq!(answer.status, Some(1), "{name}");
    }
}

#[test]
fn d13_half_set_tokens_end_the_start_with_one_line() {
    let start = |sasl: &str| {
        let kafka = format!(
            "[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.sasl]\nmechanism = \"OAUTHBEARER\"\n{sasl}"
        );
        let configuration = Configuration::new(&kafka);
        let state = tempfile::tempdir().unwrap();
        let file = configuration.file();
        let arguments = [
            "agent",
            "--config",
            &file,
            "--state-dir",
            text(state.path()),
        ];
        let output = command(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr)
            .unwrap()
            .replace(&file, "CONFIG");
        (output.status.code(), said.trim_end().to_owned())
    };
    let old = unsecured_token("alice", Duration::ZERO);
    for (sasl, expected) in [
        (
            "",
            "kafka.sasl.token_url: it is missing: OAUTHBEARER needs it, or kafka.sasl.token_file or kafka.sasl.token_command",
        ),
        (
            "token_url = \"https://id.example.org/\"\n",
            "kafka.sasl.client_id: it is missing: kafka.sasl.token_url needs it",
        ),
        (
            "token_url = \"https://id.example.org/\"\nclient_id = \"a\"\n",
            "kafka.sasl.client_secret_file: it is missing: kafka.sasl.token_url needs it",
        ),
        (
            "token_url = \"http://id.example.org/\"\nclient_id = \"a\"\nclient_secret = \"s3cret\"\n",
            "CONFIG:5: kafka.sasl.token_url: http would send the client's secret in clear: take https",
        ),
        (
            "token_url = \"https://id.example.org/\"\ntoken_file = \"/t\"\n",
            "CONFIG:6: kafka.sasl.token_file: kafka.sasl.token_url is said too: take one of them",
        ),
        (
            "scope = \"a\"\ntoken = \"s3cret\"\n",
            "CONFIG:5: kafka.sasl.scope: it needs kafka.sasl.token_url",
        ),
        (
            "token_file = \"/none\"\n",
            "CONFIG:5: kafka.sasl.token_file: /none: the file cannot be read: No such file or directory (os error 2)",
        ),
        (
            "username = \"alice\"\ntoken = \"s3cret\"\n",
            "CONFIG:5: kafka.sasl.username: it has no effect with kafka.sasl.mechanism = OAUTHBEARER",
        ),
        (
            "token_url = \"https://id.example.org/\"\nclient_id = \"a\"\nclient_secret = \"s3cret\"\ntoken_ca_file = \"/none\"\n",
            "CONFIG:8: kafka.sasl.token_ca_file: /none: reading authorities: I/O error: No such file or directory (os error 2)",
        ),
    ] {
        let (status, said) = start(sasl);
        assert_eq!(said, format!("tidegauge: {expected}"), "{sasl}");
        assert_eq!(status, Some(2), "{sasl}");
    }
    assert!(
        old.starts_with("eyJ"),
        "what the tests look for in logs: {old}"
    );
}
