//! A fake host: files and links of `/proc`, `/sys` and `/` in a temporary folder.
//!
//! Fixtures in the tree are plain files; the links that the kernel has are made here, because
//! links in a git checkout do not survive everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary root folder, removed when dropped. Paths are relative to it (`proc/stat`).
///
/// Its methods panic when the temporary folder cannot be written.
#[derive(Debug)]
pub struct HostTree {
    root: TempDir,
}

impl Default for HostTree {
    fn default() -> Self {
        Self::new()
    }
}

impl HostTree {
    /// An empty host with `proc` and `sys` folders.
    #[must_use]
    pub fn new() -> Self {
        let root = TempDir::new().expect("a temporary folder can be made");
        Self { root }.directory("proc").directory("sys")
    }

    /// An empty host in memory, where the system has a folder for that: for tens of thousands of files.
    #[must_use]
    pub fn in_memory() -> Self {
        match TempDir::new_in("/dev/shm") {
            Ok(root) => Self { root }.directory("proc").directory("sys"),
            Err(_) => Self::new(),
        }
    }

    /// A copy of a fixture folder, so that a test may change it.
    #[must_use]
    pub fn copy_of(fixture: &Path) -> Self {
        let tree = Self::new();
        copy_folder(fixture, tree.root());
        tree
    }

    /// Writes one file, with the folders above it.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(path, content);
        self
    }

    /// Makes an empty folder.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        fs::create_dir_all(self.path(path)).expect("a folder of the tree can be made");
        self
    }

    /// Makes a symbolic link at `path` whose text is `target`.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        let path = self.path(path);
        make_parent(&path);
        std::os::unix::fs::symlink(target, path).expect("a link of the tree can be made");
        self
    }

    /// Writes or replaces one file in a tree that is in use, as a counter that went on.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        make_parent(&path);
        fs::write(path, content).expect("a file of the tree can be written");
    }

    /// Removes a file or a folder, as a device that was pulled out.
    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        let is_folder = fs::symlink_metadata(&path)
            .expect("what is removed was there")
            .is_dir();
        if is_folder {
            fs::remove_dir_all(path).expect("a folder of the tree can be removed");
        } else {
            fs::remove_file(path).expect("a file of the tree can be removed");
        }
    }

    /// The fake `/`.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The fake `/proc`.
    #[must_use]
    pub fn proc_root(&self) -> PathBuf {
        self.path("proc")
    }

    /// The fake `/sys`.
    #[must_use]
    pub fn sys_root(&self) -> PathBuf {
        self.path("sys")
    }

    /// Where `path` of the fake host lies.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }
}

fn make_parent(path: &Path) {
    let parent = path.parent().expect("a path in the tree has a parent");
    fs::create_dir_all(parent).expect("a folder of the tree can be made");
}

fn copy_folder(from: &Path, to: &Path) {
    let entries = fs::read_dir(from).unwrap_or_else(|error| {
        panic!("fixture folder {} cannot be read: {error}", from.display())
    });
    for entry in entries {
        let entry = entry.expect("an entry of the fixture can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder of the tree can be made");
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a fixture file can be copied");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_links_and_changes_are_seen_under_the_root() {
        let tree = HostTree::new()
            .file("proc/loadavg", "0.10 0.20 0.30 1/100 7\n")
            .file("sys/devices/sda/size", "8")
            .link("sys/block/sda", "../devices/sda");
        let size = tree.sys_root().join("block/sda/size");
        assert_eq!(fs::read_to_string(&size).unwrap(), "8");
        tree.write("/sys/devices/sda/size", "16");
        assert_eq!(fs::read_to_string(&size).unwrap(), "16");
        tree.remove("sys/block/sda");
        assert!(!size.exists());
        assert!(tree.proc_root().join("loadavg").is_file());

        let copy = HostTree::copy_of(tree.root());
        assert_eq!(
            fs::read_to_string(copy.path("sys/devices/sda/size")).unwrap(),
            "16"
        );
    }
}
