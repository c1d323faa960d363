//! The probe `dns` against name servers in this process.

use crate::probes::Authority;
use crate::scripted::{Act, Scripted, check, hurried, settings};
use bytes::Bytes;
use hickory_resolver::proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::sync::Arc;
use tidegauge_agent::probes::{CheckReason as Reason, CheckSettings};
use tidegauge_model::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a server sends for a question, each a message of its own.
type Answers = fn(&Message) -> Vec<Vec<u8>>;

fn name(text: &str) -> Name {
    Name::from_utf8(text).expect("a name")
}

/// The usual answer: two addresses.
fn answer(question: &Message) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.authoritative = true;
    answer.add_queries(question.queries.iter().cloned());
    for last in [1, 2] {
        let data = RData::A(A::new(192, 0, 2, last));
        answer.add_answer(Record::from_rdata(name("example.org."), 60, data));
    }
    answer
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a message")
}

fn changed(question: &Message, change: fn(&mut Message)) -> Vec<Vec<u8>> {
    let mut answer = answer(question);
    change(&mut answer);
    vec![bytes(&answer)]
}

fn usual(question: &Message) -> Vec<Vec<u8>> {
    vec![bytes(&answer(question))]
}

/// A server on one port of UDP and TCP.
struct Server {
    port: u16,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let socket = UdpSocket::bind(address).await.expect("the same port");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut buffer = vec![0; 4_096];
            while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..read]).expect("a question");
                for answer in answers(&question) {
                    socket.send_to(&answer, from).await.expect("sent");
                }
            }
        });
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                over_stream(stream, usual).await.expect("a question");
            }
        });
        Self {
            port: address.port(),
            _task: task,
        }
    }

    fn settings(&self) -> CheckSettings {
        let port = self.port;
        hurried(settings(&format!(
            "dns://127.0.0.1:{port}/example.org?type=A"
        )))
    }
}

async fn over_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: Answers,
) -> std::io::Result<()> {
    let mut question = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut question).await?;
    let question = Message::from_vec(&question).expect("a question");
    for answer in answers(&question) {
        stream.write_u16(answer.len() as u16).await?;
        stream.write_all(&answer).await?;
    }
    stream.shutdown().await
}

#[tokio::test]
async fn answers_are_compared_with_what_is_expected() {
    type Change = fn(CheckSettings) -> CheckSettings;
    let same: Change = |settings| settings;
    let nxdomain: Answers = |question| {
        changed(question, |answer| {
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.answers.clear();
        })
    };
    let table: [(&str, Answers, Change, Reason); 11] = [
        ("good", usual, same, Reason::Ok),
        ("no such name", nxdomain, same, Reason::Status),
        (
            "no such name is expected",
            nxdomain,
            |settings| settings.with("expect_rcode", "nxdomain").expect("a code"),
            Reason::Ok,
        ),
        (
            "the pattern is in one answer",
            usual,
            |settings| {
                settings
                    .with("answers_regexp", r"^192\.0\.2\.2$")
                    .expect("a pattern")
            },
            Reason::Ok,
        ),
        (
            "the pattern is in none",
            usual,
            |settings| {
                settings
                    .with("answers_regexp", r"^192\.0\.2\.3$")
                    .expect("a pattern")
            },
            Reason::AnswerMismatch,
        ),
        (
            "not verified",
            usual,
            |settings| settings.with("expect_authenticated", true).expect("a flag"),
            Reason::AnswerMismatch,
        ),
        (
            "verified",
            |question| changed(question, |answer| answer.metadata.authentic_data = true),
            |settings| settings.with("expect_authenticated", true).expect("a flag"),
            Reason::Ok,
        ),
        // What others send in the server's name has another id.
        (
            "an answer of another before it",
            |question| {
                let mut other = answer(question);
                other.metadata.id = !question.metadata.id;
                vec![bytes(&other), bytes(&answer(question))]
            },
            same,
            Reason::Ok,
        ),
        (
            "garbage",
            |question| vec![[&question.metadata.id.to_be_bytes()[..], b"\x80"].concat()],
            same,
            Reason::Protocol,
        ),
        (
            "another question",
            |question| {
                changed(question, |answer| {
                    answer.queries = vec![Query::query(name("example.com."), RecordType::A)];
                })
            },
            same,
            Reason::Protocol,
        ),
        (
            "a question",
            |question| {
                changed(question, |answer| {
                    answer.metadata.message_type = MessageType::Query
                })
            },
            same,
            Reason::Protocol,
        ),
    ];
    for (name, answers, change, reason) in table {
        let server = Server::start(answers).await;
        let result = check(change(server.settings())).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
        assert!(result.value("answer_seconds").is_some(), "{name}");
    }
    let server = Server::start(|_| Vec::new()).await;
    let result = check(server.settings()).await;
    assert_eq!(result.finding.reason, Reason::Deadline);
}

#[tokio::test]
async fn the_answer_is_told() {
    let server = Server::start(|question| {
        changed(question, |answer| {
            let soa = SOA::new(name("ns."), name("me."), 2_024_010_101, 1, 1, 1, 1);
            answer.add_authority(Record::from_rdata(name("."), 60, RData::SOA(soa)));
        })
    })
    .await;
    let result = check(server.settings()).await;
    for (field, value) in [
        ("rcode", Value::from("NOERROR")),
        ("answers", Value::from(2)),
        ("answer", Value::from("192.0.2.1, 192.0.2.2")),
        ("soa_serial", Value::from(2_024_010_101)),
        ("authoritative", Value::from(true)),
        ("authenticated", Value::from(false)),
    ] {
        assert_eq!(result.value(field), Some(&value), "{field}");
    }
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let server = Server::start(|question| {
        changed(question, |answer| {
            answer.metadata.truncation = true;
            answer.answers.clear();
        })
    })
    .await;
    let result = check(server.settings()).await;
    assert!(result.is_up(), "{result:?}");
    assert_eq!(result.value("truncated"), Some(&Value::from(true)));
    assert_eq!(result.value("answers"), Some(&Value::from(2)));
    let over_tcp = server.settings().with("transport", "tcp").expect("a word");
    let result = check(over_tcp).await;
    assert!(
        result.is_up() && result.value("truncated").is_none(),
        "{result:?}"
    );
}

#[tokio::test]
async fn streams_that_are_wrong() {
    let table = [
        (
            "a cut message",
            vec![Act::Say(b"\0\x40abc".to_vec())],
            Reason::ConnectionLost,
        ),
        (
            "an early answer",
            vec![Act::Say(b"\0\x0cabcdefghijkl".to_vec())],
            Reason::Protocol,
        ),
        (
            "an empty answer",
            vec![Act::Say(b"\0\0".to_vec())],
            Reason::Protocol,
        ),
        ("closed", vec![], Reason::ConnectionLost),
        (
            "reset",
            vec![Act::Hear("example"), Act::Reset],
            Reason::ConnectionLost,
        ),
        (
            "dripping",
            vec![Act::Say(b"\xff\xff".to_vec()), Act::Drip(0)],
            Reason::Deadline,
        ),
        ("a flood", vec![Act::Flood(0xff)], Reason::Protocol),
    ];
    for (name, script, reason) in table {
        let server = Scripted::start(script).await;
        let url = format!("dns://{}/example.org", server.address);
        let settings = hurried(settings(&url).with("transport", "tcp").expect("a word"));
        let result = check(settings).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
    }
}

#[tokio::test]
async fn over_tls_and_https() {
    let authority = Authority::new();
    let mut h2 = authority.config("localhost", 2020, 2100);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    let acceptors = [
        ("tls", authority.acceptor("localhost", 2020, 2100)),
        ("https", TlsAcceptor::from(Arc::new(h2))),
    ];
    for (transport, acceptor) in acceptors {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let stream = acceptor.accept(stream).await.expect("a handshake");
            if transport == "tls" {
                return over_stream(stream, usual).await.expect("a question");
            }
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.uri().path(), "/dns-query");
                // The connection moves the body; it is driven while that is awaited.
                tokio::spawn(async move {
                    let question = request.into_body().data().await.expect("a body");
                    let question = Message::from_vec(&question.expect("bytes"));
                    let answer = bytes(&answer(&question.expect("a question")));
                    let head = hyper::Response::new(());
                    let mut body = respond.send_response(head, false).expect("sent");
                    body.send_data(Bytes::from(answer), true).expect("sent");
                });
            }
        });
        let url = format!("dns://localhost:{port}/example.org");
        let settings = settings(&url)
            .with("transport", transport)
            .and_then(|settings| settings.with_ca_file(&authority.file))
            .expect("settings");
        let result = check(settings).await;
        assert!(result.is_up(), "{transport}: {result:?}");
        assert!(result.value("tls_seconds").is_some(), "{transport}");
        server.await.expect("the server ends");
    }
}
