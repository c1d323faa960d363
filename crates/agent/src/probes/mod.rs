//! Probes: each checks a target once and says what it found.
//!
//! A check that fails is a result, not an error: it carries a [`CheckReason`] from a closed list.
//! Probes do not know intervals or where results go; [`crate::collect`] runs them on theirs. A new
//! probe is one file here and one row in [`PROBES`].

mod address;
mod certificate;
#[cfg(feature = "databases")]
mod database;
mod dns;
mod exchange;
mod facts;
mod grpc;
mod h2_call;
mod http;
mod icmp;
mod kafka;
mod keys;
mod mysql;
mod postgres;
mod reason;
mod resolve;
mod settings;
mod starttls;
mod tcp;
mod tls;
mod tls_check;
mod untrusted;

use crate::{AgentError, CheckState};
pub(crate) use address::authorization_of;
use async_trait::async_trait;
pub(crate) use http::Fetcher;
pub use http::StatusRanges;
pub use keys::{KeyKind, KeyValue, ProbeKey};
pub use reason::CheckReason;
pub(crate) use resolve::ServiceTarget;
pub use settings::{AddressFamily, CheckSettings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, Name, Point, Tags, Value, chain, name};

/// One probe with the settings of one target.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Checks the target once and returns within its deadline, whatever the target does.
    async fn check(&self, clock: &dyn Clock) -> Finding;
}

/// Makes a probe for one target; it reads the files that the settings name.
pub type NewProbe = fn(&CheckSettings, &ProbeContext) -> Result<Box<dyn Probe>, AgentError>;

/// A row of [`PROBES`].
pub struct ProbeEntry {
    /// The name of the probe, as in the file's name.
    pub name: &'static str,
    /// The measurement that its results are points of.
    pub measurement: Name,
    /// The URL schemes that it takes, lower case.
    pub schemes: &'static [&'static str],
    /// What it does, one sentence for help and documentation.
    pub description: &'static str,
    /// The settings that it has beside those of all probes.
    pub keys: &'static [ProbeKey],
    /// Makes the probe for one target.
    pub new: NewProbe,
}

impl PartialEq for ProbeEntry {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All probes.
pub const PROBES: &[ProbeEntry] = &[
    http::ENTRY,
    tcp::ENTRY,
    tls_check::ENTRY,
    dns::ENTRY,
    icmp::ENTRY,
    grpc::ENTRY,
    postgres::ENTRY,
    mysql::ENTRY,
    kafka::ENTRY,
];

/// In place of a probe whose client is not in this program.
#[cfg(not(feature = "databases"))]
const NO_DATABASES: NewProbe = |settings, _| {
    let problem = format!(
        "this program was built without the clients of databases, which {} checks need: take the whole program",
        settings.probe().name
    );
    Err(settings::setting("url", problem))
};

/// How probes call themselves.
const USER_AGENT: &str = concat!("tidegauge/", env!("CARGO_PKG_VERSION"));

/// The probe for a URL scheme.
#[must_use]
pub fn probe_for_scheme(scheme: &str) -> Option<&'static ProbeEntry> {
    PROBES.iter().find(|entry| entry.schemes.contains(&scheme))
}

/// What all probes of one agent share: the resolver, and the certificates of the system, which are
/// read when the first probe needs them.
#[derive(Default)]
pub struct ProbeContext {
    names: Arc<resolve::Names>,
    tls: tls::ClientConfigs,
}

impl ProbeContext {
    /// A context that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A context that asks these name servers instead of the system's, if there are any.
    #[must_use]
    pub fn with_name_servers(servers: Vec<SocketAddr>) -> Self {
        Self {
            names: Arc::new(resolve::Names::asking(servers)),
            ..Self::default()
        }
    }

    /// The hosts and ports of a service.
    pub(crate) async fn service_targets(&self, name: &str) -> Result<Vec<ServiceTarget>, String> {
        self.names.service(name).await
    }

    /// The checks that settings stand for: themselves, or one of each target of their service.
    ///
    /// # Errors
    /// [`AgentError::FindTargets`] when the targets cannot be looked up, or there are none.
    pub async fn targets_of(
        &self,
        settings: CheckSettings,
    ) -> Result<Vec<CheckSettings>, AgentError> {
        let Some(service) = settings.service() else {
            return Ok(vec![settings]);
        };
        let failed = |problem: String| AgentError::FindTargets {
            service: service.to_owned(),
            problem,
        };
        let found = self.service_targets(service).await.map_err(failed)?;
        if found.is_empty() {
            return Err(failed("it has no SRV records".to_owned()));
        }
        let found = found.iter();
        found.map(|(host, port)| settings.at(host, *port)).collect()
    }
}

/// What a probe found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How the check ended.
    pub reason: CheckReason,
    /// What went wrong, for a person: one line of at most [`MAX_DETAIL_CHARS`] characters, without
    /// passwords; `None` when the target is up.
    pub detail: Option<String>,
    /// The fields of this probe's measurement beside those that all have.
    pub fields: Vec<(Name, Value)>,
}

/// The longest text of [`Finding::detail`], in characters.
pub const MAX_DETAIL_CHARS: usize = 240;

impl Finding {
    /// A finding; the detail is made one line, and cut when it is too long.
    #[must_use]
    pub fn new(reason: CheckReason, detail: Option<&str>, fields: Vec<(Name, Value)>) -> Self {
        let detail = detail.map(|text| {
            let plain = |character: char| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            };
            text.chars().take(MAX_DETAIL_CHARS).map(plain).collect()
        });
        Self {
            reason,
            detail,
            fields,
        }
    }
}

/// The result of one check: the finding, with its target and time.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    /// The measurement that it is a point of.
    pub measurement: Name,
    /// The name of the check.
    pub target: String,
    /// Labels of the target.
    pub labels: Tags,
    /// When the check began, microseconds since 1970 UTC.
    pub time_us: i64,
    /// What was found.
    pub finding: Finding,
}

impl CheckResult {
    /// Whether the target answered as expected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.finding.reason == CheckReason::Ok
    }

    /// The value of one of the probe's own fields.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        let found = self
            .finding
            .fields
            .iter()
            .find(|(known, _)| known.as_str() == name);
        found.map(|(_, value)| value)
    }

    /// The point to send.
    #[must_use]
    pub fn into_point(self) -> Point {
        let up = self.is_up();
        let mut point = Point::new(self.measurement, self.time_us)
            .tag(name!("target"), self.target)
            .field(name!("up"), up)
            .field(name!("reason"), self.finding.reason.as_str())
            .field_if(name!("detail"), self.finding.detail);
        for (name, text) in self.labels {
            point = point.tag(name, text);
        }
        for (name, value) in self.finding.fields {
            point.set(name, value);
        }
        point
    }
}

/// A target that can be checked again and again.
pub struct Check {
    settings: Arc<CheckSettings>,
    measurement: Name,
    probe: Box<dyn Probe>,
}

impl Check {
    /// Makes the probe that the settings ask for.
    ///
    /// # Errors
    /// When a file that the settings name cannot be read, or what is in it cannot be used; and for a service,
    /// whose targets are checked, not it.
    pub fn new(settings: CheckSettings, context: &ProbeContext) -> Result<Self, AgentError> {
        if settings.service().is_some() {
            let problem = "it is a service: its targets are looked up first";
            return Err(settings::setting("url", problem));
        }
        let entry = settings.probe();
        let probe = (entry.new)(&settings, context)?;
        Ok(Self {
            measurement: entry.measurement.clone(),
            settings: Arc::new(settings),
            probe,
        })
    }

    /// The settings that it was made from.
    pub(crate) const fn settings(&self) -> &Arc<CheckSettings> {
        &self.settings
    }

    /// The name of the check.
    #[must_use]
    pub fn target(&self) -> &str {
        self.settings.name()
    }

    /// The host that it connects to, as it is written in the URL.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.settings.address().host
    }

    /// How often it is checked.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.settings.interval()
    }

    /// How often a check that fails is tried.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.settings.attempts()
    }

    /// The state of the target before its first check.
    #[must_use]
    pub fn state(&self) -> CheckState {
        CheckState::new(&self.settings)
    }

    /// Checks the target once, within the deadline of its settings.
    pub async fn run(&self, clock: &dyn Clock) -> CheckResult {
        let time_us = clock.now_us();
        let finding = self.probe.check(clock).await;
        CheckResult {
            measurement: self.measurement.clone(),
            target: self.settings.name().to_owned(),
            labels: self.settings.labels().clone(),
            time_us,
            finding,
        }
    }
}

/// Checks one target once, for the command line.
///
/// # Errors
/// As [`Check::new`]; a target that is down is a result.
pub async fn check_once(
    settings: CheckSettings,
    context: &ProbeContext,
    clock: &dyn Clock,
) -> Result<CheckResult, AgentError> {
    Ok(Check::new(settings, context)?.run(clock).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::catalog;

    #[test]
    fn every_probe_has_a_catalog_entry_and_schemes_of_its_own() {
        let mut schemes = std::collections::BTreeSet::new();
        for entry in PROBES {
            let measurement = catalog::measurement(entry.measurement.as_str()).expect("in catalog");
            for field in ["up", "reason", "detail"] {
                assert!(measurement.field(field).is_some(), "{}.{field}", entry.name);
            }
            assert!(entry.schemes.iter().all(|scheme| schemes.insert(*scheme)));
            assert!(!entry.description.is_empty());
        }
    }

    #[test]
    fn a_detail_is_one_short_line() {
        let long = format!("a\nb{}", "é".repeat(1_000));
        let detail = Finding::new(CheckReason::Protocol, Some(&long), Vec::new()).detail;
        let detail = detail.expect("has a detail");
        assert!(detail.starts_with("a bé"));
        assert_eq!(detail.chars().count(), MAX_DETAIL_CHARS);
    }
}
