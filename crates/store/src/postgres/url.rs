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
//! are the program's own certificate and key, where the server asks for them.

use super::tls;
use crate::identity::{IdentityFiles, percent_decoded};
use crate::{ErrorClass, OpenOptions, StoreError, StoreUrl};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where and how to connect. Holds the password: it is never printed.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
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
    "passfile",
    "requirepeer",
    "service",
    "sslcompression",
    "sslcrl",
    "sslpassword",
];

impl Target {
    /// Checks a URL, all but whether anybody answers there.
    pub(super) fn parse(url: &StoreUrl, options: &OpenOptions) -> Result<Self, StoreError> {
        let (stripped, own) = strip(url.expose())?;
        let mut config: Config = stripped.parse().map_err(|_| {
            // The driver's text may hold a piece of a password that was not percent-encoded.
            refused("a part of it is malformed (special characters in a password are written %XX)")
        })?;
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
            Mode::Require if own.root_certificates.is_none() => {
                Some(tls::encrypt_only(identity.as_ref())?)
            }
            Mode::Require | Mode::VerifyFull => Some(tls::verify(
                own.root_certificates.as_deref(),
                identity.as_ref(),
            )?),
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
        Ok(Self {
            config,
            tls,
            options,
        })
    }
}

/// The parameters that are ours, not the driver's.
struct Own {
    mode: Option<Mode>,
    root_certificates: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Takes our own parameters out of a URL.
fn strip(url: &str) -> Result<(String, Own), StoreError> {
    let mut own = Own {
        mode: None,
        root_certificates: None,
        certificate: None,
        key: None,
    };
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), own));
    };
    let mut kept = Vec::new();
    for parameter in query.split('&').filter(|part| !part.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => {
                own.mode = Some(match mode {
                    "disable" => Mode::Disable,
                    "require" => Mode::Require,
                    "verify-full" => Mode::VerifyFull,
                    "allow" | "prefer" => {
                        return Err(refused(
                            "sslmode `prefer` and `allow` fall back to plaintext; say `disable`, \
                             `require` or `verify-full`",
                        ));
                    }
                    _ => return Err(refused("sslmode is `disable`, `require` or `verify-full`")),
                });
            }
            Some((name @ ("sslrootcert" | "sslcert" | "sslkey"), path)) => {
                let path =
                    percent_decoded(path).map_err(|why| refused(&format!("{name}: {why}")))?;
                *match name {
                    "sslrootcert" => &mut own.root_certificates,
                    "sslcert" => &mut own.certificate,
                    _ => &mut own.key,
                } = Some(path);
            }
            Some((name, _)) if NOT_TAKEN.contains(&name) => {
                return Err(refused(&format!("the parameter `{name}` is not supported")));
            }
            _ => kept.push(parameter),
        }
    }
    match kept.is_empty() {
        true => Ok((base.to_owned(), own)),
        false => Ok((format!("{base}?{}", kept.join("&")), own)),
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

    fn mode(text: &str) -> Mode {
        let (stripped, own) = strip(text).expect("accepted");
        own.mode
            .unwrap_or_else(|| default_mode(&stripped.parse().expect("a URL")))
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
        let (stripped, own) =
            strip("postgres://u@db/d?sslrootcert=%2Fetc%2Fca%20x.pem&sslmode=verify-full&target_session_attrs=read-write")
                .expect("accepted");
        assert_eq!(
            stripped,
            "postgres://u@db/d?target_session_attrs=read-write"
        );
        assert_eq!(own.root_certificates, Some(PathBuf::from("/etc/ca x.pem")));
        assert!(parse("postgres://u:p@127.0.0.1:5432/d").is_ok());
    }
}
