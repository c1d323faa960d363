//! `tcp_states`: sockets of TCP by state, and the bytes in their queues.
//!
//! Not single sockets. Sources: `net/tcp` and `net/tcp6` of the measured namespace, proc_pid_net(5),
//! one line of 150 bytes and more per socket: on a host with a hundred thousand connections that
//! takes the kernel a tenth of a second, which is why this is on only by setting. It is read piece
//! by piece, however long it is.

use super::{CollectError, Collector, CollectorEntry};
use crate::roots::HostRoots;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "tcp_states",
    description: "Sockets of TCP by state, and the bytes in their queues.",
    new: |context| Box::new(TcpStates::new(&context.roots)),
    default_on: false,
    measurements: &["tcp_states"],
};

/// The states in the order of their numbers, the first of which is 1: `include/net/tcp_states.h`.
/// The twelfth, a request that is being answered, is told as the third.
static STATES: [Name; 11] = [
    name!("established"),
    name!("syn_sent"),
    name!("syn_received"),
    name!("fin_wait1"),
    name!("fin_wait2"),
    name!("time_wait"),
    name!("close"),
    name!("close_wait"),
    name!("last_ack"),
    name!("listen"),
    name!("closing"),
];
const LISTEN: usize = 10;
const SYN_RECEIVED: usize = 3;
const NEW_SYN_RECEIVED: usize = 12;
const PIECE_BYTES: usize = 64 * 1024;
/// The longest line; lines of the kernel have 150 bytes, with IPv6 182.
const MAX_LINE_BYTES: usize = 4096;

struct TcpStates {
    files: [(&'static str, PathBuf); 2],
    line: Vec<u8>,
}

impl TcpStates {
    fn new(roots: &HostRoots) -> Self {
        Self {
            files: [
                ("ipv4", roots.proc_of_namespace("net/tcp")),
                ("ipv6", roots.proc_of_namespace("net/tcp6")),
            ],
            line: Vec::new(),
        }
    }
}

impl Collector for TcpStates {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        for (family, path) in &self.files {
            match Counts::read(path, &mut self.line) {
                Ok(counts) => {
                    let point = Point::new(name!("tcp_states"), clock.now_us());
                    points.push(counts.add_to(point.tag(name!("family"), *family)));
                }
                // IPv6 may be switched off.
                Err(error) if *family == "ipv6" && error.is_unavailable() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    states: [u64; STATES.len()],
    receive_queue: u64,
    transmit_queue: u64,
    accept_queue: u64,
}

impl Counts {
    fn read(path: &Path, line: &mut Vec<u8>) -> Result<Self, CollectError> {
        let failed = |source| CollectError::from_io(path, source);
        let mut counts = Self::default();
        let mut file = BufReader::with_capacity(PIECE_BYTES, File::open(path).map_err(failed)?);
        for number in 1.. {
            line.clear();
            let mut piece = std::io::Read::take(&mut file, MAX_LINE_BYTES as u64);
            match piece.read_until(b'\n', line) {
                Ok(0) if number == 1 => {
                    return Err(CollectError::whole_file(path, "it is empty"));
                }
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            }
            let understood = match number {
                1 => line.trim_ascii_start().starts_with(b"sl "),
                _ => counts.add(line).is_some(),
            };
            if !understood {
                return Err(CollectError::Parse {
                    path: path.to_owned(),
                    line: number,
                    what: "it is not the head, or the state or a queue is missing or malformed",
                });
            }
        }
        Ok(counts)
    }

    /// Adds a line: number, local and remote address, state, queues, and more.
    fn add(&mut self, line: &[u8]) -> Option<()> {
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace().skip(3);
        let number = |word: &str| u64::from_str_radix(word, 16).ok();
        let state = match usize::try_from(number(words.next()?)?).ok()? {
            NEW_SYN_RECEIVED => SYN_RECEIVED,
            state => state,
        };
        let (transmit, receive) = words.next()?.split_once(':')?;
        let (transmit, receive) = (number(transmit)?, number(receive)?);
        // A state that is not known yet is a socket all the same; it has no field.
        if let Some(slot) = state.checked_sub(1).and_then(|at| self.states.get_mut(at)) {
            *slot += 1;
        }
        // Of a listening socket, the queues are those of connections.
        if state == LISTEN {
            self.accept_queue = self.accept_queue.saturating_add(receive);
        } else {
            self.receive_queue = self.receive_queue.saturating_add(receive);
            self.transmit_queue = self.transmit_queue.saturating_add(transmit);
        }
        Some(())
    }

    fn add_to(&self, mut point: Point) -> Point {
        for (field, count) in STATES.iter().zip(self.states) {
            point.set(field.clone(), count);
        }
        point
            .field(name!("receive_queue_bytes"), self.receive_queue)
            .field(name!("transmit_queue_bytes"), self.transmit_queue)
            .field(name!("accept_queue"), self.accept_queue)
    }
}
