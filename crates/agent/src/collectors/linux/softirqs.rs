//! `softirqs`: deferred work of interrupts by its kind, all cores together.
//!
//! Not by core. Source: `/proc/softirqs`, proc_softirqs(5), with a column for every core that can
//! be. The counts have 32 bits and are carried on.

use super::carried::Carried;
use super::{CollectError, Collector, CollectorEntry, SourceFile};
use crate::roots::HostRoots;
use std::collections::HashMap;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "softirqs",
    description: "Deferred work of interrupts by its kind, all cores together.",
    new: |context| Box::new(Softirqs::new(&context.roots)),
    default_on: false,
    measurements: &["softirqs"],
};

struct Softirqs {
    file: SourceFile,
    kinds: HashMap<String, (Vec<Carried>, u64)>,
}

impl Softirqs {
    fn new(roots: &HostRoots) -> Self {
        Self {
            file: SourceFile::new(roots.proc.join("softirqs")),
            kinds: HashMap::new(),
        }
    }
}

impl Collector for Softirqs {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let text = self.file.read_text()?;
        let time_us = clock.now_us();
        if !text.first_line()?.trim_start().starts_with("CPU") {
            return Err(text.error(1, "it is not the head of the table"));
        }
        for (line, told) in text.lines().skip(1) {
            let (kind, counts) = told
                .split_once(':')
                .ok_or_else(|| text.error(line, "there is no colon"))?;
            let kind = kind.trim_start();
            if !self.kinds.contains_key(kind) {
                self.kinds.insert(kind.to_owned(), Default::default());
            }
            let Some((cores, total)) = self.kinds.get_mut(kind) else {
                continue;
            };
            for (core, word) in counts.split_ascii_whitespace().enumerate() {
                if core == cores.len() {
                    cores.push(Carried::default());
                }
                let grown = cores[core].grown(text.number(line, Some(word))?);
                *total = total.saturating_add(grown);
            }
            points.push(
                Point::new(name!("softirqs"), time_us)
                    .tag(name!("softirq"), kind.to_owned())
                    .field(name!("softirqs"), *total),
            );
        }
        Ok(())
    }
}
