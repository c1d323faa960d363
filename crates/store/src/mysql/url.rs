//! A store's URL as the driver takes it. Security never degrades (D13): TLS with verification is
//! the default for other machines, and nothing falls back to plaintext.
//!
//! | `ssl-mode`        | meaning                                                            |
//! |-------------------|--------------------------------------------------------------------|
//! | `disabled`        | plaintext; the default for loopback addresses                       |
//! | `required`        | TLS without a look at the certificate; with `ssl-ca` as `verify_identity` |
//! | `verify_identity` | TLS, certificate and name verified; the default for all other hosts |
//!
//! `ssl-ca` is a PEM file of authorities; without it the system's are taken. `ssl-cert` and `ssl-key` are the
//! program's own certificate and key, where the server asks for them. Other parameters are refused.

use crate::encrypted::Begin;
use crate::identity::{IdentityFiles, certificates, percent_decoded};
use crate::{ErrorClass, OpenOptions, Protection, StoreError, StoreUrl, TlsServer};
use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Silence after which the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Statements that a connection keeps prepared.
const STATEMENTS_KEPT: usize = 64;

/// Where and how to connect. Holds the password: it is never printed.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) driver: Opts,
    pub(super) options: OpenOptions,
}

/// What the user asked of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disabled,
    Required,
    VerifyIdentity,
}

impl Target {
    /// Checks a URL, all but whether anybody answers there.
    pub(super) fn parse(url: &StoreUrl, options: &OpenOptions) -> Result<Self, StoreError> {
        let (base, query) = url.expose().split_once('?').unwrap_or((url.expose(), ""));
        let Own {
            mode,
            authorities,
            certificate,
            key,
        } = parameters(query)?;
        let identity = IdentityFiles::of(certificate, key, ["ssl-cert", "ssl-key"])?;
        let parsed = Opts::from_url(base).map_err(|_| {
            // The driver's text may hold a piece of a password that was not percent-encoded.
            refused("a part of it is malformed (special characters in a password are written %XX)")
        })?;
        let host = parsed.ip_or_hostname().to_owned();
        if host.is_empty() {
            return Err(refused("it names no host"));
        }
        if parsed.db_name().is_none_or(str::is_empty) {
            return Err(refused("it names no database"));
        }
        let mode = mode.unwrap_or_else(|| default_mode(&host));
        if mode == Mode::Disabled && authorities.is_some() {
            return Err(refused("ssl-ca makes no sense with ssl-mode=disabled"));
        }
        if mode == Mode::Disabled && identity.is_some() {
            return Err(refused(
                "ssl-cert makes no sense without TLS: say ssl-mode=verify_identity",
            ));
        }
        let tls = match mode {
            Mode::Disabled => None,
            Mode::Required if authorities.is_none() => {
                Some(SslOpts::default().with_danger_accept_invalid_certs(true))
            }
            Mode::Required | Mode::VerifyIdentity => Some(verify(authorities.as_deref())?),
        };
        let tls = match (tls, &identity) {
            (Some(tls), Some(files)) => Some(with_identity(tls, files)?),
            (tls, _) => tls,
        };
        let driver = OptsBuilder::from_opts(parsed)
            .ssl_opts(tls)
            // Never another way than the one that the URL says.
            .prefer_socket(false)
            // Affected rows must be those that changed: repeated rows are counted by them.
            .client_found_rows(false)
            .tcp_keepalive(Some(KEEPALIVE))
            .stmt_cache_size(STATEMENTS_KEPT)
            .connect_attribute("program_name", options.application_name.as_str());
        Ok(Self {
            driver: driver.into(),
            options: options.clone(),
        })
    }
}

impl Target {
    /// How its connections are protected.
    pub(super) fn protection(&self) -> Protection {
        let host = self.driver.ip_or_hostname();
        let Some(tls) = self.driver.ssl_opts() else {
            return match default_mode(host) {
                Mode::Disabled => Protection::Local,
                _ => Protection::Plaintext,
            };
        };
        let server = TlsServer {
            name: host.to_owned(),
            host: host.to_owned(),
            port: self.driver.tcp_port(),
            begin: Begin::Mysql,
        };
        match tls.accept_invalid_certs() {
            true => Protection::Unverified(vec![server]),
            false => Protection::Verified(vec![server]),
        }
    }
}

/// The parameters; all of them are ours.
#[derive(Default)]
struct Own {
    mode: Option<Mode>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

fn parameters(query: &str) -> Result<Own, StoreError> {
    let mut own = Own::default();
    for parameter in query.split('&').filter(|part| !part.is_empty()) {
        match parameter.split_once('=') {
            Some(("ssl-mode", word)) => {
                own.mode = Some(match word.to_ascii_lowercase().as_str() {
                    "disabled" => Mode::Disabled,
                    "required" => Mode::Required,
                    "verify_identity" => Mode::VerifyIdentity,
                    "preferred" => {
                        return Err(refused(
                            "ssl-mode `preferred` falls back to plaintext; say `disabled`, \
                             `required` or `verify_identity`",
                        ));
                    }
                    _ => {
                        return Err(refused(
                            "ssl-mode is `disabled`, `required` or `verify_identity`",
                        ));
                    }
                });
            }
            Some((name @ ("ssl-ca" | "ssl-cert" | "ssl-key"), path)) => {
                let path =
                    percent_decoded(path).map_err(|why| refused(&format!("{name}: {why}")))?;
                *match name {
                    "ssl-ca" => &mut own.authorities,
                    "ssl-cert" => &mut own.certificate,
                    _ => &mut own.key,
                } = Some(PathBuf::from(path));
            }
            _ => {
                return Err(refused(
                    "it has a parameter that is none of `ssl-mode`, `ssl-ca`, `ssl-cert` and `ssl-key`",
                ));
            }
        }
    }
    Ok(own)
}

/// Verified TLS unless the host is this machine.
fn default_mode(host: &str) -> Mode {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if host == "localhost" || is_loopback {
        Mode::Disabled
    } else {
        Mode::VerifyIdentity
    }
}

/// TLS that verifies certificate and name, against the authorities of a PEM file or the system's. The
/// driver reads the file by every connection; one that is unusable is told here.
fn verify(authorities: Option<&Path>) -> Result<SslOpts, StoreError> {
    let verified = SslOpts::default().with_disable_built_in_roots(true);
    if let Some(path) = authorities {
        certificates(path)?;
        return Ok(verified.with_root_certs(vec![path.to_owned().into()]));
    }
    let system = rustls_native_certs::load_native_certs().certs;
    // Some systems keep certificates that nobody can use; one must not be in the others' way.
    let mut store = rustls::RootCertStore::empty();
    let usable = system
        .into_iter()
        .filter(|certificate| store.add(certificate.clone()).is_ok());
    let roots: Vec<_> = usable
        .map(|certificate| certificate.to_vec().into())
        .collect();
    if roots.is_empty() {
        return Err(refused(
            "the system has no authorities for TLS; name a PEM file with ssl-ca",
        ));
    }
    Ok(verified.with_root_certs(roots))
}

/// TLS with the program's own certificate. The driver reads the files by every connection; a
/// pair that is unusable is told here.
fn with_identity(tls: SslOpts, files: &IdentityFiles) -> Result<SslOpts, StoreError> {
    files.read()?;
    Ok(tls.with_client_identity(Some(ClientIdentity::new(
        files.certificate.clone().into(),
        files.key.clone().into(),
    ))))
}

/// A URL that is refused, with the reason; never with a piece of it.
fn refused(why: &str) -> StoreError {
    StoreError::new("reading the MySQL URL", ErrorClass::Usage).caused_by(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    fn parse(text: &str) -> Result<Target, StoreError> {
        let url = StoreUrl::parse(text).expect("the scheme is known");
        Target::parse(&url, &OpenOptions::default())
    }

    #[test]
    fn other_machines_are_verified_unless_the_user_says_otherwise_d13() {
        for host in ["localhost", "127.0.0.1", "[::1]", "::1"] {
            assert_eq!(default_mode(host), Mode::Disabled, "{host}");
        }
        for host in ["db", "10.0.0.1", "[fe80::1]", "localhost.example"] {
            assert_eq!(default_mode(host), Mode::VerifyIdentity, "{host}");
        }
        let here = parse("mysql://u:p@127.0.0.1:3306/d").expect("accepted");
        assert!(here.driver.ssl_opts().is_none());
        let plain = parse("mysql://u:p@db/d?ssl-mode=DISABLED").expect("accepted");
        assert!(plain.driver.ssl_opts().is_none());
        let required = parse("mysql://u:p@db/d?ssl-mode=required").expect("accepted");
        let tls = required.driver.ssl_opts().expect("TLS");
        assert!(tls.accept_invalid_certs());
    }

    #[test]
    fn what_cannot_be_kept_is_refused_without_a_secret() {
        for bad in [
            "mysql://u:s3cret@db/d?ssl-mode=preferred",
            "mysql://u:s3cret@db/d?ssl-mode=verify",
            "mysql://u:s3cret@db/d?ssl-mode=verify_identity&ssl-ca=/nowhere/ca.pem",
            "mysql://u@db/d?ssl-mode=disabled&ssl-ca=/nowhere/ca.pem",
            "mysql://u@db/d?password=s3cret",
            "mysql://u:s3cret@db:port/d",
            "mysql://u:s3cret@db",
            "mysql://",
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
}
