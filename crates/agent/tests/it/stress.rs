//! Collectors under stress: hosts with very many of everything, names that no tag can hold, clocks
//! that jump, devices that come and go.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_agent::HostRoots;
use tidegauge_agent::collect::collect_once;
use tidegauge_agent::collectors::{COLLECTORS, CollectError, Collector, CollectorContext};
use tidegauge_model::{ManualClock, Point, Value};
use tidegauge_testkit::HostTree;

/// What a collection of `collect_once` waits for its collectors.
const DEADLINE: Duration = Duration::from_secs(10);
const PROCESSES: usize = 10_000;
const MOUNTS: usize = 5_000;
const INTERFACES: usize = 1_000;
const SECOND_US: i64 = 1_000_000;

fn context_of(tree: &HostTree) -> CollectorContext {
    HostRoots {
        page_bytes: 4096,
        ..HostRoots::new(tree.proc_root(), tree.sys_root(), tree.path("root"))
    }
    .into()
}

fn count(points: &[Point], measurement: &str) -> usize {
    let of = |point: &&Point| point.measurement().as_str() == measurement;
    points.iter().filter(of).count()
}

fn stat(number: usize, name: &str) -> String {
    format!("{number} ({name}) S 1 1 1 0 -1 0 0 0 0 0 10 5 0 0 20 0 1 0 5 4096 7\n")
}

/// A line of `net/dev` with sixteen counters.
fn interface(name: &str, counter: u64) -> String {
    format!("{name}:{}\n", format!(" {counter}").repeat(16))
}

fn large_host() -> HostTree {
    let tree = HostTree::in_memory();
    for process in 1..=PROCESSES {
        let name = format!("worker {}", process % 400);
        tree.write(&format!("proc/{process}/stat"), stat(process, &name));
    }
    let mut mounts = String::new();
    for mount in 0..MOUNTS {
        let (device, folder) = (mount + 10, format!("/mnt/volume-{mount}"));
        mounts += &format!("{device} 1 8:{mount} / {folder} rw - ext4 /dev/disk{mount} rw\n");
        fs::create_dir_all(tree.path(&format!("root{folder}"))).expect("a folder");
    }
    tree.write("proc/1/mountinfo", mounts);
    let (mut interfaces, mut disks) = ("a|b\nc|d\n".to_owned(), String::new());
    for number in 0..INTERFACES {
        interfaces += &interface(&format!("veth{number}"), 7);
        for (file, text) in [
            ("mtu", "1500\n"),
            ("operstate", "up\n"),
            ("carrier_changes", "1\n"),
        ] {
            tree.write(&format!("sys/class/net/veth{number}/{file}"), text);
        }
        disks += &format!("   8 {number} sd{number}{}\n", " 7".repeat(17));
        tree.write(&format!("sys/block/sd{number}/size"), "100\n");
    }
    tree.write("proc/1/net/dev", interfaces);
    tree.write("proc/diskstats", disks);
    tree
}

#[tokio::test]
async fn a_host_with_very_many_of_everything_is_told_whole_or_it_says_what_is_not() {
    let tree = large_host();
    let wanted = |name| {
        COLLECTORS
            .iter()
            .filter(move |entry| entry.default_on || entry.name == name)
    };
    let collectors: Vec<_> = wanted("process").collect();
    let began = Instant::now();
    let clock = Arc::new(ManualClock::at(1_795_183_200 * SECOND_US));
    let collected = collect_once(&collectors, &context_of(&tree), clock, Duration::ZERO)
        .await
        .expect("it can be tried");
    assert!(
        began.elapsed() < 2 * DEADLINE + Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let mut late = Vec::new();
    for failure in &collected.failures {
        assert!(
            ["deadline", "busy"].contains(&failure.reason),
            "{failure:?}"
        );
        late.push(failure.collector);
    }
    let points = &collected.points;
    for (collector, measurement, expected) in [
        ("filesystem", "filesystem", MOUNTS),
        ("network", "network", INTERFACES),
        ("disk_io", "disk_io", INTERFACES),
        ("process", "process_groups", 1),
        ("processes", "processes", 1),
    ] {
        let found = count(points, measurement);
        let is_late = late.contains(&collector);
        assert!(
            found == expected || is_late,
            "{collector}: {found} points, late: {late:?}"
        );
    }
    let groups = points
        .iter()
        .find(|point| point.measurement().as_str() == "process_groups");
    if let Some(groups) = groups {
        assert_eq!(
            groups.value("processes"),
            Some(&Value::Float(PROCESSES as f64))
        );
    }
}

/// Names that are too long, no text, or look like the syntax of the file that they stand in.
fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"\xff\xfe\x80"[..],
        b"a) S 1 (b",
        b") ) )",
        b"\\040\\012\\777\\",
        b"a:b:c",
        b"\x1b[31mred\x07",
        b"quote\"'`;--",
        "\u{202e}\u{fffd}\u{1f600}".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.push(vec![b'x'; 70_000]);
    names.push("\u{e9}".repeat(5_000).into_bytes());
    names
}

#[test]
fn names_that_no_tag_can_hold_are_no_panic_and_stay_within_the_limits() {
    let tree = HostTree::new();
    let (mut interfaces, mut mounts, mut disks) = (b"a|b\nc|d\n".to_vec(), Vec::new(), Vec::new());
    for (number, name) in (1..).zip(hostile_names()) {
        let around =
            |begin: String, end: String| [begin.as_bytes(), &name, end.as_bytes()].concat();
        let whole = stat(number, "@");
        let (begin, end) = whole.split_once('@').expect("it is there");
        tree.write(
            &format!("proc/{number}/stat"),
            around(begin.to_owned(), end.to_owned()),
        );
        tree.write(
            &format!("proc/{number}/cgroup"),
            around("0::/".to_owned(), "\n".to_owned()),
        );
        tree.write(
            &format!("proc/{number}/status"),
            around("Name:\t".to_owned(), "\nUid:\t0\n".to_owned()),
        );
        interfaces.extend(around(String::new(), interface("", 7)));
        let counters = format!("{}\n", " 7".repeat(17));
        disks.extend(around(format!("8 {number} "), counters));
        mounts.extend(around(
            format!("{number} 1 8:{number} / /"),
            " rw - ext4 /dev/a rw\n".to_owned(),
        ));
        mounts.extend(around(
            format!("{number} 1 8:{number} / /m{number} rw - ext4 "),
            " rw\n".to_owned(),
        ));
    }
    tree.write("proc/1/net/dev", interfaces);
    tree.write("proc/1/mountinfo", mounts);
    tree.write("proc/diskstats", disks);
    let context = context_of(&tree);
    let mut told = 0;
    for entry in COLLECTORS {
        let mut collector = (entry.new)(&context);
        for second in 1..=2 {
            let mut points = Vec::new();
            let outcome = collector.collect(&ManualClock::at(second * SECOND_US), &mut points);
            assert!(
                !matches!(outcome, Err(CollectError::Read { .. })),
                "{}: {outcome:?}",
                entry.name
            );
            for (name, text) in points.iter().flat_map(Point::tags) {
                assert!(
                    text.len() <= 1_024,
                    "{}: {name} has {} bytes",
                    entry.name,
                    text.len()
                );
                assert!(!text.contains('\0'), "{}: {name}", entry.name);
            }
            told += points.len();
        }
    }
    assert!(told > 10, "{told} points");
}

/// Numbers that may be below 0 because of what they say.
fn may_be_negative(field: &str) -> bool {
    [
        "celsius",
        "offset",
        "frequency",
        "volts",
        "amperes",
        "watts",
        "tai",
        "correction",
    ]
    .iter()
    .any(|word| field.contains(word))
}

fn assert_no_wrong_delta(moment: &str, collector: &str, points: &[Point]) {
    for point in points {
        assert_eq!(point.left_out(), 0, "{moment}, {collector}: {point:?}");
        for (name, value) in point.fields() {
            let Value::Float(number) = value else {
                continue;
            };
            let name = name.as_str();
            assert!(
                *number >= 0.0 || may_be_negative(name),
                "{moment}, {collector}.{name}: {number}"
            );
            if name.ends_with("_percent") {
                assert!(*number <= 100.0, "{moment}, {collector}.{name}: {number}");
            }
        }
    }
}

fn copy_files(from: &Path, to: &str, tree: &HostTree) {
    for entry in fs::read_dir(from).expect("a fixture folder") {
        let path: PathBuf = entry.expect("an entry").path();
        let target = format!(
            "{to}/{}",
            path.file_name().expect("a name").to_string_lossy()
        );
        match path.is_dir() {
            true => copy_files(&path, &target, tree),
            false => tree.write(&target, fs::read(&path).expect("a fixture file")),
        }
    }
}

#[test]
fn clocks_that_jump_and_devices_that_come_and_go_make_no_wrong_delta() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for host in ["bare-metal", "container", "small-vm", "arm-board"] {
        let first = fixtures.join(host).join("first");
        let tree = HostTree::copy_of(&first);
        let roots = HostRoots {
            page_bytes: 4096,
            ..HostRoots::new(tree.proc_root(), tree.sys_root(), "/")
        };
        let context = CollectorContext::from(roots);
        // These ask the machine of the test.
        let of_this_machine = [
            "filesystem",
            "identity",
            "logged_in_users",
            "systemd",
            "time",
        ];
        let mut collectors: Vec<Box<dyn Collector>> = COLLECTORS
            .iter()
            .filter(|entry| !of_this_machine.contains(&entry.name))
            .map(|entry| (entry.new)(&context))
            .collect();
        let begin_us = 1_795_183_200 * SECOND_US;
        // From one moment of the host to the other: counters that go on, that begin again after a
        // suspend or a reset, with a clock that stands, is set back, or leaps; CPUs, disks and
        // interfaces of the one moment that the other does not have.
        for (what, moment, after_us) in [
            ("at first", "first", 0),
            ("a second later", "second", SECOND_US),
            ("reset", "first", 2 * SECOND_US),
            ("the same microsecond", "second", 2 * SECOND_US),
            ("an hour back", "second", -3_600 * SECOND_US),
            ("still back, reset", "first", -3_599 * SECOND_US),
            ("a year ahead", "second", 31_536_000 * SECOND_US),
            ("everything gone", "", 31_536_001 * SECOND_US),
            ("everything back", "second", 31_536_002 * SECOND_US),
        ] {
            for root in ["proc", "sys"] {
                tree.remove(root);
                fs::create_dir_all(tree.path(root)).expect("a folder");
                let from = fixtures.join(host).join(moment).join(root);
                if !moment.is_empty() && from.is_dir() {
                    copy_files(&from, root, &tree);
                }
            }
            let clock = ManualClock::at(begin_us + after_us);
            for collector in &mut collectors {
                let mut points = Vec::new();
                let outcome = collector.collect(&clock, &mut points);
                let is_read = matches!(outcome, Err(CollectError::Read { .. }));
                assert!(
                    !is_read,
                    "{host}, {what}, {}: {outcome:?}",
                    collector.name()
                );
                let moment = format!("{host}, {what}");
                assert_no_wrong_delta(&moment, collector.name(), &points);
            }
        }
    }
}
