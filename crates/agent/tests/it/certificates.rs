//! When a check over TLS tells the certificate: at first, when it is another one, and once a day.

use crate::http_server::{Behaviour, Server, reply};
use crate::probes::Authority;
use crate::scripted::settings;
use tidegauge_agent::probes::{Check, CheckResult, KeyValue, ProbeContext};
use tidegauge_model::{ManualClock, Value};

const TEXTS: [&str; 4] = ["issuer", "subject", "names", "fingerprint_sha256"];

fn text<'a>(result: &'a CheckResult, name: &str) -> Option<&'a str> {
    match result.value(name)? {
        Value::Text(text) => Some(text),
        other => panic!("{name} is {other:?}"),
    }
}

fn tells(result: &CheckResult) -> bool {
    let told = TEXTS.iter().filter(|name| text(result, name).is_some());
    match told.count() {
        0 => {
            assert_eq!(result.value("verified"), None);
            false
        }
        all => {
            assert_eq!(all, TEXTS.len());
            assert!(result.value("verified").is_some());
            true
        }
    }
}

#[tokio::test]
async fn a_certificate_is_told_when_it_is_news_and_once_a_day() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let of = |authority: &Authority| {
        let acceptor = authority.acceptor("localhost", 2020, 2100);
        Server::start(Behaviour::Reply(reply(200, b"x")), Some(acceptor))
    };
    let (server, other) = (of(&ours).await, of(&theirs).await);
    let settings = settings(&server.url("https", "localhost"))
        .with_ca_file(&ours.file)
        .expect("a path");
    let check = Check::new(settings, &ProbeContext::new()).expect("can be made");
    let clock = ManualClock::at(1_800_000_000_000_000);
    let first = check.run(&clock).await;
    assert!(first.is_up() && tells(&first), "{first:?}");
    assert_eq!(text(&first, "names"), Some("localhost"));
    assert_eq!(text(&first, "fingerprint_sha256").map(str::len), Some(64));
    for (hours, expected) in [(0, false), (23, false), (1, true), (0, false), (23, false)] {
        clock.advance(hours * 3_600_000_000);
        let result = check.run(&clock).await;
        assert_eq!(tells(&result), expected, "after {hours} hours");
        // How long it is valid is told always.
        for name in ["certificate_expires_seconds", "chain_expires_seconds"] {
            assert!(result.value(name).is_some(), "{name}");
        }
    }

    // The same check, sent on to a server with another certificate that is not trusted.
    let moved = format!(
        "HTTP/1.1 302 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        other.url("https", "localhost")
    );
    let acceptor = ours.acceptor("localhost", 2020, 2100);
    let sends_on = Server::start(Behaviour::Reply(moved.into_bytes()), Some(acceptor)).await;
    let follows = crate::scripted::settings(&sends_on.url("https", "localhost"))
        .with_ca_file(&ours.file)
        .and_then(|settings| settings.with("follow_redirects", KeyValue::from(true)))
        .expect("can be used");
    let check = Check::new(follows, &ProbeContext::new()).expect("can be made");
    let result = check.run(&clock).await;
    assert_eq!(
        result.value("verified"),
        Some(&Value::Bool(false)),
        "{result:?}"
    );
    assert!(!tells(&check.run(&clock).await), "the last one is the same");
}
