//! The probe `dns`: one question to one name server, over UDP, TCP, TLS or HTTPS.
//!
//! The server is the host of the URL, the question its path: `dns://192.0.2.53/example.org?type=AAAA`.
//! Nothing is cached, and an answer over UDP that was cut is asked for again over TCP, as resolvers do.

use super::exchange::{Failure, Progress, Target, handshake, server_name};
use super::h2_call::{self, MAX_ANSWER_BYTES};
use super::keys::{CA_FILE, KeyKind, ProbeKey, SERVER_NAME};
use super::settings::setting;
use super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry};
use async_trait::async_trait;
use hickory_resolver::proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name as DomainName, RData, Record, RecordType};
use hyper::{Request, StatusCode, header};
use regex::bytes::Regex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Instant;
use tidegauge_model::{Clock, name};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "dns",
    measurement: name!("dns_check"),
    schemes: &["dns"],
    description: "A question to a name server over UDP, TCP, TLS or HTTPS: its code, its answers, its time.",
    keys: KEYS,
    new: |settings, context| Ok(Box::new(DnsProbe::new(settings, context)?)),
};

const KEYS: &[ProbeKey] = &[
    ProbeKey {
        key: "transport",
        kind: KeyKind::Choice(&["udp", "tcp", "tls", "https"]),
        help: "How the question is sent; by default udp.",
    },
    ProbeKey {
        key: "expect_rcode",
        kind: KeyKind::Text,
        help: "The code of the answer that is expected, such as NXDOMAIN; by default NOERROR.",
    },
    ProbeKey {
        key: "answers_regexp",
        kind: KeyKind::Regexp,
        help: "A regular expression that one of the answers must match.",
    },
    ProbeKey {
        key: "expect_authenticated",
        kind: KeyKind::Flag,
        help: "Whether the server must say that it has verified the answer (DNSSEC, the flag AD).",
    },
    ProbeKey {
        key: "query_path",
        kind: KeyKind::Text,
        help: "The path for questions over https; by default /dns-query.",
    },
    SERVER_NAME,
    CA_FILE,
];

/// Larger answers over UDP are likely to be lost on the way (DNS Flag Day 2020).
const UDP_PAYLOAD_BYTES: u16 = 1_232;
/// Codes of RFC 1035 and RFC 2136, in the order of their numbers.
const CODES: &[&str] = &[
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
    Tls,
    Https,
}

struct DnsProbe {
    target: Target,
    transport: Transport,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    query: Query,
    /// The URL of questions over HTTPS.
    https: String,
    expect_rcode: String,
    answers_regexp: Option<Regex>,
    expect_authenticated: bool,
}

impl DnsProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let (address, own) = (settings.address(), settings.own());
        let (transport, port, alpn): (_, _, &[&[u8]]) = match own.text("transport") {
            Some("tcp") => (Transport::Tcp, 53, &[]),
            Some("tls") => (Transport::Tls, 853, &[b"dot"]),
            Some("https") => (Transport::Https, 443, &[b"h2"]),
            _ => (Transport::Udp, 53, &[]),
        };
        let tls = if matches!(transport, Transport::Tls | Transport::Https) {
            let config = context.tls.speaking(own.path("ca_file"), alpn)?;
            Some((config, server_name(settings)?))
        } else {
            None
        };
        let expect_rcode = own.text("expect_rcode").unwrap_or("NOERROR");
        let expect_rcode = expect_rcode.to_ascii_uppercase();
        if !CODES.contains(&expect_rcode.as_str()) {
            let problem = format!("expected one of {}", CODES.join(", "));
            return Err(setting("expect_rcode", problem));
        }
        let path = own.text("query_path").unwrap_or("/dns-query");
        Ok(Self {
            target: Target::new(settings, context, Some(port))?,
            transport,
            tls,
            query: question(&address.path).map_err(|problem| setting("url", problem))?,
            https: format!("https://{}{path}", address.authority),
            expect_rcode,
            answers_regexp: own.regexp("answers_regexp"),
            expect_authenticated: own.flag("expect_authenticated"),
        })
    }

    async fn exchange(&self, progress: &mut Progress) -> Result<(), Failure> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        // Asks for the flag in the answer (RFC 6840, section 5.7).
        message.metadata.authentic_data = true;
        message.add_query(self.query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD_BYTES);
        message.set_edns(edns);
        if self.transport == Transport::Https {
            // So that answers can be kept by what lies between (RFC 8484, section 4.1).
            message.metadata.id = 0;
        }
        let id = message.metadata.id;
        let question = message
            .to_vec()
            .map_err(|error| Failure::new(CheckReason::Protocol, error))?;
        let bytes = match &self.tls {
            None if self.transport == Transport::Udp => {
                let bytes = self.over_udp(id, &question, progress).await?;
                match bytes.get(2).is_some_and(|flags| flags & 0b10 != 0) {
                    true => {
                        progress.found(name!("truncated"), true);
                        let stream = self.target.connect(progress).await?;
                        over_stream(stream, &question, progress).await?
                    }
                    false => bytes,
                }
            }
            None => {
                let stream = self.target.connect(progress).await?;
                over_stream(stream, &question, progress).await?
            }
            Some((config, server)) => {
                let stream = self.target.connect(progress).await?;
                let stream =
                    handshake(Arc::clone(config), server.clone(), stream, progress).await?;
                match self.transport {
                    Transport::Https => self.over_https(stream, question, progress).await?,
                    _ => over_stream(stream, &question, progress).await?,
                }
            }
        };
        progress.found(name!("answer_bytes"), bytes.len() as u64);
        let answer = decoded(&bytes, id, &self.query)
            .map_err(|problem| Failure::new(CheckReason::Protocol, problem))?;
        self.judge(&answer, progress)
    }

    async fn over_udp(
        &self,
        id: u16,
        question: &[u8],
        progress: &mut Progress,
    ) -> Result<Vec<u8>, Failure> {
        let server = *self
            .target
            .addresses(progress)
            .await?
            .first()
            .ok_or_else(|| Failure::new(CheckReason::ResolveFailed, "the name has no address"))?;
        progress.phase = "waiting for the answer";
        let began = Instant::now();
        let asked = async {
            let socket = UdpSocket::bind(self.target.source_for(server)).await?;
            socket.connect(server).await?;
            socket.send(question).await?;
            let mut buffer = vec![0; usize::from(u16::MAX)];
            loop {
                let bytes = socket.recv(&mut buffer).await?;
                // What has another id is not the answer, whoever sent it.
                if buffer[..bytes].starts_with(&id.to_be_bytes()) {
                    buffer.truncate(bytes);
                    return Ok(buffer);
                }
            }
        };
        let asked: std::io::Result<_> = asked.await;
        let bytes = asked.map_err(|error| Failure::of_io(&format!("asking {server}"), &error))?;
        progress.took(name!("answer_seconds"), began);
        progress.found(name!("address"), server.to_string());
        Ok(bytes)
    }

    async fn over_https(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        question: Vec<u8>,
        progress: &mut Progress,
    ) -> Result<Vec<u8>, Failure> {
        const TYPE: &str = "application/dns-message";
        let request = Request::post(self.https.as_str())
            .header(header::CONTENT_TYPE, TYPE)
            .header(header::ACCEPT, TYPE)
            .header(header::USER_AGENT, super::USER_AGENT)
            .body(())
            .map_err(|error| Failure::new(CheckReason::Protocol, error))?;
        let began = Instant::now();
        let answer = h2_call::call(Box::new(stream), request, question, progress).await?;
        if answer.status != StatusCode::OK {
            let detail = format!("the HTTP status is {}", answer.status);
            return Err(Failure::new(CheckReason::Status, detail));
        }
        progress.took(name!("answer_seconds"), began);
        Ok(answer.body)
    }

    /// Compares the answer with what is expected.
    fn judge(&self, answer: &Message, progress: &mut Progress) -> Result<(), Failure> {
        let about = &answer.metadata;
        let code = code_word(about.response_code);
        progress.found(name!("rcode"), code.clone());
        progress.found(name!("authoritative"), about.authoritative);
        progress.found(name!("authenticated"), about.authentic_data);
        progress.found(name!("answers"), answer.answers.len() as u64);
        let texts: Vec<String> = answer.answers.iter().map(|r| r.data.to_string()).collect();
        if !texts.is_empty() {
            progress.found_text(name!("answer"), &texts.join(", "));
        }
        let records = answer.answers.iter().chain(&answer.authorities);
        if let Some(serial) = records.into_iter().find_map(serial) {
            progress.found(name!("soa_serial"), u64::from(serial));
        }
        if code != self.expect_rcode {
            let detail = format!("the code is {code}, expected {}", self.expect_rcode);
            return Err(Failure::new(CheckReason::Status, detail));
        }
        if self.expect_authenticated && !about.authentic_data {
            let detail = "the server does not say that it has verified the answer";
            return Err(Failure::new(CheckReason::AnswerMismatch, detail));
        }
        match &self.answers_regexp {
            Some(pattern) if !texts.iter().any(|text| pattern.is_match(text.as_bytes())) => {
                let detail = format!("none of {} answers matches the pattern", texts.len());
                Err(Failure::new(CheckReason::AnswerMismatch, detail))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Probe for DnsProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let deadline = self.target.deadline;
        let ended = tokio::time::timeout(deadline, self.exchange(&mut progress)).await;
        progress.finding(ended, deadline, clock)
    }
}

/// A message over a stream has its length before it (RFC 1035, section 4.2.2), at most 64 KiB.
async fn over_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    question: &[u8],
    progress: &mut Progress,
) -> Result<Vec<u8>, Failure> {
    progress.phase = "waiting for the answer";
    let began = Instant::now();
    let asked = async {
        let mut framed = (question.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(question);
        stream.write_all(&framed).await?;
        stream.flush().await?;
        let length = usize::from(stream.read_u16().await?);
        // Room comes with what arrives, not with what is announced.
        let mut answer = Vec::new();
        let read = (&mut stream)
            .take(length as u64)
            .read_to_end(&mut answer)
            .await?;
        match read == length && length <= MAX_ANSWER_BYTES {
            true => Ok(answer),
            false => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let asked: std::io::Result<_> = asked.await;
    let answer = asked.map_err(|error| Failure::of_io("asking", &error))?;
    progress.took(name!("answer_seconds"), began);
    Ok(answer)
}

/// The question of a path: `/name` and `?type=` with a type, by default A.
fn question(path: &str) -> Result<Query, String> {
    let (name, parameters) = path.split_once('?').unwrap_or((path, ""));
    let name = name.trim_start_matches('/');
    if name.is_empty() {
        return Err("it needs a name to ask for: dns://server/name?type=A".to_owned());
    }
    let mut kind = RecordType::A;
    for (key, text) in form_urlencoded::parse(parameters.as_bytes()) {
        if key != "type" {
            return Err(format!(
                "it has {key:?}, but only `type` is known after the `?`"
            ));
        }
        kind = text
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| format!("no record type {text:?}; there are A, AAAA, MX, SOA, …"))?;
    }
    let mut name = DomainName::from_utf8(name).map_err(|error| format!("its name: {error}"))?;
    name.set_fqdn(true);
    Ok(Query::query(name, kind))
}

/// The answer to a question; an error is no answer to it.
fn decoded(bytes: &[u8], id: u16, query: &Query) -> Result<Message, String> {
    let answer = Message::from_vec(bytes).map_err(|error| format!("no DNS message: {error}"))?;
    if answer.metadata.message_type != MessageType::Response {
        return Err("it is no response".to_owned());
    }
    if answer.metadata.id != id {
        return Err("it answers another question: the id is another".to_owned());
    }
    // Servers that refuse leave the question out.
    match answer.queries.first() {
        Some(asked) if asked.name() != query.name() || asked.query_type() != query.query_type() => {
            Err("it answers another question".to_owned())
        }
        _ => Ok(answer),
    }
}

fn serial(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    }
}

fn code_word(code: ResponseCode) -> String {
    let number = u16::from(code);
    CODES
        .get(usize::from(number))
        .map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_question() {
        let query = question("/example.org?type=aaaa").expect("a question");
        assert_eq!(query.name().to_string(), "example.org.");
        assert_eq!(query.query_type(), RecordType::AAAA);
        let query = question("/example.org").expect("a question");
        assert_eq!(query.query_type(), RecordType::A);
        for bad in ["/", "/?type=A", "/a?type=nothing", "/a?tipe=A", "/a..b"] {
            assert!(question(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn codes_have_their_words() {
        assert_eq!(code_word(ResponseCode::NXDomain), "NXDOMAIN");
        assert_eq!(code_word(ResponseCode::Refused), "REFUSED");
        assert_eq!(code_word(ResponseCode::BADVERS), "16");
    }

    proptest::proptest! {
        #[test]
        fn bytes_that_are_no_message_do_no_harm(bytes: Vec<u8>) {
            let query = question("/example.org").expect("a question");
            proptest::prop_assert!(decoded(&bytes, 7, &query).is_err() || bytes[..2] == [0, 7]);
        }
    }
}
