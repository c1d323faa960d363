//! The parsers of the kernel's texts: a small host, one of whose files is replaced at a time, and all
//! collectors over it, which go on with what they remember.
//!
//! The first byte of the input names the file, the others are what is in it.

#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use tidegauge_agent::HostRoots;
use tidegauge_agent::collectors::{COLLECTORS, Collector, CollectorContext};
use tidegauge_model::{ManualClock, Point};

/// Files that collectors parse, with a few lines each as the kernel writes them.
const FILES: &[(&str, &str)] = &[
    ("proc/stat", "cpu  10 2 3 400 5 0 1 0 0 0\ncpu0 10 2 3 400 5 0 1 0 0 0\nctxt 7\nbtime 1795183200\nprocesses 9\nprocs_running 1\nprocs_blocked 0\n"),
    ("proc/meminfo", "MemTotal: 100 kB\nMemFree: 50 kB\nMemAvailable: 60 kB\nSwapTotal: 10 kB\nSwapFree: 10 kB\n"),
    ("proc/vmstat", "pgfault 1\npgpgin 2\noom_kill 0\n"),
    ("proc/loadavg", "0.1 0.2 0.3 1/100 99\n"),
    ("proc/uptime", "10.5 20.1\n"),
    ("proc/diskstats", "   8 0 sda 1 2 3 4 5 6 7 8 0 9 10 1 2 3 4 5 6\n"),
    ("proc/mdstat", "Personalities : [raid1]\nmd0 : active raid1 sdb[1] sda[0]\n      1024 blocks [2/2] [UU]\n\nunused devices: <none>\n"),
    ("proc/interrupts", "      CPU0\n  0:  7 IO-APIC 2-edge timer\n"),
    ("proc/softirqs", "      CPU0\n HI: 7\n"),
    ("proc/schedstat", "version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 1 2 3\n"),
    ("proc/buddyinfo", "Node 0, zone DMA 1 2 3 4\n"),
    ("proc/cpuinfo", "processor : 0\nmodel name : x\ncpu MHz : 1000.0\n"),
    ("proc/pressure/cpu", "some avg10=0.1 avg60=0.2 avg300=0.3 total=7\n"),
    ("proc/sys/fs/file-nr", "1 0 100\n"),
    ("proc/sys/kernel/osrelease", "6.1.0\n"),
    ("proc/1/mountinfo", "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n"),
    ("proc/1/net/dev", "a|b\nc|d\neth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"),
    ("proc/1/net/snmp", "Ip: A B\nIp: 1 2\nTcp: RetransSegs\nTcp: 7\nUdp: InDatagrams\nUdp: 1\nIcmp: InMsgs\nIcmp: 1\n"),
    ("proc/1/net/snmp6", "Ip6InReceives 7\nUdp6InDatagrams 1\n"),
    ("proc/1/net/netstat", "TcpExt: ListenOverflows\nTcpExt: 7\nIpExt: InOctets\nIpExt: 7\n"),
    ("proc/1/net/sockstat", "sockets: used 7\nTCP: inuse 1 orphan 0 tw 0 alloc 2 mem 3\n"),
    ("proc/1/net/softnet_stat", "0000000a 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000\n"),
    ("proc/1/net/tcp", "  sl local\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n"),
    ("proc/1/net/arp", "IP address HW type Flags HW address Mask Device\n10.0.0.1 0x1 0x2 02:00:00:00:00:01 * eth0\n"),
    ("proc/1/net/stat/nf_conntrack", "entries searched found\n00000001 00000000 00000002\n"),
    ("proc/1/net/rpc/nfs", "net 0 0 0 0\nrpc 1 2 3\nproc3 2 1 2\n"),
    ("proc/7/stat", "7 (a b) S 1 1 1 0 -1 0 0 0 0 0 10 5 0 0 20 0 1 0 5 4096 7\n"),
    ("proc/7/status", "Name:\ta\nUid:\t0\t0\t0\t0\nVmSwap:\t7 kB\n"),
    ("proc/7/cgroup", "0::/system.slice/a.service\n"),
    ("proc/spl/kstat/zfs/arcstats", "1 1 1\nname type data\nhits 4 7\n"),
    ("sys/class/hwmon/hwmon0/temp1_input", "40000\n"),
    ("sys/class/hwmon/hwmon0/name", "chip\n"),
    ("sys/class/power_supply/BAT0/uevent", "POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_CAPACITY=50\n"),
    ("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 7 kB\n"),
    ("sys/devices/system/node/node0/numastat", "numa_hit 7\n"),
    ("sys/fs/cgroup/cgroup.controllers", "cpu memory io\n"),
    ("sys/fs/cgroup/a/cpu.stat", "usage_usec 7\nuser_usec 3\nsystem_usec 4\n"),
    ("sys/fs/cgroup/a/memory.stat", "anon 7\nfile 8\n"),
    ("sys/fs/cgroup/a/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
    ("sys/fs/xfs/sda/stats/stats", "rw 1 2\nxpc 1 2 3\n"),
    ("sys/fs/btrfs/u/devinfo/1/error_stats", "write_errs 0\nread_errs 0\n"),
    ("root/etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian\"\n"),
    ("root/run/utmp", ""),
];

struct Host {
    root: TempDir,
    collectors: Vec<Box<dyn Collector>>,
    points: Vec<Point>,
    time_us: i64,
}

impl Host {
    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    fn new() -> Self {
        let root = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder");
        let at = |folder: &str| root.path().join(folder);
        let roots = HostRoots::new(at("proc"), at("sys"), at("root"));
        let context = CollectorContext::from(roots);
        let mut host = Self {
            collectors: COLLECTORS.iter().map(|entry| (entry.new)(&context)).collect(),
            points: Vec::new(),
            time_us: 1_795_183_200_000_000,
            root,
        };
        for (file, text) in FILES {
            let path = host.path(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        host.collect();
        host
    }

    fn collect(&mut self) {
        self.time_us += 1_000_000;
        let clock = ManualClock::at(self.time_us);
        for collector in &mut self.collectors {
            self.points.clear();
            // An error is an answer; a panic is what is looked for.
            drop(collector.collect(&clock, &mut self.points));
            for point in &self.points {
                assert_eq!(point.left_out(), 0, "{}: {point:?}", collector.name());
                for (name, text) in point.tags() {
                    assert!(text.len() <= 1_024, "{}: {name}", collector.name());
                }
            }
        }
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::new());
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else {
        return;
    };
    HOST.with_borrow_mut(|host| {
        let (file, whole) = FILES[usize::from(*which) % FILES.len()];
        let path = host.path(file);
        fs::write(&path, content).expect("written");
        host.collect();
        fs::write(&path, whole).expect("written");
        host.collect();
    });
});
