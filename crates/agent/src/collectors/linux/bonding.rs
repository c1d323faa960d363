//! `bonding`: network interfaces that are bonded together, and the links below them.
//!
//! Sources: `<sys>/class/net/bonding_masters`, and of each bond and its slaves the files that
//! the kernel's `networking/bonding` documents. The bonds and slaves are looked for at every
//! collection: it is two files. A kernel without the bonding driver has no `bonding_masters`.

use super::sysfs::Values;
use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile};
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "bonding",
    description: "Bonded network interfaces: how many links there are, and which of them work.",
    new: |context| Box::new(Bonding::new(context)),
    default_on: true,
    measurements: &["bonding", "bonding_slave"],
};

struct Bonding {
    masters: SourceFile,
    class: PathBuf,
    values: Values,
}

impl Bonding {
    fn new(context: &CollectorContext) -> Self {
        let class = context.roots.sys.join("class/net");
        Self {
            masters: SourceFile::new(class.join("bonding_masters")),
            class,
            values: Values::new(),
        }
    }
}

impl Collector for Bonding {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let masters = self.masters.read_text()?;
        for (line, text) in masters.lines() {
            for bond in text.split_ascii_whitespace() {
                if bond.contains('/') {
                    return Err(masters.error(line, "an interface has a slash in its name"));
                }
                add_bond(&self.class, &mut self.values, bond, clock, points);
            }
        }
        Ok(())
    }
}

/// Adds the points of one bond; one that has just gone has none.
fn add_bond(
    class: &Path,
    values: &mut Values,
    bond: &str,
    clock: &dyn Clock,
    points: &mut Vec<Point>,
) {
    let folder = class.join(bond).join("bonding");
    let Ok(slaves) = values.read(&folder, "slaves").map(str::to_owned) else {
        return;
    };
    let (mut all, mut up) = (0_u64, 0_u64);
    let place = points.len();
    for slave in slaves.split_ascii_whitespace() {
        all += 1;
        let folder = class.join(slave).join("bonding_slave");
        let Some(is_up) = values
            .text(&folder, "mii_status")
            .map(|status| status == "up")
        else {
            continue;
        };
        up += u64::from(is_up);
        let active = values.text(&folder, "state").map(|state| state == "active");
        points.push(
            Point::new(name!("bonding_slave"), clock.now_us())
                .tag(name!("interface"), bond.to_owned())
                .tag(name!("slave"), slave.to_owned())
                .field(name!("up"), is_up)
                .field_if(name!("active"), active)
                .field_if(
                    name!("link_failures"),
                    values.number::<u64>(&folder, "link_failure_count"),
                ),
        );
    }
    // `active-backup 1`: the word and its number.
    let mode = values
        .text(&folder, "mode")
        .and_then(|mode| mode.split_ascii_whitespace().next())
        .map(str::to_owned);
    let is_up = values
        .text(&folder, "mii_status")
        .map(|status| status == "up");
    let point = Point::new(name!("bonding"), clock.now_us())
        .tag(name!("interface"), bond.to_owned())
        .field(name!("slaves"), all)
        .field(name!("slaves_up"), up)
        .field_if(name!("up"), is_up)
        .field_if(name!("mode"), mode)
        .field_if(name!("active_slave"), values.owned(&folder, "active_slave"));
    points.insert(place, point);
}
