//! Who comes in at the listeners, over TLS and with passwords, and what those find who mean harm.

use crate::listeners::{Running, any_port, door};
use crate::writes::send;
use hyper::{Method, StatusCode};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::listeners::heartbeat::{HeartbeatSettings, JobSettings};
use tidegauge_agent::listeners::influx::InfluxSettings;
use tidegauge_agent::listeners::otlp::OtlpSettings;
use tidegauge_agent::listeners::{ListenerLimits, ListenerSettings};
use tidegauge_serve::{Door, DoorSettings, hash_password};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn influx(door: Arc<Door>) -> ListenerSettings {
    ListenerSettings {
        influx: Some(InfluxSettings {
            address: any_port(),
            door,
            prefix: None,
        }),
        ..ListenerSettings::default()
    }
}

#[tokio::test]
async fn lines_come_in_over_tls_with_a_users_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        Some(path)
    };
    let users = format!("anna:{}\n", hash_password("secret").expect("a hash"));
    let settings = DoorSettings {
        certificate_file: file("certificate.pem", cert.pem()),
        key_file: file("key.pem", signing_key.serialize_pem()),
        users_file: file("users", users),
        ..DoorSettings::default()
    };
    let mut running = Running::start(influx(Arc::new(Door::open(settings).expect("a door")))).await;
    let address = running.address("https");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    for (authorization, expected) in [
        // anna:secret, anna:wrong
        ("authorization: Basic YW5uYTpzZWNyZXQ=\r\n", "HTTP/1.1 204"),
        ("authorization: Basic YW5uYTp3cm9uZw==\r\n", "HTTP/1.1 401"),
        ("", "HTTP/1.1 401"),
    ] {
        let stream = TcpStream::connect(&address).await.expect("connected");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("TLS");
        let request = format!(
            "POST /write HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{authorization}content-length: 14\r\n\r\norders count=1"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(expected), "{authorization}: {answer}");
    }
    assert_eq!(running.points().len(), 1);
    let mut plain = TcpStream::connect(&address).await.expect("connected");
    plain
        .write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "nothing is answered in clear");
    running.stop().await;
}

const HOSTILE: &[&[u8]] = &[
    b"",
    b"\0",
    b"\xff\xfe\xfd",
    b"' or 1=1; drop table host; --",
    b"orders'; count=1",
    b"orders\" count=1 1e400",
    b"o,t=\xff c=1",
    b"o count=1 99999999999999999999999",
    b"o count=NaN,other=-inf",
    b"{\"resourceMetrics\":[{\"scopeMetrics\":null}]}",
    b"{\"resourceMetrics\":{}}",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    b"<script>alert(1)</script> v=1",
];

#[tokio::test]
async fn hostile_requests_are_refused_and_nothing_of_them_is_stored() {
    let mut running = Running::start(ListenerSettings {
        limits: ListenerLimits {
            message_bytes: 10_000,
            ..ListenerLimits::default()
        },
        otlp: Some(OtlpSettings {
            http: Some(any_port()),
            grpc: Some(any_port()),
            door: door(Some("right")),
            prefix: None,
        }),
        ..ListenerSettings::default()
    })
    .await;
    let mut other = Running::start(influx(door(Some("right")))).await;
    let mut jobs = Running::start(ListenerSettings {
        heartbeat: Some(HeartbeatSettings {
            address: any_port(),
            door: door(Some("right")),
            jobs: vec![JobSettings {
                name: "backup".to_owned(),
                period: Duration::from_secs(3_600),
                grace: Duration::ZERO,
                labels: vec![],
            }],
        }),
        ..ListenerSettings::default()
    })
    .await;
    let paths = [
        "/write",
        "/write?precision='",
        "/api/v2/write?bucket=%27%3bdrop%20table%20host",
        "/query?q=%ff%fe",
        "/v1/metrics",
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "/heartbeat/..%2f..%2fetc%2fpasswd",
        "/heartbeat/%27%20or%201=1",
        "/heartbeat/",
        "/../../etc/passwd",
        "/%00",
        "//",
    ];
    let kinds = [
        "application/json",
        "application/x-protobuf",
        "application/grpc",
        "\u{7f}",
    ];
    for address in [
        running.address("http"),
        running.address("grpc"),
        other.address("http"),
        jobs.address("http"),
    ] {
        for path in paths {
            for (index, body) in HOSTILE.iter().enumerate() {
                let kind = kinds[index % kinds.len()];
                let kind = if kind.is_ascii() && !kind.contains('\u{7f}') {
                    kind
                } else {
                    "text/*"
                };
                let is_http2 = index % 2 == 0;
                let method = [Method::POST, Method::PUT, Method::DELETE][index % 3].clone();
                let headers = [("authorization", "Bearer right"), ("content-type", kind)];
                let answer = send(&address, is_http2, method, path, &headers, body).await;
                assert!(
                    answer.status.as_u16() < 500,
                    "{path} {body:?}: {}",
                    answer.status
                );
                assert!(
                    !answer.text().contains("<script>"),
                    "{path}: {}",
                    answer.text()
                );
                let content = answer.headers.get("content-type");
                let is_page = content.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
                assert!(!is_page);
            }
        }
        let headers = [("authorization", "Bearer right"), ("host", "evil.example")];
        let answer = send(&address, false, Method::POST, "/write", &headers, b"o c=1").await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
    }
    for one in [&running, &other, &jobs] {
        for point in one.points() {
            let name = point.measurement().as_str();
            assert!(!name.contains(['\'', '"', ';', ' ', '<']), "{name}");
        }
    }
    for one in [&mut running, &mut other, &mut jobs] {
        one.stop().await;
    }
}
