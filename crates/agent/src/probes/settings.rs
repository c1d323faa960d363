//! What to check, how often, and what to make of it: what all probes have in common, validated,
//! without reading any file. What one probe alone knows is a table of keys in its own file.

mod service;

use super::address::Address;
use super::keys::{KeyKind, KeyValue, Values};
use super::{AgentError, ProbeEntry, probe_for_scheme};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tidegauge_model::Tags;

/// Settings of one check. Made from a URL, then refined; every step refuses what it cannot use.
#[derive(Clone, PartialEq)]
pub struct CheckSettings {
    name: String,
    address: Address,
    /// Whether the address is a service, whose targets DNS has.
    is_service: bool,
    probe: &'static ProbeEntry,
    interval: Duration,
    deadline: Option<Duration>,
    labels: Tags,
    attempts: u32,
    confirm_after: u32,
    recover_after: u32,
    family: AddressFamily,
    source_address: Option<IpAddr>,
    own: Values,
}

/// Which addresses of a name are used, and which first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamily {
    /// All, as they were found: IPv4 first.
    #[default]
    Any,
    /// All, IPv4 first.
    PreferIpv4,
    /// All, IPv6 first.
    PreferIpv6,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

impl AddressFamily {
    /// The words for it in the configuration.
    pub const WORDS: &'static [&'static str] =
        &["any", "prefer_ipv4", "prefer_ipv6", "ipv4", "ipv6"];

    /// The family behind a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "any" => Some(Self::Any),
            "prefer_ipv4" => Some(Self::PreferIpv4),
            "prefer_ipv6" => Some(Self::PreferIpv6),
            "ipv4" => Some(Self::Ipv4),
            "ipv6" => Some(Self::Ipv6),
            _ => None,
        }
    }

    /// Puts the addresses that are preferred before the others, and leaves their order as it is otherwise.
    pub(super) fn sort(self, addresses: &mut [IpAddr]) {
        match self {
            Self::PreferIpv4 => addresses.sort_by_key(IpAddr::is_ipv6),
            Self::PreferIpv6 => addresses.sort_by_key(IpAddr::is_ipv4),
            Self::Any | Self::Ipv4 | Self::Ipv6 => {}
        }
    }

    /// Whether an address is used at all.
    #[must_use]
    pub const fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Any | Self::PreferIpv4 | Self::PreferIpv6 => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

impl CheckSettings {
    /// How often a target is checked unless told otherwise.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
    /// The longest deadline that is taken without being asked for.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
    /// Attempts of one check are at most so many.
    pub const MAX_ATTEMPTS: u32 = 10;

    /// Settings for a URL, with defaults for everything else.
    ///
    /// # Errors
    /// [`AgentError::Setting`] when it is no URL, or has a scheme that no probe takes. A user and
    /// password in it are never part of the text.
    pub fn new(url: &str) -> Result<Self, AgentError> {
        let mut address = Address::parse(url).map_err(|problem| setting("url", problem))?;
        let is_service = service::taken(&mut address)?;
        let probe = probe_for_scheme(&address.scheme).ok_or_else(|| {
            let known: Vec<_> = super::PROBES
                .iter()
                .flat_map(|entry| entry.schemes)
                .copied()
                .collect();
            let problem = format!(
                "no probe takes the scheme {:?}, only {}",
                address.scheme,
                known.join(", ")
            );
            setting("url", problem)
        })?;
        let settings = Self {
            name: String::new(),
            is_service,
            probe,
            interval: Self::DEFAULT_INTERVAL,
            deadline: None,
            labels: Tags::new(),
            attempts: 1,
            confirm_after: 1,
            recover_after: 1,
            family: AddressFamily::Any,
            source_address: None,
            own: Values::default(),
            address,
        };
        let text = settings.address.text.clone();
        settings.with_name(text)
    }

    /// Names the check; its series is known by this name.
    ///
    /// # Errors
    /// When the name is empty, longer than 1024 bytes or has control characters.
    pub fn with_name(mut self, name: impl Into<String>) -> Result<Self, AgentError> {
        self.name = name.into();
        if self.name.is_empty()
            || self.name.len() > 1_024
            || self.name.chars().any(char::is_control)
        {
            return Err(setting(
                "name",
                "it must have 1 to 1024 bytes and no control characters",
            ));
        }
        Ok(self)
    }

    /// Sets how often the target is checked.
    ///
    /// # Errors
    /// When it is shorter than 10 ms, or shorter than the deadline.
    pub fn with_interval(mut self, interval: Duration) -> Result<Self, AgentError> {
        self.interval = interval;
        if interval < Duration::from_millis(10) {
            return Err(setting("interval", "it must be at least 10ms"));
        }
        self.deadline_within_interval()
    }

    /// Sets how long a check may take as a whole; by default its interval, but at most 10 s.
    ///
    /// # Errors
    /// When it is 0, or longer than the interval.
    pub fn with_deadline(mut self, deadline: Duration) -> Result<Self, AgentError> {
        self.deadline = Some(deadline);
        if deadline.is_zero() {
            return Err(setting("deadline", "it must be longer than 0"));
        }
        self.deadline_within_interval()
    }

    fn deadline_within_interval(self) -> Result<Self, AgentError> {
        if self.deadline() * self.attempts > self.interval {
            let times = match self.attempts {
                1 => String::new(),
                attempts => format!(" for each of {attempts} attempts"),
            };
            let problem = format!(
                "{:?}{times} is longer than the interval of {:?}",
                self.deadline(),
                self.interval
            );
            return Err(setting("deadline", problem));
        }
        Ok(self)
    }

    /// Labels of the target, tags of every point about it.
    ///
    /// # Errors
    /// When one has the name of a tag that points of checks have anyway.
    pub fn with_labels(mut self, labels: Tags) -> Result<Self, AgentError> {
        if labels.iter().any(|(name, _)| name.as_str() == "target") {
            return Err(setting("labels", "`target` is the name of the check"));
        }
        self.labels = labels;
        Ok(self)
    }

    /// Sets how often a check that fails is tried, at once after the failure; each attempt is a result,
    /// and each has the deadline.
    ///
    /// # Errors
    /// When it is not 1 to [`Self::MAX_ATTEMPTS`], or all attempts take longer than the interval.
    pub fn with_attempts(mut self, attempts: u32) -> Result<Self, AgentError> {
        if !(1..=Self::MAX_ATTEMPTS).contains(&attempts) {
            let problem = format!("it must be 1 to {}", Self::MAX_ATTEMPTS);
            return Err(setting("attempts", problem));
        }
        self.attempts = attempts;
        self.deadline_within_interval()
    }

    /// Sets after how many checks in a row that failed the target is taken for down, and after how
    /// many that did not it is up again.
    ///
    /// # Errors
    /// When one of them is 0.
    pub fn with_confirmation(mut self, down: u32, up: u32) -> Result<Self, AgentError> {
        for (key, checks) in [("confirm_after", down), ("recover_after", up)] {
            if checks == 0 {
                return Err(setting(key, "it must be at least 1"));
            }
        }
        (self.confirm_after, self.recover_after) = (down, up);
        Ok(self)
    }

    /// Uses addresses of this family alone, or first.
    #[must_use]
    pub const fn with_family(mut self, family: AddressFamily) -> Self {
        self.family = family;
        self
    }

    /// Checks from this address of the host.
    #[must_use]
    pub const fn with_source_address(mut self, address: IpAddr) -> Self {
        self.source_address = Some(address);
        self
    }

    /// Sets what the probe of this check alone knows, by its key.
    ///
    /// # Errors
    /// When the probe has no such setting, or the value is of another kind.
    pub fn with(
        mut self,
        key: &'static str,
        value: impl Into<KeyValue>,
    ) -> Result<Self, AgentError> {
        let keys = self.probe.keys;
        let Some(known) = keys.iter().find(|known| known.key == key) else {
            let keys: Vec<_> = keys.iter().map(|known| known.key).collect();
            let problem = format!(
                "the probe {} has no such setting, only {}",
                self.probe.name,
                keys.join(", ")
            );
            return Err(setting(key, problem));
        };
        self.own.set(known, value.into())?;
        Ok(self)
    }

    /// The name of the check.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL without user and password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.address.text
    }

    /// How often the target is checked.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// How long one attempt may take as a whole.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
            .unwrap_or_else(|| self.interval.min(Self::DEFAULT_DEADLINE) / self.attempts)
    }

    /// Labels of the target.
    #[must_use]
    pub const fn labels(&self) -> &Tags {
        &self.labels
    }

    /// How often a check that fails is tried.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// After how many failures in a row the target is down.
    #[must_use]
    pub const fn confirm_after(&self) -> u32 {
        self.confirm_after
    }

    /// After how many successes in a row it is up again.
    #[must_use]
    pub const fn recover_after(&self) -> u32 {
        self.recover_after
    }

    /// Which addresses are used, and which first.
    #[must_use]
    pub const fn family(&self) -> AddressFamily {
        self.family
    }

    /// The address to check from.
    #[must_use]
    pub const fn source_address(&self) -> Option<IpAddr> {
        self.source_address
    }

    /// The files that the probe reads when it is made.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let paths = self
            .probe
            .keys
            .iter()
            .filter(|own| own.kind == KeyKind::Path);
        paths.filter_map(|own| self.own.path(own.key))
    }

    /// What the probe alone knows.
    pub(super) const fn own(&self) -> &Values {
        &self.own
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) const fn probe(&self) -> &'static ProbeEntry {
        self.probe
    }
}

impl fmt::Debug for CheckSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CheckSettings")
            .field("name", &self.name)
            .field("url", &self.url())
            .field("interval", &self.interval)
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

pub(super) fn setting(key: &'static str, problem: impl ToString) -> AgentError {
    AgentError::Setting {
        key,
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_url_without_its_password() {
        let settings = CheckSettings::new("http://u:secret@localhost:80/x").expect("valid");
        assert_eq!(settings.name(), "http://localhost:80/x");
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(settings.deadline(), Duration::from_secs(10));
    }

    #[test]
    fn a_family_is_alone_or_first() {
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            let parsed = texts.iter().map(|text| text.parse().expect("an address"));
            parsed.collect()
        };
        for (word, expected) in [
            ("any", ["192.0.2.1", "::1", "192.0.2.2", "::2"].as_slice()),
            ("prefer_ipv4", &["192.0.2.1", "192.0.2.2", "::1", "::2"]),
            ("prefer_ipv6", &["::1", "::2", "192.0.2.1", "192.0.2.2"]),
            ("ipv4", &["192.0.2.1", "192.0.2.2"]),
            ("ipv6", &["::1", "::2"]),
        ] {
            let family = AddressFamily::parse(word).expect("a word");
            let mut found = addresses(&["192.0.2.1", "::1", "192.0.2.2", "::2"]);
            found.retain(|address| family.has(*address));
            family.sort(&mut found);
            assert_eq!(found, addresses(expected), "{word}");
        }
        assert!(
            AddressFamily::WORDS
                .iter()
                .all(|word| AddressFamily::parse(word).is_some())
        );
        assert_eq!(AddressFamily::parse("ip6"), None);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_says_why() {
        let error = CheckSettings::new("gopher://host").expect_err("no such probe");
        assert_eq!(
            error.to_string(),
            "checking the setting url: no probe takes the scheme \"gopher\", only http, https, tcp, tls, dns, \
             icmp, grpc, grpcs, postgres, postgresql, mysql, kafka"
        );
        assert!(CheckSettings::new("localhost").is_err());
        let settings = CheckSettings::new("http://localhost").expect("valid");
        assert!(settings.clone().with_name("a\nb").is_err());
        assert!(settings.clone().with("body_regexp", "(").is_err());
        let error = settings.clone().with("urll", "x").expect_err("no such key");
        assert!(error.to_string().contains("ca_file"), "{error}");
        assert!(settings.clone().with_attempts(0).is_err());
        assert!(settings.clone().with_attempts(11).is_err());
        let twice = settings.clone().with_attempts(2).expect("valid");
        assert_eq!(twice.deadline(), Duration::from_secs(5));
        assert!(twice.with_deadline(Duration::from_secs(6)).is_err());
        assert!(settings.clone().with_confirmation(1, 0).is_err());
        assert!(settings.clone().with_deadline(Duration::ZERO).is_err());
        assert!(
            settings
                .clone()
                .with_deadline(Duration::from_secs(11))
                .is_err()
        );
        assert!(settings.clone().with_interval(Duration::ZERO).is_err());
        let quick = settings
            .with_interval(Duration::from_secs(1))
            .expect("valid");
        assert_eq!(quick.deadline(), Duration::from_secs(1));
    }
}
