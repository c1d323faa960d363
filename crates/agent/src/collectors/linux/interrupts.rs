//! `interrupts`: interrupts by their source, all cores together.
//!
//! Not by core: that is hundreds of sources times hundreds of cores. Source: `/proc/interrupts`,
//! proc_interrupts(5), which takes a large host milliseconds to make: on only by setting. The
//! counts of the cores have 32 bits and are carried on; a source that never had one is left out.

use super::carried::Carried;
use super::{CollectError, Collector, CollectorEntry, SourceFile};
use crate::roots::HostRoots;
use std::collections::HashMap;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "interrupts",
    description: "Interrupts by their source, all cores together.",
    new: |context| Box::new(Interrupts::new(&context.roots)),
    default_on: false,
    measurements: &["interrupts"],
};

/// The longest description that is kept, in bytes: shared interrupts have many devices.
const MAX_SOURCE_BYTES: usize = 200;

#[derive(Default)]
struct Source {
    cores: Vec<Carried>,
    total: u64,
    round: u64,
}

struct Interrupts {
    file: SourceFile,
    sources: HashMap<String, Source>,
    round: u64,
}

impl Interrupts {
    fn new(roots: &HostRoots) -> Self {
        Self {
            file: SourceFile::new(roots.proc.join("interrupts")),
            sources: HashMap::new(),
            round: 0,
        }
    }
}

impl Collector for Interrupts {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let text = self.file.read_text()?;
        let time_us = clock.now_us();
        let head = text.first_line()?.trim_start();
        if !head.starts_with("CPU") {
            return Err(text.error(1, "it is not the head of the table"));
        }
        let cores = head.split_ascii_whitespace().count();
        self.round += 1;
        for (line, told) in text.lines().skip(1) {
            let (irq, mut rest) = told
                .split_once(':')
                .ok_or_else(|| text.error(line, "there is no colon"))?;
            let irq = irq.trim_start();
            if !self.sources.contains_key(irq) {
                self.sources.insert(irq.to_owned(), Source::default());
            }
            let Some(source) = self.sources.get_mut(irq) else {
                continue;
            };
            source.round = self.round;
            source.cores.resize(cores, Carried::default());
            // `ERR` and `MIS` have one number and no cores.
            for core in &mut source.cores {
                let word = rest.split_ascii_whitespace().next();
                let Some(number) = word.and_then(|word| word.parse().ok()) else {
                    break;
                };
                source.total = source.total.saturating_add(core.grown(number));
                rest = rest
                    .trim_start()
                    .trim_start_matches(|byte: char| byte.is_ascii_digit());
            }
            if source.total > 0 {
                points.push(
                    Point::new(name!("interrupts"), time_us)
                        .tag(name!("irq"), irq.to_owned())
                        .tag(name!("source"), described(rest))
                        .field(name!("interrupts"), source.total),
                );
            }
        }
        let round = self.round;
        self.sources.retain(|_, source| source.round == round);
        Ok(())
    }
}

/// The description with single spaces between its words.
fn described(text: &str) -> String {
    let mut source = String::new();
    for word in text.split_ascii_whitespace() {
        if source.len() + word.len() >= MAX_SOURCE_BYTES {
            break;
        }
        if !source.is_empty() {
            source.push(' ');
        }
        source.push_str(word);
    }
    source
}
