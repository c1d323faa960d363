//! `nvme`: identity, state and temperature of NVMe controllers.
//!
//! Not the drive's own log of wear and errors, which needs root and a command to the drive.
//! Source: `<sys>/class/nvme/<controller>`, the kernel's `stable/sysfs` of the nvme driver, and
//! the first sensor of the controller's hwmon chip. Controllers and what never changes of them
//! are looked for once a minute.

use super::sysfs::{Due, Values, names_in};
use super::{CollectError, Collector, CollectorContext, CollectorEntry};
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "nvme",
    description: "Identity, state and temperature of NVMe controllers.",
    new: |context| Box::new(Nvme::new(context)),
    default_on: true,
    measurements: &["nvme"],
};

struct Nvme {
    class: PathBuf,
    values: Values,
    due: Due,
    controllers: Vec<Controller>,
}

struct Controller {
    name: String,
    folder: PathBuf,
    texts: Vec<(Name, String)>,
    namespaces: u64,
    capacity_bytes: Option<u64>,
    chip: Option<PathBuf>,
}

/// The files of what does not change, and their fields.
static TEXTS: [(&str, Name); 5] = [
    ("model", name!("model")),
    ("serial", name!("serial")),
    ("firmware_rev", name!("firmware")),
    ("transport", name!("transport")),
    ("address", name!("address")),
];
/// Sizes in sysfs are in units of 512 bytes, whatever the drive's sectors are.
const SECTOR_BYTES: u64 = 512;

impl Nvme {
    fn new(context: &CollectorContext) -> Self {
        Self {
            class: context.roots.sys.join("class/nvme"),
            values: Values::new(),
            due: Due::every_minute(),
            controllers: Vec::new(),
        }
    }

    fn find(&mut self) -> Result<(), CollectError> {
        let names = names_in(&self.class)?;
        self.controllers.clear();
        for name in names {
            let folder = self.class.join(&name);
            let mut texts = Vec::with_capacity(TEXTS.len());
            for (file, field) in &TEXTS {
                if let Some(text) = self.values.owned(&folder, file) {
                    texts.push((field.clone(), text));
                }
            }
            let inside = names_in(&folder).unwrap_or_default();
            let sizes: Vec<u64> = inside
                .iter()
                .filter(|entry| is_namespace(&name, entry))
                .filter_map(|entry| self.values.number(&folder.join(entry), "size"))
                .collect();
            let capacity = sizes.iter().try_fold(0_u64, |sum, size| {
                sum.checked_add(size.checked_mul(SECTOR_BYTES)?)
            });
            self.controllers.push(Controller {
                chip: chip_of(&folder, &inside),
                namespaces: sizes.len() as u64,
                capacity_bytes: capacity.filter(|_| !sizes.is_empty()),
                name,
                folder,
                texts,
            });
        }
        Ok(())
    }
}

/// Whether this is the folder of a namespace of the controller: `nvme0n1`, or `nvme0c0n1` where the
/// drive may be reached through several controllers.
fn is_namespace(controller: &str, entry: &str) -> bool {
    let Some(rest) = entry.strip_prefix(controller) else {
        return false;
    };
    let rest = rest.strip_prefix('c').map_or(rest, |rest| {
        rest.trim_start_matches(|letter: char| letter.is_ascii_digit())
    });
    rest.strip_prefix('n').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The folder of the controller's hwmon chip, whose place differs between kernels.
fn chip_of(folder: &Path, inside: &[String]) -> Option<PathBuf> {
    let direct = inside
        .iter()
        .find(|entry| entry.starts_with("hwmon") && entry.as_str() != "hwmon");
    if let Some(entry) = direct {
        return Some(folder.join(entry));
    }
    ["hwmon", "device/hwmon"].iter().find_map(|below| {
        let below = folder.join(below);
        let chip = names_in(&below).ok()?.into_iter().next()?;
        Some(below.join(chip))
    })
}

impl Collector for Nvme {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let now_us = clock.now_us();
        if self.due.is(now_us) {
            self.find()?;
            self.due.done(now_us);
        }
        for controller in &self.controllers {
            let Some(state) = self.values.owned(&controller.folder, "state") else {
                self.due.expire();
                continue;
            };
            let mut point = Point::new(name!("nvme"), clock.now_us())
                .tag(name!("controller"), controller.name.clone())
                .field(name!("live"), state == "live")
                .field(name!("state"), state);
            for (field, text) in &controller.texts {
                point.set(field.clone(), text.clone());
            }
            let temperature = controller
                .chip
                .as_ref()
                .and_then(|chip| self.values.scaled(chip, "temp1_input", 1e3));
            points.push(
                point
                    .field(name!("namespaces"), controller.namespaces)
                    .field_if(name!("capacity_bytes"), controller.capacity_bytes)
                    .field_if(name!("temperature_celsius"), temperature),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_told_from_other_folders() {
        for yes in ["nvme1n1", "nvme1n22", "nvme1c0n1"] {
            assert!(is_namespace("nvme1", yes), "{yes}");
        }
        for no in ["nvme1", "nvme10n1", "ng1n1", "power", "nvme1n", "hwmon3"] {
            assert!(!is_namespace("nvme1", no), "{no}");
        }
    }
}
