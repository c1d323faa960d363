//! What probes of databases have in common: who logs in, where to, what is asked, and the judgement.

use super::address::percent_decoded;
use super::exchange::{Failure, Progress, server_name};
use super::keys::{MAX_TIME, secret};
use super::settings::{CheckSettings, setting};
use super::{AgentError, CheckReason, resolve};
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::time::Duration;
use tidegauge_model::name;

/// Who logs in, and what is asked.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: Option<String>,
    pub(super) query: String,
    /// Whether TLS is spoken; certificates are then always verified (D13).
    pub(super) tls: Option<Verify>,
    equals: Option<String>,
    max_time: Option<Duration>,
}

/// Which certificates are fine.
pub(super) struct Verify {
    pub(super) server: ServerName<'static>,
    pub(super) ca_file: Option<PathBuf>,
}

impl Login {
    /// # Errors
    /// [`AgentError::Setting`] when there is no user, or something is said twice.
    pub(super) fn new(settings: &CheckSettings) -> Result<Self, AgentError> {
        let (own, address) = (settings.own(), settings.address());
        let (path, query) = address.path.split_once('?').unwrap_or((&address.path, ""));
        let mut mode = own.text("sslmode");
        for parameter in query.split('&').filter(|part| !part.is_empty()) {
            mode = match parameter.split_once('=') {
                Some(("sslmode", word @ ("disable" | "verify-full"))) if mode.is_none() => {
                    Some(word)
                }
                Some(("sslmode", _)) => {
                    let problem = "`sslmode` is said once, and is disable or verify-full";
                    return Err(setting("url", problem));
                }
                _ => {
                    let problem = "the only parameter that it may have is `sslmode`";
                    return Err(setting("url", problem));
                }
            };
        }
        let here = resolve::without_lookup(&address.host)
            .is_some_and(|addresses| addresses.iter().all(|address| address.is_loopback()));
        let tls = match mode {
            Some("disable") => None,
            None if here => None,
            _ => Some(Verify {
                server: server_name(settings)?,
                ca_file: own.path("ca_file").map(ToOwned::to_owned),
            }),
        };
        if tls.is_none() && own.is_set("ca_file") {
            return Err(setting(
                "ca_file",
                "it needs TLS: say `sslmode = \"verify-full\"`",
            ));
        }
        let said = secret(own, "password", "password_file")?;
        let (user, password) = match (address.login(), own.text("username")) {
            (Some(_), Some(_)) => {
                let problem = "the URL has a user too: take one of them";
                return Err(setting("username", problem));
            }
            (Some((_, Some(_))), None) if said.is_some() => {
                let problem = "the URL has a password too: take one of them";
                return Err(setting("password", problem));
            }
            (Some((user, password)), None) => (user, password.or(said)),
            (None, Some(user)) => (user.to_owned(), said),
            (None, None) => {
                let problem = format!("it needs a user: {}://user@host/name", address.scheme);
                return Err(setting("url", problem));
            }
        };
        let database = percent_decoded(path.trim_start_matches('/'));
        let database = String::from_utf8_lossy(&database).into_owned();
        Ok(Self {
            user,
            password,
            database: (!database.is_empty()).then_some(database),
            query: own.text("query").unwrap_or("select 1").to_owned(),
            tls,
            equals: own.text("query_equals").map(ToOwned::to_owned),
            max_time: own.duration(MAX_TIME.key),
        })
    }

    /// Compares the first value of the answer, where there is one that is not null, with what is
    /// expected.
    pub(super) fn judge(&self, first: Option<&str>, progress: &Progress) -> Result<(), Failure> {
        match (&self.equals, first) {
            (Some(equals), Some(first)) if equals == first => {}
            (Some(equals), found) => {
                let found = found.map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"));
                let detail = format!("the first value is {found}, expected {equals:?}");
                return Err(Failure::new(CheckReason::AnswerMismatch, detail));
            }
            (None, _) => {}
        }
        progress.expect_within(self.max_time)
    }
}

/// Notes what the server says that it is.
pub(super) fn found_version(progress: &mut Progress, version: &str) {
    progress.found_text(name!("server_version"), version);
}
