//! The probe `icmp`: echo requests, and how many come back how fast.
//!
//! A datagram socket first, which needs no right where `net.ipv4.ping_group_range` has the group; else
//! a raw one, which needs CAP_NET_RAW. Answers are known by a random token, so that those of others,
//! which a raw socket sees too, are never taken.

use super::exchange::{Failure, Progress, Target};
use super::keys::{KeyKind, ProbeKey};
use super::settings::setting;
use super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, ProbeEntry};
use async_trait::async_trait;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, name};
use tokio::net::UdpSocket;

pub(super) const ENTRY: ProbeEntry = ProbeEntry {
    name: "icmp",
    measurement: name!("icmp_check"),
    schemes: &["icmp"],
    description: "Echo requests (ping): loss, and the fastest, mean and slowest answer.",
    keys: KEYS,
    new: |settings, context| Ok(Box::new(IcmpProbe::new(settings, context)?)),
};

const KEYS: &[ProbeKey] = &[
    ProbeKey {
        key: "packets",
        kind: KeyKind::Count,
        help: "How many requests are sent, at most 100; by default 3.",
    },
    ProbeKey {
        key: "packet_interval",
        kind: KeyKind::Duration,
        help: "Time between two requests; by default 200ms.",
    },
    ProbeKey {
        key: "max_loss_percent",
        kind: KeyKind::Percent,
        help: "The target is down when more is lost; by default only when all is.",
    },
];

const MAX_PACKETS: u64 = 100;
const HEADER_BYTES: usize = 8;
const TOKEN_BYTES: usize = 16;
/// The same size as that of other programs: 64 bytes with the header.
const PAYLOAD_BYTES: usize = 56;

struct IcmpProbe {
    target: Target,
    packets: u16,
    packet_interval: Duration,
    max_loss_percent: Option<u64>,
}

impl IcmpProbe {
    fn new(settings: &CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        let own = settings.own();
        let packets = own.count("packets").unwrap_or(3);
        if packets > MAX_PACKETS {
            let problem = format!("it must be 1 to {MAX_PACKETS}");
            return Err(setting("packets", problem));
        }
        let packet_interval = own.duration("packet_interval");
        let packet_interval = packet_interval.unwrap_or(Duration::from_millis(200));
        let sending = packet_interval * (packets as u32 - 1);
        if sending >= settings.deadline() {
            let problem = format!(
                "sending {packets} takes {sending:?}, no less than the deadline of {:?}",
                settings.deadline()
            );
            return Err(setting("packet_interval", problem));
        }
        Ok(Self {
            target: Target::new(settings, context, Some(0))?,
            packets: packets as u16,
            packet_interval,
            max_loss_percent: own.count("max_loss_percent"),
        })
    }

    /// Sends and receives until all came back; what is missing then is lost.
    async fn exchange(&self, progress: &mut Progress, echoes: &mut Echoes) -> Result<(), Failure> {
        let addresses = self.target.addresses(progress).await?;
        let address = addresses[0];
        progress.found(name!("address"), address.ip().to_string());
        progress.phase = "waiting for answers";
        let socket = Socket::open(address, self.target.source_for(address))?;
        let mut token = [0; TOKEN_BYTES];
        getrandom::fill(&mut token).map_err(|error| {
            Failure::new(CheckReason::Protocol, format!("random bytes: {error}"))
        })?;
        let mut beat = tokio::time::interval(self.packet_interval.max(Duration::from_millis(1)));
        let mut buffer = [0; 2_048];
        while echoes.received() < usize::from(self.packets) {
            let more = echoes.sent.len() < usize::from(self.packets);
            tokio::select! {
                _ = beat.tick(), if more => {
                    let request = socket.request(echoes.sent.len() as u16, &token);
                    echoes.sent.push((Instant::now(), None));
                    socket.inner.send(&request).await.map_err(|error| refused(&error))?;
                }
                read = socket.inner.recv(&mut buffer) => {
                    let bytes = read.map_err(|error| refused(&error))?;
                    if let Some(sequence) = socket.sequence_of(&buffer[..bytes], &token) {
                        echoes.came(sequence);
                    }
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Probe for IcmpProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let mut echoes = Echoes::default();
        let deadline = self.target.deadline;
        let work = self.exchange(&mut progress, &mut echoes);
        let mut ended = tokio::time::timeout(deadline, work).await;
        if !echoes.sent.is_empty() {
            echoes.tell(&mut progress);
            // Packets that do not come back are why the deadline passes.
            if !matches!(ended, Ok(Err(_))) {
                ended = Ok(echoes.judge(self.max_loss_percent));
            }
        }
        progress.finding(ended, deadline, clock)
    }
}

/// When each request was sent, and how long its answer took.
#[derive(Default)]
struct Echoes {
    sent: Vec<(Instant, Option<Duration>)>,
}

impl Echoes {
    fn came(&mut self, sequence: u16) {
        if let Some((sent, took)) = self.sent.get_mut(usize::from(sequence)) {
            // An answer that comes twice counts once.
            took.get_or_insert(sent.elapsed());
        }
    }

    fn received(&self) -> usize {
        self.sent.iter().filter(|(_, took)| took.is_some()).count()
    }

    fn loss_percent(&self) -> f64 {
        let (sent, received) = (self.sent.len() as f64, self.received() as f64);
        (sent - received) / sent * 100.0
    }

    fn judge(&self, max_loss_percent: Option<u64>) -> Result<(), Failure> {
        let (sent, received) = (self.sent.len(), self.received());
        let too_much = match max_loss_percent {
            Some(most) => self.loss_percent() > most as f64,
            None => received == 0,
        };
        match too_much {
            true => {
                let detail = format!("{received} of {sent} packets came back");
                Err(Failure::new(CheckReason::PacketLoss, detail))
            }
            false => Ok(()),
        }
    }

    fn tell(&self, progress: &mut Progress) {
        progress.found(name!("packets_sent"), self.sent.len() as u64);
        progress.found(name!("packets_received"), self.received() as u64);
        progress.found(name!("loss_percent"), self.loss_percent());
        let took: Vec<f64> = self
            .sent
            .iter()
            .filter_map(|(_, took)| took.map(|took| took.as_secs_f64()))
            .collect();
        if took.is_empty() {
            return;
        }
        let count = took.len() as f64;
        let mean = took.iter().sum::<f64>() / count;
        let variance = took.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / count;
        let rounded = |seconds: f64| (seconds * 1e6).round() / 1e6;
        let least = took.iter().copied().fold(f64::INFINITY, f64::min);
        let most = took.iter().copied().fold(0.0, f64::max);
        progress.found(name!("rtt_min_seconds"), rounded(least));
        progress.found(name!("rtt_mean_seconds"), rounded(mean));
        progress.found(name!("rtt_max_seconds"), rounded(most));
        progress.found(name!("rtt_deviation_seconds"), rounded(variance.sqrt()));
    }
}

/// A socket for echo requests to one address.
struct Socket {
    inner: UdpSocket,
    v4: bool,
    with_ip_header: bool,
    id: u16,
}

impl Socket {
    fn open(address: SocketAddr, source: SocketAddr) -> Result<Self, Failure> {
        let v4 = address.is_ipv4();
        let open = |kind| {
            let (family, protocol) = match v4 {
                true => (AddressFamily::INET, ipproto::ICMP),
                false => (AddressFamily::INET6, ipproto::ICMPV6),
            };
            new_socket(family, kind, protocol)
        };
        let (fd, with_ip_header) = match open(SocketType::DGRAM) {
            // That of macOS yields packets with their header all the same, and any identifier.
            Ok(fd) => (fd, cfg!(target_os = "macos")),
            Err(_) => (
                open(SocketType::RAW).map_err(|error| not_permitted(&error))?,
                true,
            ),
        };
        let ready = || -> io::Result<UdpSocket> {
            if !source.ip().is_unspecified() {
                rustix::net::bind(&fd, &source)?;
            }
            rustix::net::connect(&fd, &address)?;
            // To the runtime every socket of datagrams is the same.
            UdpSocket::from_std(std::net::UdpSocket::from(fd))
        };
        let inner = ready().map_err(|error| refused(&error))?;
        let mut id = [0; 2];
        // Without randomness the token is missing too, which is an error there.
        getrandom::fill(&mut id).ok();
        Ok(Self {
            inner,
            v4,
            with_ip_header,
            id: u16::from_be_bytes(id),
        })
    }

    /// An echo request (RFC 792, RFC 4443, section 4.1). The kernel replaces the id for a datagram
    /// socket, and makes the checksum but for a raw one of IPv4.
    fn request(&self, sequence: u16, token: &[u8; TOKEN_BYTES]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + PAYLOAD_BYTES];
        bytes[0] = if self.v4 { 8 } else { 128 };
        bytes[4..6].copy_from_slice(&self.id.to_be_bytes());
        bytes[6..8].copy_from_slice(&sequence.to_be_bytes());
        bytes[HEADER_BYTES..HEADER_BYTES + TOKEN_BYTES].copy_from_slice(token);
        if self.v4 {
            let sum = checksum(&bytes);
            bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    fn sequence_of(&self, bytes: &[u8], token: &[u8; TOKEN_BYTES]) -> Option<u16> {
        let message = match self.with_ip_header && self.v4 {
            true => after_ip_header(bytes)?,
            false => bytes,
        };
        sequence_of(message, if self.v4 { 0 } else { 129 }, token)
    }
}

/// What follows the header of an IPv4 packet (RFC 791, section 3.1).
fn after_ip_header(packet: &[u8]) -> Option<&[u8]> {
    let words = usize::from(packet.first()? & 0x0f);
    packet.get(words * 4..)
}

/// The number of an echo reply that has our token.
fn sequence_of(message: &[u8], reply: u8, token: &[u8; TOKEN_BYTES]) -> Option<u16> {
    let (header, payload) = message.split_first_chunk::<HEADER_BYTES>()?;
    let ours = header[0] == reply && payload.starts_with(token);
    ours.then(|| u16::from_be_bytes([header[6], header[7]]))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn not_permitted(error: &Errno) -> Failure {
    let detail = match *error {
        Errno::PERM | Errno::ACCESS => {
            "no right to send ICMP: have `sysctl net.ipv4.ping_group_range` hold the agent's group, or \
             give the program CAP_NET_RAW (`setcap cap_net_raw+ep`)"
                .to_owned()
        }
        error => format!("opening a socket for ICMP: {error}"),
    };
    Failure::new(CheckReason::NotPermitted, detail)
}

/// An error of the socket is what routers and the own host say of the way.
fn refused(error: &io::Error) -> Failure {
    Failure::new(CheckReason::Unreachable, error)
}

/// A socket that does not block, and that no program which we start inherits.
#[cfg(target_os = "linux")]
fn new_socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Protocol,
) -> rustix::io::Result<OwnedFd> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, kind, flags, Some(protocol))
}

/// A socket that does not block, and that no program which we start inherits.
#[cfg(not(target_os = "linux"))]
fn new_socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Protocol,
) -> rustix::io::Result<OwnedFd> {
    let fd = rustix::net::socket(family, kind, Some(protocol))?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_message_with_its_checksum_is_zero() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0x220d
        );
        let mut message = [8, 0, 0, 0, 1, 2, 3];
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&message), 0);
    }

    #[test]
    fn only_our_own_replies_are_taken() {
        let token = [7; TOKEN_BYTES];
        let mut reply = vec![0, 0, 0, 0, 9, 9, 0, 5];
        reply.extend(token);
        assert_eq!(sequence_of(&reply, 0, &token), Some(5));
        assert_eq!(sequence_of(&reply, 129, &token), None);
        assert_eq!(sequence_of(&reply, 0, &[8; TOKEN_BYTES]), None);
        assert_eq!(sequence_of(&reply[..20], 0, &token), None);
        let mut packet = vec![0x45; 20];
        packet.extend(&reply);
        assert_eq!(after_ip_header(&packet), Some(&reply[..]));
        assert_eq!(after_ip_header(&[0x4f; 20]), None);
        assert_eq!(after_ip_header(&[]), None);
    }

    #[test]
    fn figures_of_what_came_back() {
        let sent = Instant::now();
        let took = |millis| Some(Duration::from_millis(millis));
        let echoes = Echoes {
            sent: vec![
                (sent, took(10)),
                (sent, None),
                (sent, took(30)),
                (sent, took(20)),
            ],
        };
        assert_eq!(echoes.received(), 3);
        assert!((echoes.loss_percent() - 25.0).abs() < 1e-9);
        assert!(echoes.judge(None).is_ok() && echoes.judge(Some(25)).is_ok());
        let lost = echoes.judge(Some(24)).expect_err("too much is lost");
        assert_eq!(lost.reason, CheckReason::PacketLoss);
        let nothing = Echoes {
            sent: vec![(sent, None)],
        };
        assert!(nothing.judge(None).is_err());
    }
}
