//! The sockets of StatsD: bound at the start, each read by a task.

use super::super::bindings::UnixHandle;
use super::super::{AgentError, Bindings, Refusal};
use super::{Lines, StatsdSettings};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The largest datagram that UDP has.
const MOST_DATAGRAM_BYTES: usize = 65_535;
/// The longest line of a connection.
const MOST_LINE_BYTES: usize = 16_384;
/// Connections at the same time.
const MOST_CONNECTIONS: usize = 256;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// How long a stop goes on reading.
const MOMENT: Duration = Duration::from_millis(50);
/// How long to wait after an error of the system, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(super) struct Sockets {
    udp: Option<UdpSocket>,
    tcp: Option<TcpListener>,
    unix: Option<UnixHandle>,
}

/// Refuses to listen to others: the protocol has no way to say who one is.
fn check(key: &'static str, address: SocketAddr, allow_insecure: bool) -> Result<(), AgentError> {
    if address.ip().is_loopback() || allow_insecure {
        return Ok(());
    }
    let problem = format!(
        "{address} can be reached from other hosts, and StatsD has no authentication; \
         if that is as it should be, set allow_insecure = true in the same section"
    );
    Err(AgentError::Setting { key, problem })
}

impl Sockets {
    /// Binds what the settings ask for; the addresses, for logs.
    pub(super) fn open(
        settings: &StatsdSettings,
        bindings: &mut Bindings,
    ) -> Result<(Self, Vec<String>), AgentError> {
        let (mut sockets, mut addresses) = (Self::default(), Vec::new());
        let check = |key, address| check(key, address, settings.allow_insecure);
        if let Some(address) = settings.udp {
            const KEY: &str = "statsd.listen";
            check(KEY, address)?;
            let bound = bindings.udp(KEY, address)?;
            addresses.push(format!("udp {}", local(bound.local_addr(), address)));
            sockets.udp = Some(bound);
        }
        if let Some(address) = settings.tcp {
            const KEY: &str = "statsd.listen_tcp";
            check(KEY, address)?;
            let bound = bindings.tcp(KEY, address)?;
            addresses.push(format!("tcp {}", local(bound.local_addr(), address)));
            sockets.tcp = Some(bound);
        }
        if let Some(path) = &settings.unix {
            let bound = bindings.unix("statsd.listen_unix", path)?;
            addresses.push(format!("unix {}", path.display()));
            sockets.unix = Some(bound);
        }
        Ok((sockets, addresses))
    }

    /// Reads all of them in tasks, which end a moment after `cancel`: what was sent before is taken.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, lines: &Lines, cancel: &CancellationToken) {
        if let Some(socket) = self.udp {
            let (lines, end) = (lines.clone(), end(cancel));
            tasks.spawn(async move {
                let mut datagram = vec![0; MOST_DATAGRAM_BYTES];
                tokio::pin!(end);
                loop {
                    tokio::select! {
                        biased;
                        read = socket.recv(&mut datagram) => take(&lines, &datagram, read).await,
                        () = &mut end => break,
                    }
                }
            });
        }
        if let Some(unix) = self.unix {
            let (lines, end) = (lines.clone(), end(cancel));
            tasks.spawn(async move {
                let mut datagram = vec![0; MOST_DATAGRAM_BYTES];
                tokio::pin!(end);
                loop {
                    tokio::select! {
                        biased;
                        read = unix.recv(&mut datagram) => take(&lines, &datagram, read).await,
                        () = &mut end => break,
                    }
                }
            });
        }
        if let Some(listener) = self.tcp {
            tasks.spawn(accept(listener, lines.clone(), cancel.clone()));
        }
    }
}

/// A moment after `cancel`.
fn end(cancel: &CancellationToken) -> impl Future<Output = ()> + Send + use<> {
    let cancel = cancel.clone();
    async move {
        cancel.cancelled().await;
        tokio::time::sleep(MOMENT).await;
    }
}

async fn take(lines: &Lines, datagram: &[u8], read: io::Result<usize>) {
    match read {
        // What is as large as the buffer may be cut.
        Ok(MOST_DATAGRAM_BYTES) => lines.too_long(),
        Ok(length) => lines.take(&datagram[..length]),
        Err(error) => {
            tracing::warn!(%error, "reading a datagram of StatsD");
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
}

/// Takes connections; returns when those that are open have ended too.
async fn accept(listener: TcpListener, lines: Lines, cancel: CancellationToken) {
    let free = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let until = end(&cancel);
    tokio::pin!(until);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut until => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "taking a connection of StatsD");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&free).try_acquire_owned() else {
            let detail = "a connection was closed at once";
            lines.intake.refuse(Refusal::TooManyConnections, 1, detail);
            continue;
        };
        let (lines, end) = (lines.clone(), end(&cancel));
        connections.spawn(async move {
            read_lines(stream, &lines, end).await;
            drop(place);
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn read_lines(mut stream: TcpStream, lines: &Lines, end: impl Future<Output = ()>) {
    tokio::pin!(end);
    let mut buffer = vec![0; MOST_LINE_BYTES];
    let (mut filled, mut skips) = (0, false);
    loop {
        let read = tokio::select! {
            biased;
            read = tokio::time::timeout(IDLE, stream.read(&mut buffer[filled..])) => read,
            () = &mut end => break,
        };
        let Ok(Ok(length)) = read else { break };
        if length == 0 {
            break;
        }
        filled += length;
        let whole = buffer[..filled]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let mut begin = 0;
        if skips && let Some(newline) = buffer[..whole].iter().position(|byte| *byte == b'\n') {
            (skips, begin) = (false, newline + 1);
        }
        if !skips {
            lines.take(&buffer[begin..whole]);
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if skips || filled == buffer.len() {
            if !std::mem::replace(&mut skips, true) {
                lines.too_long();
            }
            filled = 0;
        }
    }
    if !skips {
        lines.take(&buffer[..filled]);
    }
}

fn local(bound: io::Result<SocketAddr>, asked: SocketAddr) -> SocketAddr {
    bound.unwrap_or(asked)
}
