//! The state folder (there, writable, with room), what waits in the spool, our own certificates, and the collectors.

use super::{Findings, certificates};
use crate::progress::size;
use crate::settings::{Settings, value};
use crate::state_dir;
use rustix::fs::{Access, access, statvfs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidegauge_agent::collectors::{COLLECTORS, availability};
use tidegauge_agent::identity;
use tidegauge_model::{Clock as _, SystemClock, chain};
use tidegauge_spool::SpoolLook;

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

/// A spool that is so full, in hundredths, is worth a warning.
const MUCH_WAITS: u64 = 80;

/// What waits for longer is taken by nobody: an agent that reaches Kafka sends at once.
const WAITS_LONG: Duration = Duration::from_secs(300);

pub(super) fn check(settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    state_folder(settings, &mut findings);
    spool(settings, &mut findings);
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
        Err(error) => findings.warning("state file system", chain(&error)),
    }
}

/// What the agent of this state folder has not sent yet, whether it runs or not.
fn spool(settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "spool";
    let Ok(folder) = state_dir::path(settings) else {
        return;
    };
    let bound = settings.bytes("agent.spool_bytes").unwrap_or(u64::MAX);
    match SpoolLook::at(&folder.join("spool.db")) {
        // No agent ever ran with this folder.
        Ok(None) => {}
        Ok(Some(look)) => waiting(&look, bound, SystemClock.now_us(), findings),
        Err(error) => findings.warning(CHECK, chain(&error)),
    }
}

fn waiting(look: &SpoolLook, bound: u64, now_us: i64, findings: &mut Findings) {
    const CHECK: &str = "spool";
    let dropped: u64 = look.dropped.values().sum();
    if dropped > 0 {
        let causes = look.dropped.iter();
        let causes: Vec<_> = causes
            .map(|(cause, count)| format!("{count} {}", cause.as_str()))
            .collect();
        findings.warning(
            CHECK,
            format!(
                "{dropped} batches were given up and no sink knows of it yet ({}): agent.spool_bytes and agent.spool_age \
                 say what is kept. It is told with the next batch that is sent, and counted in the ledger",
                causes.join(", ")
            ),
        );
    }
    let Some(oldest_us) = look.oldest_us else {
        return findings.ok(CHECK, "nothing waits to be sent");
    };
    let age = Duration::from_micros(u64::try_from(now_us - oldest_us).unwrap_or(0));
    let hundredths = look.bytes.saturating_mul(100) / bound.max(1);
    let said = format!(
        "{} batches wait to be sent, {} of {} ({hundredths} %), the oldest for {}",
        look.entries,
        size(look.bytes),
        size(bound),
        value::duration_text(Duration::from_secs(age.as_secs()))
    );
    if hundredths >= MUCH_WAITS {
        findings.warning(
            CHECK,
            format!("{said}: when it is full the oldest are given up; let the agent reach Kafka, or raise agent.spool_bytes"),
        );
    } else if age > WAITS_LONG {
        findings.warning(
            CHECK,
            format!("{said}: nobody takes them: does the agent run, and can it reach Kafka (the checks from broker on)?"),
        );
    } else {
        findings.ok(CHECK, said);
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
                away.push(format!("{}: {}", entry.name, chain(&error)));
            }
            Err(error) => findings.warning(CHECK, format!("{}: {}", entry.name, chain(&error))),
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
    use super::super::Verdict;
    use super::*;
    use tidegauge_spool::DropCause;

    #[test]
    fn what_waits_is_told_with_how_full_the_spool_is_and_what_was_given_up() {
        let said = |entries: u64, bytes: u64, seconds: i64, dropped: &[(DropCause, u64)]| {
            let look = SpoolLook {
                entries,
                bytes,
                oldest_us: (entries > 0).then_some(0),
                dropped: dropped.iter().copied().collect(),
            };
            let mut findings = Findings::default();
            waiting(&look, 100 << 20, seconds * 1_000_000, &mut findings);
            let found = findings.0.into_iter();
            found
                .map(|found| (found.verdict, found.detail))
                .collect::<Vec<_>>()
        };
        let nothing = (Verdict::Ok, "nothing waits to be sent".to_owned());
        assert_eq!(said(0, 0, 9, &[]), std::slice::from_ref(&nothing));
        let few = "2 batches wait to be sent, 1.0 MiB of 100.0 MiB (1 %), the oldest for 9s";
        assert_eq!(said(2, 1 << 20, 9, &[]), [(Verdict::Ok, few.to_owned())]);
        let [(verdict, long)] = &said(2, 1 << 20, 7_200, &[])[..] else {
            panic!("one");
        };
        assert_eq!(*verdict, Verdict::Warning);
        assert!(
            long.contains("the oldest for 2h: nobody takes them"),
            "{long}"
        );
        let [(verdict, full)] = &said(9, 91 << 20, 7_200, &[])[..] else {
            panic!("one");
        };
        assert_eq!(*verdict, Verdict::Warning);
        assert!(
            full.contains("(91 %)") && full.contains("raise agent.spool_bytes"),
            "{full}"
        );
        let causes = [(DropCause::Full, 3), (DropCause::DiskFull, 1)];
        let told = said(0, 0, 9, &causes);
        assert_eq!(told[1], nothing);
        assert!(
            told[0].1.starts_with(
                "4 batches were given up and no sink knows of it yet (3 full, 1 disk_full)"
            ),
            "{told:?}"
        );
    }

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
