//! Which mounts of `mountinfo` are real, each file system once.
//!
//! Not a list of file systems that we know: what we do not know is kept, so that every real mount
//! is measured whatever its type. Left out are
//!
//! - file systems without storage behind them ([`PSEUDO`]) and portals of desktop sessions;
//! - `tmpfs` and `ramfs`, which are memory and measured as such, and read-only images ([`IMAGES`]),
//!   which are always full, and `overlay`, the layers of containers: unless they are the root or
//!   `/tmp`, which programs fill;
//! - mounts that another one on the same mount point hides;
//! - further mounts of a file system (bind mounts): the one closest to its root stays, of equal
//!   ones the first. Subvolumes of btrfs and bcachefs are told apart, each is kept once.
//!
//! Format: proc_pid_mountinfo(5). Paths are bytes, with `\040` and the like for white space.

use super::{CollectError, SourceFile};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const PSEUDO: &[&str] = &[
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "procfs",
    "pstore",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
    "xenfs",
];
const IMAGES: &[&str] = &["cramfs", "erofs", "iso9660", "squashfs"];
const MEMORY: &[&str] = &["ramfs", "tmpfs"];
const LAYERS: &[&str] = &["aufs", "overlay"];
const WITH_SUBVOLUMES: &[&str] = &["bcachefs", "btrfs"];

/// One real mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is mounted, as the host sees it.
    pub(super) mount_point: PathBuf,
    /// What is mounted: a block device, an export, a data set.
    pub(super) device: String,
    pub(super) filesystem_type: String,
    pub(super) read_only: bool,
    /// Major and minor number, which tell file systems apart.
    number: Vec<u8>,
    /// The folder of the file system that is mounted.
    root: Vec<u8>,
}

/// The real mounts among those that were read into `mountinfo`, in its order. `of_host`: they are the
/// host's own and not the view that a service manager has made for us (`ProtectSystem=`), in which
/// mount points are read-only for us alone.
pub(super) fn real_mounts(
    mountinfo: &SourceFile,
    of_host: bool,
) -> Result<Vec<Mount>, CollectError> {
    let mut mounts: Vec<Option<Mount>> = Vec::new();
    let mut by_mount_point: HashMap<PathBuf, usize> = HashMap::new();
    for (line, text) in (1..).zip(mountinfo.bytes().split(|&byte| byte == b'\n')) {
        if text.is_empty() {
            continue;
        }
        let mount = parse(text, of_host).ok_or_else(|| CollectError::Parse {
            path: mountinfo.path().to_owned(),
            line,
            what: "a column of the mount is missing",
        })?;
        if let Some(hidden) = by_mount_point.insert(mount.mount_point.clone(), mounts.len()) {
            mounts[hidden] = None;
        }
        mounts.push(Some(mount));
    }
    let visible: Vec<Mount> = mounts.into_iter().flatten().filter(is_real).collect();
    let mut kept: HashMap<(&[u8], Option<&[u8]>), usize> = HashMap::new();
    for (place, mount) in visible.iter().enumerate() {
        let subvolume = is_one_of(&mount.filesystem_type, WITH_SUBVOLUMES);
        let key = (&*mount.number, subvolume.then_some(&*mount.root));
        let best = kept.entry(key).or_insert(place);
        if mount.root.len() < visible[*best].root.len() {
            *best = place;
        }
    }
    let mut places: Vec<usize> = kept.into_values().collect();
    places.sort_unstable();
    Ok(places
        .into_iter()
        .map(|place| visible[place].clone())
        .collect())
}

fn is_real(mount: &Mount) -> bool {
    let filesystem_type = &mount.filesystem_type;
    if is_one_of(filesystem_type, PSEUDO) {
        return false;
    }
    let is_root = mount.mount_point == Path::new("/");
    if is_one_of(filesystem_type, MEMORY) {
        return is_root || mount.mount_point == Path::new("/tmp");
    }
    is_root || !(is_one_of(filesystem_type, IMAGES) || is_one_of(filesystem_type, LAYERS))
}

fn is_one_of(filesystem_type: &str, list: &[&str]) -> bool {
    list.binary_search(&filesystem_type).is_ok()
}

/// Parses `36 35 98:0 /root /mount rw,noatime master:1 - ext3 /dev/sda1 rw,errors=continue`.
fn parse(text: &[u8], of_host: bool) -> Option<Mount> {
    let mut words = text.split(|&byte| byte == b' ');
    let number = words.nth(2)?.to_owned();
    let root = words.next()?.to_owned();
    let mount_point = PathBuf::from(OsString::from_vec(unescaped(words.next()?)));
    let is_read_only = |options: &[u8]| options.split(|&byte| byte == b',').any(|one| one == b"ro");
    // This mount point alone, as with a read-only subvolume; the whole file system is told at the end.
    let mount_point_is_read_only = is_read_only(words.next()?);
    // Optional columns end with a dash.
    words.find(|word| *word == b"-")?;
    let filesystem_type = String::from_utf8_lossy(words.next()?).into_owned();
    let device = String::from_utf8_lossy(&unescaped(words.next()?)).into_owned();
    let read_only = is_read_only(words.next()?) || (of_host && mount_point_is_read_only);
    Some(Mount {
        mount_point,
        device,
        filesystem_type,
        read_only,
        number,
        root,
    })
}

/// Text whose bytes may be written as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if byte == b'\\' => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        plain.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() {
            &after[3..]
        } else {
            after
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount_points(mountinfo: &str) -> Vec<String> {
        let mountinfo = SourceFile::holding(mountinfo);
        let mounts = real_mounts(&mountinfo, true).expect("parses");
        mounts
            .iter()
            .map(|mount| mount.mount_point.display().to_string())
            .collect()
    }

    #[test]
    fn lists_of_types_are_sorted_for_the_search() {
        for list in [PSEUDO, IMAGES, MEMORY, LAYERS, WITH_SUBVOLUMES] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }

    #[test]
    fn a_line_is_parsed_with_its_escapes() {
        let line = br"36 35 98:0 /a /mnt\040one\011\134x ro,noatime master:1 shared:2 - nfs4 srv:/a\040b rw,hard";
        let mount = parse(line, false).expect("parses");
        assert_eq!(mount.mount_point, Path::new("/mnt one\t\\x"));
        assert_eq!(mount.device, "srv:/a b");
        assert_eq!(mount.filesystem_type, "nfs4");
        assert!(!mount.read_only, "read-only for us, not for the host");
        assert!(parse(line, true).expect("parses").read_only, "for the host");
        let line = b"1 0 8:1 / / rw,relatime - ext4 /dev/sda1 errors=remount-ro,ro";
        assert!(parse(line, false).expect("parses").read_only);
        assert_eq!(unescaped(br"\04 \8 \400\"), br"\04 \8 \400\");
    }

    #[test]
    fn a_line_that_is_cut_short_is_an_error_with_its_number() {
        let mountinfo =
            SourceFile::holding("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /b rw -");
        assert!(matches!(
            real_mounts(&mountinfo, true),
            Err(CollectError::Parse { line: 2, .. })
        ));
    }

    #[test]
    fn an_unknown_type_is_real_and_a_pseudo_one_is_not() {
        let found = mount_points(
            "1 0 8:1 / / rw - newfs /dev/sda1 rw\n\
             2 1 0:5 / /proc rw - proc proc rw\n\
             3 1 0:6 / /run rw - tmpfs tmpfs rw\n\
             4 1 0:7 / /tmp rw - tmpfs tmpfs rw\n\
             5 1 7:1 / /snap/x/1 ro - squashfs /dev/loop1 ro\n\
             6 1 0:8 / /srv rw - fuse.sshfs host:/srv rw\n",
        );
        assert_eq!(found, ["/", "/tmp", "/srv"]);
    }

    #[test]
    fn a_hidden_mount_is_not_told() {
        let found = mount_points(
            "1 0 0:2 / / rw - rootfs rootfs rw\n\
             2 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             3 2 8:2 / /data rw - ext4 /dev/sda2 rw\n\
             4 3 0:9 / /data rw - tmpfs tmpfs rw\n",
        );
        assert_eq!(found, ["/"]);
    }

    #[test]
    fn a_file_system_is_told_once_and_a_subvolume_too() {
        let found = mount_points(
            "1 0 8:1 /containers/x/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
             2 0 8:1 /data /srv rw - ext4 /dev/sda1 rw\n\
             3 0 8:1 /data /srv/again rw - ext4 /dev/sda1 rw\n\
             4 0 0:9 /@ /b rw - btrfs /dev/sdb rw\n\
             5 0 0:9 /@home /b/home rw - btrfs /dev/sdb rw\n\
             6 0 0:9 /@home /bind rw - btrfs /dev/sdb rw\n",
        );
        assert_eq!(found, ["/srv", "/b", "/b/home"]);
    }
}
