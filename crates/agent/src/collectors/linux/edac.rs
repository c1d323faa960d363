//! `edac`: errors of memory that its controllers corrected, or could not correct.
//!
//! Source: `<sys>/devices/system/edac/mc`, the kernel's `admin-guide/ras`: per controller, and per
//! module (`dimm0`, `rank0`), or per chip-select row of kernels that know no modules. Controllers
//! and modules are looked for once a minute.

use super::sysfs::{Due, Values, names_in};
use super::{CollectError, Collector, CollectorContext, CollectorEntry};
use std::path::PathBuf;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "edac",
    description: "Corrected and uncorrected errors per memory controller and module.",
    new: |context| Box::new(Edac::new(context)),
    default_on: true,
    measurements: &["edac", "edac_module"],
};

struct Edac {
    class: PathBuf,
    values: Values,
    due: Due,
    controllers: Vec<Controller>,
}

struct Controller {
    name: String,
    folder: PathBuf,
    kind: Option<String>,
    size_bytes: Option<u64>,
    modules: Vec<Module>,
}

struct Module {
    name: String,
    folder: PathBuf,
    label: Option<String>,
    location: Option<String>,
    /// How its files begin.
    prefix: &'static str,
}

const MEBIBYTE: u64 = 1 << 20;

impl Edac {
    fn new(context: &CollectorContext) -> Self {
        Self {
            class: context.roots.sys.join("devices/system/edac/mc"),
            values: Values::new(),
            due: Due::every_minute(),
            controllers: Vec::new(),
        }
    }

    fn find(&mut self) -> Result<(), CollectError> {
        let names = names_in(&self.class)?;
        self.controllers.clear();
        for name in names {
            if !has_number(&name, "mc") {
                continue;
            }
            let folder = self.class.join(&name);
            let inside = names_in(&folder).unwrap_or_default();
            let is_module =
                |entry: &&String| has_number(entry, "dimm") || has_number(entry, "rank");
            let is_row = |entry: &&String| has_number(entry, "csrow");
            let mut modules: Vec<_> = inside.iter().filter(is_module).collect();
            let mut prefix = "dimm_";
            if modules.is_empty() {
                modules = inside.iter().filter(is_row).collect();
                prefix = "";
            }
            let modules = modules.into_iter().map(|module| {
                let folder = folder.join(module);
                let label_file = if prefix.is_empty() {
                    "ch0_dimm_label"
                } else {
                    "dimm_label"
                };
                Module {
                    name: module.clone(),
                    label: self.values.owned(&folder, label_file),
                    location: self.values.owned(&folder, "dimm_location"),
                    folder,
                    prefix,
                }
            });
            let modules = modules.collect();
            self.controllers.push(Controller {
                kind: self.values.owned(&folder, "mc_name"),
                size_bytes: self
                    .values
                    .number::<u64>(&folder, "size_mb")
                    .and_then(|size| size.checked_mul(MEBIBYTE)),
                name,
                folder,
                modules,
            });
        }
        Ok(())
    }
}

/// Whether a name is `start` and a number.
fn has_number(name: &str, start: &str) -> bool {
    name.strip_prefix(start)
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

impl Collector for Edac {
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
            let mut number = |file| self.values.number::<u64>(&controller.folder, file);
            let corrected = number("ce_count");
            let point = Point::new(name!("edac"), clock.now_us())
                .tag(name!("controller"), controller.name.clone())
                .field_if(name!("corrected_errors"), corrected)
                .field_if(name!("uncorrected_errors"), number("ue_count"))
                .field_if(
                    name!("corrected_errors_unplaced"),
                    number("ce_noinfo_count"),
                )
                .field_if(
                    name!("uncorrected_errors_unplaced"),
                    number("ue_noinfo_count"),
                )
                .field_if(name!("counted_seconds"), number("seconds_since_reset"))
                .field_if(name!("size_bytes"), controller.size_bytes)
                .field_if(name!("type"), controller.kind.clone());
            if corrected.is_none() {
                self.due.expire();
                continue;
            }
            points.push(point);
            for module in &controller.modules {
                let mut number = |file: &str| {
                    let file = format!("{}{file}", module.prefix);
                    self.values.number::<u64>(&module.folder, &file)
                };
                let (corrected, uncorrected) = (number("ce_count"), number("ue_count"));
                if corrected.is_none() && uncorrected.is_none() {
                    continue;
                }
                points.push(
                    Point::new(name!("edac_module"), clock.now_us())
                        .tag(name!("controller"), controller.name.clone())
                        .tag(name!("module"), module.name.clone())
                        .field_if(name!("corrected_errors"), corrected)
                        .field_if(name!("uncorrected_errors"), uncorrected)
                        .field_if(name!("label"), module.label.clone())
                        .field_if(name!("location"), module.location.clone()),
                );
            }
        }
        Ok(())
    }
}
