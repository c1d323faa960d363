//! Where the measured host's files lie: `/proc`, `/sys`, `/`, and the size of its memory pages.
//!
//! Not a reader: collectors open files themselves. Roots are passed in (A3), so that a container
//! can measure its host through mounts, and a test a tree of plain files.

use std::path::{Component, Path, PathBuf};

/// The roots of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoots {
    /// The `proc` file system, see proc(5).
    pub proc: PathBuf,
    /// The `sysfs` file system, see sysfs(5).
    pub sys: PathBuf,
    /// The root under which the host's mount points are found.
    pub root_fs: PathBuf,
    /// Bytes of one memory page, in which some counters of the kernel are kept.
    pub page_bytes: u64,
}

impl Default for HostRoots {
    /// The machine that this program runs on.
    fn default() -> Self {
        Self::new("/proc", "/sys", "/")
    }
}

impl HostRoots {
    /// Roots with the memory pages of the machine that this program runs on.
    #[must_use]
    pub fn new(
        proc: impl Into<PathBuf>,
        sys: impl Into<PathBuf>,
        root_fs: impl Into<PathBuf>,
    ) -> Self {
        Self {
            proc: proc.into(),
            sys: sys.into(),
            root_fs: root_fs.into(),
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    /// A file of a process whose namespaces are the measured ones: our own if we measure the
    /// root that we see, else process 1, which is the host's init when `proc` is the host's.
    ///
    /// A service in a mount namespace of its own (systemd's `ProtectHome=`) must not ask process
    /// 1 for mounts that it cannot see, and a container must not take its own for the host's.
    #[must_use]
    pub fn proc_of_namespace(&self, file: &str) -> PathBuf {
        let process = if self.root_fs == Path::new("/") {
            "self"
        } else {
            "1"
        };
        self.proc.join(process).join(file)
    }

    /// Whether [`Self::proc_of_namespace`] tells of the host's own namespace of this kind (namespaces(7),
    /// `mnt` for example): that of process 1. False where we may not know it.
    #[must_use]
    pub fn has_namespace_of_host(&self, kind: &str) -> bool {
        let namespace = |process: &str| self.proc.join(process).join("ns").join(kind).read_link();
        self.root_fs != Path::new("/")
            || matches!((namespace("self"), namespace("1")), (Ok(own), Ok(host)) if own == host)
    }

    /// A path of the host as this program reaches it.
    #[must_use]
    pub fn on_host(&self, path: &Path) -> PathBuf {
        let inner = path
            .components()
            .filter(|component| matches!(component, Component::Normal(_)));
        let mut reached = self.root_fs.clone();
        reached.extend(inner);
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_root_is_measured_through_process_1() {
        let own = HostRoots::default();
        assert_eq!(
            own.proc_of_namespace("mountinfo"),
            Path::new("/proc/self/mountinfo")
        );
        let host = HostRoots::new("/host/proc", "/host/sys", "/host");
        assert_eq!(
            host.proc_of_namespace("net/dev"),
            Path::new("/host/proc/1/net/dev")
        );
    }

    #[test]
    fn a_namespace_is_the_hosts_when_process_1_has_the_same() {
        let tree = tempfile::tempdir().expect("a folder");
        let has = || HostRoots::new(tree.path(), "/sys", "/").has_namespace_of_host("mnt");
        assert!(!has(), "nobody may say");
        for (process, namespace) in [("1", "mnt:[4026531841]"), ("self", "mnt:[4026532000]")] {
            let folder = tree.path().join(process).join("ns");
            std::fs::create_dir_all(&folder).expect("a folder");
            std::os::unix::fs::symlink(namespace, folder.join("mnt")).expect("a link");
        }
        assert!(!has(), "a service manager has made one for us");
        let own = tree.path().join("self/ns/mnt");
        std::fs::remove_file(&own).expect("it was there");
        std::os::unix::fs::symlink("mnt:[4026531841]", own).expect("a link");
        assert!(has());
        assert!(HostRoots::new("/p", "/s", "/host").has_namespace_of_host("mnt"));
    }

    #[test]
    fn paths_of_the_host_lie_below_its_root() {
        let host = HostRoots::new("/p", "/s", "/host");
        assert_eq!(host.on_host(Path::new("/")), Path::new("/host"));
        assert_eq!(
            host.on_host(Path::new("/srv/a b")),
            Path::new("/host/srv/a b")
        );
        assert_eq!(
            HostRoots::default().on_host(Path::new("/srv")),
            Path::new("/srv")
        );
    }
}
