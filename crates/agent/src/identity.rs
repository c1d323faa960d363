//! Who this agent is: the id of the installation and the name of the host.
//!
//! The id comes, in this order, from the settings, from the machine id (machine-id(5)), or from a
//! random id that is kept in the state folder. The machine id itself is confidential, so only a
//! hash under a key of this application leaves the machine. Clones of a machine that share its
//! machine id share the agent's id too; their epochs still differ, by which a sink notices them.

use crate::{AgentError, HostRoots};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tidegauge_model::{AgentId, Host};

/// Never changes: another key gives every installation another id.
const APPLICATION_KEY: &[u8] = b"tidegauge agent id, version 1\0";
const MACHINE_ID_FILES: [&str; 2] = ["etc/machine-id", "var/lib/dbus/machine-id"];
const ID_FILE: &str = "agent-id";

/// Where an agent's id came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// It was given in the settings.
    Settings,
    /// It was derived from the machine id.
    MachineId,
    /// It was kept in the state folder.
    Kept,
    /// It was made at random just now, and kept in the state folder.
    New,
}

/// The agent's id: given, derived from the machine id, or kept in `state_dir`, which must exist.
///
/// # Errors
/// When the given id does not follow its pattern, or the file that keeps it cannot be read or
/// written.
pub fn agent_id(
    given: Option<&str>,
    roots: &HostRoots,
    state_dir: &Path,
) -> Result<(AgentId, IdSource), AgentError> {
    if let Some(given) = given {
        return Ok((checked_id(given)?, IdSource::Settings));
    }
    if let Some(machine_id) = machine_id(&roots.root_fs) {
        let id = Sha256::new()
            .chain_update(APPLICATION_KEY)
            .chain_update(&machine_id)
            .finalize();
        return Ok((checked_id(&hex(&id[..16]))?, IdSource::MachineId));
    }
    let path = state_dir.join(ID_FILE);
    let failed = |source| AgentError::KeepId {
        path: path.clone(),
        source,
    };
    if let Some(kept) = read_if_there(&path).map_err(failed)? {
        return Ok((checked_id(kept.trim())?, IdSource::Kept));
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| failed(error.into()))?;
    let random = hex(&random);
    let kept = create_whole(&path, &random).map_err(failed)?;
    tracing::warn!(
        path = %path.display(),
        "this machine has no machine id: a random agent id is kept in the state folder; \
         without that folder the agent is a new one at every start"
    );
    Ok((checked_id(kept.trim())?, IdSource::New))
}

/// Why what is kept in `state_dir` may be gone at the next start, if it is so.
///
/// # Errors
/// When the folder cannot be looked at.
pub fn fate_of(state_dir: &Path) -> io::Result<Option<&'static str>> {
    let (folder, root) = (rustix::fs::stat(state_dir)?, rustix::fs::stat("/")?);
    let kind = rustix::fs::statfs(state_dir)?.f_type;
    Ok(fate(kind as u64, folder.st_dev == root.st_dev))
}

/// By the number of the file system (statfs(2)), and whether it is that of `/`.
const fn fate(file_system: u64, is_root: bool) -> Option<&'static str> {
    const OVERLAY: u64 = 0x794c_7630;
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    match file_system {
        OVERLAY if is_root => {
            Some("it is in the container's own layer and goes with the container")
        }
        TMPFS | RAMFS => Some("it is in memory and goes with the next boot or container"),
        _ => None,
    }
}

/// The host's name: given, or the kernel's as seen under the proc root.
///
/// # Errors
/// When the name does not follow its pattern.
pub fn host_name(given: Option<&str>, roots: &HostRoots) -> Result<Host, AgentError> {
    let kernel = || {
        std::fs::read_to_string(roots.proc.join("sys/kernel/hostname")).unwrap_or_else(|_| {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        })
    };
    let text = given.map_or_else(kernel, str::to_owned);
    let text = text.trim();
    Host::new(text).map_err(|source| AgentError::Identity {
        what: "the host name",
        text: text.to_owned(),
        source,
    })
}

fn checked_id(text: &str) -> Result<AgentId, AgentError> {
    AgentId::new(text).map_err(|source| AgentError::Identity {
        what: "the agent id",
        text: text.to_owned(),
        source,
    })
}

/// 32 hexadecimal digits; `uninitialized`, which images have before their first boot, is none.
fn machine_id(root_fs: &Path) -> Option<String> {
    MACHINE_ID_FILES.iter().find_map(|file| {
        let text = std::fs::read_to_string(root_fs.join(file)).ok()?;
        let text = text.trim().to_ascii_lowercase();
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (plain && text.bytes().any(|byte| byte != b'0')).then_some(text)
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a file that is there whole or not at all, and returns what is in it: another process may
/// have been first.
fn create_whole(path: &Path, text: &str) -> io::Result<String> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // A link, unlike a rename, does not replace a file that is there by now.
    let linked = match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    std::fs::remove_file(&draft)?;
    linked?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn machine(machine_id: Option<&str>) -> (tempfile::TempDir, HostRoots) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir_all(root.join("etc")).expect("etc");
        std::fs::create_dir_all(root.join("proc/sys/kernel")).expect("proc");
        std::fs::write(root.join("proc/sys/kernel/hostname"), "web-1\n").expect("hostname");
        if let Some(machine_id) = machine_id {
            std::fs::write(root.join("etc/machine-id"), machine_id).expect("machine-id");
        }
        let roots = HostRoots::new(root.join("proc"), root.join("sys"), root);
        (folder, roots)
    }

    #[test]
    fn the_machine_id_gives_a_stable_id_that_does_not_show_it() {
        let machine_id = "0123456789abcdef0123456789abcdef";
        let (folder, roots) = machine(Some(&format!("{machine_id}\n")));
        let (id, source) = agent_id(None, &roots, folder.path()).expect("an id");
        assert_eq!(source, IdSource::MachineId);
        assert_eq!(
            id.as_str(),
            "051088e46eccf0a6db1946a9a07455ad",
            "it may never change"
        );
        assert_ne!(id.as_str(), machine_id);
        assert!(!folder.path().join("agent-id").exists());
    }

    #[test]
    fn without_a_machine_id_a_random_one_is_kept() {
        for unusable in [
            None,
            Some("uninitialized\n"),
            Some(""),
            Some(&*"0".repeat(32)),
        ] {
            let (folder, roots) = machine(unusable);
            let (id, source) = agent_id(None, &roots, folder.path()).expect("an id");
            assert_eq!(source, IdSource::New);
            assert_eq!(id.as_str().len(), 32);
            let file = folder.path().join("agent-id");
            let mode = std::fs::metadata(&file).expect("kept").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let again = agent_id(None, &roots, folder.path()).expect("an id");
            assert_eq!(again, (id, IdSource::Kept));
            let files: Vec<_> = std::fs::read_dir(folder.path())
                .expect("a folder")
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.starts_with("agent-id"))
                .collect();
            assert_eq!(files, ["agent-id"], "no draft is left");
        }
    }

    #[test]
    fn a_state_folder_that_will_be_gone_is_noticed() {
        assert!(fate(0x794c_7630, true).is_some_and(|fate| fate.contains("container")));
        assert!(fate(0x0102_1994, false).is_some_and(|fate| fate.contains("memory")));
        assert_eq!(fate(0x794c_7630, false), None, "a volume");
        assert_eq!(fate(0xef53, true), None, "ext4");
        let folder = tempfile::tempdir().expect("a folder");
        fate_of(folder.path()).expect("it can be looked at");
        assert!(fate_of(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_kept_id_is_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent-id");
        assert_eq!(create_whole(&path, "first").expect("created"), "first");
        assert_eq!(create_whole(&path, "second").expect("kept"), "first");
    }

    #[test]
    fn what_is_given_comes_first_and_is_checked() {
        let (folder, roots) = machine(Some("0123456789abcdef0123456789abcdef"));
        let (id, source) = agent_id(Some("mine"), &roots, folder.path()).expect("an id");
        assert_eq!((id.as_str(), source), ("mine", IdSource::Settings));
        assert!(agent_id(Some("a b"), &roots, folder.path()).is_err());
        assert_eq!(host_name(None, &roots).expect("a host").as_str(), "web-1");
        assert_eq!(
            host_name(Some("db"), &roots).expect("a host").as_str(),
            "db"
        );
        assert!(host_name(Some(""), &roots).is_err());
    }
}
