//! `mdraid`: the state of Linux software RAID arrays.
//!
//! Sources: `/proc/mdstat`, md(4), for the arrays, their members and what is under way; and
//! `<sys>/block/<array>/md` for what only that tells, as `admin-guide/md` documents it. A host
//! whose kernel has no RAID has no `mdstat`; one without arrays yields nothing.

use super::sysfs::Values;
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText};
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "mdraid",
    description: "State, disks and synchronisation of software RAID arrays.",
    new: |context| Box::new(Mdraid::new(context)),
    default_on: true,
    measurements: &["mdraid"],
};

struct Mdraid {
    mdstat: SourceFile,
    block: PathBuf,
    values: Values,
}

impl Mdraid {
    fn new(context: &CollectorContext) -> Self {
        Self {
            mdstat: SourceFile::new(context.roots.proc.join("mdstat")),
            block: context.roots.sys.join("block"),
            values: Values::new(),
        }
    }
}

/// One array as `mdstat` tells it.
#[derive(Debug, Default, PartialEq)]
struct Array<'a> {
    name: &'a str,
    /// `active`, `inactive`, with `(read-only)` or `(auto-read-only)`.
    active: bool,
    read_only: bool,
    level: &'a str,
    members: u64,
    failed: u64,
    spare: u64,
    journal: u64,
    size_bytes: Option<u64>,
    /// Of `[4/3]`: how many disks it should have, and how many work.
    disks: Option<(u64, u64)>,
    action: Option<&'a str>,
    progress_percent: Option<f64>,
    remaining_seconds: Option<f64>,
    speed_bytes: Option<f64>,
}

impl Collector for Mdraid {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let mdstat = self.mdstat.read_text()?;
        let time_us = clock.now_us();
        let mut arrays: Vec<Array<'_>> = Vec::new();
        let mut is_mdstat = false;
        for (line, text) in mdstat.lines() {
            if text.starts_with("Personalities") {
                is_mdstat = true;
            } else if text.is_empty() || text.starts_with("unused devices") {
            } else if text.starts_with(char::is_whitespace) {
                if let Some(array) = arrays.last_mut() {
                    add_detail(array, text);
                }
            } else {
                arrays.push(parse_array(mdstat, line, text)?);
            }
        }
        if !is_mdstat {
            return Err(mdstat.error(1, "there is no line `Personalities`"));
        }
        for array in &arrays {
            points.push(point(&self.block, &mut self.values, array, time_us));
        }
        Ok(())
    }
}

/// The point of one array, with what only `sysfs` tells.
fn point(block: &Path, values: &mut Values, array: &Array<'_>, time_us: i64) -> Point {
    let folder = block.join(array.name).join("md");
    let (disks, working) = array.disks.map_or((None, None), |(disks, working)| {
        (Some(disks), Some(working))
    });
    let disks = disks.or_else(|| values.number(&folder, "raid_disks"));
    let action = values.owned(&folder, "sync_action").or_else(|| {
        Some(array.action.unwrap_or("idle").to_owned()).filter(|_| array.disks.is_some())
    });
    let is_idle = array.action.is_none();
    Point::new(name!("mdraid"), time_us)
        .tag(name!("device"), array.name.to_owned())
        .tag(name!("level"), array.level.to_owned())
        .field(name!("active"), array.active)
        .field(name!("read_only"), array.read_only)
        .field_if(name!("state"), values.owned(&folder, "array_state"))
        .field_if(name!("disks"), disks)
        .field_if(name!("disks_active"), working)
        .field(name!("disks_failed"), array.failed)
        .field(name!("disks_spare"), array.spare)
        .field(name!("disks_journal"), array.journal)
        .field(name!("members"), array.members)
        .field_if(
            name!("disks_missing"),
            array
                .disks
                .map(|(disks, working)| disks.saturating_sub(working)),
        )
        .field_if(name!("size_bytes"), array.size_bytes)
        .field_if(name!("sync_action"), action)
        .field_if(name!("sync_percent"), array.progress_percent)
        .field_if(
            name!("sync_remaining_seconds"),
            array.remaining_seconds.filter(|_| !is_idle),
        )
        .field_if(
            name!("sync_speed_bytes_per_second"),
            array.speed_bytes.filter(|_| !is_idle),
        )
        .field_if(
            name!("mismatches"),
            values.number::<u64>(&folder, "mismatch_cnt"),
        )
}

/// Parses the first line of an array: `md0 : active (auto-read-only) raid1 sdb1[1](F) sda1[0]`.
fn parse_array<'a>(
    mdstat: SourceText<'a>,
    line: usize,
    text: &'a str,
) -> Result<Array<'a>, CollectError> {
    let (name, rest) = text
        .split_once(" : ")
        .ok_or_else(|| mdstat.error(line, "there is no ` : `"))?;
    let mut array = Array {
        name: name.trim(),
        level: "none",
        ..Array::default()
    };
    if array.name.is_empty() || array.name.contains('/') {
        return Err(mdstat.error(line, "the array has no name"));
    }
    for (position, word) in rest.split_ascii_whitespace().enumerate() {
        match word {
            "active" | "inactive" if position == 0 => array.active = word == "active",
            _ if position == 0 => {
                return Err(mdstat.error(line, "the array is neither active nor inactive"));
            }
            "(read-only)" | "(auto-read-only)" => array.read_only = true,
            _ if word.contains('[') => {
                array.members += 1;
                array.failed += u64::from(word.contains("(F)"));
                array.spare += u64::from(word.contains("(S)"));
                array.journal += u64::from(word.contains("(J)"));
            }
            _ => array.level = word,
        }
    }
    Ok(array)
}

/// Adds what a further line of an array tells; lines of which nothing is known are passed over.
fn add_detail(array: &mut Array<'_>, text: &'_ str) {
    let mut words = text.split_ascii_whitespace();
    if let (Some(blocks), Some("blocks")) = (words.next(), words.next()) {
        array.size_bytes = blocks
            .parse::<u64>()
            .ok()
            .and_then(|blocks| blocks.checked_mul(1024));
        array.disks = text.split_ascii_whitespace().find_map(|word| {
            let (disks, working) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
            Some((disks.parse().ok()?, working.parse().ok()?))
        });
        return;
    }
    // `[==>....]  recovery = 12.6% (37043392/292945152) finish=127.5min speed=33440K/sec`, or
    // `resync=DELAYED`.
    for action in ["recovery", "resync", "reshape", "check", "repair"] {
        let Some((_, after)) = text.split_once(action) else {
            continue;
        };
        let Some(after) = after.trim_start().strip_prefix('=') else {
            continue;
        };
        array.action = Some(match action {
            "recovery" => "recover",
            "resync" => "resync",
            "reshape" => "reshape",
            "check" => "check",
            _ => "repair",
        });
        let percent = after
            .trim_start()
            .split_once('%')
            .map(|(percent, _)| percent);
        // Nothing is done yet of what is delayed or pending.
        array.progress_percent = match percent {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| (0.0..=100.0).contains(percent)),
            None => Some(0.0),
        };
    }
    let value = |key: &str, unit: &str| -> Option<f64> {
        let (_, after) = text.split_once(key)?;
        let number: f64 = after.split_once(unit)?.0.parse().ok()?;
        (number >= 0.0).then_some(number)
    };
    if let Some(minutes) = value("finish=", "min") {
        array.remaining_seconds = Some(super::rounded(minutes * 60.0, 1));
    }
    if let Some(kibibytes) = value("speed=", "K/sec") {
        array.speed_bytes = Some(kibibytes * 1024.0);
    }
}
