//! `system`: uptime, boot time, context switches, interrupts, forks, running and blocked tasks,
//! entropy.
//!
//! Not processes, which the collector `processes` counts. Sources: `/proc/uptime` and `/proc/stat`,
//! proc_stat(5), and `/proc/sys/kernel/random/entropy_avail`, which may be missing.

use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, words};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "system",
    description: "Uptime, boot time, context switches, interrupts, forks, running tasks, entropy.",
    new: |context| Box::new(System::new(context)),
    default_on: true,
    measurements: &["system"],
};

struct System {
    uptime: SourceFile,
    stat: SourceFile,
    entropy: SourceFile,
}

impl System {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            uptime: SourceFile::new(roots.proc.join("uptime")).of_one_record(),
            stat: file(roots.proc.join("stat")).of_one_record(),
            entropy: SourceFile::new(roots.proc.join("sys/kernel/random/entropy_avail"))
                .of_one_record(),
        }
    }
}

impl Collector for System {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let uptime = self.uptime.read_text()?;
        let time_us = clock.now_us();
        let first = uptime
            .lines()
            .next()
            .and_then(|(_, text)| words(text).next());
        let mut point = Point::new(name!("system"), time_us)
            .field(name!("uptime_seconds"), uptime.number::<f64>(1, first)?);

        let stat = self.stat.read_text()?;
        for (line, text) in stat.lines() {
            let mut words = words(text);
            let field = match words.next() {
                Some("btime") => name!("boot_time_seconds"),
                Some("ctxt") => name!("context_switches"),
                Some("intr") => name!("interrupts"),
                Some("processes") => name!("forks"),
                Some("procs_running") => name!("running_tasks"),
                Some("procs_blocked") => name!("blocked_tasks"),
                Some("softirq") => name!("softirqs"),
                _ => continue,
            };
            point.set(field, stat.number::<u64>(line, words.next())?);
        }
        if let Some(entropy) = self.entropy.read_text_if_there()? {
            point.set(name!("entropy_bits"), entropy.only_number::<u64>()?);
        }
        points.push(point);
        Ok(())
    }
}
