//! `identity`: what the host is: kernel, system, machine, processor, and what it runs in.
//!
//! Not who it is: serial numbers and UUIDs are left out. Sources: `<proc>/sys/kernel`,
//! os-release(5), `<sys>/class/dmi/id` or the device tree, `<proc>/cpuinfo`. All of it changes
//! rarely: it is read every five minutes, `cpuinfo` only when the processors that are online
//! changed and once a day, because it is long and slow to make. There is a point at the start, when
//! something changed, and once a day; other collections yield nothing.

use super::sysfs::{Due, Values};
use super::{CollectError, Collector, CollectorEntry, SourceFile, SourceText};
use crate::roots::HostRoots;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Name, Point, Value, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "identity",
    description: "What the host is: kernel, system, machine, processor. Told when it changes.",
    new: |context| Box::new(Identity::new(&context.roots)),
    default_on: true,
    measurements: &["identity"],
};

const DAY_SECONDS: i64 = 86_400;

static KERNEL: [(&str, Name); 5] = [
    ("hostname", name!("host_name")),
    ("ostype", name!("kernel_name")),
    ("osrelease", name!("kernel_release")),
    ("version", name!("kernel_version")),
    ("domainname", name!("domain")),
];
/// Keys of os-release(5).
static SYSTEM: [(&str, Name); 7] = [
    ("PRETTY_NAME", name!("os_name")),
    ("ID", name!("os_id")),
    ("ID_LIKE", name!("os_id_like")),
    ("VERSION_ID", name!("os_version")),
    ("VERSION_CODENAME", name!("os_codename")),
    ("BUILD_ID", name!("os_build")),
    ("VARIANT_ID", name!("os_variant")),
];
static MACHINE: [(&str, Name); 14] = [
    ("sys_vendor", name!("machine_vendor")),
    ("product_name", name!("machine_product")),
    ("product_version", name!("machine_version")),
    ("product_family", name!("machine_family")),
    ("product_sku", name!("machine_sku")),
    ("board_vendor", name!("board_vendor")),
    ("board_name", name!("board_name")),
    ("board_version", name!("board_version")),
    ("chassis_vendor", name!("chassis_vendor")),
    ("chassis_type", name!("chassis_type")),
    ("bios_vendor", name!("firmware_vendor")),
    ("bios_version", name!("firmware_version")),
    ("bios_release", name!("firmware_release")),
    ("bios_date", name!("firmware_date")),
];
/// Words in the name of the machine, and what it runs in then.
const HYPERVISORS: [(&str, &str); 12] = [
    ("kvm", "kvm"),
    ("qemu", "qemu"),
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("xen", "xen"),
    ("bochs", "bochs"),
    ("parallels", "parallels"),
    ("bhyve", "bhyve"),
    ("amazon ec2", "amazon"),
    ("google compute engine", "google"),
    ("openstack", "kvm"),
];

/// What `cpuinfo` tells.
#[derive(Debug, Default, Clone)]
struct Processors {
    fields: Vec<(Name, Value)>,
    has_hypervisor: bool,
    is_x86: bool,
}

struct Identity {
    roots: HostRoots,
    kernel: PathBuf,
    cpuinfo: SourceFile,
    values: Values,
    due: Due,
    cpuinfo_due: Due,
    told_due: Due,
    online: Option<String>,
    processors: Processors,
    told: Vec<(Name, Value)>,
}

impl Identity {
    fn new(roots: &HostRoots) -> Self {
        Self {
            kernel: roots.proc.join("sys/kernel"),
            cpuinfo: SourceFile::new(roots.proc.join("cpuinfo")),
            roots: roots.clone(),
            values: Values::new(),
            due: Due::every_seconds(300),
            cpuinfo_due: Due::every_seconds(DAY_SECONDS),
            told_due: Due::every_seconds(DAY_SECONDS),
            online: None,
            processors: Processors::default(),
            told: Vec::new(),
        }
    }

    /// All fields, in the order of the catalog.
    fn read(&mut self, now_us: i64) -> Result<Vec<(Name, Value)>, CollectError> {
        let release = self.values.read(&self.kernel, "osrelease").map(drop);
        release.map_err(|source| {
            let path = self.kernel.join("osrelease");
            match source.kind() {
                ErrorKind::InvalidData => CollectError::whole_file(&path, "it is no text"),
                _ => CollectError::from_io(&path, source),
            }
        })?;
        let mut fields = Vec::new();
        self.add_texts(&self.kernel.clone(), &KERNEL, &mut fields);
        // The kernel says it by itself since 6.1; before, ours is that of the host.
        let architecture = self.values.owned(&self.kernel, "arch").unwrap_or_else(|| {
            let name = rustix::system::uname();
            name.machine().to_string_lossy().into_owned()
        });
        fields.push((name!("architecture"), architecture.into()));
        self.add_system(&mut fields);
        let first_of_machine = fields.len();
        self.add_texts(&self.roots.sys.join("class/dmi/id"), &MACHINE, &mut fields);
        if fields.len() == first_of_machine {
            let tree = self.roots.proc.join("device-tree");
            if let Some(model) = self.values.text(&tree, "model") {
                fields.push((name!("machine_product"), model.to_owned().into()));
            }
        }
        let machine = machine_text(&fields[first_of_machine..]);
        self.read_processors(now_us)?;
        fields.extend(self.processors.fields.iter().cloned());
        if let Some(virtualisation) = self.virtualisation(&machine) {
            fields.push((name!("virtualisation"), virtualisation.into()));
        }
        if let Some(container) = self.container() {
            fields.push((name!("container"), container.into()));
        }
        Ok(fields)
    }

    fn add_texts(
        &mut self,
        folder: &Path,
        files: &'static [(&str, Name)],
        fields: &mut Vec<(Name, Value)>,
    ) {
        for (file, field) in files {
            // A domain that was never set is `(none)`.
            if let Some(text) = self
                .values
                .owned(folder, file)
                .filter(|text| text != "(none)")
            {
                fields.push((field.clone(), text.into()));
            }
        }
    }

    fn add_system(&mut self, fields: &mut Vec<(Name, Value)>) {
        let text = ["/etc", "/usr/lib"].iter().find_map(|folder| {
            let folder = self.roots.on_host(Path::new(folder));
            self.values.owned(&folder, "os-release")
        });
        let text = text.unwrap_or_default();
        for (key, field) in &SYSTEM {
            let value = text
                .lines()
                .filter_map(|line| line.trim().split_once('='))
                .find(|(known, _)| known == key)
                .map(|(_, value)| value.trim_matches(['"', '\'']))
                .filter(|value| !value.is_empty());
            if let Some(value) = value {
                fields.push((field.clone(), value.to_owned().into()));
            }
        }
    }

    fn read_processors(&mut self, now_us: i64) -> Result<(), CollectError> {
        let online = self
            .values
            .owned(&self.roots.sys.join("devices/system/cpu"), "online");
        if online == self.online && !self.cpuinfo_due.is(now_us) {
            return Ok(());
        }
        match self.cpuinfo.read_text() {
            Ok(text) => self.processors = parse_cpuinfo(text),
            Err(CollectError::Unavailable { .. }) => {}
            Err(error) => return Err(error),
        }
        self.online = online;
        self.cpuinfo_due.done(now_us);
        Ok(())
    }

    /// What the machine runs in: as the hypervisor says, as the machine is called, or as the
    /// processor hints. `None` where there is no hint at all.
    fn virtualisation(&mut self, machine: &str) -> Option<String> {
        let hypervisor = self.roots.sys.join("hypervisor");
        if let Some(kind) = self.values.owned(&hypervisor, "type") {
            return Some(kind);
        }
        let clocks = self
            .roots
            .sys
            .join("devices/system/clocksource/clocksource0");
        if let Some(clocks) = self.values.text(&clocks, "available_clocksource") {
            for (clock, kind) in [("kvm-clock", "kvm"), ("hyperv_clocksource", "hyperv")] {
                if clocks.contains(clock) {
                    return Some(kind.to_owned());
                }
            }
        }
        let known = HYPERVISORS.iter().find(|(word, _)| machine.contains(word));
        if let Some((_, kind)) = known {
            return Some((*kind).to_owned());
        }
        if machine.contains("microsoft corporation") && machine.contains("virtual machine") {
            return Some("hyperv".to_owned());
        }
        let tree = self.roots.proc.join("device-tree/hypervisor");
        if let Some(kind) = self.values.text(&tree, "compatible") {
            return Some(kind.to_owned());
        }
        match (self.processors.has_hypervisor, self.processors.is_x86) {
            (true, _) => Some("other".to_owned()),
            // Only x86 would have told.
            (false, true) => Some("none".to_owned()),
            (false, false) => None,
        }
    }

    fn container(&mut self) -> Option<String> {
        let run = self.roots.on_host(Path::new("/run/systemd"));
        if let Some(kind) = self.values.owned(&run, "container") {
            return Some(kind);
        }
        [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")]
            .iter()
            .find(|(file, _)| self.roots.on_host(Path::new(file)).exists())
            .map(|(_, kind)| (*kind).to_owned())
    }
}

/// All that the machine is called, in lower case.
fn machine_text(fields: &[(Name, Value)]) -> String {
    let texts = fields.iter().filter_map(|(_, value)| match value {
        Value::Text(text) => Some(text.to_lowercase()),
        Value::Float(_) | Value::Bool(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Parses lines of `key : value` in blocks, one for each processor. Their keys differ between
/// architectures; what is not there is absent.
fn parse_cpuinfo(text: SourceText<'_>) -> Processors {
    let mut found = Processors::default();
    let mut sockets = HashSet::new();
    let mut cores = HashSet::new();
    let mut threads = 0_u64;
    let mut socket = "";
    let mut first: [(&str, Option<&str>); 8] = [
        ("model name", None),
        ("vendor_id", None),
        ("microcode", None),
        ("cpu family", None),
        ("model", None),
        ("stepping", None),
        ("CPU implementer", None),
        ("CPU part", None),
    ];
    for (_, line) in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim_end(), value.trim());
        match key {
            "processor" => threads += 1,
            "physical id" => {
                socket = value;
                sockets.insert(value);
            }
            "core id" => {
                cores.insert((socket, value));
            }
            "flags" if threads <= 1 => {
                found.is_x86 = true;
                found.has_hypervisor = value
                    .split_ascii_whitespace()
                    .any(|flag| flag == "hypervisor");
            }
            _ => {}
        }
        if let Some((_, slot)) = first.iter_mut().find(|(known, _)| *known == key) {
            slot.get_or_insert(value);
        }
    }
    let [
        model,
        vendor,
        microcode,
        family,
        number,
        stepping,
        implementer,
        part,
    ] = first.map(|(_, value)| value.filter(|value| !value.is_empty()));
    let signature = match (family, number, stepping, implementer, part) {
        (Some(family), Some(number), Some(stepping), ..) => Some(format!(
            "family {family} model {number} stepping {stepping}"
        )),
        (.., Some(implementer), Some(part)) => {
            Some(format!("implementer {implementer} part {part}"))
        }
        _ => None,
    };
    let texts = [
        (name!("cpu_model"), model.map(str::to_owned)),
        (name!("cpu_vendor"), vendor.map(str::to_owned)),
        (name!("cpu_microcode"), microcode.map(str::to_owned)),
        (name!("cpu_signature"), signature),
    ];
    for (field, text) in texts {
        found.fields.extend(text.map(|text| (field, text.into())));
    }
    let counts = [
        (name!("cpu_sockets"), sockets.len() as u64),
        (name!("cpu_cores"), cores.len() as u64),
        (name!("cpu_threads"), threads),
    ];
    for (field, count) in counts {
        if count > 0 {
            found.fields.push((field, count.into()));
        }
    }
    found
}

impl Collector for Identity {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let now_us = clock.now_us();
        if !self.due.is(now_us) && !self.told_due.is(now_us) {
            return Ok(());
        }
        let fields = self.read(now_us)?;
        self.due.done(now_us);
        if fields == self.told && !self.told_due.is(now_us) {
            return Ok(());
        }
        let mut point = Point::new(name!("identity"), clock.now_us());
        for (field, value) in &fields {
            point.set(field.clone(), value.clone());
        }
        points.push(point);
        self.told = fields;
        self.told_due.done(now_us);
        Ok(())
    }
}
