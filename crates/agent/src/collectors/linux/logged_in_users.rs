//! `logged_in_users`: sessions of people on this host.
//!
//! Off by default. Source: `/run/utmp`, utmp(5), of which entries whose process has ended are
//! passed over; or, on systems that have given it up, the files of systemd-logind in
//! `/run/systemd/sessions`, which its own library reads too. The field `source` says which.

use super::sysfs::{Values, names_in};
use super::{CollectError, Collector, CollectorEntry, SourceFile};
use crate::roots::HostRoots;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "logged_in_users",
    description: "Sessions of people on this host, and how many of them come over the network.",
    new: |context| Box::new(LoggedInUsers::new(&context.roots)),
    default_on: false,
    measurements: &["logged_in_users"],
};

/// Bytes of one entry of `utmp` in the C library of this architecture.
const ENTRY_BYTES: usize = if cfg!(any(target_arch = "aarch64", target_arch = "loongarch64")) {
    400
} else {
    384
};
/// The entry of a session, `USER_PROCESS`.
const USER_PROCESS: i16 = 7;
/// Letters of the names that are told.
const MAX_NAMES: usize = 1000;

struct LoggedInUsers {
    utmp: SourceFile,
    sessions: PathBuf,
    proc: PathBuf,
    values: Values,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sessions {
    users: BTreeSet<String>,
    all: u64,
    remote: u64,
}

impl Sessions {
    fn add(&mut self, user: &str, is_remote: bool) {
        self.users.insert(user.to_owned());
        self.all += 1;
        self.remote += u64::from(is_remote);
    }
}

impl LoggedInUsers {
    fn new(roots: &HostRoots) -> Self {
        Self {
            utmp: SourceFile::new(roots.on_host(Path::new("/run/utmp"))),
            sessions: roots.on_host(Path::new("/run/systemd/sessions")),
            proc: roots.proc.clone(),
            values: Values::new(),
        }
    }

    /// The sessions that logind knows: files of `KEY=value`, and pipes that are passed over.
    fn of_logind(&mut self) -> Result<Sessions, CollectError> {
        let mut found = Sessions::default();
        for name in names_in(&self.sessions)? {
            if name.ends_with(".ref") {
                continue;
            }
            let Some(text) = self.values.text(&self.sessions, &name) else {
                continue;
            };
            let value = |key: &str| {
                let mut pairs = text.lines().filter_map(|line| line.split_once('='));
                pairs
                    .find(|(known, _)| *known == key)
                    .map(|(_, value)| value)
            };
            // Others are of greeters, and of the managers of users.
            let is_person =
                value("CLASS").is_some_and(|class| class == "user" || class.starts_with("user-"));
            if let (true, Some(user)) = (is_person, value("USER"))
                && value("STATE") != Some("closing")
            {
                found.add(user, value("REMOTE") == Some("1"));
            }
        }
        Ok(found)
    }
}

/// The sessions that `utmp` tells; `is_alive` says whether a process is there.
fn parse_utmp(bytes: &[u8], is_alive: impl Fn(i32) -> bool) -> Sessions {
    let mut found = Sessions::default();
    for entry in bytes.chunks_exact(ENTRY_BYTES) {
        let kind = i16::from_ne_bytes([entry[0], entry[1]]);
        let process = i32::from_ne_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let text = |from: usize, length: usize| {
            let field = &entry[from..from + length];
            let end = field.iter().position(|&byte| byte == 0).unwrap_or(length);
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let (user, host) = (text(44, 32), text(76, 256));
        if kind == USER_PROCESS && !user.is_empty() && is_alive(process) {
            // A local session of a display has its name, such as `:0`, for a host.
            found.add(&user, !host.is_empty() && !host.starts_with(':'));
        }
    }
    found
}

impl Collector for LoggedInUsers {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let (sessions, source) = match self.utmp.read_bytes() {
            Ok(bytes) => {
                let is_alive = |process: i32| self.proc.join(process.to_string()).exists();
                (parse_utmp(bytes, is_alive), "utmp")
            }
            Err(missing @ CollectError::Unavailable { .. }) => match self.of_logind() {
                Ok(sessions) => (sessions, "logind"),
                Err(CollectError::Unavailable { .. }) => return Err(missing),
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let names: Vec<_> = sessions.users.iter().map(String::as_str).collect();
        let names: String = names.join(",").chars().take(MAX_NAMES).collect();
        points.push(
            Point::new(name!("logged_in_users"), clock.now_us())
                .field(name!("sessions"), sessions.all)
                .field(name!("remote_sessions"), sessions.remote)
                .field(name!("users"), sessions.users.len() as u64)
                .field_if(
                    name!("names"),
                    Some(names).filter(|names| !names.is_empty()),
                )
                .field(name!("source"), source),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: i16, process: i32, user: &str, host: &str) -> Vec<u8> {
        let mut entry = vec![0; ENTRY_BYTES];
        entry[..2].copy_from_slice(&kind.to_ne_bytes());
        entry[4..8].copy_from_slice(&process.to_ne_bytes());
        entry[44..44 + user.len()].copy_from_slice(user.as_bytes());
        entry[76..76 + host.len()].copy_from_slice(host.as_bytes());
        entry
    }

    #[test]
    fn sessions_of_utmp_are_those_whose_process_lives() {
        let utmp = [
            entry(2, 0, "reboot", "6.1.0"),
            entry(7, 10, "ann", "192.0.2.7"),
            entry(7, 11, "ann", ""),
            entry(7, 12, "bob", ":0"),
            entry(7, 13, "gone", "192.0.2.8"),
            entry(8, 10, "", ""),
        ]
        .concat();
        let found = parse_utmp(&utmp, |process| process != 13);
        assert_eq!((found.all, found.remote), (3, 1));
        assert_eq!(found.users, BTreeSet::from(["ann".into(), "bob".into()]));
        let cut = parse_utmp(&utmp[..ENTRY_BYTES * 2 - 1], |_| true);
        assert_eq!(
            cut,
            Sessions::default(),
            "an entry that is cut short is none"
        );
    }
}
