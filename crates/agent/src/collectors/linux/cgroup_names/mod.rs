//! What the path of a control group says: the systemd unit, the container and the pod.
//!
//! Not a collector. The forms are those that systemd, Docker, containerd, CRI-O, Podman, LXC and
//! Kubernetes give their groups.

/// Digits of a container's id that are kept: as many as the tools show.
const ID_DIGITS: usize = 12;
const UNITS: [&str; 5] = [".service", ".scope", ".mount", ".socket", ".swap"];

/// The names in a path.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The systemd unit: the innermost service or scope, or else the innermost slice.
    pub(super) unit: Option<String>,
    /// The id of the container, 12 digits of it, or its name where it has no id.
    pub(super) container: Option<String>,
    /// The UID of the Kubernetes pod.
    pub(super) pod: Option<String>,
}

impl Names {
    /// The names in a path, such as `/system.slice/ssh.service`.
    pub(super) fn of(path: &str) -> Self {
        let mut names = Self::default();
        let mut before = "";
        for part in path.split('/').filter(|part| !part.is_empty()) {
            // systemd puts an underscore before what would be taken for a file of the kernel.
            let part = part.strip_prefix('_').unwrap_or(part);
            let is_unit = UNITS.iter().any(|unit| part.ends_with(unit));
            let has_unit = names
                .unit
                .as_ref()
                .is_some_and(|unit| !unit.ends_with(".slice"));
            if is_unit || part.ends_with(".slice") && !has_unit {
                names.unit = Some(part.to_owned());
            }
            if let Some(pod) = pod_of(part) {
                names.pod = Some(pod);
            } else if let Some(container) = container_of(part, before) {
                names.container = Some(container);
            }
            before = part;
        }
        names
    }
}

/// `kubepods-burstable-pod4a…_….slice`, or `pod4a…-…` of the other driver.
fn pod_of(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.strip_prefix("kubepods") {
        Some(rest) => rest.split_once("-pod")?.1,
        None => part.strip_prefix("pod")?,
    };
    let is_uid = uid.len() >= 32
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-' || byte == b'_');
    is_uid.then(|| uid.replace('_', "-"))
}

fn container_of(part: &str, before: &str) -> Option<String> {
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(name.to_owned());
    }
    if before == "lxc" {
        return Some(part.to_owned());
    }
    let part = part.strip_suffix(".scope").unwrap_or(part);
    if let Some(name) = part.strip_prefix("machine-") {
        return Some(name.replace("\\x2d", "-"));
    }
    // `docker-4f….scope`, `cri-containerd-4f….scope`, or the id alone.
    let id = part.rsplit(['-', ':']).next().unwrap_or(part);
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id[..ID_DIGITS].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcdef";

    fn names(path: &str) -> [Option<String>; 3] {
        let Names {
            unit,
            container,
            pod,
        } = Names::of(&path.replace("ID", ID));
        [unit, container, pod]
    }

    fn some(unit: &str, container: &str, pod: &str) -> [Option<String>; 3] {
        [unit, container, pod].map(|text| (!text.is_empty()).then(|| text.replace("ID", ID)))
    }

    #[test]
    fn units_containers_and_pods_are_found_in_paths() {
        let pod = "4ad0a1ec-9ef5-4d4c-a1ac-b1ac5d6e7f80";
        for (path, expected) in [
            ("/", some("", "", "")),
            ("/system.slice/ssh.service", some("ssh.service", "", "")),
            (
                "/user.slice/user-1000.slice",
                some("user-1000.slice", "", ""),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/x",
                some("user@1000.service", "", ""),
            ),
            (
                "/system.slice/docker-ID.scope",
                some("docker-ID.scope", "4f1b2c3d4e5f", ""),
            ),
            ("/docker/ID", some("", "4f1b2c3d4e5f", "")),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4ad0a1ec_9ef5_4d4c_a1ac_b1ac5d6e7f80.slice/cri-containerd-ID.scope",
                some("cri-containerd-ID.scope", "4f1b2c3d4e5f", pod),
            ),
            (
                "/kubepods/besteffort/pod4ad0a1ec-9ef5-4d4c-a1ac-b1ac5d6e7f80/ID",
                some("", "4f1b2c3d4e5f", pod),
            ),
            ("/lxc.payload.web/init.scope", some("init.scope", "web", "")),
            (
                "/machine.slice/machine-db\\x2d1.scope",
                some("machine-db\\x2d1.scope", "db-1", ""),
            ),
            ("/podman", some("", "", "")),
            ("/é/x.service/é", some("x.service", "", "")),
        ] {
            assert_eq!(names(path), expected, "{path}");
        }
    }
}
