//! `pressure`: time that tasks lost to waiting for the CPU, memory, disks or interrupts.
//!
//! Not by control group. Source: `/proc/pressure/*` (PSI), the kernel's
//! `Documentation/accounting/psi.rst`, since 4.20; `irq` since 6.1, with `full` alone. A kernel
//! that was started with `psi=0` refuses to be read: then the collector is not available.

use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText, rounded, words};
use crate::roots::HostRoots;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "pressure",
    description: "Time lost to waiting for the CPU, memory, disks and interrupts.",
    new: |context| Box::new(Pressure::new(&context.roots)),
    default_on: true,
    measurements: &["pressure"],
};

const RESOURCES: [&str; 4] = ["cpu", "memory", "io", "irq"];
static SOME: [Name; 4] = [
    name!("some_avg10_percent"),
    name!("some_avg60_percent"),
    name!("some_avg300_percent"),
    name!("some_seconds"),
];
static FULL: [Name; 4] = [
    name!("full_avg10_percent"),
    name!("full_avg60_percent"),
    name!("full_avg300_percent"),
    name!("full_seconds"),
];

struct Pressure {
    files: [(&'static str, SourceFile); RESOURCES.len()],
}

impl Pressure {
    fn new(roots: &HostRoots) -> Self {
        let folder = roots.proc.join("pressure");
        Self {
            files: RESOURCES.map(|resource| {
                let file = SourceFile::new(folder.join(resource)).of_one_record();
                (resource, file)
            }),
        }
    }
}

impl Collector for Pressure {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let mut missing = None;
        let mut any = false;
        for (resource, file) in &mut self.files {
            match file.read_text() {
                Ok(text) => {
                    let point = Point::new(name!("pressure"), clock.now_us())
                        .tag(name!("resource"), *resource);
                    points.push(parse(text, point)?);
                    any = true;
                }
                Err(error) if error.is_unavailable() => missing = missing.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if !any => Err(error),
            _ => Ok(()),
        }
    }
}

/// Parses lines such as `some avg10=0.12 avg60=0.34 avg300=0.56 total=789` (microseconds).
fn parse(text: SourceText<'_>, mut point: Point) -> Result<Point, CollectError> {
    for (line, told) in text.lines() {
        let mut words = words(told);
        let fields = match words.next() {
            Some("some") => &SOME,
            Some("full") => &FULL,
            _ => return Err(text.error(line, "it is neither `some` nor `full`")),
        };
        for (word, (key, field)) in ["avg10=", "avg60=", "avg300=", "total="]
            .iter()
            .zip(fields)
            .map(|row| (words.next(), row))
        {
            let number = word.and_then(|word| word.strip_prefix(key));
            let number = match *key {
                "total=" => text.number::<u64>(line, number)? as f64 / 1e6,
                _ => rounded(text.number::<f64>(line, number)?, 2),
            };
            point.set(field.clone(), number);
        }
    }
    if point.fields().is_empty() {
        return Err(text.error(0, "it is empty"));
    }
    Ok(point)
}
