//! Checks whose targets come from DNS, against a name server in this process.

use crate::collect::{PATIENCE, batches, open, settings};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegauge_agent::collect::{Wanted, changeable};
use tidegauge_agent::probes::{CheckSettings, ProbeContext};
use tidegauge_agent::{AgentStatus, CollectSettings, collect};
use tidegauge_model::{Point, SystemClock};
use tidegauge_spool::Spool;
use tidegauge_testkit::eventually_async;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SERVICE: &str = "_x._tcp.example.org";

/// What the server answers.
#[derive(Clone, PartialEq)]
enum Says {
    /// Records with these hosts and ports.
    Targets(Vec<(&'static str, u16)>),
    /// That it cannot tell.
    Failure,
    /// That the name is not there.
    NoName,
}

/// A name server that knows one service.
struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    /// How often it was asked since it says that.
    asked: Arc<Mutex<usize>>,
    _task: JoinSet<()>,
}

impl NameServer {
    async fn start(says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::new(Mutex::new(0)));
        let mut task = JoinSet::new();
        let (answers, count) = (Arc::clone(&says), Arc::clone(&asked));
        task.spawn(async move {
            let mut buffer = vec![0; 4_096];
            while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..read]).expect("a question");
                let says = answers.lock().expect("not poisoned").clone();
                let answer = answer(&question, &says);
                *count.lock().expect("not poisoned") += 1;
                // Who asked may have gone.
                socket.send_to(&answer, from).await.ok();
            }
        });
        Self {
            address,
            says,
            asked,
            _task: task,
        }
    }

    fn say(&self, says: Says) {
        *self.says.lock().expect("not poisoned") = says;
        *self.asked.lock().expect("not poisoned") = 0;
    }

    /// Waits until it was asked so often since it says what it says.
    async fn asked(&self, times: usize) {
        eventually_async(PATIENCE, "it is asked", || async {
            (*self.asked.lock().expect("not poisoned") >= times).then_some(())
        })
        .await;
    }
}

fn answer(question: &Message, says: &Says) -> Vec<u8> {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_queries(question.queries.iter().cloned());
    let name = question.queries[0].name().clone();
    assert_eq!(question.queries[0].query_type(), RecordType::SRV);
    match says {
        Says::Targets(targets) => {
            for (at, (host, port)) in (0..).zip(targets) {
                let host = Name::from_ascii(host).expect("a name");
                let data = RData::SRV(SRV::new(10, at, *port, host));
                answer.add_answer(Record::from_rdata(name.clone(), 60, data));
            }
        }
        Says::Failure => answer.metadata.response_code = ResponseCode::ServFail,
        Says::NoName => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer.to_vec().expect("a message")
}

fn service() -> CheckSettings {
    CheckSettings::new(&format!("tcp+srv://{SERVICE}"))
        .and_then(|check| check.with_interval(Duration::from_millis(100)))
        .expect("valid")
}

fn plain() -> CheckSettings {
    CheckSettings::new("tcp://127.0.0.1:1")
        .and_then(|check| check.with_interval(Duration::from_millis(100)))
        .expect("valid")
}

fn results(spool: &Spool, target: &str) -> Vec<Point> {
    let points = batches(spool).into_iter().flat_map(|batch| batch.points);
    let of_target = points.filter(|point| {
        point.measurement().as_str() == "tcp_check" && point.tag_text("target") == Some(target)
    });
    of_target.collect()
}

/// Waits for so many more results of a target.
async fn more(spool: &Spool, target: &str, count: usize) {
    let before = results(spool, target).len();
    eventually_async(PATIENCE, target, || async {
        (results(spool, target).len() >= before + count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn targets_come_and_go_with_their_records() {
    let [one, two, three] = [1, 2, 3].map(|port| format!("tcp://localhost:{port}"));
    let plain_name = plain().name().to_owned();
    let server = NameServer::start(Says::Targets(vec![
        ("LocalHost.", 2),
        ("localhost.", 1),
        ("localhost.", 2),
    ]))
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path(), 1 << 30);
    let (handle, asked) = changeable();
    let (cancel, status) = (CancellationToken::new(), AgentStatus::new());
    let running = tokio::spawn(collect::run_with(
        CollectSettings {
            checks: vec![service(), plain()],
            srv_interval: Duration::from_millis(50),
            name_servers: vec![server.address],
            ..settings(&[])
        },
        Some(asked),
        spool.clone(),
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        status.clone(),
        cancel.clone(),
    ));
    for target in [&one, &two, &plain_name] {
        more(&spool, target, 2).await;
    }
    let first = results(&spool, &one).remove(0);
    assert_eq!(first.tag_text("service"), Some(SERVICE));

    // Without an answer those that are known go on.
    server.say(Says::Failure);
    server.asked(6).await;
    for target in [&one, &two] {
        more(&spool, target, 2).await;
    }

    // Only what differs begins and ends.
    server.say(Says::Targets(vec![("localhost.", 2), ("localhost.", 3)]));
    more(&spool, &three, 1).await;
    more(&spool, &two, 1).await;
    let ended = results(&spool, &one).len();
    more(&spool, &two, 3).await;
    assert_eq!(results(&spool, &one).len(), ended);

    // What is wanted anew keeps the targets that are known.
    let wanted = Wanted {
        checks: vec![service(), plain()],
        listeners: None,
    };
    let changed = handle
        .change(wanted)
        .await
        .expect("it runs")
        .expect("valid");
    assert_eq!((changed.checks.unchanged, changed.checks.changed), (3, 0));

    // That there are none is an answer.
    server.say(Says::NoName);
    server.asked(4).await;
    more(&spool, &plain_name, 2).await;
    let ended = results(&spool, &two).len();
    more(&spool, &plain_name, 3).await;
    assert_eq!(results(&spool, &two).len(), ended);
    assert_eq!(status.figures().missed_ticks, 0);
    cancel.cancel();
    running.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn an_agent_begins_without_a_name_server_and_takes_targets_up_when_there_is_one() {
    let server = NameServer::start(Says::Failure).await;
    let folder = tempfile::tempdir().expect("a folder");
    let spool = open(folder.path(), 1 << 30);
    let cancel = CancellationToken::new();
    let running = tokio::spawn(collect::run(
        CollectSettings {
            checks: vec![service().with_name("x").expect("a name")],
            srv_interval: Duration::from_millis(50),
            name_servers: vec![server.address],
            ..settings(&[])
        },
        spool.clone(),
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        AgentStatus::new(),
        cancel.clone(),
    ));
    server.asked(3).await;
    server.say(Says::Targets(vec![("localhost.", 7), (".", 0)]));
    more(&spool, "x localhost:7", 2).await;
    cancel.cancel();
    running.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn one_look_up_gives_the_checks_of_the_moment() {
    let server = NameServer::start(Says::Targets(vec![("b.example.org.", 2)])).await;
    let context = ProbeContext::with_name_servers(vec![server.address]);
    let found = context.targets_of(service()).await.expect("an answer");
    let urls: Vec<_> = found.iter().map(CheckSettings::url).collect();
    assert_eq!(urls, ["tcp://b.example.org:2"]);
    for says in [Says::NoName, Says::Failure] {
        server.say(says);
        let error = context.targets_of(service()).await.expect_err("no targets");
        assert!(error.to_string().contains(SERVICE), "{error}");
    }
    assert_eq!(context.targets_of(plain()).await.expect("itself").len(), 1);
}
