//! `power`: the energy that processors and memory used, and batteries and mains.
//!
//! Sources: `energy_uj` of the zones in `<sys>/class/powercap` (RAPL of Intel and AMD), the
//! kernel's `power/powercap/powercap`; and the `uevent` of `<sys>/class/power_supply/<supply>`,
//! which tells in one file what its others tell one by one. Kernels since 5.10 let only root read
//! `energy_uj`. The zones are looked for once a minute.
//!
//! A zone's counter begins again at 0 beyond `max_energy_range_uj`. It is carried on here, so that
//! ours does not. A counter that went back by less than half of its range cannot have wrapped
//! within one interval: it began anew, say after a suspend.

use super::sysfs::{Due, Values, names_in};
use super::{CollectError, Collector, CollectorContext, CollectorEntry};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "power",
    description: "Energy used by processors and memory (RAPL), batteries and mains.",
    new: |context| Box::new(Power::new(context)),
    default_on: true,
    measurements: &["energy", "power_supply"],
};

/// A RAPL zone.
struct Zone {
    zone: String,
    domain: String,
    folder: PathBuf,
    range_uj: Option<u64>,
}

/// What was told of a zone, carried on over its wraps.
#[derive(Debug, Clone, Copy)]
struct Energy {
    last_uj: u64,
    total_uj: u64,
}

impl Energy {
    fn follow(&mut self, now_uj: u64, range_uj: Option<u64>) {
        let used = match (now_uj.checked_sub(self.last_uj), range_uj) {
            (Some(used), _) => used,
            (None, Some(range_uj)) if self.last_uj - now_uj > range_uj / 2 => {
                range_uj.saturating_sub(self.last_uj) + now_uj
            }
            (None, _) => now_uj,
        };
        self.last_uj = now_uj;
        self.total_uj = self.total_uj.saturating_add(used);
    }
}

struct Power {
    powercap: PathBuf,
    supplies: PathBuf,
    values: Values,
    due: Due,
    zones: Vec<Zone>,
    supply_folders: Vec<(String, PathBuf)>,
    energies: HashMap<String, Energy>,
}

/// Numbers of a supply: the key in `uevent` without its prefix, what to divide by, the field.
static SUPPLY_NUMBERS: [(&str, f64, Name); 18] = [
    ("CAPACITY", 1.0, name!("capacity_percent")),
    ("VOLTAGE_NOW", 1e6, name!("voltage_volts")),
    ("VOLTAGE_MIN_DESIGN", 1e6, name!("minimum_design_volts")),
    ("CURRENT_NOW", 1e6, name!("current_amperes")),
    ("CURRENT_MAX", 1e6, name!("maximum_amperes")),
    ("POWER_NOW", 1e6, name!("power_watts")),
    // Microwatt-hours.
    ("ENERGY_NOW", 1e6 / 3600.0, name!("energy_joules")),
    ("ENERGY_FULL", 1e6 / 3600.0, name!("energy_full_joules")),
    (
        "ENERGY_FULL_DESIGN",
        1e6 / 3600.0,
        name!("energy_full_design_joules"),
    ),
    // Microampere-hours.
    ("CHARGE_NOW", 1e6 / 3600.0, name!("charge_coulombs")),
    ("CHARGE_FULL", 1e6 / 3600.0, name!("charge_full_coulombs")),
    (
        "CHARGE_FULL_DESIGN",
        1e6 / 3600.0,
        name!("charge_full_design_coulombs"),
    ),
    ("CYCLE_COUNT", 1.0, name!("charge_cycles")),
    ("TEMP", 10.0, name!("temperature_celsius")),
    ("TEMP_AMBIENT", 10.0, name!("ambient_celsius")),
    ("TIME_TO_EMPTY_NOW", 1.0, name!("time_to_empty_seconds")),
    ("TIME_TO_FULL_NOW", 1.0, name!("time_to_full_seconds")),
    (
        "CHARGE_CONTROL_END_THRESHOLD",
        1.0,
        name!("charge_end_percent"),
    ),
];
static SUPPLY_TRUTHS: [(&str, Name); 2] =
    [("ONLINE", name!("online")), ("PRESENT", name!("present"))];
static SUPPLY_TEXTS: [(&str, Name); 3] = [
    ("STATUS", name!("status")),
    ("CAPACITY_LEVEL", name!("capacity_level")),
    ("HEALTH", name!("health")),
];

impl Power {
    fn new(context: &CollectorContext) -> Self {
        let class = context.roots.sys.join("class");
        Self {
            powercap: class.join("powercap"),
            supplies: class.join("power_supply"),
            values: Values::new(),
            due: Due::every_minute(),
            zones: Vec::new(),
            supply_folders: Vec::new(),
            energies: HashMap::new(),
        }
    }

    /// Looks for zones and supplies; a host without both, and without one of the folders, has no
    /// source.
    fn find(&mut self) -> Result<(), CollectError> {
        let zones = names_in(&self.powercap);
        let supplies = names_in(&self.supplies);
        let nothing = !zones.as_ref().is_ok_and(|zones| !zones.is_empty())
            && !supplies.as_ref().is_ok_and(|supplies| !supplies.is_empty());
        let (zones, supplies) = match (zones, supplies) {
            (Err(error), _) | (_, Err(error)) if nothing => return Err(error),
            (zones, supplies) => (zones.unwrap_or_default(), supplies.unwrap_or_default()),
        };
        self.zones.clear();
        for zone in zones {
            let folder = self.powercap.join(&zone);
            // A control type, such as `intel-rapl` itself, has no energy.
            if !folder.join("energy_uj").exists() {
                continue;
            }
            self.zones.push(Zone {
                domain: self
                    .values
                    .owned(&folder, "name")
                    .unwrap_or_else(|| zone.clone()),
                range_uj: self.values.number(&folder, "max_energy_range_uj"),
                zone,
                folder,
            });
        }
        let zones = &self.zones;
        self.energies
            .retain(|known, _| zones.iter().any(|zone| zone.zone == *known));
        self.supply_folders = supplies
            .into_iter()
            .map(|supply| (supply.clone(), self.supplies.join(supply)))
            .collect();
        Ok(())
    }

    fn add_zones(
        &mut self,
        clock: &dyn Clock,
        points: &mut Vec<Point>,
    ) -> Result<(), CollectError> {
        let mut refused = None;
        for zone in &self.zones {
            let now_uj: u64 = match self.values.read(&zone.folder, "energy_uj") {
                Ok(text) => match text.parse() {
                    Ok(now_uj) => now_uj,
                    Err(_) => continue,
                },
                Err(error) => {
                    if error.kind() == io::ErrorKind::NotFound {
                        self.due.expire();
                    } else if error.kind() == io::ErrorKind::PermissionDenied {
                        refused =
                            Some(CollectError::from_io(&zone.folder.join("energy_uj"), error));
                    }
                    continue;
                }
            };
            let begin = Energy {
                last_uj: now_uj,
                total_uj: now_uj,
            };
            let energy = self.energies.entry(zone.zone.clone()).or_insert(begin);
            energy.follow(now_uj, zone.range_uj);
            points.push(
                Point::new(name!("energy"), clock.now_us())
                    .tag(name!("zone"), zone.zone.clone())
                    .tag(name!("domain"), zone.domain.clone())
                    .field(name!("energy_joules"), energy.total_uj as f64 / 1e6),
            );
        }
        refused.map_or(Ok(()), Err)
    }
}

impl Collector for Power {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.find()?;
            self.due.done(now_us);
        }
        let found = points.len();
        for (supply, folder) in &self.supply_folders {
            let Ok(uevent) = self.values.read(folder, "uevent") else {
                self.due.expire();
                continue;
            };
            let point = supply_point(supply, uevent, clock.now_us());
            if !point.fields().is_empty() {
                points.push(point);
            }
        }
        // Batteries are told, also where only root may know the energy.
        match self.add_zones(clock, points) {
            Err(_) if points.len() > found => Ok(()),
            outcome => outcome,
        }
    }
}

/// The point of one supply from its `uevent`: lines of `POWER_SUPPLY_<KEY>=<value>`. What it does
/// not know, or not as a number, is absent.
fn supply_point(supply: &str, uevent: &str, time_us: i64) -> Point {
    let lines = || {
        uevent
            .lines()
            .filter_map(|line| line.strip_prefix("POWER_SUPPLY_")?.split_once('='))
    };
    let kind = lines().find(|(key, _)| *key == "TYPE");
    let mut point = Point::new(name!("power_supply"), time_us)
        .tag(name!("supply"), supply.to_owned())
        .tag(
            name!("type"),
            kind.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_lowercase()),
        );
    for (key, text) in lines() {
        if let Some((_, divisor, field)) = SUPPLY_NUMBERS.iter().find(|(known, ..)| *known == key) {
            if let Ok(number) = text.parse::<i64>() {
                point.set(field.clone(), super::rounded(number as f64 / divisor, 6));
            }
        } else if let Some((_, field)) = SUPPLY_TRUTHS.iter().find(|(known, _)| *known == key) {
            if let Ok(number) = text.parse::<u64>() {
                point.set(field.clone(), number != 0);
            }
        } else if let Some((_, field)) = SUPPLY_TEXTS.iter().find(|(known, _)| *known == key)
            && !text.is_empty()
        {
            point.set(field.clone(), text.to_lowercase());
        }
    }
    point
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_wraps_goes_on_and_one_that_begins_anew_is_no_jump() {
        let range_uj = Some(262_143_328_850);
        let begin = Energy {
            last_uj: 262_143_000_000,
            total_uj: 262_143_000_000,
        };
        let mut energy = begin;
        energy.follow(1_000_000, range_uj);
        assert_eq!(
            energy.total_uj, 262_144_328_850,
            "328850 to the end, then 1000000"
        );
        energy.follow(1_500_000, range_uj);
        assert_eq!(energy.total_uj, 262_144_828_850);
        energy.follow(200_000, range_uj);
        assert_eq!(energy.total_uj, 262_145_028_850, "it began anew");
        let mut energy = begin;
        energy.follow(7, None);
        assert_eq!(energy.total_uj, 262_143_000_007, "the range is not known");
        let mut energy = begin;
        energy.follow(7, Some(9));
        assert_eq!(
            energy.total_uj, 262_143_000_007,
            "a range below the counter"
        );
    }
}
