//! The probe `tcp`: a connection, TLS from its beginning or by STARTTLS, and a dialogue of texts to
//! send and patterns to wait for.
//!
//! What the other side sends is kept up to [`MAX_ANSWER_BYTES`] per pattern, so neither much of it
//! nor slow dripping can do harm; the deadline is over the whole.

use super::exchange::{Failure, Progress, Target, handshake, server_name, write_at_once};
use super::keys::{CA_FILE, KeyKind, ProbeKey, SERVER_NAME};
use super::settings::setting;
use super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry};
use async_trait::async_trait;
use regex::bytes::Regex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Instant;
use tidegauge_model::{Clock, name};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "tcp",
    measurement: name!("tcp_check"),
    schemes: &["tcp"],
    description: "A TCP connection: TLS, STARTTLS and a dialogue if wanted, and the time of each phase.",
    keys: KEYS,
    new: |settings, context| Ok(Box::new(TcpProbe::new(settings, context)?)),
};

const KEYS: &[ProbeKey] = &[
    ProbeKey {
        key: "tls",
        kind: KeyKind::Flag,
        help: "Whether TLS is spoken from the beginning.",
    },
    ProbeKey {
        key: "starttls",
        kind: KeyKind::Choice(&["smtp", "imap", "pop3", "postgres"]),
        help: "The protocol in which TLS is asked for.",
    },
    ProbeKey {
        key: "dialogue",
        kind: KeyKind::List,
        help: "What is said in turn: `send TEXT`, or `expect REGEXP` to wait for an answer.",
    },
    SERVER_NAME,
    CA_FILE,
];

/// A pattern must be found in so much of an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

struct TcpProbe {
    target: Target,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    starttls: Vec<Courtesy>,
    dialogue: Vec<Step>,
}

enum Step {
    Send(Vec<u8>),
    Expect(Regex),
}

/// One question and answer on the way to TLS: what is sent, how the answer's last line looks, and how
/// it begins when all is well.
struct Courtesy {
    send: &'static [u8],
    last_line: Regex,
    good: &'static [u8],
}

impl TcpProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let own = settings.own();
        let starttls = own.text("starttls");
        let tls = if own.flag("tls") || starttls.is_some() {
            if own.flag("tls") && starttls.is_some() {
                return Err(setting("starttls", "TLS begins once: leave out `tls`"));
            }
            let config = context.tls.speaking(own.path("ca_file"), &[])?;
            Some((config, server_name(settings)?))
        } else {
            None
        };
        let dialogue = own.texts("dialogue").iter().map(|text| step(text));
        Ok(Self {
            target: Target::new(settings, context, None)?,
            tls,
            starttls: starttls.map(courtesies).unwrap_or_default(),
            dialogue: dialogue.collect::<Result<_, _>>()?,
        })
    }

    async fn exchange(&self, progress: &mut Progress) -> Result<(), Failure> {
        let mut stream = self.target.connect(progress).await?;
        let Some((config, server)) = &self.tls else {
            write_at_once(&stream);
            return self.talk(stream, progress).await;
        };
        if !self.starttls.is_empty() {
            progress.phase = "asking for TLS";
            let began = Instant::now();
            let mut heard = Heard::default();
            for courtesy in &self.starttls {
                write(&mut stream, courtesy.send).await?;
                let line = heard.wait(&mut stream, &courtesy.last_line).await?;
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
        }
        let stream = handshake(Arc::clone(config), server.clone(), stream, progress).await?;
        self.talk(stream, progress).await
    }

    async fn talk(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        if self.dialogue.is_empty() {
            return Ok(());
        }
        progress.phase = "in the dialogue";
        let began = Instant::now();
        let mut heard = Heard::default();
        for step in &self.dialogue {
            match step {
                Step::Send(bytes) => write(&mut stream, bytes).await?,
                Step::Expect(pattern) => drop(heard.wait(&mut stream, pattern).await?),
            }
        }
        progress.took(name!("dialogue_seconds"), began);
        Ok(())
    }
}

#[async_trait]
impl Probe for TcpProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let deadline = self.target.deadline;
        let ended = tokio::time::timeout(deadline, self.exchange(&mut progress)).await;
        progress.finding(ended, deadline, clock)
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await
        .map_err(|error| Failure::of_io("sending", &error))
}

/// What the other side said and no pattern has taken yet.
#[derive(Default)]
struct Heard(Vec<u8>);

impl Heard {
    /// Reads until the pattern matches; what it matched is returned, and taken with all before it.
    async fn wait(
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

/// A step from its text. `\r`, `\n`, `\t` and `\\` in what is sent are escapes, so that they can be
/// written where quotes have none.
fn step(text: &str) -> Result<Step, AgentError> {
    match text.split_once(' ') {
        Some(("send", text)) => Ok(Step::Send(unescaped(text))),
        Some(("expect", pattern)) => Regex::new(pattern)
            .map(Step::Expect)
            .map_err(|error| setting("dialogue", error)),
        _ => Err(setting(
            "dialogue",
            "a step is `send TEXT` or `expect REGEXP`",
        )),
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'\\', [b'r', tail @ ..]) => (b'\r', tail),
            (b'\\', [b'n', tail @ ..]) => (b'\n', tail),
            (b'\\', [b't', tail @ ..]) => (b'\t', tail),
            (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

/// How a protocol asks for TLS: RFC 3207 (SMTP), RFC 2595 (IMAP, POP3), and the message flow of
/// PostgreSQL ("SSL session encryption").
fn courtesies(protocol: &str) -> Vec<Courtesy> {
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

    #[test]
    fn steps_are_read_and_their_escapes_resolved() {
        let sent = |text| match step(text) {
            Ok(Step::Send(bytes)) => bytes,
            _ => panic!("{text} sends"),
        };
        assert_eq!(sent(r"send EHLO a\r\n"), b"EHLO a\r\n");
        assert_eq!(sent(r"send \\r\x\"), br"\r\x\");
        assert!(matches!(step("expect ^220 "), Ok(Step::Expect(_))));
        for bad in ["", "send", "expect (", "sends x"] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }

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
