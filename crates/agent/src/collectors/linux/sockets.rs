//! `sockets`: sockets in use by protocol, and the memory of their buffers.
//!
//! Not by state, which `tcp_states` counts. Sources: `net/sockstat` and `net/sockstat6` of the
//! measured namespace, proc_pid_net(5); the second is missing where IPv6 is switched off. Memory of
//! TCP and UDP is in pages there, that of fragments in bytes.

use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText, words};
use crate::roots::HostRoots;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "sockets",
    description: "Sockets in use by protocol, and the memory of their buffers.",
    new: |context| Box::new(Sockets::new(&context.roots)),
    default_on: true,
    measurements: &["sockets"],
};

/// Group, key in it, our name.
static FIELDS: &[(&str, &str, Name)] = &[
    ("sockets:", "used", name!("used")),
    ("TCP:", "inuse", name!("tcp_in_use")),
    ("TCP:", "orphan", name!("tcp_orphans")),
    ("TCP:", "tw", name!("tcp_time_wait")),
    ("TCP:", "alloc", name!("tcp_allocated")),
    ("TCP:", "mem", name!("tcp_memory_bytes")),
    ("UDP:", "inuse", name!("udp_in_use")),
    ("UDP:", "mem", name!("udp_memory_bytes")),
    ("UDPLITE:", "inuse", name!("udplite_in_use")),
    ("RAW:", "inuse", name!("raw_in_use")),
    ("FRAG:", "inuse", name!("fragments_in_use")),
    ("FRAG:", "memory", name!("fragments_memory_bytes")),
    ("TCP6:", "inuse", name!("tcp6_in_use")),
    ("UDP6:", "inuse", name!("udp6_in_use")),
    ("UDPLITE6:", "inuse", name!("udplite6_in_use")),
    ("RAW6:", "inuse", name!("raw6_in_use")),
    ("FRAG6:", "inuse", name!("fragments6_in_use")),
    ("FRAG6:", "memory", name!("fragments6_memory_bytes")),
];

struct Sockets {
    v4: SourceFile,
    v6: SourceFile,
    page_bytes: u64,
}

impl Sockets {
    fn new(roots: &HostRoots) -> Self {
        Self {
            v4: SourceFile::new(roots.proc_of_namespace("net/sockstat")).of_one_record(),
            v6: SourceFile::new(roots.proc_of_namespace("net/sockstat6")).of_one_record(),
            page_bytes: roots.page_bytes,
        }
    }
}

impl Collector for Sockets {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let v4 = self.v4.read_text()?;
        let mut point = Point::new(name!("sockets"), clock.now_us());
        parse(v4, self.page_bytes, &mut point)?;
        if point.fields().is_empty() {
            return Err(v4.error(0, "no line is known"));
        }
        if let Some(v6) = self.v6.read_text_if_there()? {
            parse(v6, self.page_bytes, &mut point)?;
        }
        points.push(point);
        Ok(())
    }
}

/// Parses lines such as `TCP: inuse 47 orphan 0 tw 12 alloc 84 mem 146`.
fn parse(text: SourceText<'_>, page_bytes: u64, point: &mut Point) -> Result<(), CollectError> {
    for (line, told) in text.lines() {
        let mut words = words(told);
        let Some(group) = words.next() else {
            continue;
        };
        while let Some(key) = words.next() {
            let number: u64 = text.number(line, words.next())?;
            let known = FIELDS
                .iter()
                .find(|(of_group, of_key, _)| *of_group == group && *of_key == key);
            if let Some((_, _, field)) = known {
                let unit = if key == "mem" { page_bytes } else { 1 };
                point.set(field.clone(), number.saturating_mul(unit));
            }
        }
    }
    Ok(())
}
