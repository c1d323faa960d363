//! A TCP proxy on loopback that breaks connections on demand.
//!
//! It sits between a client and a server and forwards bytes until told otherwise: cut what is
//! open, cut after so many bytes, refuse what is new, or hold everything back as a network does
//! that drops packets (half-open). It understands no protocol. Threads, not tasks, so that it
//! works under a paused clock and outside of a runtime.
//!
//! Kafka tells clients its own address: to put a proxy before a broker, start the broker with
//! `KafkaOptions::advertised` set to the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// One listening port before one server. Dropping it closes all.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    FromClient,
    /// Answers: cutting these is how a COMMIT happens whose answer is lost.
    FromServer,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

/// A cut to come.
#[derive(Debug, Clone, Copy)]
struct CutAfter {
    direction: Direction,
    bytes: u64,
    /// Every open connection, or the one through which the last byte went.
    all: bool,
}

/// What becomes of bytes that came.
enum Passed {
    /// All go on.
    All,
    /// So many go on, then what is open is cut.
    ThenCutAll(usize),
    /// So many go on, then this connection is cut.
    ThenCutThis(usize),
}

#[derive(Debug, Default)]
struct State {
    refuse: bool,
    pause: bool,
    stopped: bool,
    accepted: u64,
    cut_after: Option<CutAfter>,
    open: Vec<(TcpStream, TcpStream)>,
}

impl Proxy {
    /// Begins to forward from a free loopback port to `target` (`host:port`).
    ///
    /// # Panics
    /// When `target` is no address or no port is free.
    #[must_use]
    pub fn start(target: &str) -> Self {
        let target = target
            .to_socket_addrs()
            .expect("the proxy's target is an address")
            .next()
            .expect("the proxy's target has an address");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let for_accept = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_accept));
        Self { address, shared }
    }

    /// Where clients connect: `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port of [`Proxy::address`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes every open connection now; new ones are accepted.
    pub fn cut(&self) {
        self.shared.lock().cut();
    }

    /// Closes every open connection once `bytes` more have passed in `direction`, all connections
    /// taken together. The bytes up to there are delivered. Happens once.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        let all = true;
        self.shared.lock().cut_after = Some(CutAfter {
            direction,
            bytes,
            all,
        });
    }

    /// As [`Proxy::cut_after`], but only the connection is closed that brought the last byte.
    pub fn cut_one_after(&self, direction: Direction, bytes: u64) {
        let all = false;
        self.shared.lock().cut_after = Some(CutAfter {
            direction,
            bytes,
            all,
        });
    }

    /// With `true`, new connections are closed as soon as they come; open ones stay.
    pub fn refuse(&self, refuse: bool) {
        self.shared.lock().refuse = refuse;
    }

    /// Holds all bytes back, in both directions, without closing anything.
    pub fn pause(&self) {
        self.shared.lock().pause = true;
    }

    /// Lets the bytes flow again, those held back first.
    pub fn resume(&self) {
        self.shared.lock().pause = false;
        self.shared.changed.notify_all();
    }

    /// How many connections were forwarded since the start.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopped = true;
            state.cut();
        }
        self.shared.changed.notify_all();
        // Wakes the thread that waits in `accept`, so that it sees the end and frees the port.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cut(&mut self) {
        for (client, server) in self.open.drain(..) {
            // One that has ended by itself is cut already.
            client.shutdown(Shutdown::Both).ok();
            server.shutdown(Shutdown::Both).ok();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.lock().stopped {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.lock().refuse {
            continue;
        }
        // A server that is down looks to the client as what it is: a connection that ends.
        if let Ok(server) = TcpStream::connect(shared.target) {
            forward(client, server, shared).ok();
        }
    }
}

fn forward(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_again, server_again) = (client.try_clone()?, server.try_clone()?);
    {
        let mut state = shared.lock();
        state.accepted += 1;
        state.open.push((client.try_clone()?, server.try_clone()?));
    }
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    thread::spawn(move || pump(client, server, Direction::FromClient, &up));
    thread::spawn(move || pump(server_again, client_again, Direction::FromServer, &down));
    Ok(())
}

/// Copies one way until either side ends; an error is an end.
fn pump(mut from: TcpStream, mut to: TcpStream, direction: Direction, shared: &Shared) {
    let mut buffer = vec![0_u8; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let Some(passed) = shared.pass(direction, length) else {
            break;
        };
        let (Passed::ThenCutAll(allowed) | Passed::ThenCutThis(allowed)) = passed else {
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
            continue;
        };
        // The last bytes are delivered if they can be; the connection ends either way.
        to.write_all(&buffer[..allowed]).ok();
        if matches!(passed, Passed::ThenCutAll(_)) {
            shared.lock().cut();
        } else {
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
        }
        break;
    }
    // The other direction may go on: a client may close its half and still read the answer.
    to.shutdown(Shutdown::Write).ok();
}

impl Shared {
    /// What becomes of `length` bytes. `None` when the proxy has ended. Waits while paused.
    fn pass(&self, direction: Direction, length: usize) -> Option<Passed> {
        let mut state = self.lock();
        while state.pause && !state.stopped {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return None;
        }
        let Some(cut) = state.cut_after.filter(|cut| cut.direction == direction) else {
            return Some(Passed::All);
        };
        let length_u64 = u64::try_from(length).expect("a buffer's length fits in u64");
        if length_u64 <= cut.bytes {
            let bytes = cut.bytes - length_u64;
            state.cut_after = Some(CutAfter { bytes, ..cut });
            return Some(Passed::All);
        }
        state.cut_after = None;
        let allowed = usize::try_from(cut.bytes).expect("less than the buffer's length");
        Some(match cut.all {
            true => Passed::ThenCutAll(allowed),
            false => Passed::ThenCutThis(allowed),
        })
    }
}

#[cfg(test)]
mod tests;
