//! `softnet`: how each core keeps up with received packets.
//!
//! Not by interface. Source: `net/softnet_stat`, one line per online core, in hexadecimal words
//! whose meaning is in the kernel's `net/core/net-procfs.c`. Since 5.10 a line ends with the core's
//! number and its queue; before, lines are counted from 0. The counters have 32 bits, which
//! busy hosts wrap within hours: they are carried on.

use super::carried::Carried;
use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText, words};
use crate::roots::HostRoots;
use std::collections::HashMap;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "softnet",
    description: "Packets that each core processed and dropped, and how often it ran out of time.",
    new: |context| Box::new(Softnet::new(&context.roots)),
    default_on: true,
    measurements: &["softnet"],
};

/// The counters with the words that they are in.
static COUNTERS: [(usize, Name); 5] = [
    (0, name!("processed_packets")),
    (1, name!("dropped_packets")),
    (2, name!("squeezes")),
    (9, name!("steered_packets")),
    (10, name!("flow_limited_packets")),
];
const BACKLOG: usize = 11;
const CORE: usize = 12;
const WORDS: usize = 13;

type Counts = [u64; COUNTERS.len()];

#[derive(Default)]
struct Core {
    seen: [Carried; COUNTERS.len()],
    counts: Counts,
}

struct Softnet {
    stat: SourceFile,
    cores: HashMap<u64, Core>,
    total: Counts,
}

impl Softnet {
    fn new(roots: &HostRoots) -> Self {
        Self {
            stat: SourceFile::new(roots.proc_of_namespace("net/softnet_stat")),
            cores: HashMap::new(),
            total: Counts::default(),
        }
    }
}

impl Collector for Softnet {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let stat = self.stat.read_text()?;
        let time_us = clock.now_us();
        let before = points.len();
        let mut backlog_of_all = None;
        let mut known = 0;
        for (line, text) in stat.lines() {
            let (words, count) = parse(stat, line, text)?;
            let number = if count > CORE {
                words[CORE]
            } else {
                line as u64 - 1
            };
            let backlog = (count > BACKLOG).then_some(words[BACKLOG]);
            if let Some(backlog) = backlog {
                backlog_of_all = Some(backlog_of_all.unwrap_or(0_u64).saturating_add(backlog));
            }
            known = count;
            let core = self.cores.entry(number).or_default();
            for (at, (word, _)) in COUNTERS.iter().enumerate() {
                let grown = core.seen[at].grown(words[*word]);
                core.counts[at] = core.counts[at].saturating_add(grown);
                self.total[at] = self.total[at].saturating_add(grown);
            }
            points.push(point(
                time_us,
                number.to_string(),
                count,
                &core.counts,
                backlog,
            ));
        }
        if points.len() == before {
            return Err(stat.error(0, "it is empty"));
        }
        let total = "total".to_owned();
        points.push(point(time_us, total, known, &self.total, backlog_of_all));
        Ok(())
    }
}

/// Parses the words of a line, and tells how many there are; the first three are always.
fn parse(
    stat: SourceText<'_>,
    line: usize,
    text: &str,
) -> Result<([u64; WORDS], usize), CollectError> {
    let mut numbers = [0; WORDS];
    let mut count = 0;
    let mut words = words(text);
    for slot in &mut numbers {
        match words.next() {
            None if count >= 3 => break,
            word => *slot = stat.hexadecimal(line, word)?,
        }
        count += 1;
    }
    Ok((numbers, count))
}

fn point(time_us: i64, core: String, known: usize, counts: &Counts, backlog: Option<u64>) -> Point {
    let mut point = Point::new(name!("softnet"), time_us).tag(name!("cpu"), core);
    for ((word, field), count) in COUNTERS.iter().zip(counts) {
        if *word < known {
            point.set(field.clone(), *count);
        }
    }
    point.field_if(name!("backlog_packets"), backlog)
}
