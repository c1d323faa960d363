//! Servers that mean harm, for the probes that speak over TCP: one case each, with the reason that is
//! expected. Every check ends within its deadline and keeps little of what it is sent.

use crate::http_server::reply;
use crate::probes::Authority;
use crate::scripted::{Act, Scripted, check, hurried, say, settings};
use tidegauge_agent::probes::{CheckReason as Reason, KeyValue};

/// A record of TLS that says `handshake_failure`.
const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";
/// A record that says that it is longer than records may be.
const LONG_RECORD: &[u8] = b"\x16\x03\x03\xff\xffxxxx";

async fn reason(url_scheme: &str, script: Vec<Act>, dialogue: &[&str]) -> Reason {
    let server = Scripted::start(script).await;
    let mut settings = hurried(settings(&server.url(url_scheme)));
    if !dialogue.is_empty() {
        let steps = dialogue.iter().map(|&step| step.to_owned()).collect();
        settings = settings
            .with("dialogue", KeyValue::Texts(steps))
            .expect("a dialogue");
    }
    check(settings).await.finding.reason
}

#[tokio::test]
async fn http() {
    let head = "HTTP/1.1 200 OK\r\n";
    let heard = Act::Hear("\r\n\r\n");
    let short = say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    let table = [
        (
            "endless header lines",
            vec![
                heard.clone(),
                say(head),
                say(&"a: b\r\n".repeat(20_000)),
                Act::Hang,
            ],
            Reason::Protocol,
        ),
        (
            "one endless header",
            vec![heard.clone(), say(head), say("a: "), Act::Flood(b'x')],
            Reason::Protocol,
        ),
        (
            "a dripping header",
            vec![heard.clone(), say(head), say("a: "), Act::Drip(b'x')],
            Reason::Deadline,
        ),
        (
            "a dripping body",
            vec![
                heard.clone(),
                say("HTTP/1.1 200 OK\r\n\r\n"),
                Act::Drip(b'x'),
            ],
            Reason::Deadline,
        ),
        (
            "less than announced",
            vec![heard.clone(), short],
            Reason::ConnectionLost,
        ),
        (
            "a length that is none",
            vec![
                heard.clone(),
                say("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
            ],
            Reason::Protocol,
        ),
        (
            "two lengths",
            vec![
                heard.clone(),
                say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            ],
            Reason::Protocol,
        ),
        (
            "a chunk of another size",
            vec![
                heard.clone(),
                say(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcdef\r\n0\r\n\r\n",
                ),
            ],
            Reason::Protocol,
        ),
        ("reset at once", vec![Act::Reset], Reason::ConnectionLost),
        (
            "reset after the request",
            vec![heard.clone(), Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "reset in the head",
            vec![heard.clone(), say(head), Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "reset in the body",
            vec![
                heard,
                say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
                Act::Reset,
            ],
            Reason::ConnectionLost,
        ),
    ];
    for (name, script, expected) in table {
        assert_eq!(reason("http", script, &[]).await, expected, "{name}");
    }
}

#[tokio::test]
async fn an_answer_before_the_request_is_an_answer() {
    // The bytes of the answer may be there before the request is: the answer is whole or refused,
    // never taken for half of one.
    let early = vec![Act::Say(reply(200, b"x"))];
    let got = reason("http", early, &[]).await;
    assert!(
        matches!(got, Reason::Ok | Reason::Protocol | Reason::ConnectionLost),
        "{got}"
    );
}

#[tokio::test]
async fn https() {
    let authority = Authority::new();
    let tls = Act::StartTls(authority.acceptor("localhost", 2020, 2100));
    let heard = Act::Hear("\r\n\r\n");
    let head = say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n");
    let body = say("\r\nabc");
    let table = [
        (
            "an alert",
            vec![Act::Say(ALERT.to_vec()), Act::Hang],
            Reason::TlsHandshake,
        ),
        ("reset at once", vec![Act::Reset], Reason::TlsHandshake),
        (
            "reset after the handshake",
            vec![tls.clone(), Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "reset after the request",
            vec![tls.clone(), heard.clone(), Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "reset in the head",
            vec![tls.clone(), heard.clone(), head.clone(), Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "reset in the body",
            vec![
                tls.clone(),
                heard.clone(),
                head.clone(),
                body.clone(),
                Act::Reset,
            ],
            Reason::ConnectionLost,
        ),
        (
            "closed in the body",
            vec![tls.clone(), heard.clone(), head.clone(), body],
            Reason::ConnectionLost,
        ),
        (
            "a dripping head",
            vec![tls, heard, head, Act::Drip(b'x')],
            Reason::Deadline,
        ),
    ];
    for (name, script, expected) in table {
        let server = Scripted::start(script).await;
        let settings = hurried(settings(&server.url("https")));
        let settings = settings.with_ca_file(&authority.file).expect("a file");
        let got = check(settings).await;
        assert_eq!(got.finding.reason, expected, "{name}: {got:?}");
    }
}

#[tokio::test]
async fn redirects_to_servers_that_mean_harm() {
    let heard = Act::Hear("\r\n\r\n");
    let ok = "HTTP/1.1 200 OK\r\n";
    let endless = vec![heard.clone(), say(ok), say("a: "), Act::Flood(b'x')];
    let drips = vec![heard.clone(), say(ok), say("a: "), Act::Drip(b'x')];
    for (name, scheme, script, expected) in [
        ("hangs", "http", vec![Act::Hang], Reason::Deadline),
        ("an endless header", "http", endless, Reason::Protocol),
        ("drips", "http", drips, Reason::Deadline),
        (
            "reset at once",
            "http",
            vec![Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "reset after the request",
            "http",
            vec![heard.clone(), Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "no TLS",
            "https",
            vec![say(ok), Act::Hang],
            Reason::TlsHandshake,
        ),
        (
            "an alert",
            "https",
            vec![Act::Say(ALERT.to_vec()), Act::Hang],
            Reason::TlsHandshake,
        ),
    ] {
        let harm = Scripted::start(script).await;
        let to = format!(
            "HTTP/1.1 302 Found\r\nlocation: {}\r\n\r\n",
            harm.url(scheme)
        );
        let home = Scripted::start(vec![heard.clone(), say(&to)]).await;
        let settings = hurried(settings(&home.url("http")));
        let settings = settings.with("follow_redirects", true).expect("a flag");
        let got = check(settings).await;
        assert_eq!(got.finding.reason, expected, "{name}: {got:?}");
    }
    // Two in a row, the last of which leads to where nobody is.
    let to =
        |port: u16| format!("HTTP/1.1 302 Found\r\nlocation: http://localhost:{port}/\r\n\r\n");
    let far = Scripted::start(vec![heard.clone(), say(&to(1))]).await;
    let home = Scripted::start(vec![heard, say(&to(far.address.port()))]).await;
    let settings = hurried(settings(&home.url("http")));
    let got = check(settings.with("follow_redirects", true).expect("a flag")).await;
    assert_eq!(got.finding.reason, Reason::ConnectRefused, "{got:?}");
}

#[tokio::test]
async fn tcp() {
    let expect = ["expect ^220 "];
    let answered = ["expect ^220 ", r"send HELO\r\n", "expect ^250 "];
    let early = [r"send HELO\r\n", "expect ^250 "];
    let table: [(_, _, &[&str], _); 9] = [
        ("a flood", vec![Act::Flood(b'x')], &expect, Reason::TooLarge),
        ("dripping", vec![Act::Drip(b'x')], &expect, Reason::Deadline),
        ("hanging", vec![Act::Hang], &expect, Reason::Deadline),
        ("closed", vec![], &expect, Reason::ConnectionLost),
        (
            "reset",
            vec![Act::Hear("HELO"), Act::Reset],
            &early,
            Reason::ConnectionLost,
        ),
        (
            "another greeting",
            vec![say("554 no\r\n")],
            &expect,
            Reason::AnswerMismatch,
        ),
        (
            "reset in the dialogue",
            vec![say("220 hi\r\n"), Act::Hear("HELO\r\n"), Act::Reset],
            &answered,
            Reason::ConnectionLost,
        ),
        (
            "an answer cut off",
            vec![say("220 hi\r\n"), Act::Hear("HELO\r\n"), say("25")],
            &answered,
            Reason::AnswerMismatch,
        ),
        (
            "both answers before the question",
            vec![say("220 hi\r\n250 ok\r\n"), Act::Hear("HELO\r\n")],
            &[r"expect (?m)^220 .*\n", r"send HELO\r\n", "expect ^250 "],
            Reason::Ok,
        ),
    ];
    for (name, script, dialogue, expected) in table {
        assert_eq!(reason("tcp", script, dialogue).await, expected, "{name}");
    }
}

#[tokio::test]
async fn tls() {
    let table = [
        (
            "an alert",
            vec![Act::Say(ALERT.to_vec())],
            Reason::TlsHandshake,
        ),
        (
            "a record too long",
            vec![Act::Say(LONG_RECORD.to_vec())],
            Reason::TlsHandshake,
        ),
        (
            "another protocol",
            vec![say("220 hi\r\n")],
            Reason::TlsHandshake,
        ),
        ("a flood", vec![Act::Flood(b'x')], Reason::TlsHandshake),
        ("closed", vec![], Reason::TlsHandshake),
        ("reset", vec![Act::Reset], Reason::TlsHandshake),
        (
            "dripping",
            vec![Act::Say(b"\x16\x03\x03\x20\0".to_vec()), Act::Drip(0)],
            Reason::Deadline,
        ),
        ("hanging", vec![Act::Hang], Reason::Deadline),
    ];
    for (name, script, expected) in table {
        for scheme in ["tls", "https", "grpcs"] {
            let got = reason(scheme, script.clone(), &[]).await;
            assert_eq!(got, expected, "{scheme}: {name}");
        }
    }
}

#[tokio::test]
async fn starttls() {
    let authority = Authority::new();
    let acceptor = Act::StartTls(authority.acceptor("localhost", 2020, 2100));
    let smtp = |answer| {
        vec![
            say("220-a\r\n220 b\r\n"),
            Act::Hear("EHLO tidegauge.invalid\r\n"),
            say("250-STARTTLS\r\n250 HELP\r\n"),
            Act::Hear("STARTTLS\r\n"),
            answer,
            acceptor.clone(),
        ]
    };
    let imap = |answer| {
        vec![
            say("* OK hi\r\n"),
            Act::Hear("a STARTTLS\r\n"),
            answer,
            acceptor.clone(),
        ]
    };
    let pop3 = |answer| {
        vec![
            say("+OK hi\r\n"),
            Act::Hear("STLS\r\n"),
            answer,
            acceptor.clone(),
        ]
    };
    let table = [
        ("smtp", smtp(say("220 go\r\n")), Reason::Ok),
        ("smtp", smtp(say("454 no\r\n")), Reason::StarttlsRefused),
        // What is said in the clear must not be taken for what is said over TLS.
        (
            "smtp",
            smtp(say("220 go\r\n250 injected\r\n")),
            Reason::Protocol,
        ),
        ("smtp", vec![say("554 busy\r\n")], Reason::StarttlsRefused),
        ("smtp", vec![Act::Flood(b'x')], Reason::TooLarge),
        ("imap", imap(say("* CAPABILITY\r\na OK go\r\n")), Reason::Ok),
        ("imap", imap(say("a BAD no\r\n")), Reason::StarttlsRefused),
        ("pop3", pop3(say("+OK go\r\n")), Reason::Ok),
        ("pop3", pop3(say("-ERR no\r\n")), Reason::StarttlsRefused),
        (
            "postgres",
            vec![Act::Hear("\x16/"), say("S"), acceptor.clone()],
            Reason::Ok,
        ),
        (
            "postgres",
            vec![Act::Hear("\x16/"), say("N")],
            Reason::StarttlsRefused,
        ),
        ("postgres", vec![Act::Reset], Reason::ConnectionLost),
        ("pop3", vec![Act::Hang], Reason::Deadline),
    ];
    for (at, (protocol, script, expected)) in table.into_iter().enumerate() {
        let server = Scripted::start(script).await;
        let settings = hurried(settings(&server.url("tcp")))
            .with("starttls", protocol)
            .and_then(|settings| settings.with_ca_file(&authority.file))
            .expect("settings");
        let result = check(settings).await;
        assert_eq!(
            result.finding.reason, expected,
            "{at} {protocol}: {result:?}"
        );
    }
}
