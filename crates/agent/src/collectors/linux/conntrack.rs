//! `conntrack`: connections that the firewall keeps track of, and what it could not.
//!
//! Not single connections. Sources: `/proc/sys/net/netfilter/nf_conntrack_count` and `_max`; the
//! counters of each core in `net/stat/nf_conntrack`, in hexadecimal, under the names of its first
//! line, which older kernels and some containers do not have. They have 32 bits and are carried
//! on. Below `/proc/sys/net` the kernel shows the namespace of the reader, also to an agent in a
//! container that measures its host. A host without the module has none of them.

use super::carried::Carried;
use super::{CollectError, Collector, CollectorEntry, SourceFile, percent_of, words};
use crate::roots::HostRoots;
use std::collections::HashMap;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "conntrack",
    description: "Connections that the firewall keeps track of, the limit, and what it dropped.",
    new: |context| Box::new(Conntrack::new(&context.roots)),
    default_on: true,
    measurements: &["conntrack"],
};

/// What the kernel calls a counter, and what we call it.
static COUNTERS: [(&str, Name); 11] = [
    ("found", name!("found")),
    ("invalid", name!("invalid")),
    ("insert", name!("inserts")),
    ("insert_failed", name!("insert_failures")),
    ("drop", name!("drops")),
    ("early_drop", name!("early_drops")),
    ("icmp_error", name!("icmp_errors")),
    ("search_restart", name!("search_restarts")),
    // Older kernels have other counters in its place, under other names.
    ("clashres", name!("clashes_resolved")),
    ("chainlength", name!("chain_overflows")),
    ("chaintoolong", name!("chain_overflows")),
];

struct Conntrack {
    count: SourceFile,
    max: SourceFile,
    stat: SourceFile,
    /// By line, of which there is one per core that can be.
    cores: HashMap<usize, [Carried; COUNTERS.len()]>,
    total: [u64; COUNTERS.len()],
}

impl Conntrack {
    fn new(roots: &HostRoots) -> Self {
        let setting = |name| SourceFile::new(roots.proc.join("sys/net/netfilter").join(name));
        Self {
            count: setting("nf_conntrack_count"),
            max: setting("nf_conntrack_max"),
            stat: SourceFile::new(roots.proc_of_namespace("net/stat/nf_conntrack")),
            cores: HashMap::new(),
            total: [0; COUNTERS.len()],
        }
    }
}

impl Collector for Conntrack {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let entries = self.count.read_text()?.only_number::<u64>()?;
        let max = match self.max.read_text_if_there()? {
            Some(text) => Some(text.only_number::<u64>()?),
            None => None,
        };
        let mut point = Point::new(name!("conntrack"), clock.now_us())
            .field(name!("entries"), entries)
            .field_if(name!("entries_max"), max)
            .field_if(
                name!("used_percent"),
                max.and_then(|max| percent_of(entries, max)),
            );
        self.add_counters(&mut point)?;
        points.push(point);
        Ok(())
    }
}

impl Conntrack {
    fn add_counters(&mut self, point: &mut Point) -> Result<(), CollectError> {
        let Some(stat) = self.stat.read_text_if_there()? else {
            return Ok(());
        };
        let names = stat.first_line()?;
        for (line, text) in stat.lines().skip(1) {
            let core = self.cores.entry(line).or_default();
            let mut numbers = words(text);
            for name in words(names) {
                let now = stat.hexadecimal(line, numbers.next())?;
                if let Some(at) = COUNTERS.iter().position(|(known, _)| *known == name) {
                    self.total[at] = self.total[at].saturating_add(core[at].grown(now));
                }
            }
        }
        for name in words(names) {
            if let Some(at) = COUNTERS.iter().position(|(known, _)| *known == name) {
                point.set(COUNTERS[at].1.clone(), self.total[at]);
            }
        }
        Ok(())
    }
}
