//! Tests of what all collectors share, and of sources that are not as documented.

mod kernel;
mod net;

use super::*;
use crate::collectors::availability;
use crate::roots::HostRoots;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use tidegauge_model::Point;
use tidegauge_model::{ManualClock, Value, catalog};
use tidegauge_testkit::HostTree;

fn context_of(tree: &HostTree) -> CollectorContext {
    HostRoots::new(tree.proc_root(), tree.sys_root(), tree.path("root")).into()
}

fn collector(name: &str, context: &CollectorContext) -> Box<dyn Collector> {
    let entry = COLLECTORS.iter().find(|entry| entry.name == name);
    (entry.expect("is a collector").new)(context)
}

/// Collects once at `now_us` microseconds.
fn collect(collector: &mut dyn Collector, now_us: i64) -> Result<Vec<Point>, CollectError> {
    let mut points = Vec::new();
    collector.collect(&ManualClock::at(now_us), &mut points)?;
    Ok(points)
}

fn number(point: &Point, field: &str) -> f64 {
    match point.value(field) {
        Some(Value::Float(number)) => *number,
        other => panic!("{field} is {other:?}"),
    }
}

#[test]
fn the_table_is_sorted_and_agrees_with_the_catalog() {
    assert!(COLLECTORS.is_sorted_by_key(|entry| entry.name));
    let mut measurements = BTreeSet::new();
    for entry in COLLECTORS {
        let context = context_of(&HostTree::new());
        assert_eq!((entry.new)(&context).name(), entry.name);
        assert!(entry.description.ends_with('.'), "{}", entry.name);
        for name in entry.measurements {
            assert!(catalog::measurement(name).is_some(), "{name}");
            assert!(measurements.insert(name), "{name} has two collectors");
        }
    }
}

/// Files that are no collectors.
const SHARED: [&str; 7] = [
    "carried", "heads", "keyed", "mod", "patterns", "tests", "words",
];

#[test]
fn every_row_has_its_file_and_every_file_its_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/collectors/linux");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !SHARED.contains(&name.as_str()))
        .collect();
    let rows: BTreeSet<String> = COLLECTORS
        .iter()
        .map(|entry| entry.name.to_owned())
        .collect();
    assert_eq!(files, rows);
}

#[test]
fn a_host_that_shows_nothing_has_no_collector_available() {
    let context = context_of(&HostTree::new());
    for (name, outcome) in availability(&context, &ManualClock::at(1)) {
        assert!(
            matches!(outcome, Err(CollectError::Unavailable { .. })),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn garbage_is_a_typed_error_and_no_panic() {
    const FILES: &[&str] = &[
        "proc/stat",
        "proc/loadavg",
        "proc/meminfo",
        "proc/vmstat",
        "proc/diskstats",
        "proc/uptime",
        "proc/1/net/dev",
        "proc/1/mountinfo",
        "proc/1/stat",
        "proc/1/net/arp",
        "proc/1/net/netstat",
        "proc/1/net/snmp",
        "proc/1/net/snmp6",
        "proc/1/net/sockstat",
        "proc/1/net/sockstat6",
        "proc/1/net/softnet_stat",
        "proc/1/net/stat/nf_conntrack",
        "proc/1/net/tcp",
        "proc/1/net/tcp6",
        "proc/buddyinfo",
        "proc/cpuinfo",
        "proc/interrupts",
        "proc/pressure/cpu",
        "proc/schedstat",
        "proc/softirqs",
        "proc/sys/fs/dentry-state",
        "proc/sys/fs/file-nr",
        "proc/sys/fs/inode-nr",
        "proc/sys/kernel/pid_max",
        "proc/sys/kernel/random/entropy_avail",
        "proc/sys/net/netfilter/nf_conntrack_count",
        "sys/devices/system/node/node0/meminfo",
        "sys/devices/system/node/node0/numastat",
    ];
    let contents: [&[u8]; 7] = [
        b"",
        b"\xff\xfe\x00\x01 \x80\n\xc3",
        b"cpu",
        b"cpu  1 2 3\ncpu0 x",
        b"Inter-|\n face |\n  eth0: 1 2 3\n",
        "é: 99999999999999999999999 kB\n1 2 sda".as_bytes(),
        &[b' '; 4096],
    ];
    for content in contents {
        let tree = HostTree::new();
        for file in FILES {
            tree.write(file, content);
        }
        let context = context_of(&tree);
        for (name, outcome) in availability(&context, &ManualClock::at(1)) {
            // An empty list of disks, interfaces or mounts is nothing wrong.
            let may_be_empty = ["disk_io", "network", "filesystem"].contains(&name);
            match outcome {
                Ok(()) => assert!(may_be_empty, "{name} understood {content:?}"),
                Err(CollectError::Parse { .. } | CollectError::Unavailable { .. }) => {}
                Err(error) => panic!("{name}: {error:?}"),
            }
        }
    }
}

#[test]
fn a_file_cut_short_anywhere_is_no_panic() {
    let tree = HostTree::new();
    for (file, content) in [
        (
            "proc/stat",
            "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4\nintr 5 6\nctxt 7\n",
        ),
        (
            "proc/diskstats",
            "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
        ),
        (
            "proc/meminfo",
            "MemTotal: 5 kB\nSwapTotal: 1 kB\nSwapFree: 1 kB\n",
        ),
        ("proc/loadavg", "0.10 0.20 0.30 1/20 300\n"),
        (
            "proc/1/mountinfo",
            "1 0 8:1 / /\\040 rw shared:1 - newfs /dev/\\134 rw\n",
        ),
        (
            "proc/1/net/dev",
            "a\nb\nlo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
        ),
    ] {
        for length in 0..content.len() {
            tree.write(file, &content[..length]);
            let outcomes = availability(&context_of(&tree), &ManualClock::at(1));
            assert_eq!(outcomes.len(), COLLECTORS.len());
        }
    }
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let tree = HostTree::new();
    let path = tree.path("proc/loadavg");
    let file = File::create(&path).expect("a file");
    file.set_len(SourceFile::MAX_BYTES + 1).expect("sparse");
    let error = SourceFile::new(path).read_bytes().expect_err("is too long");
    assert_eq!(
        error.to_string(),
        format!(
            "parse {}, line 0: it is longer than 16 MiB",
            tree.path("proc/loadavg").display()
        )
    );
}

#[test]
fn cpu_is_of_the_interval_and_sums_up_to_100() {
    let tree = HostTree::new().file(
        "proc/stat",
        "cpu  100 20 30 400 50 6 7 8 40 5\ncpu0 100 20 30 400 50 6 7 8 40 5\nintr 1\n",
    );
    let mut cpu = collector("cpu", &context_of(&tree));
    assert_eq!(
        collect(&mut *cpu, 1).expect("collects"),
        [],
        "nothing since boot"
    );
    // 20 ticks of user, 5 of them a guest's; iowait goes backwards.
    tree.write(
        "proc/stat",
        "cpu  120 20 31 470 49 6 7 17 45 5\ncpu0 100 20 30 400 50 6 7 8 40 5\n\
         cpu1 1 1 1 1 1 1 1 1 1 1\nintr 1\n",
    );
    let points = collect(&mut *cpu, 2).expect("collects");
    assert_eq!(points.len(), 1, "core 0 had no tick, core 1 is new");
    let total = &points[0];
    assert_eq!(total.tag_text("cpu"), Some("total"));
    for (field, expected) in [
        ("user_percent", 15.0),
        ("guest_percent", 5.0),
        ("system_percent", 1.0),
        ("idle_percent", 70.0),
        ("iowait_percent", 0.0),
        ("steal_percent", 9.0),
    ] {
        assert_eq!(number(total, field), expected, "{field}");
    }
    let sum: f64 = total
        .fields()
        .iter()
        .map(|(name, _)| number(total, name.as_str()))
        .sum();
    assert!((sum - 100.0).abs() < 0.01, "{sum}");
}

#[test]
fn a_core_that_was_away_does_not_tell_of_that_time() {
    let with = |user| format!("cpu  {user} 0 0 0\ncpu3 {user} 0 0 0\n");
    let tree = HostTree::new().file("proc/stat", with(10));
    let mut cpu = collector("cpu", &context_of(&tree));
    let mut cores_after = |stat: &str| {
        tree.write("proc/stat", stat);
        collect(&mut *cpu, 1).expect("collects").len()
    };
    assert_eq!(cores_after(&with(10)), 0);
    assert_eq!(cores_after("cpu  20 0 0 0\n"), 1, "core 3 was unplugged");
    assert_eq!(cores_after(&with(30)), 1, "it is back");
    assert_eq!(cores_after(&with(40)), 2);
}

#[test]
fn disk_figures_of_the_interval() {
    let tree = HostTree::new()
        .file("sys/block/sda/size", "1")
        .file("sys/block/sdb/size", "1")
        .file(
            "proc/diskstats",
            "8 0 sda 100 1 800 200 50 2 400 300 0 1000 500\n\
             8 1 sda1 100 1 800 200 50 2 400 300 0 1000 500\n\
             8 16 sdb 0 0 0 0 0 0 0 0 0 0 0\n",
        );
    let mut disk_io = collector("disk_io", &context_of(&tree));
    let first = collect(&mut *disk_io, 0).expect("collects");
    assert_eq!(first.len(), 1, "no partition, no disk without I/O");
    assert_eq!(number(&first[0], "read_bytes"), 800.0 * 512.0);
    assert_eq!(number(&first[0], "io_time_seconds"), 1.0);
    assert_eq!(first[0].value("utilisation_percent"), None);
    assert_eq!(first[0].value("discards"), None, "an old kernel");

    tree.write(
        "proc/diskstats",
        "8 0 sda 110 1 900 225 50 2 400 300 3 1500 500\n",
    );
    let second = collect(&mut *disk_io, 2_000_000).expect("collects");
    assert_eq!(number(&second[0], "utilisation_percent"), 25.0);
    assert_eq!(number(&second[0], "read_wait_seconds"), 0.0025);
    assert_eq!(
        second[0].value("write_wait_seconds"),
        None,
        "nothing was written"
    );
    assert_eq!(number(&second[0], "in_flight"), 3.0);

    tree.write("proc/diskstats", "8 0 sda 1 0 8 2 1 0 8 2 0 4 5\n");
    let third = collect(&mut *disk_io, 4_000_000).expect("collects");
    for field in ["utilisation_percent", "read_wait_seconds"] {
        assert_eq!(
            third[0].value(field),
            None,
            "{field} after the counters began again"
        );
    }
}

#[test]
fn a_clock_that_goes_backwards_yields_no_utilisation() {
    let line = "8 0 sda 100 1 800 200 50 2 400 300 0 1000 500\n";
    let tree = HostTree::new().file("proc/diskstats", line);
    let mut disk_io = collector("disk_io", &context_of(&tree));
    collect(&mut *disk_io, 10).expect("collects");
    let points = collect(&mut *disk_io, 5).expect("collects");
    assert_eq!(points[0].value("utilisation_percent"), None);
}

#[test]
fn the_speed_of_a_link_is_asked_again_after_its_carrier_changed() {
    let tree = HostTree::new()
        .file(
            "proc/1/net/dev",
            "a\nb\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
        )
        .file("sys/class/net/eth0/operstate", "up\n")
        .file("sys/class/net/eth0/carrier_changes", "1\n")
        .file("sys/class/net/eth0/speed", "1000\n");
    let mut network = collector("network", &context_of(&tree));
    let mut speed = || {
        let points = collect(&mut *network, 1).expect("collects");
        points[0].value("speed_bits_per_second").cloned()
    };
    assert_eq!(speed(), Some(Value::Float(1e9)));
    tree.write("sys/class/net/eth0/speed", "100\n");
    assert_eq!(speed(), Some(Value::Float(1e9)), "not asked");
    tree.write("sys/class/net/eth0/carrier_changes", "3\n");
    assert_eq!(speed(), Some(Value::Float(1e8)));
    tree.write("sys/class/net/eth0/carrier_changes", "4\n");
    tree.write("sys/class/net/eth0/speed", "-1\n");
    assert_eq!(speed(), None, "the link is down");
}

#[test]
fn pages_of_swap_are_told_in_bytes() {
    let tree = HostTree::new().file("proc/meminfo", "SwapTotal: 100 kB\nSwapFree: 75 kB\n");
    let mut context = context_of(&tree);
    context.roots.page_bytes = 65_536;
    let mut swap = collector("swap", &context);
    let points = collect(&mut *swap, 1).expect("collects without vmstat");
    assert_eq!(number(&points[0], "used_percent"), 25.0);
    assert_eq!(points[0].value("swapped_in_bytes"), None);
    tree.write("proc/vmstat", "pswpin 2\npswpout 3\n");
    let points = collect(&mut *swap, 2).expect("collects");
    assert_eq!(number(&points[0], "swapped_in_bytes"), 131_072.0);
    assert_eq!(number(&points[0], "swapped_out_bytes"), 196_608.0);
}
