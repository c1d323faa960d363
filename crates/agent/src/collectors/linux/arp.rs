//! `arp`: how many neighbours IPv4 knows on each interface.
//!
//! Not the addresses, and not the neighbours of IPv6. Source: `net/arp` of the measured namespace,
//! proc_pid_net(5). An interface without neighbours has no point.

use super::{CollectError, Collector, CollectorEntry, SourceFile};
use crate::roots::HostRoots;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "arp",
    description: "Neighbours that IPv4 knows on each interface, and those that do not answer.",
    new: |context| Box::new(Arp::new(&context.roots)),
    default_on: true,
    measurements: &["arp"],
};

/// `ATF_COM` of arp(7): the address is known.
const COMPLETE: u64 = 2;
/// Column of the flags, and from there to the interface.
const FLAGS: usize = 2;
const FLAGS_TO_INTERFACE: usize = 2;

struct Arp {
    table: SourceFile,
}

impl Arp {
    fn new(roots: &HostRoots) -> Self {
        Self {
            table: SourceFile::new(roots.proc_of_namespace("net/arp")),
        }
    }
}

struct Interface<'a> {
    name: &'a str,
    entries: u64,
    incomplete: u64,
}

impl Collector for Arp {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let table = self.table.read_text()?;
        let time_us = clock.now_us();
        if !table.first_line()?.starts_with("IP address") {
            return Err(table.error(1, "it is not the head of the table"));
        }
        let mut interfaces: Vec<Interface<'_>> = Vec::new();
        for (line, text) in table.lines().skip(1) {
            let mut words = text.split_ascii_whitespace();
            let flags = words.nth(FLAGS).and_then(|word| word.strip_prefix("0x"));
            let flags = table.hexadecimal(line, flags)?;
            let name = words
                .nth(FLAGS_TO_INTERFACE)
                .ok_or_else(|| table.error(line, "the interface is missing"))?;
            // Neighbours of one interface mostly come together.
            let known = interfaces
                .iter()
                .rposition(|interface| interface.name == name);
            let at = known.unwrap_or(interfaces.len());
            if known.is_none() {
                interfaces.push(Interface {
                    name,
                    entries: 0,
                    incomplete: 0,
                });
            }
            interfaces[at].entries += 1;
            interfaces[at].incomplete += u64::from(flags & COMPLETE == 0);
        }
        points.extend(interfaces.iter().map(|interface| {
            Point::new(name!("arp"), time_us)
                .tag(name!("interface"), interface.name.to_owned())
                .field(name!("entries"), interface.entries)
                .field(name!("incomplete_entries"), interface.incomplete)
        }));
        Ok(())
    }
}
