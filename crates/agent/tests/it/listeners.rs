//! Listeners through their real sockets into a spool.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::listeners::ListenerSettings;
use tidegauge_agent::listeners::statsd::StatsdSettings;
use tidegauge_agent::{AgentError, AgentStatus, CollectSettings, HostRoots, collect};
use tidegauge_model::{AgentId, BatchRef, Host, Point, SystemClock, Value};
use tidegauge_serve::{Door, DoorSettings, Token};
use tidegauge_spool::{Spool, SpoolSettings};
use tidegauge_testkit as testkit;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// An agent without collectors, with these listeners.
pub(crate) struct Running {
    _folder: tempfile::TempDir,
    spool: Spool,
    status: AgentStatus,
    cancel: CancellationToken,
    ran: JoinHandle<Result<(), AgentError>>,
}

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A door that opens to this token, or to all.
pub(crate) fn door(token: Option<&str>) -> Arc<Door> {
    let settings = DoorSettings {
        token: token.map(Token::new),
        ..DoorSettings::default()
    };
    Arc::new(Door::open(settings).expect("a door"))
}

fn settings(listeners: ListenerSettings) -> CollectSettings {
    let agent = AgentId::new("agent-7").expect("valid");
    let host = Host::new("web-1").expect("valid");
    CollectSettings {
        collectors: vec![],
        listeners,
        ..CollectSettings::new(agent, host, HostRoots::default())
    }
}

impl Running {
    pub(crate) async fn start(listeners: ListenerSettings) -> Self {
        Self::start_with(listeners, 1 << 30).await
    }

    /// One whose spool takes so many bytes.
    pub(crate) async fn start_with(listeners: ListenerSettings, max_bytes: u64) -> Self {
        let running = Self::spawn(listeners, max_bytes);
        running
            .until("it listens", || {
                !running.status.figures().listening.is_empty()
            })
            .await;
        running
    }

    /// One whose listeners have no address.
    pub(crate) fn start_fetching(listeners: ListenerSettings) -> Self {
        Self::spawn(listeners, 1 << 30)
    }

    fn spawn(listeners: ListenerSettings, max_bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bounds = SpoolSettings {
            max_bytes,
            max_age_us: i64::MAX,
        };
        let (spool, _) = Spool::open(&folder.path().join("spool.db"), bounds, 1).expect("a spool");
        let (status, cancel) = (AgentStatus::new(), CancellationToken::new());
        let ran = tokio::spawn(collect::run(
            settings(listeners),
            spool.clone(),
            Arc::new(SystemClock),
            Arc::new(Notify::new()),
            status.clone(),
            cancel.clone(),
        ));
        Self {
            _folder: folder,
            spool,
            status,
            cancel,
            ran,
        }
    }

    pub(crate) async fn until(&self, what: &str, is_true: impl Fn() -> bool) {
        testkit::eventually_async(PATIENCE, what, || async {
            assert!(!self.ran.is_finished(), "the agent has ended");
            is_true().then_some(())
        })
        .await;
    }

    /// Where it listens, by the word before the address.
    pub(crate) fn address(&self, word: &str) -> String {
        let listening = self.status.figures().listening;
        let mut addresses = listening
            .iter()
            .filter_map(|(_, address)| address.split_once(' '));
        let found = addresses.find(|(known, _)| *known == word);
        found.expect("it listens there").1.to_owned()
    }

    /// The points that are in the spool.
    pub(crate) fn points(&self) -> Vec<Point> {
        let entries = self
            .spool
            .read(0, 10_000, usize::MAX)
            .expect("readable")
            .entries;
        let mut points = Vec::new();
        for entry in &entries {
            let mut batch = BatchRef::default();
            let json = tidegauge_wire::by_header(b"json/1").expect("known");
            json.decode(&entry.payload, &mut batch).expect("a message");
            assert!(batch.rejected.is_empty(), "{:?}", batch.rejected);
            let batch = batch.to_batch().expect("checked");
            assert_eq!(batch.host.as_str(), "web-1");
            points.extend(batch.points);
        }
        points
    }

    /// The last value of a field.
    pub(crate) fn last(&self, measurement: &str, field: &str) -> Option<f64> {
        let points = self.points();
        let of = |point: &&Point| point.measurement().as_str() == measurement;
        match points.iter().rev().find(of)?.value(field) {
            Some(Value::Float(number)) => Some(*number),
            _ => None,
        }
    }

    /// Stops it; what it held is in the spool then.
    pub(crate) async fn stop(&mut self) {
        self.cancel.cancel();
        let ran = tokio::time::timeout(PATIENCE, &mut self.ran).await;
        ran.expect("in time").expect("no panic").expect("no error");
    }
}

fn statsd(folder: &Path) -> StatsdSettings {
    StatsdSettings {
        udp: Some(any_port()),
        tcp: Some(any_port()),
        unix: Some(folder.join("statsd.socket")),
        interval: Duration::from_millis(100),
        ..StatsdSettings::default()
    }
}

#[tokio::test]
async fn statsd_comes_in_by_all_its_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let statsd = statsd(folder.path());
    let socket = statsd.unix.clone().expect("set");
    let mut running = Running::start(ListenerSettings {
        statsd: Some(statsd),
        ..ListenerSettings::default()
    })
    .await;
    let udp = UdpSocket::bind(any_port()).expect("a socket");
    let lines = b"hits:1|c|#via:udp\nhits:2|c|#via:udp\n_e{1,1}:a|b\ncpu:1|g\n";
    udp.send_to(lines, running.address("udp")).expect("sent");
    let unix = UnixDatagram::unbound().expect("a socket");
    unix.send_to(b"depth:7|g", &socket).expect("sent");
    let mut tcp = TcpStream::connect(running.address("tcp")).expect("connected");
    let long = "x".repeat(40_000);
    write!(tcp, "slow:5|ms\n{long}:1|c\nslow:").expect("sent");
    running
        .until("the first values", || {
            running.last("hits", "total") == Some(3.0)
                && running.last("depth", "value") == Some(7.0)
                && running.last("slow", "count") == Some(1.0)
        })
        .await;
    tcp.write_all(b"7|ms").expect("sent");
    drop(tcp);
    running
        .until("a line without its end", || {
            running.last("slow", "max") == Some(7.0)
        })
        .await;
    // Between the last flush and the stop: it is flushed then.
    udp.send_to(b"hits:4|c|#via:udp", running.address("udp"))
        .expect("sent");
    running
        .until("the counter grows", || {
            running.last("hits", "total") == Some(7.0)
        })
        .await;
    running.stop().await;
    assert!(!socket.exists(), "the socket goes with its listener");
    let points = running.points();
    let zero = points
        .iter()
        .find(|point| point.measurement().as_str() == "hits");
    let zero = zero.expect("there");
    assert_eq!(zero.value("total"), Some(&Value::Float(0.0)));
    assert_eq!(zero.tag_text("via"), Some("udp"));
    assert!(
        points
            .iter()
            .all(|point| point.measurement().as_str() != "cpu"),
        "names of the agent's own are refused"
    );
}

/// Why an agent with these listeners does not start.
pub(crate) async fn refused(listeners: ListenerSettings) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let bounds = SpoolSettings {
        max_bytes: 1 << 20,
        max_age_us: i64::MAX,
    };
    let (spool, _) = Spool::open(&folder.path().join("spool.db"), bounds, 1).expect("a spool");
    let ran = collect::run(
        settings(listeners),
        spool,
        Arc::new(SystemClock),
        Arc::new(Notify::new()),
        AgentStatus::new(),
        CancellationToken::new(),
    );
    ran.await.expect_err("refused").to_string()
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_of_the_start() {
    let taken = UdpSocket::bind(any_port()).expect("a port");
    let address = taken.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let started = |statsd: StatsdSettings| {
        refused(ListenerSettings {
            statsd: Some(statsd),
            ..ListenerSettings::default()
        })
    };
    let of = |udp: &str| StatsdSettings {
        udp: Some(udp.parse().expect("an address")),
        ..StatsdSettings::default()
    };
    let error = started(of(&address.to_string())).await;
    assert!(
        error.contains(&address.to_string()) && error.contains("statsd.listen"),
        "{error}"
    );
    let error = started(of("0.0.0.0:0")).await;
    assert!(error.contains("allow_insecure"), "{error}");
    let file = folder.path().join("a file");
    std::fs::write(&file, "kept").expect("written");
    let error = started(StatsdSettings {
        unix: Some(file.clone()),
        ..StatsdSettings::default()
    })
    .await;
    assert!(error.contains("statsd.listen_unix"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "kept");
}
