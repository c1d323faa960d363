//! `load`: the load averages and the number of tasks.
//!
//! Not divided by the number of cores. Source: `/proc/loadavg`, proc_loadavg(5).

use super::{CollectError, Collector, CollectorEntry, SourceFile};
use crate::roots::HostRoots;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "load",
    description: "Load averages over 1, 5 and 15 minutes, and the number of tasks.",
    new: |context| Box::new(Load::new(&context.roots)),
    default_on: true,
    measurements: &["load"],
};

struct Load {
    loadavg: SourceFile,
}

impl Load {
    fn new(roots: &HostRoots) -> Self {
        Self {
            loadavg: SourceFile::new(roots.proc.join("loadavg")).of_one_record(),
        }
    }
}

impl Collector for Load {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let loadavg = self.loadavg.read_text()?;
        let time_us = clock.now_us();
        let (line, text) = loadavg
            .lines()
            .next()
            .ok_or_else(|| loadavg.error(1, "it is empty"))?;
        let mut words = text.split_ascii_whitespace();
        let mut average = || loadavg.number::<f64>(line, words.next());
        let (load1, load5, load15) = (average()?, average()?, average()?);
        let (runnable, tasks) = words
            .next()
            .and_then(|word| word.split_once('/'))
            .ok_or_else(|| loadavg.error(line, "the number of tasks is missing"))?;
        points.push(
            Point::new(name!("load"), time_us)
                .field(name!("load1"), load1)
                .field(name!("load5"), load5)
                .field(name!("load15"), load15)
                .field(
                    name!("runnable_tasks"),
                    loadavg.number::<u64>(line, Some(runnable))?,
                )
                .field(name!("tasks"), loadavg.number::<u64>(line, Some(tasks))?),
        );
        Ok(())
    }
}
