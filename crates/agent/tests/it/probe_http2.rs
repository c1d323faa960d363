//! The probe `http` over HTTP/2: what is agreed on, what is sent, and servers that mean harm.

use crate::probes::Authority;
use crate::scripted::{Act, Scripted, check, hurried, say, settings};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tidegauge_agent::probes::{CheckReason as Reason, CheckResult, CheckSettings, KeyValue};
use tidegauge_model::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` (RFC 7541, appendix A).
const OK: &[u8] = b"\x88";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Answers every request with a body of so many bytes, and keeps what it was asked.
struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>, status: u16, body_bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut task = JoinSet::new();
        let kept = Arc::clone(&heard);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, kept) = (tls.clone(), Arc::clone(&kept));
                connections.spawn(async move {
                    // What the client breaks off is no failure of the server.
                    match tls {
                        None => serve(stream, status, body_bytes, kept).await.ok(),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, status, body_bytes, kept).await.ok(),
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self {
            address,
            heard,
            _task: task,
        }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/x?y", self.address.port())
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("not poisoned").clone()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    status: u16,
    body_bytes: usize,
    heard: Arc<Mutex<Vec<String>>>,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut answers = JoinSet::new();
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let heard = Arc::clone(&heard);
        answers.spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut said = format!("{} {}", head.method, head.uri);
            for (name, value) in &head.headers {
                said.push_str(&format!("\n{name}: {}", value.to_str().unwrap_or("?")));
            }
            while let Some(Ok(data)) = body.data().await {
                said.push_str(&format!("\n{}", String::from_utf8_lossy(&data)));
            }
            heard.lock().expect("not poisoned").push(said);
            let answer = hyper::Response::builder()
                .status(status)
                .header("location", "/next")
                .body(())
                .expect("an answer");
            let mut sending = respond.send_response(answer, false).ok()?;
            let mut left = body_bytes;
            while left > 0 {
                sending.reserve_capacity(left.min(16_384));
                let room = std::future::poll_fn(|context| sending.poll_capacity(context)).await?;
                let part = room.ok()?.min(left);
                sending
                    .send_data(Bytes::from(vec![b'x'; part]), false)
                    .ok()?;
                left -= part;
            }
            sending.send_data(Bytes::new(), true).ok()
        });
    }
    Ok(())
}

fn acceptor(authority: &Authority, protocols: &[&[u8]]) -> TlsAcceptor {
    let mut config = authority.config("localhost", 2020, 2100);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn text(result: &CheckResult, name: &str) -> String {
    match result.value(name) {
        Some(Value::Text(text)) => text.to_string(),
        _ => String::new(),
    }
}

fn number(result: &CheckResult, name: &str) -> Option<f64> {
    match result.value(name) {
        Some(Value::Float(number)) => Some(*number),
        _ => None,
    }
}

fn with(settings: CheckSettings, keys: &[(&'static str, KeyValue)]) -> CheckSettings {
    keys.iter().fold(settings, |settings, (key, value)| {
        settings.with(key, value.clone()).expect("a value")
    })
}

#[tokio::test]
async fn the_version_is_what_is_agreed_on_or_asked_for() {
    let authority = Authority::new();
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let (one, two): (&[&[u8]], &[&[u8]]) = (&[b"http/1.1"], &[b"h2"]);
    let plain = crate::http_server::reply(200, b"x");
    for (offered, asked, expected) in [
        (both, "any", Ok("2")),
        (both, "2", Ok("2")),
        (two, "any", Ok("2")),
        (two, "1.1", Err(Reason::ProtocolVersion)),
        (one, "any", Ok("1.1")),
        (one, "1.1", Ok("1.1")),
        (one, "2", Err(Reason::ProtocolVersion)),
        (&[], "any", Ok("1.1")),
        (&[], "2", Err(Reason::ProtocolVersion)),
    ] {
        let tls = acceptor(&authority, offered);
        let speaks_two = expected == Ok("2");
        let (url, _servers) = if speaks_two || offered == two {
            let server = Server::start(Some(tls), 200, 3).await;
            (server.url("https"), (Some(server), None))
        } else {
            let behaviour = crate::http_server::Behaviour::Reply(plain.clone());
            let server = crate::http_server::Server::start(behaviour, Some(tls)).await;
            (server.url("https", "localhost"), (None, Some(server)))
        };
        let settings = settings(&url)
            .with_ca_file(&authority.file)
            .expect("a path");
        let result = check(with(settings, &[("http_version", asked.into())])).await;
        let case = format!("{asked} of {}: {result:?}", offered.len());
        match expected {
            Ok(version) => {
                assert!(result.is_up(), "{case}");
                assert_eq!(text(&result, "http_version"), version, "{case}");
                assert!(number(&result, "first_byte_seconds").is_some(), "{case}");
                assert!(number(&result, "tls_seconds").is_some(), "{case}");
            }
            Err(reason) => assert_eq!(result.finding.reason, reason, "{case}"),
        }
    }
}

#[tokio::test]
async fn the_request_and_what_is_expected_are_the_same() {
    let server = Server::start(None, 200, 3_000_000).await;
    let two = ("http_version", KeyValue::from("2"));
    let pairs = |pairs: &[&str]| KeyValue::Texts(pairs.iter().map(|&pair| pair.into()).collect());
    let posted = [
        two.clone(),
        ("method", "POST".into()),
        ("body", "hello".into()),
        ("headers", pairs(&["Host=other.example", "X-Key=k"])),
        ("body_regexp", "^xxx".into()),
    ];
    let result = check(with(settings(&server.url("http")), &posted)).await;
    assert!(result.is_up(), "{result:?}");
    assert_eq!(number(&result, "body_bytes"), Some(1_048_576.0));
    let heard = server.heard().remove(0);
    assert!(
        heard.starts_with("POST http://other.example/x?y\n"),
        "{heard}"
    );
    for line in ["\nx-key: k", "\ncontent-length: 5", "\nhello"] {
        assert!(heard.contains(line), "{line:?} is not in {heard}");
    }
    assert!(
        !heard.contains("connection:") && !heard.contains("host:"),
        "{heard}"
    );

    let little = [two.clone(), ("expect_max_body_bytes", 1_000.into())];
    let result = check(with(settings(&server.url("http")), &little)).await;
    assert_eq!(result.finding.reason, Reason::TooLarge);
    let missing = Server::start(None, 404, 0).await;
    let result = check(with(
        settings(&missing.url("http")),
        std::slice::from_ref(&two),
    ))
    .await;
    assert_eq!(result.finding.reason, Reason::Status);
    assert_eq!(number(&result, "status"), Some(404.0));
    let moved = Server::start(None, 302, 0).await;
    let follows = [two.clone(), ("follow_redirects", true.into())];
    let result = check(with(settings(&moved.url("http")), &follows)).await;
    assert_eq!(result.finding.reason, Reason::RedirectLoop, "{result:?}");
    assert_eq!(moved.heard().len(), 2, "{:?}", moved.heard());
    let proxied = [two, ("proxy", "http://127.0.0.1:1".into())];
    let refused = with(settings(&server.url("http")), &proxied);
    let context = tidegauge_agent::probes::ProbeContext::new();
    let made = tidegauge_agent::probes::Check::new(refused, &context);
    assert!(
        made.err()
            .is_some_and(|error| error.to_string().contains("http_version"))
    );
}

#[tokio::test]
async fn hostile_servers() {
    // The body of the request is the sign that all of it is there.
    let begin = |more: Vec<Act>| {
        let settings = Act::Say(frame(SETTINGS, 0, 0, &[]));
        let head = vec![Act::Hear(PREFACE), settings, Act::Hear("ready")];
        [head, more].concat()
    };
    let say_frame =
        |kind, flags, stream, payload: &[u8]| Act::Say(frame(kind, flags, stream, payload));
    let ok = say_frame(HEADERS, END_HEADERS, 1, OK);
    // `a: xxx…`, a literal without an index and without Huffman's code; its length is 100,000.
    let mut long = b"\x88\x00\x01a\x7f\xa1\x8c\x06".to_vec();
    long.extend(vec![b'x'; 100_000]);
    let mut long_header = frame(HEADERS, 0, 1, &long[..16_000]);
    let parts: Vec<&[u8]> = long[16_000..].chunks(16_000).collect();
    for (at, part) in parts.iter().enumerate() {
        let flags = if at + 1 == parts.len() {
            END_HEADERS
        } else {
            0
        };
        long_header.extend(frame(CONTINUATION, flags, 1, part));
    }
    let announced = [OK, b"\x0f\x0d\x0210"].concat();
    let goaway = |code: u8| say_frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code]);
    let table = [
        (
            "goes away",
            begin(vec![goaway(0), Act::Hang]),
            Reason::ConnectionLost,
        ),
        (
            "goes away with an error",
            begin(vec![goaway(2), Act::Hang]),
            Reason::ConnectionLost,
        ),
        (
            "resets the stream",
            begin(vec![say_frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]), Act::Hang]),
            Reason::ConnectionLost,
        ),
        (
            "resets the stream in the body",
            begin(vec![
                ok.clone(),
                say_frame(DATA, 0, 1, b"abc"),
                say_frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]),
                Act::Hang,
            ]),
            Reason::ConnectionLost,
        ),
        (
            "endless continuations",
            begin(vec![
                say_frame(HEADERS, 0, 1, OK),
                Act::Say(frame(CONTINUATION, 0, 1, &[]).repeat(20_000)),
                Act::Hang,
            ]),
            Reason::Protocol,
        ),
        (
            "a header that is too long",
            begin(vec![Act::Say(long_header), Act::Hang]),
            Reason::Protocol,
        ),
        (
            "headers that never end",
            begin(vec![say_frame(HEADERS, 0, 1, OK), Act::Hang]),
            Reason::Deadline,
        ),
        (
            "a dripping body",
            begin(vec![
                ok.clone(),
                Act::Say(frame(DATA, 0, 1, &[0; 16_000])[..9].to_vec()),
                Act::Drip(b'x'),
            ]),
            Reason::Deadline,
        ),
        (
            "a frame that is too long",
            begin(vec![
                Act::Say(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01".to_vec()),
                Act::Hang,
            ]),
            Reason::Protocol,
        ),
        (
            "a promise that nobody wants",
            begin(vec![
                say_frame(PUSH_PROMISE, END_HEADERS, 1, b"\x00\x00\x00\x02\x82"),
                Act::Hang,
            ]),
            Reason::Protocol,
        ),
        (
            "less than announced",
            begin(vec![
                say_frame(HEADERS, END_HEADERS, 1, &announced),
                say_frame(DATA, END_STREAM, 1, b"abc"),
                Act::Hang,
            ]),
            Reason::Protocol,
        ),
        (
            "settings without an end",
            begin(vec![
                Act::Say(frame(SETTINGS, 0, 0, &[]).repeat(20_000)),
                Act::Hang,
            ]),
            Reason::Deadline,
        ),
        (
            "another protocol",
            vec![
                Act::Hear(PREFACE),
                say("HTTP/1.1 400 Bad Request\r\n\r\n"),
                Act::Hang,
            ],
            Reason::Protocol,
        ),
        ("says nothing", vec![Act::Hang], Reason::Deadline),
        ("resets at once", vec![Act::Reset], Reason::ConnectionLost),
        (
            "resets in the body",
            begin(vec![ok.clone(), say_frame(DATA, 0, 1, b"abc"), Act::Reset]),
            Reason::ConnectionLost,
        ),
        (
            "goes away after the answer",
            begin(vec![
                ok,
                say_frame(DATA, END_STREAM, 1, b"abc"),
                goaway(0),
                Act::Hang,
            ]),
            Reason::Ok,
        ),
    ];
    let keys = [
        ("http_version", KeyValue::from("2")),
        ("method", "POST".into()),
        ("body", "ready".into()),
    ];
    for (name, script, expected) in table {
        let server = Scripted::start(script).await;
        let result = check(with(hurried(settings(&server.url("http"))), &keys)).await;
        assert_eq!(result.finding.reason, expected, "{name}: {result:?}");
    }
}
