//! Debian's blackbox_exporter, asked for one probe after the other over kept connections.

use super::super::process::{ProcessUse, Running};
use super::ANSWER_WITHIN;
use crate::interrupt;
use crate::run::command;
use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tidegauge_testkit::eventually;
use tidegauge_testkit::servers::free_port;

const PROGRAM: &str = "prometheus-blackbox-exporter";
const CONFIGURATION: &str =
    "modules:\n  http_2xx:\n    prober: http\n    http:\n      preferred_ip_protocol: ip4\n";
/// Who asks, each over a connection of its own.
const ASKING: u32 = 8;

/// It ends with the value.
#[derive(Debug)]
pub(super) struct Blackbox {
    child: Running,
    port: u16,
}

#[derive(Debug)]
pub(super) struct Measured {
    pub(super) checks_per_cpu_second: f64,
    pub(super) rss_bytes: u64,
}

impl Blackbox {
    /// `None` where it is not installed.
    pub(super) fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let port = free_port();
        let file = folder.join("blackbox.yml");
        std::fs::write(&file, CONFIGURATION).context("write blackbox_exporter's configuration")?;
        let child = command(PROGRAM)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            return Ok(None);
        };
        let blackbox = Self {
            child: Running(child),
            port,
        };
        eventually(ANSWER_WITHIN, "blackbox_exporter answers", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Ok(Some(blackbox))
    }

    /// Has it probe nginx so many times a second, or as often as it can.
    pub(super) fn measure(
        &self,
        server: u16,
        per_second: f64,
        watch: Duration,
    ) -> anyhow::Result<Measured> {
        eprintln!("=== blackbox_exporter: {watch:?}");
        let id = self.child.0.id();
        let used = ProcessUse::of(id)?;
        let pause = Duration::from_secs_f64(f64::from(ASKING) / per_second);
        let checks = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..ASKING)
                .map(|_| scope.spawn(|| ask(self.port, server, pause, watch)))
                .collect();
            asking
                .into_iter()
                .map(|asking| {
                    asking
                        .join()
                        .map_err(|_| anyhow::anyhow!("a thread died"))?
                })
                .sum::<anyhow::Result<u64>>()
        })?;
        let uses = ProcessUse::of(id)?;
        Ok(Measured {
            checks_per_cpu_second: checks as f64 / (uses.cpu_seconds - used.cpu_seconds),
            rss_bytes: uses.rss_bytes,
        })
    }
}

fn ask(port: u16, server: u16, pause: Duration, watch: Duration) -> anyhow::Result<u64> {
    let stream = TcpStream::connect(("127.0.0.1", port)).context("connect to blackbox_exporter")?;
    let mut answers = BufReader::new(stream.try_clone().context("share a connection")?);
    let mut stream = stream;
    let request = format!(
        "GET /probe?module=http_2xx&target=http://127.0.0.1:{server}/ HTTP/1.1\r\n\
         Host: 127.0.0.1:{port}\r\n\r\n"
    );
    let began = Instant::now();
    let mut checks = 0;
    while began.elapsed() < watch {
        stream
            .write_all(request.as_bytes())
            .context("ask for a probe")?;
        let page = answer(&mut answers)?;
        ensure!(
            page.contains("\nprobe_success 1"),
            "a probe failed:\n{page}"
        );
        checks += 1;
        interrupt::check()?;
        std::thread::sleep((pause * checks).saturating_sub(began.elapsed()));
    }
    Ok(checks.into())
}

/// One answer with `Content-Length` or in chunks.
fn answer(answers: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = || -> anyhow::Result<String> {
        let mut line = String::new();
        answers.read_line(&mut line).context("read an answer")?;
        Ok(line.trim_end().to_ascii_lowercase())
    };
    let mut length = None;
    ensure!(line()?.contains(" 200 "), "blackbox_exporter refuses");
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        if let Some(number) = header.strip_prefix("content-length:") {
            length = Some(number.trim().parse::<usize>()?);
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            answers.read_exact(&mut body).context("read a body")?;
        }
        None => loop {
            let mut head = String::new();
            answers.read_line(&mut head).context("read a chunk")?;
            let length = usize::from_str_radix(head.trim(), 16).context("a chunk's length")?;
            let begin = body.len();
            body.resize(begin + length + 2, 0);
            answers
                .read_exact(&mut body[begin..])
                .context("read a chunk")?;
            body.truncate(begin + length);
            if length == 0 {
                break;
            }
        },
    }
    String::from_utf8(body).context("a page is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_whole_or_in_chunks() {
        let mut whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP".as_bytes();
        assert_eq!(answer(&mut whole).expect("an answer"), "abc");
        assert_eq!(whole, b"HTTP");
        let mut chunks =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
                .as_bytes();
        assert_eq!(answer(&mut chunks).expect("an answer"), "abc");
        assert!(chunks.is_empty());
    }
}
