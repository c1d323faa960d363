//! The API as somebody with the password who means harm asks it: a fixed number of requests made of
//! hostile parts, in every place where a part may stand. Each is answered as a request that is wrong
//! or has nothing to find, never with an error of the server and never with what was sent as a page.

use crate::Server;
use crate::client::Answer;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::ManualClock;
use tidegauge_serve::{DoorSettings, Token};

const NOW_MS: i64 = 1_795_183_200_000;
const MARK: &str = "xf00dx";
const KEY: &str = "authorization: Bearer crawler\r\n";

/// What stands where a name, a number or a path is expected; `MARK` shows what is sent back.
const PARTS: &[&str] = &[
    "",
    "'",
    "' or '1'='1",
    "'; drop table host; --",
    "\" union select xf00dx from dead_letter --",
    "1;waitfor delay '0:0:10'",
    "$1",
    "<script>xf00dx</script>",
    "<img src=x onerror=xf00dx>",
    "javascript:xf00dx",
    "../../../../etc/passwd",
    "..\\..\\etc\\passwd",
    "/etc/passwd",
    "%s%s%n",
    "{{7*7}}",
    "\0",
    "\r\nset-cookie: xf00dx=1",
    "\u{202e}\u{feff}\u{10ffff}",
    "a,b;c|d&e=f",
    "-1",
    "0",
    "NaN",
    "1e309",
    "0x10",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "340282366920938463463374607431768211456",
    "true",
    "null",
    "[]",
    "demo-1",
    "cpu",
];

fn encoded(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        write!(text, "%{byte:02x}").expect("a string takes it");
    }
    text
}

async fn server() -> Server {
    let door = DoorSettings {
        token: Some(Token::new("crawler")),
        ..DoorSettings::default()
    };
    let clock = Arc::new(ManualClock::at(NOW_MS * 1_000));
    let server = Server::behind(door, clock, Duration::from_millis(20)).await;
    crate::demo::fill(&server.reader, NOW_MS * 1_000, 60);
    server
}

/// What every answer has, whatever was asked.
fn judge(asked: &str, answer: &Answer, is_live: bool) {
    let status = answer.status;
    assert!(
        (200..500).contains(&status),
        "{asked}: {status} {}",
        answer.body
    );
    let header = |name| answer.header(name).unwrap_or_default();
    assert_eq!(header("x-content-type-options"), "nosniff", "{asked}");
    assert_eq!(header("x-frame-options"), "DENY", "{asked}");
    assert!(
        header("content-security-policy").contains("default-src 'self'"),
        "{asked}"
    );
    assert_eq!(header("set-cookie"), "", "{asked}");
    assert_eq!(header("access-control-allow-origin"), "", "{asked}");
    let kind = header("content-type");
    let is_page = kind.starts_with("text/html");
    assert!(
        !(is_page && answer.body.contains(MARK)),
        "{asked}: {}",
        answer.body
    );
    let said_back = answer.headers.iter().any(|(_, value)| value.contains(MARK));
    assert!(!said_back, "{asked}: {:?}", answer.headers);
    if status != 200 && !is_live && kind.starts_with("application/json") {
        let said = answer.json();
        assert!(said["error"].is_string(), "{asked}: {said}");
        let text = said["error"].to_string().to_lowercase();
        for inner in ["sql", "sqlite", "postgres", "panicked", "src/"] {
            assert!(!text.contains(inner), "{asked}: {text}");
        }
    }
}

#[tokio::test]
async fn hostile_parameters_are_refused_in_every_place() {
    let server = server().await;
    let (from, to) = ((NOW_MS - 60_000).to_string(), NOW_MS.to_string());
    let good = [
        ("host", "demo-1"),
        ("panel", "cpu"),
        ("from", &from),
        ("to", &to),
        ("pixels", "100"),
    ];
    let query = |place: usize, part: &str| {
        let pairs = good.iter().enumerate().map(|(index, (name, text))| {
            let text = if index == place { part } else { text };
            format!("{name}={}", encoded(text))
        });
        pairs.collect::<Vec<_>>().join("&")
    };
    let mut asked = 0;
    for part in PARTS {
        let mut paths: Vec<String> = (0..good.len())
            .map(|place| format!("/api/panel?{}", query(place, part)))
            .collect();
        let part = encoded(part);
        paths.extend([
            format!("/api/overview?host={part}"),
            format!("/api/overview?{part}=demo-1"),
            format!("/api/overview?host=demo-1&host={part}"),
            format!("/api/hosts?{part}"),
            format!("/api/{part}"),
            format!("/{part}"),
            format!("/assets/{part}"),
            format!("/assets/..%2f..%2f{part}"),
        ]);
        for path in paths {
            let answer = server.get(&path, KEY).await;
            judge(&path, &answer, false);
            asked += 1;
        }
        let path = format!("/api/live?host=no-such-host&since={part}");
        judge(&path, &server.get(&path, KEY).await, true);
    }
    assert_eq!(asked, PARTS.len() * 13);
    // What it told before it tells after, to those who know the token.
    let hosts = server.get("/api/hosts", KEY).await.json();
    assert_eq!(hosts[0]["name"], "demo-1");
    assert_eq!(server.get("/api/hosts", "").await.status, 401);
    server.stop().await;
}

#[tokio::test]
async fn ranges_that_would_be_too_much_are_refused_and_wide_ones_are_small() {
    let server = server().await;
    for (from, to, pixels, expected) in [
        (0, 253_402_300_800_000_i64, "100", 400),
        (0, NOW_MS, "100", 400),
        (NOW_MS - 400 * 86_400_000, NOW_MS, "4000", 200),
        (NOW_MS - 400 * 86_400_000 - 1, NOW_MS, "100", 400),
        (NOW_MS, NOW_MS - 1, "100", 400),
        (NOW_MS, NOW_MS, "100", 400),
        (i64::MIN, i64::MAX, "100", 400),
        (NOW_MS - 1, NOW_MS, "4294967295", 400),
        (NOW_MS - 1, NOW_MS, "0", 400),
        (0, 1, "10", 200),
    ] {
        let path = format!("/api/panel?host=demo-1&panel=cpu&from={from}&to={to}&pixels={pixels}");
        let answer = server.get(&path, KEY).await;
        judge(&path, &answer, false);
        assert_eq!(answer.status, expected, "{path}: {}", answer.body);
        assert!(answer.body.len() < 2_000_000, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn wrong_methods_heads_and_encodings_are_refused() {
    let server = server().await;
    let host = "host: localhost\r\nconnection: close\r\n";
    for path in [
        "/",
        "/api/hosts",
        "/api/panel",
        "/api/live",
        "/assets/x",
        "/%",
    ] {
        for method in [
            "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get",
        ] {
            let request =
                format!("{method} {path} HTTP/1.1\r\n{host}{KEY}content-length: 3\r\n\r\nabc");
            let answer = server.raw(request.as_bytes()).await;
            judge(&request, &answer, true);
            assert_eq!(answer.status, 405, "{request}");
        }
        for header in [
            "accept-encoding: gzip, br, \u{fffd}, *;q=-1\r\n",
            "if-none-match: W/\"xf00dx\", *\r\n",
            "range: bytes=-1,99999999999999999999-\r\n",
            "x-forwarded-host: evil.example\r\nx-forwarded-for: 127.0.0.1\r\n",
            "cookie: xf00dx=' or 1=1 --\r\n",
            "content-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            "last-event-id: 99999999999999999999\r\n",
            "expect: 100-continue\r\n",
            "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        ] {
            let answer = server.get(path, &format!("{KEY}{header}")).await;
            judge(&format!("{path} {header}"), &answer, true);
        }
    }
    for bytes in [
        &b"GET /api/panel?host=\xff\xfe HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer crawler\r\n\r\n"[..],
        b"GET /api/panel?host=%ff%fe&panel=%c3%28&from=%&to=%zz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer crawler\r\n\r\n",
        b"GET /%ff%fe/%00 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer crawler\r\n\r\n",
        b"GET /api/hosts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer \xff\xfe\r\n\r\n",
    ] {
        let answer = server.raw(bytes).await;
        assert!((200..500).contains(&answer.status), "{}", answer.body);
        assert!(!answer.body.contains("demo-1"), "{}", answer.body);
    }
    server.stop().await;
}
