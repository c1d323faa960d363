//! `network`: what each interface received and sent, and the state of its link.
//!
//! Every interface that the kernel lists is kept, `lo` and virtual ones too. Sources: `net/dev`
//! of our own process, or of process 1 when another root is measured (a namespace has its own
//! interfaces), proc_pid_net(5); and `<sys>/class/net/<interface>`, whose fields are absent where
//! a driver does not tell. The speed is asked again only after the carrier changed: some drivers
//! are slow to answer.

use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText, ValueFile, words};
use crate::roots::HostRoots;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "network",
    description: "Traffic and errors of each network interface, and the state of its link.",
    new: |context| Box::new(Network::new(&context.roots)),
    default_on: true,
    measurements: &["network"],
};

/// The counters in the order of `net/dev`.
static COUNTERS: [Name; 16] = [
    name!("received_bytes"),
    name!("received_packets"),
    name!("received_errors"),
    name!("received_drops"),
    name!("received_fifo_errors"),
    name!("received_frame_errors"),
    name!("received_compressed_packets"),
    name!("received_multicast_packets"),
    name!("transmitted_bytes"),
    name!("transmitted_packets"),
    name!("transmitted_errors"),
    name!("transmitted_drops"),
    name!("transmitted_fifo_errors"),
    name!("collisions"),
    name!("carrier_errors"),
    name!("transmitted_compressed_packets"),
];
/// Fields of the state of a link.
const LINK_FIELDS: usize = 4;
const HEAD_LINES: usize = 2;
/// `IFF_UP` of netdevice(7).
const FLAG_UP: u32 = 1;

/// Of so many interfaces the files are kept open, four of each.
const KEPT_LINKS: usize = 64;

/// The files of an interface, and what is known of its speed.
struct Link {
    operstate: ValueFile,
    flags: ValueFile,
    mtu: ValueFile,
    carrier_changes: ValueFile,
    speed: ValueFile,
    known_speed: Option<Speed>,
    /// The collection that saw the interface last.
    round: u64,
}

struct Speed {
    carrier_changes: Option<u64>,
    bits_per_second: Option<f64>,
}

struct Network {
    dev: SourceFile,
    links: Links,
}

/// The part that reads `<sys>/class/net`.
struct Links {
    class: PathBuf,
    links: HashMap<String, Link>,
    round: u64,
}

impl Network {
    fn new(roots: &HostRoots) -> Self {
        Self {
            dev: SourceFile::new(roots.proc_of_namespace("net/dev")),
            links: Links {
                class: roots.sys.join("class/net"),
                links: HashMap::new(),
                round: 0,
            },
        }
    }
}

impl Collector for Network {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let dev = self.dev.read_text()?;
        let time_us = clock.now_us();
        self.links.round += 1;
        for (line, text) in dev.lines().skip(HEAD_LINES) {
            let (interface, point) = parse(dev, line, text, time_us)?;
            points.push(self.links.add_to(interface, point));
        }
        let round = self.links.round;
        self.links.links.retain(|_, link| link.round == round);
        Ok(())
    }
}

/// Parses one line: the interface, a colon, its counters.
fn parse<'a>(
    dev: SourceText<'_>,
    line: usize,
    text: &'a str,
    time_us: i64,
) -> Result<(&'a str, Point), CollectError> {
    let (interface, counters) = text
        .rsplit_once(':')
        .ok_or_else(|| dev.error(line, "there is no colon"))?;
    let interface = interface.trim_start();
    let mut words = words(counters);
    let mut point = Point::new(name!("network"), time_us)
        .with_room(COUNTERS.len() + LINK_FIELDS)
        .tag(name!("interface"), interface.to_owned());
    for field in &COUNTERS {
        point.set(field.clone(), dev.number::<u64>(line, words.next())?);
    }
    Ok((interface, point))
}

impl Links {
    fn add_to(&mut self, interface: &str, point: Point) -> Point {
        if !self.links.contains_key(interface) {
            let may_keep = self.links.len() < KEPT_LINKS;
            let link = Link::new(&self.class.join(interface), may_keep);
            self.links.insert(interface.to_owned(), link);
        }
        let Some(link) = self.links.get_mut(interface) else {
            return point;
        };
        link.round = self.round;
        let carrier_changes = link.carrier_changes.number();
        point
            .field_if(name!("up"), link.is_up())
            .field_if(name!("speed_bits_per_second"), link.speed(carrier_changes))
            .field_if(name!("mtu_bytes"), link.mtu.number::<u64>())
            .field_if(name!("carrier_changes"), carrier_changes)
    }
}

impl Link {
    fn new(folder: &Path, may_keep: bool) -> Self {
        let file = |name, may_keep| ValueFile::new(folder.join(name), may_keep);
        Self {
            operstate: file("operstate", may_keep),
            flags: file("flags", may_keep),
            mtu: file("mtu", may_keep),
            carrier_changes: file("carrier_changes", may_keep),
            speed: file("speed", false),
            known_speed: None,
            round: 0,
        }
    }

    /// Whether packets can flow. Interfaces that do not know (`lo`, tunnels) are up when they
    /// are switched on.
    fn is_up(&mut self) -> Option<bool> {
        match self.operstate.read()? {
            "up" => Some(true),
            "unknown" => {
                let flags = self.flags.read()?;
                let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
                Some(flags & FLAG_UP != 0)
            }
            _ => Some(false),
        }
    }

    /// The speed of the link. The kernel tells it in Mbit/s, and -1 or an error where there is
    /// none.
    fn speed(&mut self, carrier_changes: Option<u64>) -> Option<f64> {
        if let Some(known) = &self.known_speed
            && known.carrier_changes == carrier_changes
        {
            return known.bits_per_second;
        }
        let bits_per_second = self
            .speed
            .number::<i64>()
            .filter(|&megabits| megabits > 0)
            .map(|megabits| megabits as f64 * 1e6);
        self.known_speed = Some(Speed {
            carrier_changes,
            bits_per_second,
        });
        bits_per_second
    }
}
