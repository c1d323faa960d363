//! `temperature`: temperatures, fans, voltages, currents and power as the host's sensors tell them.
//!
//! Sources: `<sys>/class/hwmon` and the thermal zones and cooling devices of
//! `<sys>/class/thermal`, as the kernel documents them in `hwmon/sysfs-interface` and
//! `driver-api/thermal/sysfs-api`. The sensors are looked for, and their labels and limits read,
//! once a minute; a collection reads values and alarms only. The kernel shows thermal zones as
//! hwmon chips too: those are left out there. A sensor that does not answer has no point.

use super::sysfs::{Due, Values, link_name, names_in};
use super::{CollectError, Collector, CollectorContext, CollectorEntry};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "temperature",
    description: "Temperatures, fans, voltages, currents and power of the host's sensors.",
    new: |context| Box::new(Temperature::new(context)),
    default_on: true,
    measurements: &[
        "temperature",
        "fan",
        "voltage",
        "electric_current",
        "sensor_power",
        "sensor_energy",
        "humidity",
        "cooling_device",
    ],
};

/// The sensors of one kind: how their files begin, and what their points are called.
struct Family {
    prefix: &'static str,
    measurement: Name,
    /// The files with the value, the best one first, and its field.
    value: (&'static [&'static str], Name),
    /// Files with limits, and their fields.
    limits: &'static [(&'static str, Name)],
    /// What the numbers of these files are divided by.
    divisor: f64,
}

const MILLI: f64 = 1e3;
const MICRO: f64 = 1e6;

static FAMILIES: [Family; 7] = [
    Family {
        prefix: "temp",
        measurement: name!("temperature"),
        value: (&["input"], name!("temperature_celsius")),
        limits: &[
            ("min", name!("minimum_celsius")),
            ("max", name!("maximum_celsius")),
            ("crit", name!("critical_celsius")),
            ("emergency", name!("emergency_celsius")),
        ],
        divisor: MILLI,
    },
    Family {
        prefix: "fan",
        measurement: name!("fan"),
        value: (&["input"], name!("speed_rpm")),
        limits: &[
            ("min", name!("minimum_rpm")),
            ("max", name!("maximum_rpm")),
            ("target", name!("target_rpm")),
        ],
        divisor: 1.0,
    },
    Family {
        prefix: "in",
        measurement: name!("voltage"),
        value: (&["input", "average"], name!("voltage_volts")),
        limits: &[
            ("min", name!("minimum_volts")),
            ("max", name!("maximum_volts")),
        ],
        divisor: MILLI,
    },
    Family {
        prefix: "curr",
        measurement: name!("electric_current"),
        value: (&["input", "average"], name!("current_amperes")),
        limits: &[
            ("min", name!("minimum_amperes")),
            ("max", name!("maximum_amperes")),
            ("crit", name!("critical_amperes")),
        ],
        divisor: MILLI,
    },
    Family {
        prefix: "power",
        measurement: name!("sensor_power"),
        value: (&["input", "average"], name!("power_watts")),
        limits: &[
            ("cap", name!("cap_watts")),
            ("max", name!("maximum_watts")),
            ("crit", name!("critical_watts")),
        ],
        divisor: MICRO,
    },
    Family {
        prefix: "energy",
        measurement: name!("sensor_energy"),
        value: (&["input"], name!("energy_joules")),
        limits: &[],
        divisor: MICRO,
    },
    Family {
        prefix: "humidity",
        measurement: name!("humidity"),
        value: (&["input"], name!("humidity_percent")),
        limits: &[],
        divisor: MILLI,
    },
];

/// Limits outside of this were never set: drives tell the ends of their scale then.
const REAL_CELSIUS: std::ops::Range<f64> = -273.0..1_000.0;

/// The files of which one alone means an alarm.
const ALARMS: [&str; 7] = [
    "alarm",
    "min_alarm",
    "max_alarm",
    "lcrit_alarm",
    "crit_alarm",
    "emergency_alarm",
    "cap_alarm",
];

/// One sensor, with what was read of it when it was found.
struct Sensor {
    folder: Arc<Path>,
    file: String,
    measurement: Name,
    field: Name,
    divisor: f64,
    chip: Arc<str>,
    device: Arc<str>,
    label: String,
    limits: Vec<(Name, f64)>,
    alarms: Vec<String>,
    fault: Option<String>,
}

/// One cooling device.
struct Cooling {
    folder: PathBuf,
    device: String,
    kind: String,
    maximum: Option<u64>,
}

struct Temperature {
    hwmon: PathBuf,
    thermal: PathBuf,
    values: Values,
    due: Due,
    sensors: Vec<Sensor>,
    cooling: Vec<Cooling>,
}

impl Temperature {
    fn new(context: &CollectorContext) -> Self {
        let class = context.roots.sys.join("class");
        Self {
            hwmon: class.join("hwmon"),
            thermal: class.join("thermal"),
            values: Values::new(),
            due: Due::every_minute(),
            sensors: Vec::new(),
            cooling: Vec::new(),
        }
    }

    /// Looks for sensors. A host without chips may have zones, and the other way round.
    fn find(&mut self) -> Result<(), CollectError> {
        self.sensors.clear();
        self.cooling.clear();
        let zones = names_in(&self.thermal);
        let chips = names_in(&self.hwmon);
        let (chips, zones) = match (chips, zones) {
            (Err(error), Err(_)) => return Err(error),
            (Err(error), Ok(zones)) if zones.is_empty() => return Err(error),
            (chips, zones) => (chips.unwrap_or_default(), zones.unwrap_or_default()),
        };
        let mut known = HashSet::new();
        for entry in chips {
            self.add_chip(&entry, &mut known);
        }
        for entry in zones {
            let folder = self.thermal.join(&entry);
            if entry.starts_with("thermal_zone") {
                self.add_zone(folder, &entry);
            } else if entry.starts_with("cooling_device") {
                self.cooling.push(Cooling {
                    kind: self
                        .values
                        .owned(&folder, "type")
                        .unwrap_or_else(|| "unknown".to_owned()),
                    maximum: self.values.number(&folder, "max_state"),
                    device: entry,
                    folder,
                });
            }
        }
        Ok(())
    }

    fn add_chip(&mut self, entry: &str, known: &mut HashSet<(String, String)>) {
        let folder = self.hwmon.join(entry);
        let device = link_name(&folder.join("device")).unwrap_or_else(|| entry.to_owned());
        if device.starts_with("thermal_zone") {
            return;
        }
        let chip = self
            .values
            .owned(&folder, "name")
            .unwrap_or_else(|| entry.to_owned());
        // A device may have two chips of one name; their sensors are told apart all the same.
        let device = match known.insert((chip.clone(), device.clone())) {
            true => device,
            false => entry.to_owned(),
        };
        let (chip, device) = (Arc::from(chip), Arc::from(device));
        let first_of_chip = self.sensors.len();
        // Old drivers keep their files one folder below.
        for folder in [folder.join("device"), folder] {
            let Ok(files) = names_in(&folder) else {
                continue;
            };
            let files: HashSet<String> = files.into_iter().collect();
            let folder = Arc::from(folder);
            let mut found: Vec<_> = files
                .iter()
                .filter_map(|file| self.sensor(file, &files, &folder, &chip, &device))
                .collect();
            found.sort_unstable_by(|one, other| one.file.cmp(&other.file));
            self.sensors.extend(found);
        }
        tell_apart(&mut self.sensors, first_of_chip);
    }

    /// The sensor whose value is in this file, if it is one: `temp1_input`.
    fn sensor(
        &mut self,
        file: &str,
        files: &HashSet<String>,
        folder: &Arc<Path>,
        chip: &Arc<str>,
        device: &Arc<str>,
    ) -> Option<Sensor> {
        let (base, suffix) = file.split_once('_')?;
        let prefix = base.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let family = FAMILIES.iter().find(|family| family.prefix == prefix)?;
        let (sources, field) = &family.value;
        let best = sources
            .iter()
            .find(|source| files.contains(&format!("{base}_{source}")))?;
        if prefix == base || *best != suffix {
            return None;
        }
        let own =
            |suffix: &str| Some(format!("{base}_{suffix}")).filter(|file| files.contains(file));
        let label = own("label").and_then(|file| self.values.owned(folder, &file));
        let limits = family.limits.iter().filter_map(|(suffix, field)| {
            let limit = self.values.scaled(folder, &own(suffix)?, family.divisor)?;
            let is_set = prefix != "temp" || REAL_CELSIUS.contains(&limit);
            is_set.then(|| (field.clone(), limit))
        });
        Some(Sensor {
            limits: limits.collect(),
            folder: Arc::clone(folder),
            file: file.to_owned(),
            measurement: family.measurement.clone(),
            field: field.clone(),
            divisor: family.divisor,
            chip: Arc::clone(chip),
            device: Arc::clone(device),
            label: label.unwrap_or_else(|| base.to_owned()),
            alarms: ALARMS.iter().filter_map(|suffix| own(suffix)).collect(),
            fault: own("fault"),
        })
    }

    fn add_zone(&mut self, folder: PathBuf, entry: &str) {
        let label = self.values.owned(&folder, "type");
        let critical = (0..16).find_map(|trip| {
            let kind = self
                .values
                .text(&folder, &format!("trip_point_{trip}_type"))?;
            (kind == "critical").then_some(trip)
        });
        let critical = critical.and_then(|trip| {
            self.values
                .scaled(&folder, &format!("trip_point_{trip}_temp"), MILLI)
        });
        let family = &FAMILIES[0];
        self.sensors.push(Sensor {
            folder: Arc::from(folder),
            file: "temp".to_owned(),
            measurement: family.measurement.clone(),
            field: family.value.1.clone(),
            divisor: MILLI,
            chip: Arc::from("thermal"),
            device: Arc::from(entry),
            label: label.unwrap_or_else(|| entry.to_owned()),
            limits: critical
                .map(|critical| (name!("critical_celsius"), critical))
                .into_iter()
                .collect(),
            alarms: Vec::new(),
            fault: None,
        });
    }
}

/// Two sensors of a chip may have one label: the later then has the name of its file too. A file
/// that is in both folders is one sensor.
fn tell_apart(sensors: &mut Vec<Sensor>, first_of_chip: usize) {
    let (mut files, mut labels) = (HashSet::new(), HashSet::new());
    let mut kept = first_of_chip;
    for at in first_of_chip..sensors.len() {
        if !files.insert(sensors[at].file.clone()) {
            continue;
        }
        sensors.swap(kept, at);
        let sensor = &mut sensors[kept];
        if !labels.insert((sensor.measurement.clone(), sensor.label.clone())) {
            sensor.label = format!("{} {}", sensor.label, sensor.file);
        }
        kept += 1;
    }
    sensors.truncate(kept);
}

impl Collector for Temperature {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.find()?;
            self.due.done(now_us);
        }
        let mut is_gone = false;
        for sensor in &self.sensors {
            let value = match self.values.read(&sensor.folder, &sensor.file) {
                Ok(text) => text.parse::<i64>().ok(),
                Err(error) => {
                    is_gone |= error.kind() == std::io::ErrorKind::NotFound;
                    None
                }
            };
            let Some(value) = value else { continue };
            let time_us = clock.now_us();
            let mut point = Point::new(sensor.measurement.clone(), time_us)
                .tag(name!("chip"), sensor.chip.to_string())
                .tag(name!("device"), sensor.device.to_string())
                .tag(name!("sensor"), sensor.label.clone())
                .field(sensor.field.clone(), value as f64 / sensor.divisor);
            for (field, limit) in &sensor.limits {
                point.set(field.clone(), *limit);
            }
            if !sensor.alarms.is_empty() {
                let is_on = |file| self.values.truth(&sensor.folder, file) == Some(true);
                point.set(
                    name!("alarm"),
                    sensor.alarms.iter().map(String::as_str).any(is_on),
                );
            }
            let fault = sensor
                .fault
                .as_ref()
                .and_then(|file| self.values.truth(&sensor.folder, file));
            points.push(point.field_if(name!("fault"), fault));
        }
        for cooling in &self.cooling {
            let state: Option<u64> = self.values.number(&cooling.folder, "cur_state");
            let Some(state) = state else { continue };
            points.push(
                Point::new(name!("cooling_device"), clock.now_us())
                    .tag(name!("device"), cooling.device.clone())
                    .tag(name!("type"), cooling.kind.clone())
                    .field(name!("state"), state)
                    .field_if(name!("maximum_state"), cooling.maximum),
            );
        }
        if is_gone {
            self.due.expire();
        }
        Ok(())
    }
}
