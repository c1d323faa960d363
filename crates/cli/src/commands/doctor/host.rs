//! The state folder (there, writable, with room) and the collectors.

use super::Findings;
use crate::settings::Settings;
use crate::state_dir;
use rustix::fs::{Access, access, statvfs};
use tidegauge_agent::collectors::{COLLECTORS, availability};
use tidegauge_agent::identity;
use tidegauge_model::SystemClock;

pub(super) fn check(settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    state_folder(settings, &mut findings);
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
    let free: u64 = match statvfs(there) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        Err(error) => return findings.failed(CHECK, format!("{shown}: {error}")),
    };
    let bound = settings.bytes("agent.spool_bytes").unwrap_or_default();
    let mebibytes = free >> 20;
    if free < bound {
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
    match identity::fate_of(there) {
        Ok(Some(fate)) => findings.warning(
            "state file system",
            format!("{shown} will not last: {fate}. Samples that are not sent by then are lost; mount a volume there, or say another --state-dir"),
        ),
        Ok(None) => {}
        Err(error) => findings.warning("state file system", super::told(&error)),
    }
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
