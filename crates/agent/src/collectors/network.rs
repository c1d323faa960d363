//! `network`: what each interface received and sent, and the state of its link.
//!
//! Every interface that the kernel lists is kept, `lo` and virtual ones too. Sources: `net/dev`
//! of our own process, or of process 1 when another root is measured (a namespace has its own
//! interfaces), proc_pid_net(5); and `<sys>/class/net/<interface>`, whose fields are absent where
//! a driver does not tell. The speed is asked again only after the carrier changed: some drivers
//! are slow to answer.

use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText, short_value};
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
const HEAD_LINES: usize = 2;
/// `IFF_UP` of netdevice(7).
const FLAG_UP: u32 = 1;

/// What is known of a link's speed.
struct Speed {
    carrier_changes: Option<u64>,
    bits_per_second: Option<f64>,
    /// The collection that saw the interface last.
    round: u64,
}

struct Network {
    dev: SourceFile,
    links: Links,
}

/// The part that reads `<sys>/class/net`.
struct Links {
    class: PathBuf,
    buffer: Vec<u8>,
    speeds: HashMap<String, Speed>,
    round: u64,
}

impl Network {
    fn new(roots: &HostRoots) -> Self {
        Self {
            dev: SourceFile::new(roots.proc_of_namespace("net/dev")),
            links: Links {
                class: roots.sys.join("class/net"),
                buffer: Vec::new(),
                speeds: HashMap::new(),
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
            points.push(self.links.add_link(interface, point));
        }
        let round = self.links.round;
        self.links.speeds.retain(|_, speed| speed.round == round);
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
    let mut words = counters.split_ascii_whitespace();
    let mut point =
        Point::new(name!("network"), time_us).tag(name!("interface"), interface.to_owned());
    for field in &COUNTERS {
        point.set(field.clone(), dev.number::<u64>(line, words.next())?);
    }
    Ok((interface, point))
}

impl Links {
    fn add_link(&mut self, interface: &str, point: Point) -> Point {
        let folder = self.class.join(interface);
        let mtu = self.number::<u64>(&folder, "mtu");
        let up = self.is_up(&folder);
        let carrier_changes = self.number(&folder, "carrier_changes");
        let speed = self.speed(interface, &folder, carrier_changes);
        point
            .field_if(name!("up"), up)
            .field_if(name!("speed_bits_per_second"), speed)
            .field_if(name!("mtu_bytes"), mtu)
            .field_if(name!("carrier_changes"), carrier_changes)
    }

    fn number<T: std::str::FromStr>(&mut self, folder: &Path, file: &str) -> Option<T> {
        short_value(&folder.join(file), &mut self.buffer)?
            .parse()
            .ok()
    }

    /// Whether packets can flow. Interfaces that do not know (`lo`, tunnels) are up when they
    /// are switched on.
    fn is_up(&mut self, folder: &Path) -> Option<bool> {
        match short_value(&folder.join("operstate"), &mut self.buffer)? {
            "up" => Some(true),
            "unknown" => {
                let flags = short_value(&folder.join("flags"), &mut self.buffer)?;
                let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
                Some(flags & FLAG_UP != 0)
            }
            _ => Some(false),
        }
    }

    /// The speed of the link. The kernel tells it in Mbit/s, and -1 or an error where there is
    /// none.
    fn speed(
        &mut self,
        interface: &str,
        folder: &Path,
        carrier_changes: Option<u64>,
    ) -> Option<f64> {
        let round = self.round;
        if let Some(known) = self.speeds.get_mut(interface)
            && known.carrier_changes == carrier_changes
        {
            known.round = round;
            return known.bits_per_second;
        }
        let bits_per_second = self
            .number::<i64>(folder, "speed")
            .filter(|&megabits| megabits > 0)
            .map(|megabits| megabits as f64 * 1e6);
        let speed = Speed {
            carrier_changes,
            bits_per_second,
            round,
        };
        self.speeds.insert(interface.to_owned(), speed);
        bits_per_second
    }
}
