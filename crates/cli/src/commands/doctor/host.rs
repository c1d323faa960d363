//! The state folder (there, writable, with room), our own certificates, and the collectors.

use super::{Findings, certificates};
use crate::settings::Settings;
use crate::state_dir;
use rustix::fs::{Access, access, statvfs};
use std::path::{Path, PathBuf};
use tidegauge_agent::collectors::{COLLECTORS, availability};
use tidegauge_agent::identity;
use tidegauge_model::SystemClock;

/// File systems over a network, by the beginning of their names.
const OVER_THE_NETWORK: &[&str] = &[
    "nfs",
    "cifs",
    "smb",
    "fuse.sshfs",
    "9p",
    "ceph",
    "glusterfs",
];

/// With less room the spool's own file cannot grow.
const LEAST_FREE: u64 = 16 << 20;

pub(super) fn check(settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    state_folder(settings, &mut findings);
    certificates::ours(settings, &mut findings);
    collectors(settings, &mut findings);
    findings
}

fn state_folder(settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "state folder";
    let folder = match state_dir::path(settings) {
        Ok(folder) => folder,
        Err(error) => return findings.failed(CHECK, error.to_string()),
    };
    let shown = folder.display();
    // One that is missing is made at the start, in the nearest folder that is there.
    let there = folder.ancestors().find(|at| at.exists());
    let Some(there) = there.filter(|at| at.is_dir()) else {
        return findings.failed(
            CHECK,
            format!("{shown}: this is no folder; say another --state-dir"),
        );
    };
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let at = there.display();
        return findings.failed(
            CHECK,
            format!("{shown}: {at} cannot be written: {error}; give this user the right, or say another --state-dir"),
        );
    }
    if let Some(file) = file_of_another(&folder) {
        let (file, at) = (file.display(), folder.display());
        return findings.failed(
            CHECK,
            format!("{file} cannot be written by this user: was the program run as another one before? Give it the files: chown -R USER {at}"),
        );
    }
    let free: u64 = match statvfs(there) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        Err(error) => return findings.failed(CHECK, format!("{shown}: {error}")),
    };
    let bound = settings.bytes("agent.spool_bytes").unwrap_or_default();
    let mebibytes = free >> 20;
    if free < LEAST_FREE {
        findings.failed(
            CHECK,
            format!("{shown}: the disk is full ({mebibytes} MiB are free): samples cannot be kept; make room"),
        );
    } else if free < bound {
        findings.warning(
            CHECK,
            format!("{shown}: {mebibytes} MiB are free, the spool may take {} MiB: make room, or lower agent.spool_bytes", bound >> 20),
        );
    } else {
        let made = if there == folder {
            ""
        } else {
            ", is made at the start"
        };
        findings.ok(CHECK, format!("{shown}{made}, {mebibytes} MiB free"));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kind = there
        .canonicalize()
        .ok()
        .and_then(|at| file_system(&mounts, &at));
    match identity::fate_of(there) {
        Ok(Some(fate)) => findings.warning(
            "state file system",
            format!("{shown} will not last: {fate}. Samples that are not sent by then are lost; mount a volume there, or say another --state-dir"),
        ),
        Ok(None) => match kind {
            Some(kind) if OVER_THE_NETWORK.iter().any(|far| kind.starts_with(far)) => findings.warning(
                "state file system",
                format!("{kind}: SQLite, which keeps the spool, needs locks that file systems over a network do not keep; say a --state-dir on a disk of this host"),
            ),
            Some(kind) => findings.ok("state file system", kind),
            None => {}
        },
        Err(error) => findings.warning("state file system", super::told(&error)),
    }
}

/// A file of the folder that this user may not write, if there is one.
fn file_of_another(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    files
        .map(|entry| entry.path())
        .find(|path| path.is_file() && access(path, Access::WRITE_OK).is_err())
}

/// The type of the file system that holds a path, by `/proc/self/mountinfo` (proc(5)): that of the last of the
/// mount points that go deepest.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let depth = path
            .starts_with(&point)
            .then(|| Path::new(&point).components().count())?;
        Some((depth, after.split(' ').next()?.to_owned()))
    };
    let deepest = mounts
        .lines()
        .filter_map(mount)
        .max_by_key(|(depth, _)| *depth);
    deepest.map(|(_, kind)| kind)
}

fn collectors(settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "collectors";
    let context = crate::commands::host::context(settings);
    let (mut work, mut away) = (0, Vec::new());
    for (entry, (_, outcome)) in COLLECTORS.iter().zip(availability(&context, &SystemClock)) {
        match outcome {
            Ok(()) => work += 1,
            Err(error) if error.is_unavailable() => {
                away.push(format!("{}: {}", entry.name, super::told(&error)));
            }
            Err(error) => {
                findings.warning(CHECK, format!("{}: {}", entry.name, super::told(&error)))
            }
        }
    }
    let away = match away.is_empty() {
        true => String::new(),
        false => format!(
            "; not available on this host, which is no fault:\n{}",
            away.join("\n")
        ),
    };
    findings.ok(CHECK, format!("{work} work{away}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_path_is_that_of_the_deepest_mount_point() {
        let mounts = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /var rw - xfs /dev/sdb1 rw
31 30 0:26 / /var/lib/my\\040state rw,nosuid - nfs4 server:/x rw
32 22 0:27 / /tmp rw - tmpfs tmpfs rw
33 22 0:28 / /tmp rw - ext4 /dev/sdc1 rw
";
        for (path, expected) in [
            ("/", "ext4"),
            ("/variable", "ext4"),
            ("/var/lib", "xfs"),
            ("/var/lib/my state/spool", "nfs4"),
            ("/tmp/x", "ext4"),
        ] {
            let found = file_system(mounts, Path::new(path));
            assert_eq!(found.as_deref(), Some(expected), "{path}");
        }
        assert_eq!(file_system("", Path::new("/")), None);
    }
}
