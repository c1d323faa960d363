//! The collectors of Linux: readers of `/proc`, `/sys` and system calls, one file and one row of
//! [`COLLECTORS`] each.

mod arp;
mod bonding;
mod btrfs;
mod buddyinfo;
mod carried;
mod cgroup;
mod cgroup_names;
mod conntrack;
mod cpu;
mod disk_io;
mod edac;
mod filehandles;
pub mod filesystem;
mod heads;
mod icmp;
mod identity;
mod interrupts;
mod ip;
mod keyed;
mod load;
mod logged_in_users;
mod mdraid;
mod memory;
mod network;
mod nfs;
mod numa;
mod nvme;
mod patterns;
mod power;
mod pressure;
mod process;
mod processes;
mod scheduler;
mod sockets;
mod softirqs;
mod softnet;
mod swap;
mod sysfs;
mod system;
mod systemd;
mod tcp;
mod tcp_states;
mod temperature;
pub mod time;
mod udp;
mod vmstat;
mod words;
mod xfs;
mod zfs;

#[cfg(test)]
mod tests;

use super::{
    CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText, ValueFile,
    as_tag, percent_of, rounded,
};
use words::words;

/// All collectors, by name.
pub(super) const COLLECTORS: &[CollectorEntry] = &[
    arp::ENTRY,
    bonding::ENTRY,
    btrfs::ENTRY,
    buddyinfo::ENTRY,
    cgroup::ENTRY,
    conntrack::ENTRY,
    cpu::ENTRY,
    disk_io::ENTRY,
    edac::ENTRY,
    filehandles::ENTRY,
    filesystem::ENTRY,
    icmp::ENTRY,
    identity::ENTRY,
    interrupts::ENTRY,
    ip::ENTRY,
    load::ENTRY,
    logged_in_users::ENTRY,
    mdraid::ENTRY,
    memory::ENTRY,
    network::ENTRY,
    nfs::ENTRY,
    numa::ENTRY,
    nvme::ENTRY,
    power::ENTRY,
    pressure::ENTRY,
    process::ENTRY,
    processes::ENTRY,
    scheduler::ENTRY,
    sockets::ENTRY,
    softirqs::ENTRY,
    softnet::ENTRY,
    swap::ENTRY,
    system::ENTRY,
    systemd::ENTRY,
    tcp::ENTRY,
    tcp_states::ENTRY,
    temperature::ENTRY,
    time::ENTRY,
    udp::ENTRY,
    vmstat::ENTRY,
    xfs::ENTRY,
    zfs::ENTRY,
];
