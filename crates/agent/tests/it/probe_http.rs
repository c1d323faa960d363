//! The probe `http`: what it sends, what it expects, the redirects that it follows and the proxies that
//! it goes through, against servers in this process.

use crate::http_server::{Behaviour, Server, reply};
use crate::probes::Authority;
use crate::scripted::{Act, Scripted, check, hurried, say, settings};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegauge_agent::probes::{
    CheckReason as Reason, CheckResult, CheckSettings, KeyValue, ProbeContext, check_once,
};
use tidegauge_model::{SystemClock, Value};

/// Settings by their keys.
type Keys = [(&'static str, KeyValue)];

fn pairs(pairs: &[&str]) -> KeyValue {
    KeyValue::Texts(pairs.iter().map(|&pair| pair.to_owned()).collect())
}

fn with(settings: CheckSettings, keys: &Keys) -> CheckSettings {
    keys.iter().fold(settings, |settings, (key, value)| {
        settings.with(key, value.clone()).expect("a value")
    })
}

/// Keeps the head of what it is asked, and answers.
async fn keeper(answer: Vec<u8>) -> (Server, Arc<Mutex<String>>) {
    let kept = Arc::new(Mutex::new(String::new()));
    let server = Server::start(Behaviour::Keep(Arc::clone(&kept), answer), None).await;
    (server, kept)
}

fn heard(kept: &Mutex<String>) -> String {
    kept.lock().expect("not poisoned").clone()
}

fn moved(status: u16, to: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

fn detail(result: &CheckResult) -> &str {
    result.finding.detail.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn the_request_is_as_the_settings_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        KeyValue::from(path.to_str().expect("a plain path"))
    };
    let headers = pairs(&["Host=other.example", "X-Key=hidden", "content-type=text/x"]);
    let token = [("bearer_token_file", file("token", "hidden\n"))];
    let user = [
        ("username", "u".into()),
        ("password_file", file("password", "hidden\r\n")),
    ];
    let posted = [
        ("method", "POST".into()),
        ("body", "hello".into()),
        ("headers", headers),
    ];
    let put = [("method", "PUT".into()), ("body_file", file("body", "x=1"))];
    let table: [(&Keys, &[&str]); 4] = [
        (
            &posted,
            &[
                "POST / HTTP/1.1\r\nhost: other.example\r\n",
                "\r\nx-key: hidden\r\n",
                "\r\ncontent-type: text/x\r\n",
                "\r\ncontent-length: 5\r\n",
            ],
        ),
        (&put, &["PUT / HTTP/1.1\r\n", "\r\ncontent-length: 3\r\n"]),
        (&token, &["GET / ", "\r\nauthorization: Bearer hidden\r\n"]),
        (&user, &["\r\nauthorization: Basic dTpoaWRkZW4=\r\n"]),
    ];
    for (keys, expected) in table {
        let (server, kept) = keeper(reply(200, b"x")).await;
        let settings = with(settings(&server.url("http", "127.0.0.1")), keys);
        assert!(!format!("{settings:?}").contains("hidden"));
        let result = check(settings).await;
        assert!(result.is_up(), "{result:?}");
        assert!(!format!("{result:?}").contains("hidden"));
        let heard = heard(&kept);
        for part in expected {
            assert!(heard.contains(part), "{part:?} is not in {heard:?}");
        }
    }
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_without_their_secrets() {
    let text = |text: &str| KeyValue::from(text);
    let missing = "/nowhere/at/all";
    let table: [(&Keys, &str); 15] = [
        (&[("method", text("a b"))], "no method"),
        (&[("method", text("CONNECT"))], "no method"),
        (&[("body", text("x")), ("body_file", text("y"))], "take one"),
        (&[("body_file", text(missing))], missing),
        (&[("bearer_token_file", text(missing))], missing),
        (&[("headers", pairs(&["a b=c"]))], "no name of a header"),
        (
            &[("headers", pairs(&["content-length=1"]))],
            "cannot be set",
        ),
        (&[("headers", pairs(&["x=hidden\n"]))], "cannot be sent"),
        (&[("username", text("u"))], "needs a `password_file`"),
        (&[("password", text("hidden"))], "needs a `username`"),
        (
            &[
                ("username", text("u")),
                ("password", text("hidden")),
                ("bearer_token", text("hidden")),
            ],
            "take one",
        ),
        (
            &[
                ("headers", pairs(&["Authorization=hidden"])),
                ("bearer_token", text("hidden")),
            ],
            "take one",
        ),
        (
            &[("proxy", text("ftp://u:hidden@h:1"))],
            "expected http://host:port",
        ),
        (&[("max_redirects", 3.into())], "follow_redirects"),
        (&[("json_pointer", text("/a"))], "json_equals"),
    ];
    for (keys, expected) in table {
        let settings = with(settings("http://127.0.0.1:1/"), keys);
        let made = check_once(settings, &ProbeContext::new(), &SystemClock).await;
        let error = made.expect_err("refused").to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        assert!(!error.contains("hidden"), "{error}");
    }
}

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[tokio::test]
async fn every_expectation_has_its_reason() {
    let text = |text: &str| KeyValue::from(text);
    let json = |equals: &str| {
        vec![
            ("json_pointer", text("/a/0")),
            ("json_equals", text(equals)),
        ]
    };
    let header = |pattern: &str| vec![("expect_headers", pairs(&[pattern]))];
    let header_absent = |pattern: &str| vec![("expect_headers_absent", pairs(&[pattern]))];
    let absent = vec![("body_regexp_absent", text("error"))];
    let little = ("max_body_bytes", KeyValue::from(4));
    let of_json = answer("x-one: a\r\nx-one: b\r\n", br#"{"a": ["yes", 2]}"#);
    let plain = answer("", b"no error");
    let ok = Reason::Ok;
    let table = [
        (&of_json, json("yes"), ok, ""),
        (
            &of_json,
            json("no"),
            Reason::AnswerMismatch,
            "/a/0 is \"yes\", expected no",
        ),
        (
            &of_json,
            vec![("json_pointer", text("/b")), ("json_equals", text("1"))],
            Reason::AnswerMismatch,
            "nothing is at /b",
        ),
        (&plain, json("yes"), Reason::AnswerMismatch, "not JSON"),
        (
            &of_json,
            [json("yes"), vec![little.clone()]].concat(),
            Reason::TooLarge,
            "first 4 bytes",
        ),
        (&of_json, header("X-One=^b$"), ok, ""),
        (
            &of_json,
            header("x-one=^c$"),
            Reason::HeaderMismatch,
            "x-one is not as",
        ),
        (
            &of_json,
            header("x-two=."),
            Reason::HeaderMismatch,
            "x-two is missing",
        ),
        (&of_json, header_absent("X-One=^c$"), ok, ""),
        (&of_json, header_absent("x-two="), ok, ""),
        (
            &of_json,
            header_absent("x-one=^b"),
            Reason::HeaderMismatch,
            "x-one matches the pattern that must be absent",
        ),
        (&of_json, absent.clone(), ok, ""),
        (
            &plain,
            absent.clone(),
            Reason::BodyMismatch,
            "must be absent",
        ),
        (
            &of_json,
            [absent, vec![little]].concat(),
            Reason::TooLarge,
            "first 4 bytes",
        ),
        (&plain, vec![("min_body_bytes", 8.into())], ok, ""),
        (
            &plain,
            vec![("min_body_bytes", 9.into())],
            Reason::TooSmall,
            "has 8 bytes",
        ),
        (&plain, vec![("expect_max_body_bytes", 8.into())], ok, ""),
        (
            &plain,
            vec![("expect_max_body_bytes", 7.into())],
            Reason::TooLarge,
            "the 7 bytes",
        ),
        (
            &plain,
            vec![("max_time", KeyValue::Duration(Duration::from_nanos(1)))],
            Reason::TooSlow,
            "at most 1ns",
        ),
    ];
    for (bytes, keys, reason, expected) in table {
        let server = Server::start(Behaviour::Reply(bytes.clone()), None).await;
        let result = check(with(settings(&server.url("http", "127.0.0.1")), &keys)).await;
        assert_eq!(
            result.finding.reason,
            reason,
            "{keys:?} {result:?}",
            keys = keys.len()
        );
        assert!(detail(&result).contains(expected), "{result:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told() {
    let ours = Authority::new();
    let acceptor = ours.acceptor("localhost", 2020, 2100);
    let server = Server::start(Behaviour::Reply(reply(200, b"x")), Some(acceptor)).await;
    for (days, reason) in [(30, Reason::Ok), (100_000, Reason::CertificateExpiresSoon)] {
        let settings = settings(&server.url("https", "localhost")).with_ca_file(&ours.file);
        let settings = with(settings.expect("a path"), &[("min_days_left", days.into())]);
        assert_eq!(check(settings).await.finding.reason, reason, "{days}");
    }
}

#[tokio::test]
async fn encoded_bodies_are_read_up_to_the_limit_after_decoding() {
    let long = [vec![b' '; 200_000], b"needle".to_vec()].concat();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&long).expect("into memory");
    let gzip = gzip.finish().expect("into memory");
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(b"needle").expect("into memory");
    let zlib = zlib.finish().expect("into memory");
    let table = [
        ("gzip", gzip.clone(), true, 1 << 20, Reason::Ok, 200_006.0),
        (
            "bomb",
            gzip.clone(),
            true,
            10_000,
            Reason::TooLarge,
            10_000.0,
        ),
        (
            "not asked for",
            gzip.clone(),
            false,
            1 << 20,
            Reason::BodyMismatch,
            gzip.len() as f64,
        ),
        ("deflate", zlib, true, 1 << 20, Reason::Ok, 6.0),
        (
            "cut",
            gzip[..gzip.len() - 9].to_vec(),
            true,
            1 << 20,
            Reason::Protocol,
            -1.0,
        ),
        (
            "none",
            b"needle".to_vec(),
            true,
            1 << 20,
            Reason::Protocol,
            -1.0,
        ),
    ];
    for (name, body, asks, limit, reason, length) in table {
        let encoding = match name {
            "deflate" => "content-encoding: deflate\r\n",
            _ => "content-encoding: gzip\r\n",
        };
        let server = Server::start(Behaviour::Reply(answer(encoding, &body)), None).await;
        let mut keys = vec![
            ("body_regexp", "needle".into()),
            ("max_body_bytes", KeyValue::from(limit)),
        ];
        if asks {
            keys.push(("headers", pairs(&["accept-encoding=gzip, deflate"])));
        }
        let result = check(with(settings(&server.url("http", "127.0.0.1")), &keys)).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
        let expected = (length >= 0.0).then_some(Value::Float(length));
        assert_eq!(result.value("body_bytes"), expected.as_ref(), "{name}");
    }
}

fn following(settings: CheckSettings) -> CheckSettings {
    with(settings, &[("follow_redirects", true.into())])
}

#[tokio::test]
async fn redirects_are_followed_and_credentials_stay_at_home() {
    let (last, kept) = keeper(reply(200, b"there")).await;
    let to = format!("http://127.0.0.1:{}/x?token=y", last.address.port());
    let first = Server::start(Behaviour::Reply(moved(302, &to)), None).await;
    let url = format!("http://u:hidden@127.0.0.1:{}/", first.address.port());
    let keys = [
        (
            "headers",
            pairs(&[
                "cookie=hidden",
                "x-key=hidden",
                "accept=text/x",
                "host=a.example",
            ]),
        ),
        ("body_regexp", "there".into()),
    ];
    let result = check(following(with(settings(&url), &keys))).await;
    assert!(result.is_up(), "{result:?}");
    assert_eq!(result.value("redirects"), Some(&Value::Float(1.0)));
    let shown = format!("http://127.0.0.1:{}/x", last.address.port());
    assert_eq!(result.value("final_url"), Some(&Value::from(shown)));
    assert_eq!(result.value("status"), Some(&Value::Float(200.0)));
    let heard = heard(&kept);
    assert!(
        heard.starts_with("GET /x?token=y HTTP/1.1\r\nhost: 127.0.0.1:"),
        "{heard}"
    );
    assert!(heard.contains("accept: text/x"), "{heard}");
    assert!(
        !heard.contains("hidden") && !heard.contains("authorization"),
        "{heard}"
    );
    // Without being asked for, it is an answer like any other.
    let result = check(settings(&url)).await;
    assert_eq!(result.value("status"), Some(&Value::Float(302.0)));
    assert_eq!(result.value("redirects"), None);
}

#[tokio::test]
async fn redirects_that_do_harm_are_refused() {
    let endless = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: /";
    let table = [
        (
            "a loop",
            moved(302, "/"),
            "http",
            Reason::RedirectLoop,
            "again",
        ),
        (
            "metadata",
            moved(307, "http://169.254.169.254/latest"),
            "http",
            Reason::RedirectRefused,
            "169.254.169.254",
        ),
        (
            "another form of it",
            moved(301, "http://0xa9fea9fe/"),
            "http",
            Reason::RedirectRefused,
            "169.254.169.254",
        ),
        (
            "link-local",
            moved(301, "http://[fe80::1]/"),
            "http",
            Reason::RedirectRefused,
            "fe80::1",
        ),
        (
            "a file",
            moved(301, "file:///etc/passwd"),
            "http",
            Reason::RedirectRefused,
            "\"file\"",
        ),
        (
            "no URL",
            moved(301, "http://["),
            "http",
            Reason::Protocol,
            "no URL",
        ),
        (
            "nowhere",
            format!("{endless}\r\n").into_bytes(),
            "http",
            Reason::ConnectionLost,
            "",
        ),
    ];
    for (name, bytes, scheme, reason, expected) in table {
        let server = Server::start(Behaviour::Reply(bytes), None).await;
        let result = check(following(hurried(settings(
            &server.url(scheme, "127.0.0.1"),
        ))))
        .await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
        assert!(detail(&result).contains(expected), "{name}: {result:?}");
    }
}

#[tokio::test]
async fn the_number_of_redirects_is_bounded_and_bodies_do_not_go_elsewhere() {
    let (last, _kept) = keeper(reply(200, b"there")).await;
    let middle = Server::start(
        Behaviour::Reply(moved(308, &last.url("http", "127.0.0.1"))),
        None,
    )
    .await;
    let first = Server::start(
        Behaviour::Reply(moved(308, &middle.url("http", "127.0.0.1"))),
        None,
    )
    .await;
    let url = first.url("http", "127.0.0.1");
    for (most, reason) in [(1, Reason::RedirectLoop), (2, Reason::Ok)] {
        let settings = with(following(settings(&url)), &[("max_redirects", most.into())]);
        assert_eq!(check(settings).await.finding.reason, reason, "{most}");
    }
    let post = [("method", "POST".into()), ("body", "secret".into())];
    let result = check(with(following(settings(&url)), &post)).await;
    assert_eq!(result.finding.reason, Reason::RedirectRefused, "{result:?}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_address() {
    let (proxy, kept) = keeper(reply(200, b"by proxy")).await;
    let text = format!("http://u:hidden@127.0.0.1:{}", proxy.address.port());
    let keys = [
        ("proxy", text.as_str().into()),
        ("body_regexp", "by proxy".into()),
    ];
    let result = check(with(settings("http://host.invalid/a?b"), &keys)).await;
    assert!(result.is_up(), "{result:?}");
    let heard = heard(&kept);
    assert!(
        heard.starts_with("GET http://host.invalid/a?b HTTP/1.1\r\nhost: host.invalid\r\n"),
        "{heard}"
    );
    assert!(
        heard.contains("proxy-authorization: Basic dTpoaWRkZW4=\r\n"),
        "{heard}"
    );
    assert!(!format!("{result:?}").contains("hidden"));
}

#[tokio::test]
async fn a_proxy_opens_the_way_to_https() {
    let ours = Authority::new();
    let way = vec![
        Act::Hear("CONNECT host.invalid:443 HTTP/1.1\r\n"),
        Act::Hear("\r\n\r\n"),
        say("HTTP/1.1 200 Connected\r\n\r\n"),
        Act::StartTls(ours.acceptor("host.invalid", 2020, 2100)),
        Act::Hear("GET / HTTP/1.1\r\n"),
        Act::Hear("\r\n\r\n"),
        say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"),
        Act::Hear("never"),
    ];
    let heard = Act::Hear("\r\n\r\n");
    let table = [
        ("opens", way, Reason::Ok),
        (
            "refuses",
            vec![heard.clone(), say("HTTP/1.1 403 No\r\n\r\n")],
            Reason::ProxyRefused,
        ),
        (
            "is none",
            vec![heard.clone(), say("SSH-2.0-x\r\n\r\n")],
            Reason::Protocol,
        ),
        (
            "goes on",
            vec![heard.clone(), say("HTTP/1.1 200 OK\r\n\r\nand more")],
            Reason::Protocol,
        ),
        ("closes", vec![heard.clone()], Reason::ConnectionLost),
        ("hangs", vec![heard.clone(), Act::Hang], Reason::Deadline),
        (
            "has no end",
            vec![heard, Act::Flood(b'x')],
            Reason::Protocol,
        ),
    ];
    for (name, script, reason) in table {
        let proxy = Scripted::start(script).await;
        let text = format!("http://127.0.0.1:{}", proxy.address.port());
        let settings = settings("https://host.invalid/").with_ca_file(&ours.file);
        let settings = with(
            settings.expect("a path"),
            &[("proxy", text.as_str().into())],
        );
        let result = check(hurried(settings)).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
    }
}

#[tokio::test]
async fn a_server_may_ask_who_is_there() {
    let (ours, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let acceptor = ours.asking_acceptor("localhost");
    let server = Server::start(Behaviour::Reply(reply(200, b"x")), Some(acceptor)).await;
    let base = settings(&server.url("https", "localhost")).with_ca_file(&ours.file);
    let base = base.expect("a path");
    let refused = check(base.clone()).await;
    assert_eq!(refused.finding.reason, Reason::TlsHandshake, "{refused:?}");
    let (certificate, key) = ours.identity(folder.path());
    let keys = [
        ("certificate_file", certificate.as_str().into()),
        ("key_file", key.as_str().into()),
    ];
    let result = check(with(base.clone(), &keys)).await;
    assert!(result.is_up(), "{result:?}");
    let alone = with(base, &keys[..1]);
    let error = check_once(alone, &ProbeContext::new(), &SystemClock).await;
    assert!(error.expect_err("refused").to_string().contains("key_file"));
}
