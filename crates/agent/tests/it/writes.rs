//! The listeners `influx` and `otlp`: requests as clients make them, through real sockets into a spool.

use crate::listeners::{Running, any_port, door};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::Write as _;
use std::time::Duration;
use tidegauge_agent::listeners::influx::InfluxSettings;
use tidegauge_agent::listeners::otlp::OtlpSettings;
use tidegauge_agent::listeners::{ListenerLimits, ListenerSettings};
use tidegauge_model::{Name, Value};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request over a connection of its own.
pub(crate) async fn send(
    address: &str,
    is_http2: bool,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let uri = match is_http2 {
        true => format!("http://{address}{target}"),
        false => target.to_owned(),
    };
    let mut request = Request::builder().method(method).uri(uri);
    if !is_http2 {
        request = request.header("host", address);
    }
    for (name, text) in headers {
        request = request.header(*name, *text);
    }
    let body = Full::new(Bytes::copy_from_slice(body));
    let request = request.body(body).expect("a request");
    let stream = TcpStream::connect(address).await.expect("connected");
    let stream = TokioIo::new(stream);
    let answered = async {
        match is_http2 {
            true => {
                let executor = TokioExecutor::new();
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(executor, stream)
                        .await
                        .expect("a connection");
                tokio::spawn(connection);
                sender.send_request(request).await
            }
            false => {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
                    .await
                    .expect("a connection");
                tokio::spawn(connection);
                sender.send_request(request).await
            }
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    let (head, body) = answered.expect("in time").expect("an answer").into_parts();
    let body = body.collect().await.expect("a body");
    Answer {
        status: head.status,
        headers: head.headers,
        trailers: body.trailers().cloned().unwrap_or_default(),
        body: body.to_bytes().into(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written")
}

async fn influx(token: Option<&str>) -> Running {
    Running::start(influx_settings(token)).await
}

fn influx_settings(token: Option<&str>) -> ListenerSettings {
    ListenerSettings {
        influx: Some(InfluxSettings {
            address: any_port(),
            door: door(token),
            prefix: None,
        }),
        limits: ListenerLimits {
            message_bytes: 100_000,
            ..ListenerLimits::default()
        },
        ..ListenerSettings::default()
    }
}

#[tokio::test]
async fn what_the_spool_does_not_take_is_not_acknowledged_d1() {
    let running = Running::start_with(influx_settings(None), 10_000).await;
    let address = running.address("http");
    let write = |body: String| {
        let address = address.clone();
        async move {
            send(
                &address,
                false,
                Method::POST,
                "/write",
                &[],
                body.as_bytes(),
            )
            .await
        }
    };
    let long = "x".repeat(12_000);
    let refused = write(format!("orders note=\"{long}\" 1")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
    let taken = write("orders note=\"short\" 1".to_owned()).await;
    assert_eq!(taken.status, StatusCode::NO_CONTENT, "{}", taken.text());
    assert_eq!(running.points().len(), 1);
}

#[tokio::test]
async fn a_stop_lets_a_connection_that_is_open_end() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut running = influx(None).await;
    let mut idle = TcpStream::connect(running.address("http"))
        .await
        .expect("connected");
    idle.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = vec![0; 12];
    idle.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 204");
    let mut half = TcpStream::connect(running.address("http"))
        .await
        .expect("connected");
    half.write_all(b"POST /write HTTP/1.1\r\ncontent-length: 9\r\n\r\na")
        .await
        .expect("sent");
    running.stop().await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await;
    closed.expect("in time").expect("closed in order");
}

#[tokio::test]
async fn an_influx_write_is_in_the_spool_when_it_is_answered_d1() {
    let mut running = influx(None).await;
    let address = running.address("http");
    let write = |target: &'static str, body: &'static str| {
        let address = address.clone();
        async move { send(&address, false, Method::POST, target, &[], body.as_bytes()).await }
    };
    let answer = write(
        "/write?db=shop&precision=s",
        "orders,host=web-9 count=3i 1795183200\n",
    )
    .await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::NO_CONTENT, String::new())
    );
    let points = running.points();
    assert_eq!(points.len(), 1, "{points:?}");
    assert_eq!(points[0].time_us(), 1_795_183_200_000_000);
    assert_eq!(
        points[0].tag_text("host"),
        Some("web-9"),
        "a tag like any other"
    );
    assert_eq!(points[0].value("count"), Some(&Value::Float(3.0)));

    let version2 = "/api/v2/write?org=o&bucket=b&precision=ns";
    let headers = [("content-encoding", "gzip")];
    let body = gzip(b"orders count=4i 1795183201000000000\norders count=5i 1795183202000000000");
    let answer = send(&address, false, Method::POST, version2, &headers, &body).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
    assert_eq!(running.points().len(), 3);

    let partly = "orders count=6i 1\n\norders count=\ncpu usage=1 1\norders count=\"text\" 1\n";
    let answer = write("/write?db=shop", partly).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let text = answer.text();
    assert!(
        text.contains("partial write: line 3:") && text.contains("dropped=3"),
        "{text}"
    );
    assert_eq!(
        running.last("orders", "count"),
        Some(6.0),
        "the good line is kept"
    );

    let answer = write("/write?db=shop", "{\"no\":\"lines\"}").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.text().contains("unable to parse"),
        "{}",
        answer.text()
    );
    let answer = write("/write?precision=fortnight", "a b=1").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = write("/write", "\n").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "nothing to store");
    running.stop().await;
}

#[tokio::test]
async fn influx_answers_what_clients_ask_before_they_write() {
    let running = influx(None).await;
    let address = running.address("http");
    let get = |target: &'static str| {
        let address = address.clone();
        async move { send(&address, false, Method::GET, target, &[], b"").await }
    };
    assert_eq!(get("/ping").await.status, StatusCode::NO_CONTENT);
    let health = get("/health").await;
    assert!(
        health.text().contains(r#""status":"pass""#),
        "{}",
        health.text()
    );
    let made = get("/query?q=CREATE%20DATABASE%20shop").await;
    assert_eq!(made.text(), r#"{"results":[{"statement_id":0}]}"#);
    let asked = get("/query?q=SELECT%201").await;
    assert_eq!(asked.status, StatusCode::BAD_REQUEST);
    assert_eq!(get("/other").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_is_asked_for_and_large_bodies_are_not_read() {
    let running = influx(Some("right")).await;
    let address = running.address("http");
    let write =
        |headers: Vec<(&'static str, &'static str)>, target: &'static str, body: Vec<u8>| {
            let address = address.clone();
            async move {
                send(&address, false, Method::POST, target, &headers, &body)
                    .await
                    .status
            }
        };
    let line = || b"orders count=1 1".to_vec();
    for (header, status) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("Token wrong"), StatusCode::UNAUTHORIZED),
        (Some("Token right"), StatusCode::NO_CONTENT),
        (Some("Bearer right"), StatusCode::NO_CONTENT),
        (Some("Basic dXNlcjpyaWdodA=="), StatusCode::NO_CONTENT),
        (Some("Basic dXNlcjp3cm9uZw=="), StatusCode::UNAUTHORIZED),
    ] {
        let headers = header
            .map(|text| ("authorization", text))
            .into_iter()
            .collect();
        assert_eq!(write(headers, "/write", line()).await, status, "{header:?}");
    }
    assert_eq!(
        write(vec![], "/write?u=user&p=right", line()).await,
        StatusCode::NO_CONTENT
    );
    let right = ("authorization", "Token right");
    let page = vec![right, ("origin", "http://example.org")];
    assert_eq!(write(page, "/write", line()).await, StatusCode::FORBIDDEN);
    let large = vec![b' '; 100_001];
    assert_eq!(
        write(vec![right], "/write", large.clone()).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let zipped = vec![right, ("content-encoding", "gzip")];
    assert_eq!(
        write(zipped, "/write", gzip(&large)).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let other = vec![right, ("content-encoding", "br")];
    assert_eq!(
        write(other, "/write", line()).await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let ping = send(&address, false, Method::GET, "/ping", &[], b"").await;
    assert_eq!(
        ping.status,
        StatusCode::NO_CONTENT,
        "it lives, whoever asks"
    );
    assert!(ping.headers.get("origin").is_none());
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/golden/otlp/v1/");
    std::fs::read(format!("{folder}{name}")).expect("a golden file")
}

#[tokio::test]
async fn otlp_comes_over_http_and_grpc() {
    let mut running = Running::start(ListenerSettings {
        otlp: Some(OtlpSettings {
            http: Some(any_port()),
            grpc: Some(any_port()),
            door: door(None),
            prefix: Name::new("app").ok(),
        }),
        ..ListenerSettings::default()
    })
    .await;
    let (http, grpc) = (running.address("http"), running.address("grpc"));
    let (json, protobuf) = (fixture("metrics.json"), fixture("metrics.bin"));
    let post = |kind: &'static str, body: Vec<u8>| {
        let http = http.clone();
        async move {
            let headers = [("content-type", kind)];
            send(&http, false, Method::POST, "/v1/metrics", &headers, &body).await
        }
    };
    let answer = post("application/json", json).await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::OK, "{}".to_owned())
    );
    let points = running.points();
    assert_eq!(points.len(), 6);
    assert_eq!(points[0].measurement().as_str(), "app_queue_length");
    assert_eq!(points[0].tag_text("host_name"), Some("web-1"));

    let answer = post("application/x-protobuf", protobuf.clone()).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(running.points().len(), 12);

    let bad =
        br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[
        {"timeUnixNano":"1","asInt":"1"},{"timeUnixNano":"1","asDouble":"NaN"}]}}]}]}]}"#;
    let answer = post("application/json", bad.to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = answer.text();
    assert!(text.contains(r#""rejectedDataPoints":"1""#), "{text}");
    assert_eq!(running.points().len(), 13);
    let answer = post("application/json", b"{".to_vec()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);

    let export = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let call = |target: &'static str, flag: u8, message: Vec<u8>| {
        let grpc = grpc.clone();
        async move {
            let mut body = vec![flag];
            body.extend((message.len() as u32).to_be_bytes());
            body.extend(message);
            let headers = [
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("grpc-encoding", "gzip"),
            ];
            let answer = send(&grpc, true, Method::POST, target, &headers, &body).await;
            let status = answer.trailers.get("grpc-status").expect("a status");
            (status.to_str().expect("text").to_owned(), answer.body)
        }
    };
    assert_eq!(
        call(export, 0, protobuf.clone()).await,
        ("0".to_owned(), vec![0; 5])
    );
    assert_eq!(call(export, 1, gzip(&protobuf)).await.0, "0");
    assert_eq!(running.points().len(), 25);
    assert_eq!(call(export, 0, b"\xff".to_vec()).await.0, "3");
    assert_eq!(call("/other.Service/Call", 0, protobuf).await.0, "12");
    running.stop().await;
}
