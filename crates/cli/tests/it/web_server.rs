//! A small web server of a test: fixed answers by path, one that never answers, and a closed port.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Starts the server and returns its address; its threads end with the test's process.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&stream));
        }
    });
    address
}

fn answer(mut stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let _last_header = lines.find(String::is_empty);
    let (status, body) = match request.split(' ').nth(1) {
        Some("/ok") => ("200 OK", "foobar here"),
        Some("/moved") => ("302 Found\r\nLocation: /ok", ""),
        Some("/missing") => ("404 Not Found", "nothing here"),
        Some("/broken") => ("500 Internal Server Error", "broken"),
        // The client closes the connection when it is tired of waiting.
        _ => return drop(lines.next()),
    };
    let length = body.len();
    let _sent = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

/// An address where nobody listens.
pub(crate) fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}
