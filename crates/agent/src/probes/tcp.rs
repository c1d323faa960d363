//! The probe `tcp`: a connection, TLS from its beginning or by STARTTLS, and a dialogue of texts to
//! send and patterns to wait for.
//!
//! What the other side sends is kept up to [`starttls::MAX_ANSWER_BYTES`] per pattern, so neither much of it
//! nor slow dripping can do harm; the deadline is over the whole.

use super::exchange::{Failure, Progress, Target, handshake, server_name, write_at_once};
use super::keys::{CA_FILE, KeyKind, ProbeKey, SERVER_NAME, TLS};
use super::settings::setting;
use super::starttls::{self, Courtesy, Heard, courtesies, write};
use super::{AgentError, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry};
use async_trait::async_trait;
use regex::bytes::Regex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Instant;
use tidegauge_model::{Clock, name};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "tcp",
    measurement: name!("tcp_check"),
    schemes: &["tcp"],
    description: "A TCP connection: TLS, STARTTLS and a dialogue if wanted, and the time of each phase.",
    keys: KEYS,
    new: |settings, context| Ok(Box::new(TcpProbe::new(settings, context)?)),
};

const KEYS: &[ProbeKey] = &[
    TLS,
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
            starttls::ask(&self.starttls, &mut stream, progress).await?;
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
}
