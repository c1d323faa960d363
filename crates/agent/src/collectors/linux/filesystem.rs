//! `filesystem`: the space and inodes of every real mount.
//!
//! Not the I/O of disks. Sources: `mountinfo` of our own process, or of process 1 when another
//! root is measured, proc_pid_mountinfo(5); statvfs(3) of each mount. Which mounts are real is
//! decided in [`mounts`]. The kernel takes longer to write the table than to answer for a mount, so it is read
//! when it has changed, where that is enough.
//!
//! A mount whose server is gone hangs whoever asks it, for ever. So each mount is asked on a
//! thread of its own, all at the same time, and all have one deadline; one that is late gets a
//! point with `responding` = false, and is not asked again until its thread came back: there is
//! never more than one stuck thread per mount. A mount that answers with an error is told in the
//! same way, unless it is not ours to see (permission, or a path that is not in our namespace):
//! then it is left out, as is one without any blocks, which has no space to measure.

mod asking;
mod mounts;
#[cfg(test)]
mod tests;

pub use asking::{AskSpace, Space};

use super::{CollectError, Collector, CollectorEntry, SourceFile, as_tag, percent_of};
use crate::roots::HostRoots;
use asking::{Answer, Asker, statvfs};
use mounts::Mount;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "filesystem",
    description: "Space and inodes of every real mount, whether it is read-only and responds.",
    new: |context| Box::new(Filesystem::new(&context.roots)),
    default_on: true,
    measurements: &["filesystem"],
};

/// How long all mounts together have to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// The collector `filesystem`.
pub struct Filesystem {
    roots: HostRoots,
    mountinfo: SourceFile,
    /// The real ones, as they were read last.
    mounts: Vec<Mount>,
    mounts_are_the_hosts: bool,
    /// We see the mounts as the host does: what can be written to us can be written to it. Else only
    /// `mountinfo` tells what has become read-only, and that is no change which the kernel announces.
    sees_as_host: bool,
    ask: AskSpace,
    deadline: Duration,
    askers: HashMap<PathBuf, Asker>,
}

impl Filesystem {
    /// One that asks the system, with a deadline of 2 s.
    #[must_use]
    pub fn new(roots: &HostRoots) -> Self {
        Self::asking(roots, Arc::new(statvfs), DEADLINE)
    }

    /// One that asks `ask` instead of the system, and waits until `deadline` for all answers
    /// together.
    #[must_use]
    pub fn asking(roots: &HostRoots, ask: AskSpace, deadline: Duration) -> Self {
        let mounts_are_the_hosts = roots.has_namespace_of_host("mnt");
        Self {
            roots: roots.clone(),
            mountinfo: SourceFile::new(roots.proc_of_namespace("mountinfo")),
            mounts: Vec::new(),
            mounts_are_the_hosts,
            sees_as_host: mounts_are_the_hosts && roots.root_fs == Path::new("/"),
            ask,
            deadline,
            askers: HashMap::new(),
        }
    }

    fn read_mounts(&mut self) -> Result<(), CollectError> {
        if self.sees_as_host && !self.mounts.is_empty() && self.mountinfo.is_told_unchanged() {
            return Ok(());
        }
        // The change is told once: if the table cannot be read now, it is read the next time.
        self.mounts.clear();
        self.mountinfo.read_bytes()?;
        self.mounts = mounts::real_mounts(&self.mountinfo, self.mounts_are_the_hosts)?;
        Ok(())
    }

    /// What to tell of a mount; `None` to leave it out.
    fn point(&self, time_us: i64, mount: &Mount, answer: Answer) -> Option<Point> {
        let space = match answer {
            Answer::Space(space) if space.total_bytes == 0 => return None,
            Answer::Space(space) => Some(space),
            Answer::Error(error) if is_not_ours(&error) => return None,
            Answer::Error(_) | Answer::Late => None,
        };
        let read_only = match space {
            Some(space) if self.sees_as_host => space.read_only,
            _ => mount.read_only,
        };
        let mut point = Point::new(name!("filesystem"), time_us)
            .tag(
                name!("mount"),
                as_tag(mount.mount_point.to_string_lossy().into_owned()),
            )
            .tag(name!("device"), as_tag(mount.device.clone()))
            .tag(name!("fstype"), as_tag(mount.filesystem_type.clone()));
        if let Some(space) = space {
            let used = space.total_bytes.saturating_sub(space.free_bytes);
            point = point
                .field(name!("total_bytes"), space.total_bytes)
                .field(name!("used_bytes"), used)
                .field(name!("free_bytes"), space.free_bytes)
                .field(name!("available_bytes"), space.available_bytes)
                .field_if(
                    name!("used_percent"),
                    percent_of(used, used.saturating_add(space.available_bytes)),
                );
            // Some file systems (btrfs) make inodes as they go and tell 0.
            if space.inodes > 0 {
                let used = space.inodes.saturating_sub(space.inodes_free);
                point = point
                    .field(name!("inodes"), space.inodes)
                    .field(name!("inodes_free"), space.inodes_free)
                    .field_if(name!("inodes_used_percent"), percent_of(used, space.inodes));
            }
        }
        Some(
            point
                .field(name!("read_only"), read_only)
                .field(name!("responding"), space.is_some()),
        )
    }
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        self.read_mounts()?;
        let time_us = clock.now_us();
        let mut asked = Vec::with_capacity(self.mounts.len());
        for mount in &self.mounts {
            let path = self.roots.on_host(&mount.mount_point);
            if !self.askers.contains_key(&path) {
                let asker = Asker::start(path.clone(), Arc::clone(&self.ask))
                    .map_err(|source| CollectError::from_io(&path, source))?;
                self.askers.insert(path.clone(), asker);
            }
            if let Some(asker) = self.askers.get_mut(&path) {
                asker.ask();
            }
            asked.push((path, mount));
        }
        let until = Instant::now() + self.deadline;
        for (path, mount) in &asked {
            let answer = self
                .askers
                .get_mut(path)
                .map_or(Answer::Late, |asker| asker.answer(until));
            points.extend(self.point(time_us, mount, answer));
        }
        // A thread that is stuck is kept in mind even if its mount was detached meanwhile.
        self.askers
            .retain(|path, asker| asker.is_waiting() || asked.iter().any(|(seen, _)| seen == path));
        Ok(())
    }
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
