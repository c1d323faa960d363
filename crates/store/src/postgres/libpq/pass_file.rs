//! The password file: which password belongs to a connection (PostgreSQL's documentation, 34.16).
//!
//! A line is `host:port:database:user:password`; `*` stands for anything in the first four, `\` takes the meaning
//! from a `:` or a `\`, and the first line that fits says the password. A file that others may read is not used.

use crate::{ErrorClass, StoreError};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// What lines are compared with: one place that a connection may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Names of the host; a socket is known by its folder and as `localhost`.
    hosts: Vec<String>,
    port: String,
    database: String,
    user: String,
}

/// The password for a connection, if the file has one. What was left aside, and why, is warned of.
///
/// # Errors
/// An error of `class` when it has different ones for the hosts of the URL: the driver takes one.
pub(in super::super) fn password(
    file: &Path,
    config: &Config,
    class: ErrorClass,
) -> Result<Option<String>, StoreError> {
    let (passwords, warnings) = look_up(file, &places(config));
    for warning in warnings {
        tracing::warn!(file = %file.display(), "the file of PostgreSQL's passwords: {warning}");
    }
    let mut passwords = passwords.into_iter();
    let first = passwords.next();
    if let Some(first) = &first
        && passwords.any(|other| other != *first)
    {
        let doing = format!("looking for the password in {}", file.display());
        return Err(StoreError::new(doing, class).caused_by(
            "it has different passwords for the hosts of `store.url`: say the one to take by `store.password_file`",
        ));
    }
    Ok(first)
}

/// The passwords of those places that the file knows, and what is wrong with it.
fn look_up(file: &Path, places: &[Place]) -> (Vec<String>, Vec<String>) {
    let ignored = |why: String| (Vec::new(), vec![format!("it is ignored: {why}")]);
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Default::default(),
        Err(error) => return ignored(error.to_string()),
    };
    if !metadata.is_file() {
        return ignored("it is no file".to_owned());
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return ignored(format!(
            "others may use it, as its mode is {mode:04o}; make it 0600"
        ));
    }
    match std::fs::read(file) {
        Ok(text) => find(&String::from_utf8_lossy(&text), places),
        Err(error) => ignored(error.to_string()),
    }
}

/// The passwords of those places that the text knows, and which of its lines are none.
fn find(text: &str, places: &[Place]) -> (Vec<String>, Vec<String>) {
    let mut lines = Vec::new();
    let mut warnings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match split(line) {
            Some(parts) => lines.push(parts),
            None => warnings.push(format!(
                "line {number} is passed over: it is not host:port:database:user:password"
            )),
        }
    }
    let passwords = places.iter().filter_map(|place| {
        let fits = |said: &str, is: &str| said == "*" || unescaped(said) == is;
        let found = lines.iter().find(|([host, port, database, user], _)| {
            place.hosts.iter().any(|is| fits(host, is))
                && fits(port, &place.port)
                && fits(database, &place.database)
                && fits(user, &place.user)
        });
        found.map(|(_, password)| unescaped(password))
    });
    (passwords.collect(), warnings)
}

/// The four fields that say where, still escaped, and the password.
fn split(line: &str) -> Option<([&str; 4], &str)> {
    let mut rest = line;
    let mut fields = [""; 4];
    for field in &mut fields {
        let mut escaped = false;
        let end = rest.find(|letter| {
            let ends = letter == ':' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        })?;
        *field = &rest[..end];
        rest = &rest[end + 1..];
    }
    Some((fields, rest))
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        // A backslash at the end stands for itself.
        plain.push(match letter {
            '\\' => letters.next().unwrap_or('\\'),
            other => other,
        });
    }
    plain
}

/// Where the driver will go: with its defaults for what the URL leaves open.
fn places(config: &Config) -> Vec<Place> {
    let user = match config.get_user() {
        Some(user) => user.to_owned(),
        None => whoami::username().unwrap_or_default(),
    };
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    let ports = config.get_ports();
    let place = |index: usize, hosts: Vec<String>| Place {
        hosts,
        port: ports
            .get(index)
            .or(ports.first())
            .map_or_else(|| "5432".to_owned(), u16::to_string),
        database: database.clone(),
        user: user.clone(),
    };
    let names = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => vec![name.clone()],
        Host::Unix(folder) => vec!["localhost".to_owned(), folder.display().to_string()],
    });
    let addresses = config.get_hostaddrs().iter().map(|ip| vec![ip.to_string()]);
    // As with libpq, a name goes before the address that it is at.
    let hosts: Vec<_> = match config.get_hosts().is_empty() {
        false => names.collect(),
        true => addresses.collect(),
    };
    (0..)
        .zip(hosts)
        .map(|(index, hosts)| place(index, hosts))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, url: &str) -> Vec<String> {
        find(text, &places(&url.parse().expect("a URL"))).0
    }

    #[test]
    fn the_first_line_that_fits_says_the_password() {
        let url = "postgres://me@db:5433/metrics";
        for (text, expected) in [
            ("db:5433:metrics:me:secret", Some("secret")),
            ("*:*:*:*:any", Some("any")),
            ("db:5433:metrics:me:first\n*:*:*:*:second", Some("first")),
            ("db:5432:metrics:me:port\n*:*:*:*:second", Some("second")),
            ("other:*:*:*:host", None),
            ("*:*:other:*:database", None),
            ("*:*:*:other:user", None),
            ("# *:*:*:*:comment\n\n*:*:*:*:", Some("")),
            ("*:*:*:*:a:b", Some("a:b")),
            (r"*:*:*:*:a\:b\\c", Some(r"a:b\c")),
            (r"*:*:*:*:end\", Some(r"end\")),
            ("*:*:*:me ", None),
            ("", None),
        ] {
            assert_eq!(
                found(text, url).first().map(String::as_str),
                expected,
                "{text}"
            );
        }
        for (url, text) in [
            ("postgres://me@[::1]/d", r"\:\:1:5432:d:me:it"),
            (r"postgres://m%5Ce@h/d%3A", r"h:5432:d\::m\\e:it"),
            ("postgres://me@h/*", r"h:*:\*:me:it"),
            ("postgres://me@%2Frun%2Fpg/d", "localhost:5432:d:me:it"),
            ("postgres://me@%2Frun%2Fpg/d", "/run/pg:5432:d:me:it"),
            ("postgres://me@h", "h:5432:me:me:it"),
            ("postgres://me@h/d?hostaddr=10.0.0.1", "h:5432:d:me:it"),
            (
                "postgres://me@/d?hostaddr=10.0.0.1",
                "10.0.0.1:5432:d:me:it",
            ),
        ] {
            assert_eq!(found(text, url), ["it"], "{url}");
        }
    }

    #[test]
    fn each_of_several_hosts_is_looked_for() {
        let url = "postgres://me@a:1,b:2/d";
        assert_eq!(found("a:1:*:*:x\nb:2:*:*:y", url), ["x", "y"]);
        assert_eq!(found("b:2:*:*:y", url), ["y"]);
        assert_eq!(found("a:2:*:*:y", url), [""; 0]);
    }

    #[test]
    fn what_is_wrong_with_the_file_is_told_with_the_line_and_without_a_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pass");
        let places = places(&"postgres://me@db/d".parse().expect("a URL"));
        assert_eq!(look_up(&file, &places), Default::default());
        let mode = |mode| {
            let rights = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, rights).expect("set");
        };
        std::fs::write(&file, "s3cret\n# me\n*:*:*:*:s3cret\ndb:5432:s3cret").expect("written");
        mode(0o600);
        let passed_over = |line| {
            format!("line {line} is passed over: it is not host:port:database:user:password")
        };
        assert_eq!(
            look_up(&file, &places),
            (
                vec!["s3cret".to_owned()],
                vec![passed_over(1), passed_over(4)]
            )
        );
        mode(0o640);
        let why = "it is ignored: others may use it, as its mode is 0640; make it 0600";
        assert_eq!(look_up(&file, &places), (vec![], vec![why.to_owned()]));
        let why = "it is ignored: it is no file";
        assert_eq!(
            look_up(folder.path(), &places),
            (vec![], vec![why.to_owned()])
        );

        std::fs::write(&file, "a:*:*:*:s3cret\nb:*:*:*:other").expect("written");
        mode(0o600);
        let hosts = "postgres://me@a,b/d".parse().expect("a URL");
        let error = password(&file, &hosts, ErrorClass::Usage).expect_err("two passwords");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
