//! `nfs`: what this host asks of NFS servers, by operation.
//!
//! Not the server side, and not the single mounts. Source: `net/rpc/nfs` of our own process, or of
//! process 1 when another root is measured; it is there once the NFS client is loaded. The kernel
//! numbers the operations of a version; the names here are those of its `nfs4.h` and of the RFCs
//! 1094 and 1813. An operation that was never asked for has no point.

use super::{CollectError, Collector, CollectorContext, CollectorEntry, SourceFile, SourceText};
use std::borrow::Cow;
use tidegauge_model::{Clock, Name, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "nfs",
    description: "Requests of the NFS client by operation, and its retransmissions.",
    new: |context| Box::new(Nfs::new(context)),
    default_on: true,
    measurements: &["nfs", "nfs_operation"],
};

/// The fields of the line `net`, then of the line `rpc`.
static NET: [Name; 4] = [
    name!("packets"),
    name!("udp_packets"),
    name!("tcp_packets"),
    name!("tcp_connections"),
];
static RPC: [Name; 3] = [
    name!("calls"),
    name!("retransmissions"),
    name!("authentication_refreshes"),
];

const OPERATIONS_2: &str = "null getattr setattr root lookup readlink read wrcache write create \
    remove rename link symlink mkdir rmdir readdir fsstat";
const OPERATIONS_3: &str = "null getattr setattr lookup access readlink read write create mkdir \
    symlink mknod remove rmdir rename link readdir readdirplus fsstat fsinfo pathconf commit";
const OPERATIONS_4: &str = "null read write commit open open_confirm open_noattr open_downgrade \
    close setattr fsinfo renew setclientid setclientid_confirm lock lockt locku access getattr \
    lookup lookup_root remove rename link symlink create pathconf statfs readlink readdir \
    server_caps delegreturn getacl setacl fs_locations release_lockowner secinfo fsid_present \
    exchange_id create_session destroy_session sequence get_lease_time reclaim_complete layoutget \
    getdeviceinfo layoutcommit layoutreturn secinfo_no_name test_stateid free_stateid \
    getdevicelist bind_conn_to_session destroy_clientid seek allocate deallocate layoutstats clone \
    copy offload_cancel lookupp layouterror copy_notify getxattr setxattr listxattrs removexattr \
    read_plus";

struct Nfs {
    rpc: SourceFile,
    versions: [(&'static str, &'static str, Vec<&'static str>); 3],
}

impl Nfs {
    fn new(context: &CollectorContext) -> Self {
        let version = |line, version, operations: &'static str| {
            (line, version, operations.split_ascii_whitespace().collect())
        };
        Self {
            rpc: SourceFile::new(context.roots.proc_of_namespace("net/rpc/nfs")),
            versions: [
                version("proc2", "2", OPERATIONS_2),
                version("proc3", "3", OPERATIONS_3),
                version("proc4", "4", OPERATIONS_4),
            ],
        }
    }
}

impl Collector for Nfs {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let rpc = self.rpc.read_text()?;
        let time_us = clock.now_us();
        let mut all = Point::new(name!("nfs"), time_us);
        let mut operations_of = Vec::new();
        for (line, text) in rpc.lines() {
            let mut words = text.split_ascii_whitespace();
            let Some(kind) = words.next() else { continue };
            let fields: &[Name] = match kind {
                "net" => &NET,
                "rpc" => &RPC,
                _ => {
                    if let Some(version) = self.versions.iter().find(|known| known.0 == kind) {
                        operations_of.push((line, words, version));
                    }
                    continue;
                }
            };
            for field in fields {
                all.set(field.clone(), rpc.number::<u64>(line, words.next())?);
            }
        }
        if all.fields().is_empty() {
            return Err(rpc.error(1, "there is no line `rpc`"));
        }
        points.push(all);
        for (line, words, (_, version, operations)) in operations_of {
            add_operations(rpc, line, words, version, operations, time_us, points)?;
        }
        Ok(())
    }
}

/// Adds the operations of one line: how many there are, then their counters.
fn add_operations<'a>(
    rpc: SourceText<'_>,
    line: usize,
    mut words: impl Iterator<Item = &'a str>,
    version: &'static str,
    operations: &[&'static str],
    time_us: i64,
    points: &mut Vec<Point>,
) -> Result<(), CollectError> {
    let count: usize = rpc.number(line, words.next())?;
    for (number, word) in words.take(count).enumerate() {
        let requests: u64 = rpc.number(line, Some(word))?;
        if requests == 0 {
            continue;
        }
        let operation = operations.get(number).map_or_else(
            || Cow::Owned(format!("operation_{number}")),
            |&operation| Cow::Borrowed(operation),
        );
        points.push(
            Point::new(name!("nfs_operation"), time_us)
                .tag(name!("version"), version)
                .tag(name!("operation"), operation)
                .field(name!("requests"), requests),
        );
    }
    Ok(())
}
