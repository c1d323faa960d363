//! Asking for TLS in the protocol of a server, and the bytes of an exchange of texts.

use super::CheckReason;
use super::exchange::{Failure, Progress};
use regex::bytes::Regex;
use std::time::Instant;
use tidegauge_model::name;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A pattern must be found in so much of an answer.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// One question and answer on the way to TLS: what is sent, how the answer's last line looks, and how
/// it begins when all is well.
pub(super) struct Courtesy {
    send: &'static [u8],
    last_line: Regex,
    good: &'static [u8],
}

/// Asks for TLS; what the connection carries next is the handshake.
pub(super) async fn ask(
    courtesies: &[Courtesy],
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    progress: &mut Progress,
) -> Result<(), Failure> {
    progress.phase = "asking for TLS";
    let began = Instant::now();
    let mut heard = Heard::default();
    for courtesy in courtesies {
        write(stream, courtesy.send).await?;
        let line = heard.wait(stream, &courtesy.last_line).await?;
        if !line.starts_with(courtesy.good) {
            let line = String::from_utf8_lossy(&line);
            let detail = format!("the server said {:?}", line.trim_end());
            return Err(Failure::new(CheckReason::StarttlsRefused, detail));
        }
    }
    // What came in the clear must not be taken for what comes over TLS.
    if !heard.0.is_empty() {
        let detail = "the server said more than it was asked before TLS began";
        return Err(Failure::new(CheckReason::Protocol, detail));
    }
    progress.took(name!("starttls_seconds"), began);
    Ok(())
}

pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Result<(), Failure> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await
        .map_err(|error| Failure::of_io("sending", &error))
}

/// What the other side said and no pattern has taken yet.
#[derive(Default)]
pub(super) struct Heard(Vec<u8>);

impl Heard {
    /// Reads until the pattern matches; what it matched is returned, and taken with all before it.
    pub(super) async fn wait(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        pattern: &Regex,
    ) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(found) = pattern.find(&self.0) {
                let matched = found.as_bytes().to_vec();
                let end = found.end();
                self.0.drain(..end);
                return Ok(matched);
            }
            let room = MAX_ANSWER_BYTES - self.0.len();
            if room == 0 {
                let detail = format!("{pattern} is not in the first {MAX_ANSWER_BYTES} bytes");
                return Err(Failure::new(CheckReason::TooLarge, detail));
            }
            let read = (&mut *stream).take(room as u64).read_buf(&mut self.0).await;
            match read {
                Ok(0) if self.0.is_empty() => {
                    let detail = format!("the server closed the connection; expected {pattern}");
                    return Err(Failure::new(CheckReason::ConnectionLost, detail));
                }
                Ok(0) => {
                    let detail = format!("{pattern} is not in the {} bytes", self.0.len());
                    return Err(Failure::new(CheckReason::AnswerMismatch, detail));
                }
                Ok(_) => {}
                Err(error) => return Err(Failure::of_io("waiting for an answer", &error)),
            }
        }
    }
}

/// How a protocol asks for TLS: RFC 3207 (SMTP), RFC 2595 (IMAP, POP3), and the message flow of
/// PostgreSQL ("SSL session encryption").
pub(super) fn courtesies(protocol: &str) -> Vec<Courtesy> {
    let steps: &[(&[u8], &str, &[u8])] = match protocol {
        "smtp" => &[
            (b"", r"(?m)^\d{3} [^\n]*\n", b"220 "),
            (
                b"EHLO tidegauge.invalid\r\n",
                r"(?m)^\d{3} [^\n]*\n",
                b"250 ",
            ),
            (b"STARTTLS\r\n", r"(?m)^\d{3} [^\n]*\n", b"220 "),
        ],
        "imap" => &[
            (b"", r"(?m)^\* [^\n]*\n", b"* OK"),
            (b"a STARTTLS\r\n", r"(?m)^a [^\n]*\n", b"a OK"),
        ],
        "pop3" => &[
            (b"", r"(?m)^[+-][^\n]*\n", b"+OK"),
            (b"STLS\r\n", r"(?m)^[+-][^\n]*\n", b"+OK"),
        ],
        _ => &[(b"\0\0\0\x08\x04\xd2\x16\x2f", r"(?s-u)^.", b"S")],
    };
    let courtesy = |(send, last_line, good): &(&'static [u8], &str, &'static [u8])| Courtesy {
        send,
        last_line: Regex::new(last_line).expect("the pattern is in the program"),
        good,
    };
    steps.iter().map(courtesy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pattern_takes_what_it_matched_and_no_more() {
        let mut heard = Heard::default();
        let mut stream = &b"one two three"[..];
        let pattern = |text| Regex::new(text).expect("a pattern");
        for word in ["two", "three"] {
            let found = heard.wait(&mut stream, &pattern(word)).await;
            assert_eq!(found.expect("is there"), word.as_bytes());
        }
        let lost = heard.wait(&mut stream, &pattern("two")).await;
        let lost = lost.expect_err("is gone").reason;
        assert_eq!(lost, CheckReason::ConnectionLost);
        let large = vec![b'.'; MAX_ANSWER_BYTES + 1];
        let found = Heard::default().wait(&mut &large[..], &pattern("x")).await;
        assert_eq!(found.expect_err("too much").reason, CheckReason::TooLarge);
    }
}
