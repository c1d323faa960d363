//! `cpu`: what each core, and all of them together, did since the collection before.
//!
//! Not usage since boot: the first collection yields nothing. Source: the `cpu` lines of
//! `/proc/stat`, proc_stat(5), in ticks per mode. The share of a mode is its ticks of the
//! interval over those of all modes, so that no tick length and no clock is needed, and the ten
//! shares sum up to 100.
//!
//! - The kernel counts guest time in `user` and `guest_nice` in `nice` as well. Here `user` and
//!   `nice` are without it: no time is in two modes.
//! - A counter that goes backwards (`iowait` and `idle` may, says proc_stat(5), and a core may
//!   come back with new counters) counts as 0 ticks for that interval.
//! - A core that appears has its first point one collection later.
//!
//! The clock frequency and the counts of throttling of a core come from [`cores`].

mod cores;

use super::{
    CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText, rounded,
    words,
};
use cores::Cores;
use std::borrow::Cow;
use std::collections::HashMap;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "cpu",
    description: "Time of each core and of all cores by mode, its frequency and how often heat slowed it.",
    new: |context| Box::new(Cpu::new(context)),
    default_on: true,
    measurements: &["cpu"],
};

/// The modes in the order of `/proc/stat`.
static MODES: [Name; 10] = [
    name!("user_percent"),
    name!("nice_percent"),
    name!("system_percent"),
    name!("idle_percent"),
    name!("iowait_percent"),
    name!("irq_percent"),
    name!("softirq_percent"),
    name!("steal_percent"),
    name!("guest_percent"),
    name!("guest_nice_percent"),
];
/// Fields that [`cores`] adds.
const CORE_FIELDS: usize = 3;
const USER: usize = 0;
const NICE: usize = 1;
const GUEST: usize = 8;
const GUEST_NICE: usize = 9;

/// Ticks since boot by mode, none of them in two modes.
type Ticks = [u64; MODES.len()];

/// The number of a core, or `None` for all together.
type Core = Option<u32>;

struct Cpu {
    stat: SourceFile,
    before: HashMap<Core, Ticks>,
    now: HashMap<Core, Ticks>,
    cores: Cores,
}

impl Cpu {
    fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            stat: file(roots.proc.join("stat")).of_one_record(),
            before: HashMap::new(),
            now: HashMap::new(),
            cores: Cores::new(roots),
        }
    }
}

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let stat = self.stat.read_text()?;
        let time_us = clock.now_us();
        self.now.clear();
        self.cores.begin(time_us);
        for (line, text) in stat.lines() {
            // The `cpu` lines come first.
            let Some(text) = text.strip_prefix("cpu") else {
                break;
            };
            let (core, ticks) = parse(stat, line, text)?;
            if let Some(point) = self
                .before
                .get(&core)
                .and_then(|before| point(time_us, core, before, &ticks))
            {
                points.push(match core {
                    Some(core) => self.cores.add_to(core, point),
                    None => point,
                });
            }
            self.now.insert(core, ticks);
        }
        if self.now.is_empty() {
            return Err(stat.error(1, "there is no line `cpu`"));
        }
        std::mem::swap(&mut self.before, &mut self.now);
        self.cores
            .forget(|core| self.before.contains_key(&Some(core)));
        Ok(())
    }
}

/// Parses what follows `cpu` in a line. Modes that an old kernel does not have are 0.
fn parse(stat: SourceText<'_>, line: usize, text: &str) -> Result<(Core, Ticks), CollectError> {
    let (core, rest) = text
        .split_once(' ')
        .ok_or_else(|| stat.error(line, "a line `cpu` has no counters"))?;
    let core = match core {
        "" => None,
        number => Some(stat.number(line, Some(number))?),
    };
    let mut ticks: Ticks = [0; MODES.len()];
    let mut words = words(rest);
    for (mode, slot) in ticks.iter_mut().enumerate() {
        match words.next() {
            None if mode >= 4 => break,
            word => *slot = stat.number(line, word)?,
        }
    }
    ticks[USER] = ticks[USER].saturating_sub(ticks[GUEST]);
    ticks[NICE] = ticks[NICE].saturating_sub(ticks[GUEST_NICE]);
    Ok((core, ticks))
}

/// The shares of the interval; `None` if no tick was counted in it.
fn point(time_us: i64, core: Core, before: &Ticks, now: &Ticks) -> Option<Point> {
    let mut spent = [0.0; MODES.len()];
    for (mode, slot) in spent.iter_mut().enumerate() {
        *slot = now[mode].saturating_sub(before[mode]) as f64;
    }
    let total: f64 = spent.iter().sum();
    if total <= 0.0 {
        return None;
    }
    let text = core.map_or(Cow::Borrowed("total"), |core| Cow::Owned(core.to_string()));
    let mut point = Point::new(name!("cpu"), time_us)
        .with_room(MODES.len() + CORE_FIELDS)
        .tag(name!("cpu"), text);
    for (field, ticks) in MODES.iter().zip(spent) {
        point.set(field.clone(), rounded(100.0 * ticks / total, 3));
    }
    Some(point)
}
