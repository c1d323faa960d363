//! Built-in measurements of the hardware: sensors, energy, memory errors, drives, bonded links.

use super::{
    FieldEntry, Kind, MeasurementEntry, TagEntry, count, counter, gauge, number, tag, text, truth,
};

pub(super) const MEASUREMENTS: &[MeasurementEntry] = &[
    BONDING,
    BONDING_SLAVE,
    COOLING_DEVICE,
    ELECTRIC_CURRENT,
    EDAC,
    EDAC_MODULE,
    ENERGY,
    FAN,
    HUMIDITY,
    IDENTITY,
    NVME,
    POWER_SUPPLY,
    SENSOR_ENERGY,
    SENSOR_POWER,
    TEMPERATURE,
    VOLTAGE,
];

/// The tags of every sensor.
const SENSOR: &[TagEntry] = &[
    tag(
        "chip",
        "The name that the driver gives the chip, such as `coretemp`; `thermal` for a thermal zone.",
    ),
    tag(
        "device",
        "The device that the chip belongs to, such as `coretemp.0` or `nvme0`; the number of the chip where it has none.",
    ),
    tag(
        "sensor",
        "The label of the sensor, or its number where it has none, such as `temp1`.",
    ),
];
const ALARM: FieldEntry = truth("alarm", "Whether the chip reports an alarm of this sensor.");
const FAULT: FieldEntry = truth(
    "fault",
    "Whether the chip reports that the sensor is broken.",
);

const BONDING: MeasurementEntry = MeasurementEntry {
    name: "bonding",
    kind: Kind::Gauge,
    description: "Each bonded network interface, and how many of its links work.",
    tags: &[tag("interface", "The name of the bond, such as `bond0`.")],
    fields: &[
        number("slaves", "Links that belong to the bond."),
        number("slaves_up", "Links of the bond that work."),
        truth("up", "Whether the bond works."),
        text(
            "mode",
            "How it uses its links, such as `active-backup` or `802.3ad`.",
        ),
        text(
            "active_slave",
            "The link that is used; absent in modes that use several.",
        ),
    ],
};

const BONDING_SLAVE: MeasurementEntry = MeasurementEntry {
    name: "bonding_slave",
    kind: Kind::Gauge,
    description: "Each link of a bonded network interface.",
    tags: &[
        tag("interface", "The name of the bond."),
        tag("slave", "The name of the link."),
    ],
    fields: &[
        truth("up", "Whether the link works."),
        truth("active", "Whether the link is used, not kept in reserve."),
        count("link_failures", "How often the link failed."),
    ],
};

const COOLING_DEVICE: MeasurementEntry = MeasurementEntry {
    name: "cooling_device",
    kind: Kind::Gauge,
    description: "How much each cooling device of the kernel's thermal management cools.",
    tags: &[
        tag(
            "device",
            "The kernel's name of it, such as `cooling_device0`.",
        ),
        tag("type", "What it is, such as `Fan` or `Processor`."),
    ],
    fields: &[
        number("state", "How much it cools; 0 is not at all."),
        number("maximum_state", "As much as it can."),
    ],
};

const ELECTRIC_CURRENT: MeasurementEntry = MeasurementEntry {
    name: "electric_current",
    kind: Kind::Gauge,
    description: "Electric currents that sensors measure.",
    tags: SENSOR,
    fields: &[
        gauge("current_amperes", "amperes", "The current."),
        gauge("minimum_amperes", "amperes", "The lower limit."),
        gauge("maximum_amperes", "amperes", "The upper limit."),
        gauge(
            "critical_amperes",
            "amperes",
            "The limit at which damage begins.",
        ),
        ALARM,
        FAULT,
    ],
};

const EDAC: MeasurementEntry = MeasurementEntry {
    name: "edac",
    kind: Kind::Counter,
    description: "Errors of memory per memory controller.",
    tags: &[tag("controller", "The kernel's name of it, such as `mc0`.")],
    fields: &[
        count("corrected_errors", "Errors that were corrected."),
        count("uncorrected_errors", "Errors that could not be corrected."),
        count(
            "corrected_errors_unplaced",
            "Corrected errors of which the module is not known.",
        ),
        count(
            "uncorrected_errors_unplaced",
            "Uncorrected errors of which the module is not known.",
        ),
        gauge(
            "counted_seconds",
            "seconds",
            "Time since the counters were last set to 0.",
        ),
        gauge("size_bytes", "bytes", "Memory that the controller manages."),
        text("type", "The controller."),
    ],
};

const EDAC_MODULE: MeasurementEntry = MeasurementEntry {
    name: "edac_module",
    kind: Kind::Counter,
    description: "Errors of memory per module, or per row of chips where the kernel knows no modules.",
    tags: &[
        tag("controller", "The memory controller, such as `mc0`."),
        tag("module", "The module or row, such as `dimm0` or `csrow2`."),
    ],
    fields: &[
        count("corrected_errors", "Errors that were corrected."),
        count("uncorrected_errors", "Errors that could not be corrected."),
        text("label", "The name of the slot, such as `CPU0_DIMM_A1`."),
        text("location", "Where it is, by channel and slot."),
    ],
};

const ENERGY: MeasurementEntry = MeasurementEntry {
    name: "energy",
    kind: Kind::Counter,
    description: "Energy that processors and memory used (RAPL). Its rate is the power in watts.",
    tags: &[
        tag(
            "zone",
            "The kernel's name of the zone, such as `intel-rapl:0`.",
        ),
        tag(
            "domain",
            "What the zone measures, such as `package-0`, `core` or `dram`.",
        ),
    ],
    fields: &[counter(
        "energy_joules",
        "joules",
        "Energy used; carried on where the hardware's counter wraps.",
    )],
};

const FAN: MeasurementEntry = MeasurementEntry {
    name: "fan",
    kind: Kind::Gauge,
    description: "Speeds of fans.",
    tags: SENSOR,
    fields: &[
        gauge("speed_rpm", "rpm", "Turns per minute."),
        gauge("minimum_rpm", "rpm", "The lower limit."),
        gauge("maximum_rpm", "rpm", "The upper limit."),
        gauge("target_rpm", "rpm", "The speed that is aimed at."),
        ALARM,
        FAULT,
    ],
};

const HUMIDITY: MeasurementEntry = MeasurementEntry {
    name: "humidity",
    kind: Kind::Gauge,
    description: "Relative humidity that sensors measure.",
    tags: SENSOR,
    fields: &[
        gauge("humidity_percent", "percent", "Relative humidity."),
        ALARM,
        FAULT,
    ],
};

const IDENTITY: MeasurementEntry = MeasurementEntry {
    name: "identity",
    kind: Kind::Gauge,
    description: "What the host is: kernel, system, machine, processor. Sent at the start of the agent, when it changes, and once a day.",
    tags: &[],
    fields: &[
        text(
            "host_name",
            "The name that the kernel has for the host. There is a row for each change, so its history is here.",
        ),
        text("kernel_name", "The kernel, `Linux`."),
        text("kernel_release", "Its release, as `uname -r` tells it."),
        text("kernel_version", "Its build, as `uname -v` tells it."),
        text(
            "architecture",
            "The architecture, such as `x86_64` or `aarch64`.",
        ),
        text("domain", "The NIS domain; absent where there is none."),
        text(
            "os_name",
            "Name and version of the system for a person, such as `Debian GNU/Linux 12 (bookworm)`.",
        ),
        text("os_id", "The system in one word, such as `debian`."),
        text("os_id_like", "The systems that it comes from."),
        text("os_version", "Its version, such as `12`."),
        text(
            "os_codename",
            "The name of its version, such as `bookworm`.",
        ),
        text("os_build", "Its build, for systems that roll."),
        text("os_variant", "Its variant, such as `server`."),
        text("machine_vendor", "Who made the machine."),
        text("machine_product", "What machine it is."),
        text("machine_version", "Its version."),
        text("machine_family", "Its family."),
        text("machine_sku", "The number under which it is sold."),
        text("board_vendor", "Who made the board."),
        text("board_name", "What board it is."),
        text("board_version", "Its version."),
        text("chassis_vendor", "Who made the chassis."),
        text(
            "chassis_type",
            "The kind of chassis, as SMBIOS numbers it: 3 a desktop, 10 a notebook, 23 a rack mount.",
        ),
        text("firmware_vendor", "Who made the firmware (BIOS)."),
        text("firmware_version", "Its version."),
        text("firmware_release", "Its release."),
        text("firmware_date", "Its date."),
        text("cpu_model", "The model of the processor."),
        text("cpu_vendor", "Who made the processor."),
        text("cpu_microcode", "The version of its microcode."),
        text(
            "cpu_signature",
            "Family, model and stepping of the processor.",
        ),
        number("cpu_sockets", "Processors."),
        number("cpu_cores", "Cores of all processors."),
        number(
            "cpu_threads",
            "What the kernel schedules on: threads of all cores that are online.",
        ),
        text(
            "virtualisation",
            "What the machine runs in, such as `kvm`, `vmware` or `xen`; `none` for a real machine.",
        ),
        text(
            "container",
            "The kind of container that the host is, such as `docker` or `lxc`; absent outside of one.",
        ),
    ],
};

const NVME: MeasurementEntry = MeasurementEntry {
    name: "nvme",
    kind: Kind::Gauge,
    description: "Identity, state and temperature of each NVMe controller.",
    tags: &[tag(
        "controller",
        "The kernel's name of it, such as `nvme0`.",
    )],
    fields: &[
        truth("live", "Whether it works."),
        text(
            "state",
            "Its state: `live`, `resetting`, `connecting`, `dead` and others.",
        ),
        text("model", "The model of the drive."),
        text("serial", "Its serial number."),
        text("firmware", "The version of its firmware."),
        text(
            "transport",
            "How it is reached: `pcie`, `tcp`, `rdma`, `fc`.",
        ),
        text("address", "Its address on that transport."),
        number("namespaces", "Its namespaces."),
        gauge(
            "capacity_bytes",
            "bytes",
            "The size of its namespaces together.",
        ),
        gauge(
            "temperature_celsius",
            "celsius",
            "Its temperature; absent where the kernel does not tell.",
        ),
    ],
};

const POWER_SUPPLY: MeasurementEntry = MeasurementEntry {
    name: "power_supply",
    kind: Kind::Gauge,
    description: "Batteries, mains and other supplies.",
    tags: &[
        tag("supply", "The kernel's name of it, such as `BAT0` or `AC`."),
        tag(
            "type",
            "What it is: `battery`, `mains`, `ups`, `usb`, `wireless`.",
        ),
    ],
    fields: &[
        truth("online", "Whether it supplies the host."),
        truth("present", "Whether the battery is there."),
        text(
            "status",
            "`charging`, `discharging`, `not charging`, `full`, `unknown`.",
        ),
        gauge("capacity_percent", "percent", "How full it is."),
        text(
            "capacity_level",
            "How full it is in a word, such as `low` or `normal`.",
        ),
        text(
            "health",
            "The health of the battery, such as `good` or `overheat`.",
        ),
        gauge("voltage_volts", "volts", "The voltage."),
        gauge(
            "minimum_design_volts",
            "volts",
            "The lowest voltage that it is made for.",
        ),
        gauge(
            "current_amperes",
            "amperes",
            "The current; drivers differ in its sign.",
        ),
        gauge("maximum_amperes", "amperes", "The highest current."),
        gauge("power_watts", "watts", "The power that flows in or out."),
        gauge("energy_joules", "joules", "The energy in it."),
        gauge(
            "energy_full_joules",
            "joules",
            "The energy in it when it was last full.",
        ),
        gauge(
            "energy_full_design_joules",
            "joules",
            "The energy in it when it is full and new.",
        ),
        gauge("charge_coulombs", "coulombs", "The charge in it."),
        gauge(
            "charge_full_coulombs",
            "coulombs",
            "The charge in it when it was last full.",
        ),
        gauge(
            "charge_full_design_coulombs",
            "coulombs",
            "The charge in it when it is full and new.",
        ),
        number("charge_cycles", "How often it was charged."),
        gauge("charge_end_percent", "percent", "Where charging ends."),
        gauge("temperature_celsius", "celsius", "Its temperature."),
        gauge("ambient_celsius", "celsius", "The temperature around it."),
        gauge("time_to_empty_seconds", "seconds", "When it will be empty."),
        gauge("time_to_full_seconds", "seconds", "When it will be full."),
    ],
};

const SENSOR_ENERGY: MeasurementEntry = MeasurementEntry {
    name: "sensor_energy",
    kind: Kind::Counter,
    description: "Energy that sensors measure.",
    tags: SENSOR,
    fields: &[
        counter(
            "energy_joules",
            "joules",
            "Energy used since the driver was loaded.",
        ),
        ALARM,
        FAULT,
    ],
};

const SENSOR_POWER: MeasurementEntry = MeasurementEntry {
    name: "sensor_power",
    kind: Kind::Gauge,
    description: "Electric power that sensors measure.",
    tags: SENSOR,
    fields: &[
        gauge("power_watts", "watts", "The power."),
        gauge("cap_watts", "watts", "What the power is held below."),
        gauge("maximum_watts", "watts", "The upper limit."),
        gauge(
            "critical_watts",
            "watts",
            "The limit at which damage begins.",
        ),
        ALARM,
        FAULT,
    ],
};

const TEMPERATURE: MeasurementEntry = MeasurementEntry {
    name: "temperature",
    kind: Kind::Gauge,
    description: "Temperatures that sensors measure, and those of thermal zones.",
    tags: SENSOR,
    fields: &[
        gauge("temperature_celsius", "celsius", "The temperature."),
        gauge("minimum_celsius", "celsius", "The lower limit."),
        gauge("maximum_celsius", "celsius", "The upper limit."),
        gauge(
            "critical_celsius",
            "celsius",
            "The limit at which damage begins.",
        ),
        gauge(
            "emergency_celsius",
            "celsius",
            "The limit at which the hardware switches itself off.",
        ),
        ALARM,
        FAULT,
    ],
};

const VOLTAGE: MeasurementEntry = MeasurementEntry {
    name: "voltage",
    kind: Kind::Gauge,
    description: "Voltages that sensors measure.",
    tags: SENSOR,
    fields: &[
        gauge("voltage_volts", "volts", "The voltage."),
        gauge("minimum_volts", "volts", "The lower limit."),
        gauge("maximum_volts", "volts", "The upper limit."),
        ALARM,
        FAULT,
    ],
};
