//! Tests of collectors that read the kernel's own work.

use super::*;

/// Every beginning of `content` in `file` is understood or a typed error.
pub(super) fn assert_cut_anywhere(name: &str, tree: &HostTree, file: &str, content: &str) {
    for length in 0..content.len() {
        tree.write(file, &content.as_bytes()[..length]);
        let outcome = collect(&mut *collector(name, &context_of(tree)), 1);
        assert!(
            matches!(outcome, Ok(_) | Err(CollectError::Parse { .. })),
            "{name} with {length} bytes of {file}: {outcome:?}"
        );
    }
    tree.write(file, content);
    let outcome = collect(&mut *collector(name, &context_of(tree)), 1);
    assert!(outcome.is_ok(), "{name}: {outcome:?}");
}

#[test]
fn a_file_of_the_kernel_cut_short_is_no_panic() {
    for (name, file, content) in [
        (
            "vmstat",
            "proc/vmstat",
            "pgpgin 5\nallocstall_normal 3\npgfault 7\n",
        ),
        (
            "pressure",
            "proc/pressure/io",
            "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        ),
        ("filehandles", "proc/sys/fs/file-nr", "1216\t0\t202311\n"),
        (
            "scheduler",
            "proc/schedstat",
            "version 15\ncpu0 0 0 0 0 0 0 11 22 33\ndomain0 ff 0\n",
        ),
        (
            "interrupts",
            "proc/interrupts",
            "  CPU0 CPU1\n 16: 1 2 IO-APIC é\nERR: 0\n",
        ),
        ("softirqs", "proc/softirqs", "  CPU0 CPU1\n HI: 1 2\n"),
        ("buddyinfo", "proc/buddyinfo", "Node 0, zone DMA 1 2 3\n"),
        (
            "numa",
            "sys/devices/system/node/node0/meminfo",
            "Node 0 MemTotal: 10 kB\nNode 0 MemUsed: 5 kB\n",
        ),
    ] {
        let tree = HostTree::new();
        if name == "numa" {
            tree.write("sys/devices/system/node/node0/numastat", "numa_hit 5\n");
        }
        // A file that is empty may be what is left of the first number.
        assert_cut_anywhere(name, &tree, file, content);
    }
}

#[test]
fn the_state_of_a_process_is_found_behind_any_name() {
    let tree = HostTree::new()
        .file(
            "proc/7/stat",
            b"7 (a) R (\xff) Z 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0\n",
        )
        .file("proc/8/stat", "8 (kworker/0:0) I 2 0\n")
        .file("proc/9/stat", "9 (cut")
        .directory("proc/10")
        .file("proc/self/stat", "7 (x) S 1\n")
        .file("proc/sys/kernel/pid_max", "4194304\n");
    let points = collect(&mut *collector("processes", &context_of(&tree)), 1).expect("collects");
    assert_eq!(number(&points[0], "total"), 2.0);
    assert_eq!(number(&points[0], "zombie"), 1.0);
    assert_eq!(number(&points[0], "idle"), 1.0);
    assert_eq!(number(&points[0], "threads"), 3.0);
    assert_eq!(number(&points[0], "pid_max"), 4_194_304.0);
    assert_eq!(points[0].value("threads_max"), None);
}

#[test]
fn many_processes_are_counted_less_often() {
    let tree = HostTree::new();
    for process in 1..=40 {
        tree.write(&format!("proc/{process}/stat"), "1 (x) S 1\n");
    }
    let mut processes = collector("processes", &context_of(&tree));
    let mut points_at = |seconds: i64| {
        let points = collect(&mut *processes, seconds * 1_000_000).expect("collects");
        points.len()
    };
    // 40 processes are two seconds' worth.
    let counted: Vec<usize> = [10, 11, 12, 13, 14, 3].map(&mut points_at).into();
    assert_eq!(
        counted,
        [1, 0, 1, 0, 1, 1],
        "and at once when the clock went back"
    );
}

#[test]
fn a_core_that_is_unplugged_does_not_make_a_total_fall() {
    let line = |core, running: u64| format!("cpu{core} 0 0 0 0 0 0 {running}000 500000 7\n");
    let tree = HostTree::new().file("proc/schedstat", line(0, 1_000_000) + &line(1, 2_000_000));
    let mut scheduler = collector("scheduler", &context_of(&tree));
    let mut total = |stat: String| {
        tree.write("proc/schedstat", stat);
        let points = collect(&mut *scheduler, 1).expect("collects");
        let total = points.last().expect("a total");
        assert_eq!(total.tag_text("cpu"), Some("total"));
        number(total, "running_seconds")
    };
    assert_eq!(total(line(0, 1_000_000) + &line(1, 2_000_000)), 3.0);
    assert_eq!(total(line(0, 1_500_000)), 3.5, "core 1 is away");
    assert_eq!(total(line(0, 1_500_000) + &line(1, 2_100_000)), 3.6);
    assert_eq!(
        total(line(0, 1_500_000) + &line(1, 10_000)),
        3.61,
        "it began again"
    );
}

#[test]
fn a_core_tells_its_frequency_and_how_often_it_was_throttled() {
    let stat = |ticks: u64| format!("cpu  {ticks} 0 0 0\ncpu0 {ticks} 0 0 0\ncpu1 {ticks} 0 0 0\n");
    let tree = HostTree::new()
        .file("proc/stat", stat(1))
        .file(
            "proc/cpuinfo",
            "processor\t: 1\ncpu MHz\t\t: 2400.5\n\nprocessor: x\nnonsense\n",
        )
        .file(
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
            "1200000\n",
        )
        .file(
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
            "3\n",
        );
    let mut cpu = collector("cpu", &context_of(&tree));
    collect(&mut *cpu, 1).expect("collects");
    tree.write("proc/stat", stat(2));
    let points = collect(&mut *cpu, 2).expect("collects");
    assert_eq!(points[0].value("frequency_hertz"), None, "of all cores");
    assert_eq!(number(&points[1], "frequency_hertz"), 1.2e9);
    assert_eq!(number(&points[1], "core_throttles"), 3.0);
    assert_eq!(points[1].value("package_throttles"), None);
    assert_eq!(
        number(&points[2], "frequency_hertz"),
        2_400.5e6,
        "of cpuinfo"
    );

    tree.write(
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
        "<unknown>\n",
    );
    tree.write("proc/stat", stat(3));
    let points = collect(&mut *cpu, 3).expect("collects");
    assert_eq!(points[1].value("frequency_hertz"), None);
}

#[test]
fn a_kernel_without_pressure_is_not_available() {
    let tree = HostTree::new();
    let outcome = collect(&mut *collector("pressure", &context_of(&tree)), 1);
    assert!(outcome.expect_err("there is none").is_unavailable());
    let refused = CollectError::Read {
        path: "/proc/pressure/cpu".into(),
        source: std::io::Error::from_raw_os_error(95), // EOPNOTSUPP
    };
    assert!(refused.is_unavailable(), "it was switched off at boot");
}

#[test]
fn a_host_of_256_cores_is_measured_whole() {
    let tree = HostTree::new();
    let write = |moment: u64| {
        let mut stat = format!("cpu  {} 0 0 {} 0 0 0 0 0 0\n", 256 * moment, 256 * moment);
        let (mut schedstat, mut softnet) = (String::from("version 17\n"), String::new());
        for core in 0..256 {
            stat += &format!("cpu{core} {moment} 0 0 {moment} 0 0 0 0 0 0\n");
            schedstat += &format!("cpu{core} 0 0 0 0 0 0 {moment}000000000 5 7\n");
            softnet += &format!("{moment:08x} 0 0 0 0 0 0 0 0 0 0 0 {core:08x} 0 0\n");
        }
        // Interrupts of so many cores make one line of many thousand numbers.
        stat += &format!(
            "intr 5{}\nctxt 1\nbtime 1\nprocesses 1\n",
            " 0".repeat(30_000)
        );
        tree.write("proc/stat", stat);
        tree.write("proc/uptime", "1.0 1.0\n");
        tree.write("proc/schedstat", schedstat);
        tree.write("proc/1/net/softnet_stat", softnet);
    };
    for core in 0..256 {
        let folder = format!("sys/devices/system/cpu/cpu{core}");
        tree.write(&format!("{folder}/cpufreq/scaling_cur_freq"), "2000000\n");
        tree.write(
            &format!("{folder}/thermal_throttle/core_throttle_count"),
            "1\n",
        );
    }
    let context = context_of(&tree);
    for (name, each_core, total) in [
        ("cpu", "idle_percent", 50.0),
        ("scheduler", "running_seconds", 512.0),
        ("softnet", "processed_packets", 512.0),
    ] {
        let mut collector = collector(name, &context);
        write(1);
        collect(&mut *collector, 1).expect("collects");
        write(2);
        let points = collect(&mut *collector, 2).expect("collects");
        assert_eq!(points.len(), 257, "{name}");
        let of_all = points
            .iter()
            .find(|point| point.tag_text("cpu") == Some("total"));
        assert_eq!(number(of_all.expect("a total"), each_core), total, "{name}");
    }
    let points = collect(&mut *collector("system", &context), 1).expect("collects");
    assert_eq!(number(&points[0], "interrupts"), 5.0);
}
