//! A store's URL as the driver takes it. Security never degrades (D13): TLS with verification is
//! the default for other machines, and nothing falls back to plaintext.
//!
//! | `sslmode`     | meaning                                                              |
//! |---------------|----------------------------------------------------------------------|
//! | `disable`     | plaintext; the default for loopback addresses and unix sockets        |
//! | `require`     | TLS without a look at the certificate, as libpq has it; with `sslrootcert` as `verify-full` |
//! | `verify-full` | TLS, certificate and name verified; the default for all other hosts   |
//!
//! `sslrootcert` is a PEM file of authorities; without it the system's are taken. `sslcert` and `sslkey`
//! are the program's own certificate and key, where the server asks for them. `service` names a section of libpq's
//! service files, for what the URL does not say; `passfile` another file of passwords than libpq's.

use super::libpq::{LibpqFiles, pass_file, service_file};
use super::tls::{Asked, Tls};
use crate::encrypted::Begin;
use crate::identity::{IdentityFiles, percent_decoded};
use crate::open::percent_encoded;
use crate::{ErrorClass, OpenOptions, Protection, StoreError, StoreUrl, TlsServer};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

/// Where and how to connect. Holds the password: it is never printed.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    /// Where a password is looked for, if the URL has none.
    pass_file: Option<PathBuf>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) options: OpenOptions,
}

/// What the user asked of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Require,
    VerifyFull,
}

/// Parameters of libpq that are not taken, so that a typing error is told from a wish.
const NOT_TAKEN: &[&str] = &[
    "gssencmode",
    "krbsrvname",
    "requirepeer",
    "sslcompression",
    "sslcrl",
    "sslpassword",
];

impl Target {
    /// Checks a URL, all but whether anybody answers there.
    pub(super) fn parse(url: &StoreUrl, options: &OpenOptions) -> Result<Self, StoreError> {
        let parameters = Parameters::of(url.expose(), &options.libpq)?;
        let mut config = parameters.driver()?;
        let own = parameters.own;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refused("it names no host"));
        }
        let mode = own.mode.unwrap_or_else(|| default_mode(&config));
        let identity = IdentityFiles::of(own.certificate, own.key, ["sslcert", "sslkey"])?;
        if mode == Mode::Disable && own.root_certificates.is_some() {
            return Err(refused("sslrootcert makes no sense with sslmode=disable"));
        }
        if mode == Mode::Disable && identity.is_some() {
            return Err(refused(
                "sslcert makes no sense without TLS: say sslmode=verify-full",
            ));
        }
        let tls = match mode {
            Mode::Disable => None,
            mode => Some(Arc::new(Tls::open(Asked {
                verified: mode == Mode::VerifyFull || own.root_certificates.is_some(),
                authorities: own.root_certificates,
                identity,
            })?)),
        };
        config
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .tcp_user_timeout(options.statement_deadline)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3);
        if config.get_connect_timeout().is_none() {
            // Each of several hosts gets its share, or the first that is away takes all.
            let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
            let share = u32::try_from(hosts).unwrap_or(u32::MAX).max(1);
            config.connect_timeout(options.connect_deadline / share);
        }
        if config.get_application_name().is_none() {
            config.application_name(&options.application_name);
        }
        let options = options.clone();
        let pass_file = own.pass_file.or_else(|| options.libpq.pass_file.clone());
        let target = Self {
            pass_file: pass_file.filter(|_| config.get_password().is_none()),
            config,
            tls,
            options,
        };
        target.driver(ErrorClass::Usage)?;
        Ok(target)
    }

    /// What the driver is given for a connection that is made now, with the password as the file has it now.
    ///
    /// # Errors
    /// An error of `class` when the file does not say which password.
    pub(super) fn driver(&self, class: ErrorClass) -> Result<Config, StoreError> {
        let mut config = self.config.clone();
        if let Some(file) = &self.pass_file
            && let Some(password) = pass_file::password(file, &config, class)?
        {
            config.password(password);
        }
        Ok(config)
    }
}

impl Target {
    /// How its connections are protected, with the servers in the order in which they are tried.
    pub(super) fn protection(&self) -> Protection {
        let Some(tls) = &self.tls else {
            return match default_mode(&self.config) {
                Mode::Disable => Protection::Local,
                _ => Protection::Plaintext,
            };
        };
        let begin = match self.config.get_ssl_negotiation() {
            SslNegotiation::Direct => Begin::AtOnce,
            _ => Begin::Postgres,
        };
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let ports = self.config.get_ports();
        let server = |index: usize| {
            let address = addresses.get(index).map(ToString::to_string);
            let name = match hosts.get(index) {
                Some(Host::Tcp(name)) => Some(name.clone()),
                // A socket has no TLS.
                #[cfg(unix)]
                Some(Host::Unix(_)) => return None,
                None => None,
            };
            let host = address.clone().or_else(|| name.clone())?;
            Some(TlsServer {
                name: name.unwrap_or_else(|| host.clone()),
                host,
                port: ports.get(index).or(ports.first()).copied().unwrap_or(5432),
                begin,
            })
        };
        let count = hosts.len().max(addresses.len());
        let servers = (0..count).filter_map(server).collect();
        match tls.is_verified() {
            true => Protection::Verified(servers),
            false => Protection::Unverified(servers),
        }
    }
}

/// The parameters that are ours, not the driver's.
#[derive(Default)]
struct Own {
    mode: Option<Mode>,
    root_certificates: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    pass_file: Option<PathBuf>,
    service: Option<String>,
}

/// A URL taken apart, with what its service says.
struct Parameters {
    base: String,
    /// Those of the driver, as they stand in a URL.
    kept: Vec<String>,
    own: Own,
}

impl Parameters {
    fn of(url: &str, files: &LibpqFiles) -> Result<Self, StoreError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut parameters = Self {
            base: base.to_owned(),
            kept: Vec::new(),
            own: Own::default(),
        };
        let given = || query.split('&').filter(|part| !part.is_empty());
        for parameter in given() {
            parameters.take(parameter).map_err(|why| refused(&why))?;
        }
        let Some(service) = parameters.own.service.clone() else {
            return Ok(parameters);
        };
        let url = parameters.driver()?;
        let names = given().filter_map(|parameter| parameter.split_once('='));
        let named: Vec<&str> = names.map(|(name, _)| name).collect();
        for entry in service_file::entries(&service, &files.service_files)? {
            let said = match entry.name.as_str() {
                // Of two machines no part is taken: one would be shown the other's password.
                "host" | "hostaddr" | "port" => {
                    !url.get_hosts().is_empty() || !url.get_hostaddrs().is_empty()
                }
                "user" => url.get_user().is_some(),
                "password" => url.get_password().is_some(),
                "dbname" => url.get_dbname().is_some(),
                name => named.contains(&name),
            };
            if said {
                continue;
            }
            let parameter = format!("{}={}", entry.name, percent_encoded(&entry.value));
            // Looked at alone, so that the line is told.
            let alone: Result<Config, _> = format!("postgres:///?{parameter}").parse();
            let kept = parameters.kept.len();
            let taken = parameters.take(&parameter);
            let taken = match alone {
                Err(_) if parameters.kept.len() > kept => Err(format!(
                    "`{}` is not known, or its value is wrong",
                    entry.name
                )),
                _ => taken,
            };
            taken.map_err(|why| entry.refused(&why))?;
        }
        Ok(parameters)
    }

    /// Takes one as it stands in a URL, or says why not.
    fn take(&mut self, parameter: &str) -> Result<(), String> {
        let own = &mut self.own;
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => {
                own.mode = Some(match mode {
                    "disable" => Mode::Disable,
                    "require" => Mode::Require,
                    "verify-full" => Mode::VerifyFull,
                    "allow" | "prefer" => {
                        return Err(
                            "sslmode `prefer` and `allow` fall back to plaintext; say `disable`, \
                             `require` or `verify-full`"
                                .to_owned(),
                        );
                    }
                    _ => return Err("sslmode is `disable`, `require` or `verify-full`".to_owned()),
                });
            }
            Some((
                name @ ("sslrootcert" | "sslcert" | "sslkey" | "passfile" | "service"),
                value,
            )) => {
                let value = percent_decoded(value).map_err(|why| format!("{name}: {why}"))?;
                let path = match name {
                    "sslrootcert" => &mut own.root_certificates,
                    "sslcert" => &mut own.certificate,
                    "sslkey" => &mut own.key,
                    "passfile" => &mut own.pass_file,
                    _ => {
                        own.service = Some(value);
                        return Ok(());
                    }
                };
                *path = Some(PathBuf::from(value));
            }
            Some((name, _)) if NOT_TAKEN.contains(&name) => {
                return Err(format!("the parameter `{name}` is not supported"));
            }
            _ => self.kept.push(parameter.to_owned()),
        }
        Ok(())
    }

    /// What the driver is given.
    fn driver(&self) -> Result<Config, StoreError> {
        let url = match self.kept.is_empty() {
            true => self.base.clone(),
            false => format!("{}?{}", self.base, self.kept.join("&")),
        };
        url.parse().map_err(|_| {
            // The driver's text may hold a piece of a password that was not percent-encoded.
            refused("a part of it is malformed (special characters in a password are written %XX)")
        })
    }
}

/// Verified TLS unless every host is this machine.
fn default_mode(config: &Config) -> Mode {
    let here = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    let all_here = match config.get_hostaddrs() {
        [] => config.get_hosts().iter().all(here),
        addresses => addresses.iter().all(IpAddr::is_loopback),
    };
    if all_here {
        Mode::Disable
    } else {
        Mode::VerifyFull
    }
}

/// A URL that is refused, with the reason; never with a piece of it.
fn refused(why: &str) -> StoreError {
    StoreError::new("reading the PostgreSQL URL", ErrorClass::Usage).caused_by(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    fn parse(text: &str) -> Result<Target, StoreError> {
        let url = StoreUrl::parse(text).expect("the scheme is known");
        Target::parse(&url, &OpenOptions::default())
    }

    fn parameters(text: &str) -> Parameters {
        Parameters::of(text, &LibpqFiles::default()).expect("accepted")
    }

    fn mode(text: &str) -> Mode {
        let taken = parameters(text);
        let config = taken.driver().expect("a URL");
        taken.own.mode.unwrap_or_else(|| default_mode(&config))
    }

    #[test]
    fn other_machines_are_verified_unless_the_user_says_otherwise_d13() {
        assert_eq!(mode("postgres://u@127.0.0.1:5/d"), Mode::Disable);
        assert_eq!(mode("postgres://u@localhost/d"), Mode::Disable);
        assert_eq!(mode("postgres:///d?host=/run/postgresql"), Mode::Disable);
        assert_eq!(mode("postgres://u@db/d"), Mode::VerifyFull);
        assert_eq!(mode("postgres://u@localhost,db/d"), Mode::VerifyFull);
        assert_eq!(
            mode("postgres://u@localhost/d?hostaddr=10.0.0.1"),
            Mode::VerifyFull
        );
        assert_eq!(mode("postgres://u@db/d?sslmode=disable"), Mode::Disable);
        assert_eq!(
            mode("postgres://u@db/d?connect_timeout=3&sslmode=require"),
            Mode::Require
        );
    }

    #[test]
    fn the_servers_of_tls_are_known_before_anything_is_connected() {
        let of = |text: &str| parse(text).expect("a URL").protection();
        assert_eq!(of("postgres://u@127.0.0.1/d"), Protection::Local);
        assert_eq!(
            of("postgres://u@db/d?sslmode=disable"),
            Protection::Plaintext
        );
        let server = |name: &str, host: &str, port, begin| TlsServer {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
            begin,
        };
        let two = vec![
            server("a", "a", 5, Begin::Postgres),
            server("b", "b", 6, Begin::Postgres),
        ];
        assert_eq!(
            of("postgres://u@a:5,b:6/d?sslmode=require"),
            Protection::Unverified(two)
        );
        let at_once = server("a", "10.0.0.1", 5432, Begin::AtOnce);
        assert_eq!(
            of("postgres://u@a/d?sslmode=require&hostaddr=10.0.0.1&sslnegotiation=direct"),
            Protection::Unverified(vec![at_once])
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused_without_a_secret() {
        for bad in [
            "postgres://u:s3cret@db/d?sslmode=prefer",
            "postgres://u:s3cret@db/d?sslmode=verify",
            "postgres://u:s3cret@db/d?sslcert=x",
            "postgres://u:s3cret@db/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
            "postgres://u@db/d?sslmode=disable&sslrootcert=/nowhere/ca.pem",
            "postgres://u@db/d?password=s3cret&s3cret=1",
            "postgres://u:s3cret@db:port/d",
            "postgres://",
        ] {
            let error = parse(bad).err().expect(bad);
            assert_eq!(error.class(), ErrorClass::Usage, "{bad}");
            let cause = error.source().expect("says why").to_string();
            assert!(
                !cause.contains("s3cret") && !error.to_string().contains("s3cret"),
                "{cause}"
            );
        }
    }

    #[test]
    fn own_parameters_never_reach_the_driver() {
        let taken = parameters(
            "postgres://u@db/d?sslrootcert=%2Fetc%2Fca%20x.pem&sslmode=verify-full&target_session_attrs=read-write",
        );
        assert_eq!(taken.kept, ["target_session_attrs=read-write"]);
        let authorities = taken.own.root_certificates;
        assert_eq!(authorities, Some(PathBuf::from("/etc/ca x.pem")));
        assert!(parse("postgres://u:p@127.0.0.1:5432/d").is_ok());
    }

    fn with_service(url: &str, text: &str) -> Result<Target, StoreError> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("services");
        std::fs::write(&file, text).expect("written");
        let mut options = OpenOptions::default();
        options.libpq.service_files = vec![file];
        Target::parse(
            &StoreUrl::parse(url).expect("the scheme is known"),
            &options,
        )
    }

    #[test]
    fn a_service_says_what_the_url_leaves_open() {
        let text = "[m]\nhost=localhost\nport=5433\nuser=sink\npassword=a%b&c\ndbname=d/e\nsslmode=disable";
        for (url, expected) in [
            ("postgres:///?service=m", "localhost 5433 sink a%b&c d/e"),
            (
                "postgres://me@/mine?service=m",
                "localhost 5433 me a%b&c mine",
            ),
            (
                "postgres://127.0.0.1/?service=m",
                "127.0.0.1 5432 sink a%b&c d/e",
            ),
            (
                "postgres:///?service=m&password=x",
                "localhost 5433 sink x d/e",
            ),
        ] {
            let config = with_service(url, text).expect(url).config;
            let [Host::Tcp(host)] = config.get_hosts() else {
                panic!("one host");
            };
            let shown = format!(
                "{host} {} {} {} {}",
                config.get_ports()[0],
                config.get_user().expect("a user"),
                String::from_utf8_lossy(config.get_password().expect("a password")),
                config.get_dbname().expect("a database"),
            );
            assert_eq!(shown, expected, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_service_is_told_with_its_line_and_without_its_value() {
        for (line, told) in [
            ("port=s3cret", "`port` is not known, or its value is wrong"),
            (
                "pasword=s3cret",
                "`pasword` is not known, or its value is wrong",
            ),
            ("sslmode=prefer", "fall back to plaintext"),
            (
                "sslpassword=s3cret",
                "the parameter `sslpassword` is not supported",
            ),
            ("sslrootcert=/nowhere/s3.pem", "/nowhere/s3.pem"),
        ] {
            let text = format!("[m]\nhost=db\n{line}");
            let error = with_service("postgres:///?service=m", &text)
                .err()
                .expect(line);
            assert_eq!(error.class(), ErrorClass::Usage, "{line}");
            let shown = format!("{error}: {}", error.source().expect("says why"));
            assert!(shown.contains(told) && !shown.contains("s3cret"), "{shown}");
            assert!(
                shown.contains("services, line 3") || line.starts_with("sslrootcert"),
                "{shown}"
            );
        }
        let error = with_service("postgres:///?service=x", "[m]")
            .err()
            .expect("absent");
        assert!(error.to_string().contains("the service x"), "{error}");
    }
}
