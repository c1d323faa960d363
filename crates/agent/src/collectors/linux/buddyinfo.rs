//! `buddyinfo`: free blocks of memory by size, which shows how fragmented each zone is.
//!
//! Source: `/proc/buddyinfo`, proc_buddyinfo(5). Most kernels have eleven sizes, of 1 to 1024 pages.

use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText};
use crate::roots::HostRoots;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "buddyinfo",
    description: "Free blocks of memory by size: how fragmented each zone is.",
    new: |context| Box::new(Buddyinfo::new(&context.roots)),
    default_on: false,
    measurements: &["buddyinfo"],
};

static ORDERS: [Name; 14] = [
    name!("order_0"),
    name!("order_1"),
    name!("order_2"),
    name!("order_3"),
    name!("order_4"),
    name!("order_5"),
    name!("order_6"),
    name!("order_7"),
    name!("order_8"),
    name!("order_9"),
    name!("order_10"),
    name!("order_11"),
    name!("order_12"),
    name!("order_13"),
];

struct Buddyinfo {
    file: SourceFile,
    page_bytes: u64,
}

impl Buddyinfo {
    fn new(roots: &HostRoots) -> Self {
        Self {
            file: SourceFile::new(roots.proc.join("buddyinfo")),
            page_bytes: roots.page_bytes,
        }
    }
}

impl Collector for Buddyinfo {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let text = self.file.read_text()?;
        let time_us = clock.now_us();
        text.first_line()?;
        for (line, told) in text.lines() {
            points.push(parse(text, line, told, self.page_bytes, time_us)?);
        }
        Ok(())
    }
}

/// Parses `Node 0, zone   Normal  37616  33910 …`.
fn parse(
    text: SourceText<'_>,
    line: usize,
    told: &str,
    page_bytes: u64,
    time_us: i64,
) -> Result<Point, CollectError> {
    let (node, rest) = told
        .strip_prefix("Node ")
        .and_then(|rest| rest.split_once(", zone"))
        .ok_or_else(|| text.error(line, "there is no node or no zone"))?;
    let mut words = rest.split_ascii_whitespace();
    let zone = words
        .next()
        .ok_or_else(|| text.error(line, "the zone has no name"))?;
    let mut point = Point::new(name!("buddyinfo"), time_us)
        .tag(name!("node"), node.to_owned())
        .tag(name!("zone"), zone.to_owned());
    let mut free_pages = 0_u64;
    for (order, (field, word)) in ORDERS.iter().zip(words).enumerate() {
        let blocks: u64 = text.number(line, Some(word))?;
        free_pages = free_pages.saturating_add(blocks.saturating_mul(1 << order));
        point.set(field.clone(), blocks);
    }
    Ok(point.field(name!("free_bytes"), free_pages.saturating_mul(page_bytes)))
}
