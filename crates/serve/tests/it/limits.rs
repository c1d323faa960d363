//! Limits: what is too much, too large or too slow ends, and others are served meanwhile.

use crate::client::{raw, request, say, status};
use crate::{DEADLINE, Server};
use std::time::{Duration, Instant};
use tidegauge_serve::{DoorSettings, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn hurried() -> Limits {
    Limits {
        head_within: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::start(DoorSettings::default()).await;
    for headers in [
        format!("a: {}\r\n", "x".repeat(20_000)),
        "a: b\r\n".repeat(5_000),
    ] {
        let answer = raw(server.address, request("GET /page", &headers).as_bytes()).await;
        assert!([400, 431].contains(&status(&answer)), "{answer}");
    }
    let path = format!("GET /{}", "x".repeat(20_000));
    let answer = raw(server.address, request(&path, "").as_bytes()).await;
    assert!([400, 414, 431].contains(&status(&answer)), "{answer}");
    // A body is not read: the connection ends instead.
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let head = "GET /page HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000000\r\n\r\n";
    let answer = say(&mut stream, &[head.as_bytes(), &[b'x'; 2_000_000]].concat()).await;
    assert_eq!(status(&answer), 200, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn who_says_nothing_or_drips_is_cut_off() {
    let server = Server::within(hurried(), DoorSettings::default()).await;
    let begun = Instant::now();
    for first in [&b"GET /page HTTP/1.1\r\nhost: local"[..], b"G", b""] {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.write_all(first).await.expect("sent");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        ended.expect("the server ends it").ok();
    }
    assert!(begun.elapsed() < DEADLINE);
    // One that is idle between two requests is, too.
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let answer = say(
        &mut stream,
        b"GET /page HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    assert_eq!(status(&answer), 200);
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_and_a_place_comes_back() {
    let limits = Limits {
        connections: 2,
        head_within: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = Server::within(limits, DoorSettings::default()).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.write_all(b"GET /page").await.expect("sent");
        idle.push(stream);
    }
    // Connections are taken in the order in which they came.
    let begun = Instant::now();
    let answer = raw(server.address, request("GET /page", "").as_bytes()).await;
    assert_eq!(status(&answer), 200);
    let waited = begun.elapsed();
    assert!(
        waited > Duration::from_millis(1_000),
        "it waited for a place, {waited:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_harm_nobody() {
    let server = Server::within(hurried(), DoorSettings::default()).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"GET\r\n\r\n",
        b"GET /page HTTP/9.9\r\n\r\n",
        b"GET /page HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nxyz",
        b"GET /page HTTP/1.1\r\nhost : localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /page HTTP/1.1\r\nhost: \xff\xfe\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET /page HTTP/1.1\nhost: localhost\nx: \x00\n\n",
    ] {
        let answer = raw(server.address, bytes).await;
        assert!(status(&answer) < 500, "{bytes:?}: {answer}");
        let after = raw(server.address, request("GET /page", "").as_bytes()).await;
        assert_eq!(status(&after), 200);
    }
    server.stop().await;
}
