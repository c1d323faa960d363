//! `swap`: swap space, and what went in and out of it.
//!
//! Not by device. Sources: `/proc/meminfo` for the space; `/proc/vmstat` for the pages swapped in
//! and out since boot, which some containers hide: then these two fields are absent. A host
//! without swap has totals of 0 and no `used_percent`.

use super::heads::{Heads, before_colon, first_word};
use super::{
    CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText, percent_of,
    words,
};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "swap",
    description: "Swap space in total, used and free, and the bytes swapped in and out.",
    new: |context| Box::new(Swap::new(context)),
    default_on: true,
    measurements: &["swap"],
};

/// The lines of `/proc/meminfo` that are read.
const SPACE: [&str; 5] = ["SwapTotal", "SwapFree", "SwapCached", "Zswap", "Zswapped"];
/// The lines of `/proc/vmstat` that are read.
const SWAPPED: [&str; 2] = ["pswpin", "pswpout"];

struct Swap {
    meminfo: (SourceFile, Heads<usize>),
    vmstat: (SourceFile, Heads<usize>),
    page_bytes: u64,
}

impl Swap {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |name| context.sources.file(roots.proc.join(name));
        Self {
            meminfo: (file("meminfo").of_one_record(), Heads::default()),
            vmstat: (file("vmstat"), Heads::default()),
            page_bytes: roots.page_bytes,
        }
    }
}

impl Collector for Swap {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let (file, heads) = &mut self.meminfo;
        let meminfo = file.read_text()?;
        let time_us = clock.now_us();
        let bytes = |kibibytes: u64| kibibytes.saturating_mul(1024);
        let [total, free, cached, zswap, zswapped] =
            values(meminfo, before_colon, SPACE, heads)?.map(|value| value.map(bytes));
        let (Some(total), Some(free)) = (total, free) else {
            return Err(meminfo.error(0, "the swap space is missing"));
        };
        let used = total.saturating_sub(free);
        let mut point = Point::new(name!("swap"), time_us)
            .field(name!("total_bytes"), total)
            .field(name!("used_bytes"), used)
            .field(name!("free_bytes"), free)
            .field_if(name!("used_percent"), percent_of(used, total))
            .field_if(name!("cached_bytes"), cached)
            .field_if(name!("zswap_bytes"), zswap)
            .field_if(name!("zswapped_bytes"), zswapped);
        let (file, heads) = &mut self.vmstat;
        match file.read_text() {
            Ok(vmstat) => {
                let bytes = |pages: u64| pages.saturating_mul(self.page_bytes);
                let [swapped_in, swapped_out] =
                    values(vmstat, first_word, SWAPPED, heads)?.map(|value| value.map(bytes));
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

/// The numbers in the lines whose names are `keys`, as far as they are there.
fn values<const N: usize>(
    source: SourceText<'_>,
    divide: fn(&str) -> Option<(&str, &str)>,
    keys: [&str; N],
    heads: &mut Heads<usize>,
) -> Result<[Option<u64>; N], CollectError> {
    let mut values = [None; N];
    let place = |name: &str| keys.iter().position(|key| *key == name);
    for (line, told) in heads.lines(source, divide, place) {
        if let Some((Some(place), rest)) = told {
            let number = source.number(line, words(rest).next())?;
            values[place].get_or_insert(number);
            if values.iter().all(Option::is_some) {
                break;
            }
        }
    }
    Ok(values)
}
