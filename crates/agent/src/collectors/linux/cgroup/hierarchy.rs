//! Where the control groups are: the hierarchies that are mounted, and the groups in them.

use super::CgroupSettings;
use crate::collectors::CollectError;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// A hierarchy that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    /// All controllers of version 2.
    Unified,
    /// Version 1: the use of CPU time.
    Cpuacct,
    /// Version 1: how far CPU time is held back.
    Cpu,
    /// Version 1: memory.
    Memory,
    /// Version 1: processes.
    Pids,
    /// Version 1: I/O of block devices.
    Blkio,
}

/// A path that is longer cannot be a tag: the group is left out.
const MAX_PATH_BYTES: usize = 1_000;

/// The folders of version 1, which may be links to one of two controllers together.
const VERSION_1: [(&str, Controller); 5] = [
    ("cpuacct", Controller::Cpuacct),
    ("cpu", Controller::Cpu),
    ("memory", Controller::Memory),
    ("pids", Controller::Pids),
    ("blkio", Controller::Blkio),
];

/// The folder under which hierarchies are mounted.
pub(super) struct Roots {
    folder: PathBuf,
}

impl Roots {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The hierarchies that are mounted: that of version 2, or those of version 1. Where both
    /// are, systemd uses version 2 to keep track of processes, without controllers.
    pub(super) fn hierarchies(&self) -> Result<Vec<(Controller, PathBuf)>, CollectError> {
        let controllers = self.folder.join("cgroup.controllers");
        if controllers.exists() {
            return Ok(vec![(Controller::Unified, self.folder.clone())]);
        }
        let found: Vec<_> = VERSION_1
            .iter()
            .map(|(name, controller)| (*controller, self.folder.join(name)))
            .filter(|(_, folder)| folder.is_dir())
            .collect();
        if found.is_empty() {
            return Err(CollectError::Unavailable { path: controllers });
        }
        Ok(found)
    }
}

/// The groups that are told: their path, and their folders in each hierarchy.
pub(super) struct Found {
    pub(super) groups: Vec<(String, Vec<(Controller, PathBuf)>)>,
    pub(super) left_out: u64,
}

/// Looks for groups, level by level, in all hierarchies together. Those below the depth are not
/// counted as left out.
pub(super) fn find(hierarchies: &[(Controller, PathBuf)], settings: &CgroupSettings) -> Found {
    let mut groups = Vec::new();
    let mut left_out = 0;
    let mut waiting = VecDeque::from([(String::new(), 0_usize, hierarchies.to_vec())]);
    while let Some((path, depth, folders)) = waiting.pop_front() {
        if depth < settings.depth {
            let mut below: BTreeMap<String, Vec<(Controller, PathBuf)>> = BTreeMap::new();
            for (controller, folder) in &folders {
                for name in folders_in(folder) {
                    let entry = (*controller, folder.join(&name));
                    below.entry(name).or_default().push(entry);
                }
            }
            for (name, folders) in below {
                waiting.push_back((format!("{path}/{name}"), depth + 1, folders));
            }
        }
        if depth == 0 {
            continue;
        }
        if groups.len() < settings.most && path.len() <= MAX_PATH_BYTES {
            groups.push((path, folders));
        } else {
            left_out += 1;
        }
    }
    Found { groups, left_out }
}

/// The names of the folders in a folder; none if it has just gone.
fn folders_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
