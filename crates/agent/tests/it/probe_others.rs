//! The probes `tcp`, `tls`, `grpc` and `icmp` against servers in this process.

use crate::probes::Authority;
use crate::scripted::{Act, Scripted, check, hurried, say, settings};
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use std::net::SocketAddr;
use std::time::Duration;
use tidegauge_agent::probes::{
    AddressFamily, CheckReason as Reason, CheckResult, KeyValue, ProbeContext, check_once,
};
use tidegauge_model::{SystemClock, Value};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

fn number(result: &CheckResult, field: &str) -> Option<f64> {
    match result.value(field) {
        Some(Value::Float(number)) => Some(*number),
        _ => None,
    }
}

fn text<'a>(result: &'a CheckResult, field: &str) -> &'a str {
    match result.value(field) {
        Some(Value::Text(text)) => text,
        other => panic!("{field} is {other:?}"),
    }
}

#[tokio::test]
async fn tcp_connects_and_talks() {
    let server = Scripted::start(vec![
        say("+PONG? "),
        Act::Hear("PING\r\n"),
        say("+PONG\r\n"),
    ])
    .await;
    let steps = [r"send PING\r\n", r"expect \+PONG\r\n"];
    let steps = steps.iter().map(|&step| step.to_owned()).collect();
    let talks = settings(&server.url("tcp"))
        .with("dialogue", KeyValue::Texts(steps))
        .expect("a dialogue");
    let result = check(talks).await;
    assert!(result.is_up(), "{result:?}");
    for phase in ["connect_seconds", "dialogue_seconds", "total_seconds"] {
        assert!(number(&result, phase).is_some(), "{phase}");
    }
    assert_eq!(text(&result, "address"), server.address.to_string());

    let from = settings(&server.url("tcp"))
        .with_family(AddressFamily::Ipv4)
        .with_source_address([127, 0, 0, 9].into());
    assert!(check(from).await.is_up());
    let v6 = settings(&server.url("tcp")).with_family(AddressFamily::Ipv6);
    assert_eq!(check(v6).await.finding.reason, Reason::ConnectRefused);
    // Nothing listens on the address that is preferred: the other one is tried after it.
    let falls_back = settings(&server.url("tcp")).with_family(AddressFamily::PreferIpv6);
    let result = check(falls_back).await;
    assert!(result.is_up(), "{result:?}");
    assert_eq!(text(&result, "address"), server.address.to_string());
    for url in ["tcp://127.0.0.1:1", "http://127.0.0.1:1"] {
        let both = settings(url).with_family(AddressFamily::Ipv6);
        assert_eq!(check(both).await.finding.reason, Reason::ResolveFailed);
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_together_are_refused() {
    let no_port = settings("tcp://localhost");
    let twice = settings("tcp://localhost:25")
        .with("starttls", "smtp")
        .and_then(|settings| settings.with("tls", true))
        .expect("each alone is fine");
    let many = settings("icmp://localhost")
        .with("packets", 101)
        .expect("a number");
    let slow = settings("icmp://localhost")
        .with("packets", 100)
        .expect("a number");
    let code = settings("dns://localhost/a")
        .with("expect_rcode", "x")
        .expect("a text");
    let nothing = settings("dns://localhost/");
    for (settings, key) in [
        (no_port, "url"),
        (twice, "starttls"),
        (many, "packets"),
        (slow, "packet_interval"),
        (code, "expect_rcode"),
        (nothing, "url"),
    ] {
        let error = check_once(settings, &ProbeContext::new(), &SystemClock).await;
        let error = error.expect_err("cannot be used").to_string();
        assert!(
            error.starts_with(&format!("checking the setting {key}: ")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn tls_tells_the_certificate_also_when_it_is_not_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (name, acceptor, days, reason) in [
        (
            "good",
            ours.acceptor("localhost", 2020, 2100),
            10,
            Reason::Ok,
        ),
        (
            "soon",
            ours.acceptor("localhost", 2020, 2100),
            100_000,
            Reason::CertificateExpiresSoon,
        ),
        (
            "expired",
            ours.acceptor("localhost", 2020, 2021),
            10,
            Reason::CertificateExpired,
        ),
        (
            "name",
            ours.acceptor("example.org", 2020, 2100),
            10,
            Reason::CertificateName,
        ),
        (
            "untrusted",
            theirs.acceptor("localhost", 2020, 2100),
            10,
            Reason::CertificateUntrusted,
        ),
    ] {
        let server = Scripted::start(vec![Act::StartTls(acceptor), Act::Hang]).await;
        let settings = settings(&server.url("tls"))
            .with_ca_file(&ours.file)
            .and_then(|settings| settings.with("min_days_left", days))
            .expect("settings");
        let result = check(settings).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
        let verified = matches!(reason, Reason::Ok | Reason::CertificateExpiresSoon);
        assert_eq!(
            result.value("verified"),
            Some(&Value::from(verified)),
            "{name}"
        );
        assert_eq!(text(&result, "fingerprint_sha256").len(), 64, "{name}");
        let host = if name == "name" {
            "example.org"
        } else {
            "localhost"
        };
        assert_eq!(text(&result, "names"), host, "{name}");
        assert!(text(&result, "issuer").contains("CN="), "{name}");
        for field in ["certificate_expires_seconds", "chain_expires_seconds"] {
            let left = number(&result, field).expect("is told");
            assert_eq!(left > 0.0, name != "expired", "{name} {field}");
        }
        if verified {
            assert_eq!(text(&result, "tls_version"), "TLSv1_3");
            assert!(text(&result, "cipher").starts_with("TLS13_"), "{result:?}");
        }
    }
}

/// What a server of gRPC answers: the HTTP status, the message, `grpc-status`, and whether there is a
/// body before it.
#[derive(Clone)]
struct Reply {
    status: StatusCode,
    body: Option<Vec<u8>>,
    grpc_status: Option<&'static str>,
}

async fn grpc_server(reply: Reply) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let mut head = Response::new(());
            *head.status_mut() = reply.status;
            let mut trailers = HeaderMap::new();
            if let Some(status) = reply.grpc_status {
                trailers.insert("grpc-status", HeaderValue::from_static(status));
            }
            match reply.body.clone() {
                None => {
                    *head.headers_mut() = trailers;
                    respond.send_response(head, true).expect("sent");
                }
                Some(body) => {
                    let mut sending = respond.send_response(head, false).expect("sent");
                    sending.send_data(Bytes::from(body), false).expect("sent");
                    sending.send_trailers(trailers).expect("sent");
                }
            }
        }
    });
    (address, task)
}

#[tokio::test]
async fn grpc_says_how_a_service_is() {
    let reply = |body: &[u8], grpc_status| Reply {
        status: StatusCode::OK,
        body: Some(body.to_vec()),
        grpc_status,
    };
    let trailers_only = |grpc_status| Reply {
        status: StatusCode::OK,
        body: None,
        grpc_status,
    };
    let busy = Reply {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..trailers_only(None)
    };
    let table = [
        (
            "serving",
            reply(b"\0\0\0\0\x02\x08\x01", Some("0")),
            Reason::Ok,
        ),
        (
            "not serving",
            reply(b"\0\0\0\0\x02\x08\x02", Some("0")),
            Reason::NotServing,
        ),
        (
            "unknown",
            reply(b"\0\0\0\0\0", Some("0")),
            Reason::NotServing,
        ),
        ("no such service", trailers_only(Some("5")), Reason::Status),
        ("no such method", trailers_only(Some("12")), Reason::Status),
        ("busy", busy, Reason::Status),
        (
            "no status",
            reply(b"\0\0\0\0\x02\x08\x01", None),
            Reason::Protocol,
        ),
        (
            "a wrong length",
            reply(b"\0\0\0\0\x09\x08\x01", Some("0")),
            Reason::Protocol,
        ),
        ("large", reply(&[0; 65_537], Some("0")), Reason::TooLarge),
    ];
    for (name, reply, reason) in table {
        let (address, _task) = grpc_server(reply).await;
        let result = check(settings(&format!("grpc://{address}/shop.Cart"))).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
    }
}

#[tokio::test]
async fn grpc_meets_servers_that_do_not_speak_it() {
    for (name, script, reason) in [
        (
            "HTTP/1.1",
            vec![say("HTTP/1.1 400 Bad Request\r\n\r\n")],
            Reason::Protocol,
        ),
        ("a flood", vec![Act::Flood(b'x')], Reason::Protocol),
        ("closed", vec![], Reason::ConnectionLost),
        (
            "reset",
            vec![Act::Hear("PRI"), Act::Reset],
            Reason::ConnectionLost,
        ),
        ("hanging", vec![Act::Hang], Reason::Deadline),
    ] {
        let server = Scripted::start(script).await;
        let result = check(hurried(settings(&server.url("grpc")))).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
    }
}

#[tokio::test]
async fn icmp_counts_what_comes_back() {
    for host in ["127.0.0.1", "[::1]"] {
        let settings = settings(&format!("icmp://{host}"))
            .with(
                "packet_interval",
                KeyValue::Duration(Duration::from_millis(5)),
            )
            .expect("a time");
        let result = check(settings).await;
        match result.finding.reason {
            Reason::Ok => {
                assert_eq!(number(&result, "packets_received"), Some(3.0), "{host}");
                assert_eq!(number(&result, "loss_percent"), Some(0.0), "{host}");
                let rtt = ["rtt_min_seconds", "rtt_mean_seconds", "rtt_max_seconds"];
                let rtt = rtt.map(|field| number(&result, field).expect("is told"));
                assert!(rtt.is_sorted() && rtt[2] < 1.0, "{host}: {rtt:?}");
            }
            // Where tests have neither right nor IPv6 the result says so.
            Reason::NotPermitted => {
                let detail = result.finding.detail.expect("says what to do");
                assert!(detail.contains("ping_group_range"), "{detail}");
            }
            _ => assert!(
                host == "[::1]" && result.finding.reason == Reason::Unreachable,
                "{host}: {result:?}"
            ),
        }
    }
}
