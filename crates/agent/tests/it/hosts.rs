//! Collectors on hosts that no fixture shows: with sources that are not as documented, with very
//! many devices, groups and processes, and with devices that come and go.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tidegauge_agent::HostRoots;
use tidegauge_agent::collectors::settings::GroupBy;
use tidegauge_agent::collectors::{COLLECTORS, CollectError, Collector, CollectorContext};
use tidegauge_model::{ManualClock, Point, Value};
use tidegauge_testkit::HostTree;

/// The collectors whose sources are in `sysfs` or are of storage, processes and groups.
const COLLECTORS_HERE: [&str; 15] = [
    "bonding",
    "btrfs",
    "cgroup",
    "edac",
    "identity",
    "logged_in_users",
    "mdraid",
    "nfs",
    "nvme",
    "power",
    "process",
    "systemd",
    "temperature",
    "xfs",
    "zfs",
];
const SECOND_US: i64 = 1_000_000;

fn context_of(tree: &HostTree) -> CollectorContext {
    HostRoots {
        page_bytes: 4096,
        ..HostRoots::new(tree.proc_root(), tree.sys_root(), tree.path("root"))
    }
    .into()
}

fn collector(name: &str, context: &CollectorContext) -> Box<dyn Collector> {
    let entry = COLLECTORS.iter().find(|entry| entry.name == name);
    (entry.expect("is a collector").new)(context)
}

fn collect(collector: &mut dyn Collector, seconds: i64) -> Result<Vec<Point>, CollectError> {
    let mut points = Vec::new();
    collector.collect(&ManualClock::at(seconds * SECOND_US), &mut points)?;
    Ok(points)
}

fn of<'a>(points: &'a [Point], measurement: &str) -> Vec<&'a Point> {
    points
        .iter()
        .filter(|point| point.measurement().as_str() == measurement)
        .collect()
}

fn number(point: &Point, field: &str) -> f64 {
    match point.value(field) {
        Some(Value::Float(number)) => *number,
        other => panic!("{field} of {point:?} is {other:?}"),
    }
}

/// Every file of a folder, relative to it.
fn files_in(folder: &Path, below: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a fixture folder") {
        let entry = entry.expect("an entry");
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files_in(&entry.path(), &format!("{path}/"), files);
        } else {
            files.push(path);
        }
    }
}

/// The fixture hosts, as the collectors see them through another root.
fn fixture(name: &str) -> HostTree {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
        .join("first");
    let tree = HostTree::copy_of(&folder);
    for (own, host) in [("host", "root"), ("proc/self/net", "proc/1/net")] {
        if tree.path(own).is_dir() {
            let parent = tree.path(host);
            fs::create_dir_all(parent.parent().expect("a parent")).expect("can be made");
            fs::rename(tree.path(own), parent).expect("can be moved");
        }
    }
    tree
}

/// Nothing that was read may lead to a number that is absurd.
fn assert_plausible(collector: &str, points: &[Point]) {
    for point in points {
        assert_eq!(point.left_out(), 0, "{collector}: {point:?}");
        assert!(!point.fields().is_empty(), "{collector}: {point:?}");
    }
}

#[test]
fn files_with_garbage_or_cut_short_are_absent_values_or_typed_errors() {
    let garbage: [&[u8]; 4] = [
        b"\xff\xfe\x00\x01 \x80\n\xc3",
        b"-99999999999999999999999 99999999999999999999999",
        b"a : b c [\n  1 blocks [9/x] [\n:::\n = % \nfinish=min",
        "é 18446744073709551615\nrpc x\nproc3 99999999999 1\n".as_bytes(),
    ];
    for host in ["bare-metal", "arm-board", "small-vm"] {
        let tree = fixture(host);
        let context = context_of(&tree);
        let mut files = Vec::new();
        files_in(tree.root(), "", &mut files);
        assert!(files.len() > 20, "{host} has files");
        for file in files {
            let good = fs::read(tree.path(&file)).expect("a file");
            let cut = [good.len() / 3, good.len().saturating_sub(2)];
            let cut = cut.iter().map(|&length| &good[..length]);
            for content in garbage.into_iter().chain(cut) {
                tree.write(&file, content);
                for name in collectors_of(&file) {
                    let outcome = collect(&mut *collector(name, &context), 1);
                    match &outcome {
                        Ok(points) => assert_plausible(name, points),
                        Err(CollectError::Parse { .. } | CollectError::Unavailable { .. }) => {}
                        Err(error) => panic!("{name} with {file}: {error:?}"),
                    }
                }
            }
            tree.write(&file, &good);
        }
    }
}

/// The collectors that read a file of a fixture.
fn collectors_of(file: &str) -> &'static [&'static str] {
    const BY_START: [(&str, &[&str]); 14] = [
        ("sys/class/hwmon", &["temperature"]),
        ("sys/class/thermal", &["temperature"]),
        ("sys/class/powercap", &["power"]),
        ("sys/class/power_supply", &["power"]),
        ("sys/class/nvme", &["nvme"]),
        ("sys/class/net/", &["bonding"]),
        ("sys/class/dmi", &["identity"]),
        ("sys/devices/system/edac", &["edac"]),
        ("sys/devices/system", &["identity"]),
        ("sys/fs/btrfs", &["btrfs"]),
        ("sys/fs/xfs", &["xfs"]),
        ("sys/fs/cgroup", &["cgroup"]),
        ("sys/block", &["mdraid"]),
        ("root/", &["identity", "logged_in_users"]),
    ];
    if let Some((_, names)) = BY_START.iter().find(|(start, _)| file.starts_with(start)) {
        return names;
    }
    match file {
        "proc/mdstat" => &["mdraid"],
        "proc/1/net/rpc/nfs" => &["nfs"],
        "proc/cpuinfo" => &["identity"],
        _ if file.starts_with("proc/spl") => &["zfs"],
        _ if file.starts_with("proc/sys/kernel") => &["identity"],
        _ if file.starts_with("proc/device-tree") => &["identity"],
        _ if file.starts_with("proc/") && file.split('/').count() > 2 => &["process"],
        _ => &[],
    }
}

#[test]
fn a_host_without_a_source_has_no_such_collector() {
    let context = context_of(&HostTree::new());
    for name in COLLECTORS_HERE {
        let outcome = collect(&mut *collector(name, &context), 1);
        assert!(
            matches!(outcome, Err(CollectError::Unavailable { .. })),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn empty_folders_of_drivers_are_nothing_wrong() {
    let tree = HostTree::new()
        .file("proc/mdstat", "Personalities : \nunused devices: <none>\n")
        .file("sys/class/net/bonding_masters", "\n");
    let empty = [
        ("sys/class/hwmon", "temperature"),
        ("sys/class/nvme", "nvme"),
        ("sys/class/powercap", "power"),
        ("sys/class/power_supply", "power"),
        ("sys/devices/system/edac/mc", "edac"),
        ("sys/fs/btrfs", "btrfs"),
        ("sys/fs/xfs", "xfs"),
        ("sys/class/thermal", "temperature"),
    ];
    let tree = empty
        .iter()
        .fold(tree, |tree, (folder, _)| tree.directory(folder));
    let context = context_of(&tree);
    let names = empty.iter().map(|(_, name)| *name);
    for name in names.chain(["mdraid", "bonding"]) {
        let points = collect(&mut *collector(name, &context), 1).expect("collects");
        assert_eq!(points, [], "{name}");
    }
}

#[test]
fn many_control_groups_are_bounded_and_counted() {
    let tree = HostTree::new().file("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    for group in 0..300 {
        let folder = format!("sys/fs/cgroup/kubepods/pod{group}");
        tree.write(&format!("{folder}/memory.current"), "4096\n");
        tree.write(&format!("{folder}/one/two/memory.current"), "4096\n");
    }
    tree.write("sys/fs/cgroup/kubepods/memory.current", "1000000\n");
    let mut context = context_of(&tree);
    context.cgroup.depth = 2;
    context.cgroup.most = 100;
    let mut cgroup = collector("cgroup", &context);
    let points = collect(&mut *cgroup, 1).expect("collects");
    assert_eq!(of(&points, "cgroup").len(), 100);
    assert_eq!(
        points[0].tag_text("cgroup"),
        Some("/kubepods"),
        "the root first"
    );
    let summary = of(&points, "cgroup_groups")[0];
    assert_eq!(number(summary, "groups_told"), 100.0);
    assert_eq!(number(summary, "groups_left_out"), 201.0);

    context.cgroup.depth = 9;
    context.cgroup.most = 2_000;
    let points = collect(&mut *collector("cgroup", &context), 1).expect("collects");
    // `one` has no files: it is a group of no controller.
    assert_eq!(of(&points, "cgroup").len(), 1 + 300 + 300);
}

#[test]
fn a_control_group_that_comes_or_goes_is_noticed() {
    let tree = HostTree::new()
        .file("sys/fs/cgroup/cgroup.controllers", "memory\n")
        .file("sys/fs/cgroup/a/memory.current", "1\n");
    let mut cgroup = collector("cgroup", &context_of(&tree));
    let mut groups_at = |seconds| {
        let points = collect(&mut *cgroup, seconds).expect("collects");
        let groups = of(&points, "cgroup");
        let paths = groups.iter().filter_map(|point| point.tag_text("cgroup"));
        paths.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(groups_at(1), ["/a"]);
    tree.write("sys/fs/cgroup/b/memory.current", "1\n");
    assert_eq!(groups_at(30), ["/a"], "they were looked for at 1");
    assert_eq!(groups_at(61), ["/a", "/b"]);
    tree.remove("sys/fs/cgroup/a");
    assert_eq!(groups_at(62), ["/b"]);
    tree.write("sys/fs/cgroup/c/memory.current", "1\n");
    assert_eq!(groups_at(63), ["/b", "/c"], "one had gone");
}

/// A process with its name, its ticks of CPU time, its pages, and when it began.
fn write_process(tree: &HostTree, number: u32, name: &str, ticks: u64, pages: u64, began: u64) {
    let stat = format!(
        "{number} ({name}) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {began} 4096 {pages}\n"
    );
    tree.write(&format!("proc/{number}/stat"), stat);
}

#[test]
fn of_many_processes_those_are_told_that_use_the_most() {
    let tree = HostTree::new();
    for process in 1..=2_000_u32 {
        let name = format!("worker-{}", process % 100);
        write_process(&tree, process, &name, 10, u64::from(process % 100), 5);
    }
    let mut context = context_of(&tree);
    context.process.top = 3;
    let mut process = collector("process", &context);
    collect(&mut *process, 1).expect("collects");
    for busy in [7, 107, 42] {
        let name = format!("worker-{}", busy % 100);
        write_process(&tree, busy, &name, 500, u64::from(busy % 100), 5);
    }
    let groups = |points: &[Point]| {
        let groups = of(points, "process");
        let names = groups.iter().filter_map(|point| point.tag_text("name"));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let points = collect(&mut *process, 2).expect("collects");
    let told = groups(&points);
    assert!(told.contains(&"worker-7".to_owned()) && told.contains(&"worker-42".to_owned()));
    let summary = of(&points, "process_groups")[0];
    assert_eq!(number(summary, "processes"), 2_000.0);
    assert_eq!(number(summary, "groups_seen"), 100.0);
    assert_eq!(number(summary, "groups_left_out"), 97.0);

    context.process.top_by_memory = true;
    let points = collect(&mut *collector("process", &context), 1).expect("collects");
    assert_eq!(groups(&points), ["worker-97", "worker-98", "worker-99"]);
    assert_eq!(number(&points[0], "processes"), 20.0);

    context.process.only = vec!["worker-1*".to_owned()];
    context.process.top = 50;
    let points = collect(&mut *collector("process", &context), 1).expect("collects");
    assert_eq!(groups(&points).len(), 11, "1 and 10 to 19");

    context.process.group_by = GroupBy::Process;
    context.process.only = vec!["*[1999]".to_owned()];
    let points = collect(&mut *collector("process", &context), 1).expect("collects");
    assert_eq!(groups(&points), ["worker-99[1999]"]);
}

#[test]
fn counters_of_a_group_go_on_when_processes_end_or_take_a_number_again() {
    let tree = HostTree::new();
    write_process(&tree, 10, "sh", 100, 1, 5);
    write_process(&tree, 11, "sh", 40, 1, 6);
    let mut process = collector("process", &context_of(&tree));
    let mut cpu_at = |seconds| {
        let points = collect(&mut *process, seconds).expect("collects");
        number(of(&points, "process")[0], "cpu_user_seconds")
    };
    assert_eq!(cpu_at(1), 1.4);
    tree.remove("proc/10");
    assert_eq!(cpu_at(2), 1.4, "what it used stays");
    // Its number is taken by another one, which used more than the first one had.
    write_process(&tree, 10, "sh", 200, 1, 900);
    assert_eq!(cpu_at(3), 3.4);
    write_process(&tree, 10, "sh", 210, 1, 900);
    assert_eq!(cpu_at(4), 3.5);
}

#[test]
fn a_name_that_is_empty_or_too_long_is_a_tag_all_the_same() {
    let tree = HostTree::new();
    write_process(&tree, 10, "", 1, 1, 5);
    write_process(&tree, 11, &"\u{e9}".repeat(3_000), 1, 1, 5);
    let points = collect(&mut *collector("process", &context_of(&tree)), 1).expect("collects");
    let groups: Vec<_> = points
        .iter()
        .filter_map(|point| point.tag_text("name"))
        .collect();
    assert_eq!(groups, ["[no name]", &"\u{e9}".repeat(500)]);
}

#[test]
fn groups_are_made_by_user_program_and_unit() {
    let tree = HostTree::new()
        .file("root/etc/passwd", "broken\nroot:x:0:0::/root:/bin/sh\n")
        .file("proc/10/cgroup", "0::/system.slice/ssh.service\n")
        .link("proc/10/exe", "/usr/sbin/sshd (deleted)");
    write_process(&tree, 10, "sshd", 1, 1, 5);
    let context = context_of(&tree);
    let group_by = |group_by| {
        let mut context = context.clone();
        context.process.group_by = group_by;
        let points = collect(&mut *collector("process", &context), 1).expect("collects");
        points[0].tag_text("name").map(str::to_owned)
    };
    let owner = fs::metadata(tree.path("proc/10")).expect("is there");
    let owner = std::os::unix::fs::MetadataExt::uid(&owner);
    let user = match owner {
        0 => "root".to_owned(),
        other => other.to_string(),
    };
    for (by, expected) in [
        (GroupBy::Name, "sshd"),
        (GroupBy::User, &*user),
        (GroupBy::Executable, "/usr/sbin/sshd"),
        (GroupBy::Cgroup, "/system.slice/ssh.service"),
        (GroupBy::Unit, "ssh.service"),
        (GroupBy::Process, "sshd[10]"),
    ] {
        assert_eq!(group_by(by).as_deref(), Some(expected), "{by:?}");
    }
    for word in GroupBy::WORDS {
        assert!(GroupBy::parse(word).is_some(), "{word}");
    }
}

#[test]
fn a_large_host_is_told_whole() {
    let tree = HostTree::new();
    let mut mdstat = "Personalities : [raid1]\n".to_owned();
    for disk in 0..120 {
        mdstat += &format!(
            "md{disk} : active raid1 sdb{disk}[1] sda{disk}[0]\n      1024 blocks [2/2] [UU]\n\n"
        );
        let nvme = format!("sys/class/nvme/nvme{disk}");
        tree.write(&format!("{nvme}/state"), "live\n");
        tree.write(&format!("sys/fs/xfs/sd{disk}/stats/stats"), "rw 1 2\n");
    }
    tree.write("proc/mdstat", mdstat + "unused devices: <none>\n");
    tree.write("sys/class/hwmon/hwmon0/name", "coretemp\n");
    for core in 1..=256 {
        let sensor = format!("sys/class/hwmon/hwmon0/temp{core}");
        tree.write(&format!("{sensor}_input"), "40000\n");
        tree.write(&format!("{sensor}_label"), format!("Core {core}\n"));
    }
    let context = context_of(&tree);
    for (name, count) in [
        ("mdraid", 120),
        ("nvme", 120),
        ("xfs", 120),
        ("temperature", 256),
    ] {
        let points = collect(&mut *collector(name, &context), 1).expect("collects");
        assert_eq!(points.len(), count, "{name}");
        let series: BTreeSet<_> = points
            .iter()
            .map(|point| format!("{:?}", point.tags()))
            .collect();
        assert_eq!(series.len(), count, "{name} tells two series apart");
    }
}

#[test]
fn sensors_of_two_chips_of_one_name_are_told_apart() {
    let tree = HostTree::new();
    for chip in ["hwmon0", "hwmon1"] {
        tree.write(&format!("sys/class/hwmon/{chip}/name"), "jc42\n");
        tree.write(&format!("sys/class/hwmon/{chip}/temp1_input"), "40000\n");
        let device = tree.path(&format!("sys/class/hwmon/{chip}/device"));
        std::os::unix::fs::symlink("../../../0-0018", device).expect("a link");
    }
    // The kernel shows a thermal zone as a chip too.
    let zone = tree
        .file("sys/class/hwmon/hwmon2/name", "acpitz\n")
        .file("sys/class/hwmon/hwmon2/temp1_input", "27800\n")
        .link("sys/class/hwmon/hwmon2/device", "../../thermal_zone0")
        .file("sys/class/thermal/thermal_zone0/type", "acpitz\n")
        .file("sys/class/thermal/thermal_zone0/temp", "27800\n");
    let points = collect(&mut *collector("temperature", &context_of(&zone)), 1).expect("collects");
    let devices: Vec<_> = points
        .iter()
        .filter_map(|point| point.tag_text("device"))
        .collect();
    assert_eq!(devices, ["0-0018", "hwmon1", "thermal_zone0"]);
}

#[test]
fn sensors_with_one_label_or_in_two_folders_are_told_once_each() {
    let tree = HostTree::new().file("sys/class/hwmon/hwmon0/name", "board\n");
    for sensor in 1..=3 {
        let folder = "sys/class/hwmon/hwmon0";
        tree.write(&format!("{folder}/temp{sensor}_input"), "1000\n");
        tree.write(&format!("{folder}/temp{sensor}_label"), "Case\n");
    }
    tree.write("sys/class/hwmon/hwmon0/device/temp1_input", "1000\n");
    let points = collect(&mut *collector("temperature", &context_of(&tree)), 1).expect("collects");
    let sensors: Vec<_> = points
        .iter()
        .filter_map(|point| point.tag_text("sensor"))
        .collect();
    assert_eq!(sensors, ["temp1", "Case", "Case temp3_input"]);
}

#[test]
fn a_sensor_that_is_pulled_out_and_another_that_comes_are_noticed() {
    let tree = HostTree::new()
        .file("sys/class/hwmon/hwmon0/name", "usb\n")
        .file("sys/class/hwmon/hwmon0/temp1_input", "20000\n");
    let mut temperature = collector("temperature", &context_of(&tree));
    let mut chips_at = |seconds| {
        let points = collect(&mut *temperature, seconds).expect("collects");
        let chips = points.iter().filter_map(|point| point.tag_text("chip"));
        chips.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(chips_at(1), ["usb"]);
    tree.remove("sys/class/hwmon/hwmon0");
    assert_eq!(chips_at(2), [""; 0]);
    tree.write("sys/class/hwmon/hwmon1/name", "other\n");
    tree.write("sys/class/hwmon/hwmon1/temp1_input", "20000\n");
    assert_eq!(chips_at(3), ["other"], "the sensors are looked for again");
}

#[test]
fn identity_is_told_at_first_when_it_changes_and_daily() {
    let tree = HostTree::new().file("proc/sys/kernel/osrelease", "6.1.0\n");
    let mut identity = collector("identity", &context_of(&tree));
    let mut points_at = |seconds| collect(&mut *identity, seconds).expect("collects").len();
    assert_eq!(points_at(1), 1);
    assert_eq!(points_at(2), 0);
    assert_eq!(points_at(302), 0, "it was read again");
    tree.write("proc/sys/kernel/osrelease", "6.2.0\n");
    assert_eq!(points_at(303), 0, "it was not read again");
    assert_eq!(points_at(603), 1);
    assert_eq!(points_at(603 + 86_399), 0);
    assert_eq!(points_at(603 + 86_400), 1, "a day later");
}

#[test]
fn a_new_name_of_the_host_is_a_row_of_identity() {
    let tree = HostTree::new()
        .file("proc/sys/kernel/osrelease", "6.1.0\n")
        .file("proc/sys/kernel/hostname", format!("{}\n", "h".repeat(253)));
    let mut identity = collector("identity", &context_of(&tree));
    let mut name_at = |seconds| {
        let points = collect(&mut *identity, seconds).expect("collects");
        points.first().and_then(|p| p.value("host_name").cloned())
    };
    assert_eq!(name_at(1), Some(Value::from("h".repeat(253))));
    tree.write("proc/sys/kernel/hostname", "db-1\n");
    assert_eq!(name_at(302), Some(Value::from("db-1")));
}
