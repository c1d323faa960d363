//! The page `/metrics` of a program on loopback.

use anyhow::{Context, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Its text.
pub(super) fn metrics(port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connect")?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .context("ask")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read metrics")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.contains(" 200 "), "the answer is {head}");
    Ok(body.to_owned())
}
