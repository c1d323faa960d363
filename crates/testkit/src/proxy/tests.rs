//! The proxy against an echo server: each way to break a connection is seen by the client.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::{Direction, Proxy};
use crate::eventually;

const SOON: Duration = Duration::from_secs(20);

/// An echo server that lives as long as the test process.
fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut buffer = [0_u8; 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn echoed(stream: &mut TcpStream, text: &str) -> bool {
    let mut answer = vec![0_u8; text.len()];
    stream.write_all(text.as_bytes()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == text.as_bytes()
}

#[test]
fn bytes_pass_and_a_cut_ends_what_is_open_only() {
    let proxy = Proxy::start(&echo_server());
    let mut first = connect(&proxy);
    assert!(echoed(&mut first, "hello"));
    proxy.cut();
    assert!(!echoed(&mut first, "again"));
    let mut second = connect(&proxy);
    assert!(echoed(&mut second, "hello"));
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn a_cut_after_n_bytes_delivers_exactly_n() {
    for direction in [Direction::FromServer, Direction::FromClient] {
        let proxy = Proxy::start(&echo_server());
        proxy.cut_after(direction, 3);
        let mut stream = connect(&proxy);
        stream.write_all(b"hello").unwrap();
        let mut received = Vec::new();
        // The end is a reset or an orderly one, as the kernel likes.
        stream.read_to_end(&mut received).ok();
        if direction == Direction::FromServer {
            assert_eq!(received, b"hel");
        } else {
            assert!(b"hel".starts_with(&received[..]), "{received:?}");
        }
        assert!(echoed(&mut connect(&proxy), "once only"));
    }
}

#[test]
fn refused_connections_end_at_once_and_open_ones_stay() {
    let proxy = Proxy::start(&echo_server());
    let mut open = connect(&proxy);
    assert!(echoed(&mut open, "before"));
    proxy.refuse(true);
    assert!(!echoed(&mut connect(&proxy), "refused"));
    assert!(echoed(&mut open, "still"));
    proxy.refuse(false);
    assert!(echoed(&mut connect(&proxy), "after"));
}

#[test]
fn a_pause_holds_bytes_back_without_an_end() {
    let proxy = Proxy::start(&echo_server());
    let mut stream = connect(&proxy);
    assert!(echoed(&mut stream, "before"));
    proxy.pause();
    stream.write_all(b"held").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut answer = [0_u8; 4];
    let error = stream.read_exact(&mut answer).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
        "{error}"
    );
    proxy.resume();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held");
}

#[test]
fn a_dropped_proxy_frees_its_port() {
    let proxy = Proxy::start(&echo_server());
    let address = proxy.address();
    drop(proxy);
    eventually(SOON, "the port is free again", || {
        TcpListener::bind(&address).ok()
    });
}

#[test]
fn a_cut_of_one_connection_leaves_the_others() {
    let proxy = Proxy::start(&echo_server());
    let (mut one, mut other) = (connect(&proxy), connect(&proxy));
    assert!(echoed(&mut one, "hello") && echoed(&mut other, "hello"));
    proxy.cut_one_after(Direction::FromClient, 3);
    assert!(!echoed(&mut one, "again"));
    assert!(echoed(&mut other, "again"));
}
