//! `swap`: swap space, and what went in and out of it.
//!
//! Not by device. Sources: `/proc/meminfo` for the space; `/proc/vmstat` for the pages swapped in
//! and out since boot, which some containers hide: then these two fields are absent. A host
//! without swap has totals of 0 and no `used_percent`.

use super::{
    CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText, percent_of,
};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "swap",
    description: "Swap space in total, used and free, and the bytes swapped in and out.",
    new: |context| Box::new(Swap::new(context)),
    default_on: true,
    measurements: &["swap"],
};

struct Swap {
    meminfo: SourceFile,
    vmstat: SourceFile,
    page_bytes: u64,
}

impl Swap {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            meminfo: file(roots.proc.join("meminfo")),
            vmstat: file(roots.proc.join("vmstat")),
            page_bytes: roots.page_bytes,
        }
    }
}

impl Collector for Swap {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let meminfo = self.meminfo.read_text()?;
        let time_us = clock.now_us();
        let missing = || meminfo.error(0, "the swap space is missing");
        let kibibytes = |key| value_of(meminfo, key)?.ok_or_else(missing);
        let total = kibibytes("SwapTotal:")?.saturating_mul(1024);
        let free = kibibytes("SwapFree:")?.saturating_mul(1024);
        let used = total.saturating_sub(free);
        let mut point = Point::new(name!("swap"), time_us)
            .field(name!("total_bytes"), total)
            .field(name!("used_bytes"), used)
            .field(name!("free_bytes"), free)
            .field_if(name!("used_percent"), percent_of(used, total));
        for (key, field) in [
            ("SwapCached:", name!("cached_bytes")),
            ("Zswap:", name!("zswap_bytes")),
            ("Zswapped:", name!("zswapped_bytes")),
        ] {
            let value = value_of(meminfo, key)?;
            point = point.field_if(field, value.map(|kibibytes| kibibytes.saturating_mul(1024)));
        }
        match self.vmstat.read_text() {
            Ok(vmstat) => {
                let bytes = |pages: u64| pages.saturating_mul(self.page_bytes);
                let swapped_in = value_of(vmstat, "pswpin")?.map(bytes);
                let swapped_out = value_of(vmstat, "pswpout")?.map(bytes);
                point = point
                    .field_if(name!("swapped_in_bytes"), swapped_in)
                    .field_if(name!("swapped_out_bytes"), swapped_out);
            }
            Err(CollectError::Unavailable { .. }) => {}
            Err(error) => return Err(error),
        }
        points.push(point);
        Ok(())
    }
}

/// The number in the line whose first word is `key`, if there is one.
fn value_of(source: SourceText<'_>, key: &str) -> Result<Option<u64>, CollectError> {
    for (line, text) in source.lines() {
        let mut words = text.split_ascii_whitespace();
        if words.next() == Some(key) {
            return source.number(line, words.next()).map(Some);
        }
    }
    Ok(None)
}
