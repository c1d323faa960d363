//! The files by which PostgreSQL's own programs know where and as whom to connect: passwords and services.
//! They are found here and read in `pass_file` and `service_file`; variables such as `PGHOST` are not taken.

pub(super) mod pass_file;
pub(super) mod service_file;

use std::ffi::OsString;
use std::path::PathBuf;

/// Where the service file of all users is if `PGSYSCONFDIR` does not say it; Debian's packages have it there.
const SYSTEM_FOLDER: &str = "/etc/postgresql-common";

/// Where libpq's files are. By default nowhere: a program says it by [`LibpqFiles::of_environment`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LibpqFiles {
    /// The file of passwords, used where none is given otherwise.
    pub pass_file: Option<PathBuf>,
    /// Files of services, asked one after the other; one that does not exist is passed over.
    pub service_files: Vec<PathBuf>,
}

impl LibpqFiles {
    /// Where libpq looks: `PGPASSFILE`, else `~/.pgpass`; `PGSERVICEFILE`, else `~/.pg_service.conf`, then
    /// `pg_service.conf` in the folder `PGSYSCONFDIR`.
    #[must_use]
    pub fn of_environment(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Self {
        let path = |name| {
            let said = variable(name).filter(|said| !said.is_empty());
            said.map(PathBuf::from)
        };
        let in_home = |name| home.as_ref().map(|home| home.join(name));
        let system = path("PGSYSCONFDIR").unwrap_or_else(|| PathBuf::from(SYSTEM_FOLDER));
        let own = path("PGSERVICEFILE").or_else(|| in_home(".pg_service.conf"));
        Self {
            pass_file: path("PGPASSFILE").or_else(|| in_home(".pgpass")),
            service_files: own
                .into_iter()
                .chain([system.join("pg_service.conf")])
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_libpq_looks() {
        let files = |set: &'static [(&str, &str)], home: Option<&str>| {
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let found = LibpqFiles::of_environment(variable, home.map(PathBuf::from));
            let services: Vec<String> = found
                .service_files
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let pass = found.pass_file.map(|path| path.display().to_string());
            (pass, services.join(" "))
        };
        let text = |text: &str| Some(text.to_owned());
        for (set, home, pass, services) in [
            (
                &[][..],
                Some("/home/me"),
                text("/home/me/.pgpass"),
                "/home/me/.pg_service.conf /etc/postgresql-common/pg_service.conf",
            ),
            (
                &[
                    ("PGPASSFILE", "/run/pass"),
                    ("PGSERVICEFILE", "/run/services"),
                    ("PGSYSCONFDIR", "/etc/pg"),
                ],
                Some("/home/me"),
                text("/run/pass"),
                "/run/services /etc/pg/pg_service.conf",
            ),
            (
                &[("PGPASSFILE", "")],
                None,
                None,
                "/etc/postgresql-common/pg_service.conf",
            ),
        ] {
            assert_eq!(files(set, home), (pass, services.to_owned()));
        }
    }
}
