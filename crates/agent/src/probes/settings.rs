//! What to check, how often, and what to expect: validated, without reading any file.

use super::address::Address;
use super::{AgentError, ProbeEntry, probe_for_scheme};
use regex::bytes::Regex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Settings of one check. Made from a URL, then refined; every step refuses what it cannot use.
#[derive(Clone)]
pub struct CheckSettings {
    name: String,
    address: Address,
    probe: &'static ProbeEntry,
    interval: Duration,
    deadline: Option<Duration>,
    body_regexp: Option<Regex>,
    expect_status: StatusRanges,
    ca_file: Option<PathBuf>,
    max_body_bytes: usize,
}

impl CheckSettings {
    /// How often a target is checked unless told otherwise.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
    /// The longest deadline that is taken without being asked for.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
    /// How much of a body is read unless told otherwise.
    pub const DEFAULT_MAX_BODY_BYTES: usize = 1024 * 1024;

    /// Settings for a URL, with defaults for everything else.
    ///
    /// # Errors
    /// [`AgentError::Setting`] when it is no URL, or has a scheme that no probe takes. A user and
    /// password in it are never part of the text.
    pub fn new(url: &str) -> Result<Self, AgentError> {
        let address = Address::parse(url).map_err(|problem| setting("url", problem))?;
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
            probe,
            interval: Self::DEFAULT_INTERVAL,
            deadline: None,
            body_regexp: None,
            expect_status: StatusRanges::default(),
            ca_file: None,
            max_body_bytes: Self::DEFAULT_MAX_BODY_BYTES,
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
        if self.deadline() > self.interval {
            let problem = format!(
                "{:?} is longer than the interval of {:?}",
                self.deadline(),
                self.interval
            );
            return Err(setting("deadline", problem));
        }
        Ok(self)
    }

    /// Expects the body to match a regular expression, anywhere in it.
    ///
    /// # Errors
    /// When it is no regular expression.
    pub fn with_body_regexp(mut self, pattern: &str) -> Result<Self, AgentError> {
        let regexp = Regex::new(pattern).map_err(|error| setting("body_regexp", error))?;
        self.body_regexp = Some(regexp);
        Ok(self)
    }

    /// Sets which status codes are expected; 200 to 399 by default.
    #[must_use]
    pub fn with_expect_status(mut self, ranges: StatusRanges) -> Self {
        self.expect_status = ranges;
        self
    }

    /// Trusts the certificate authorities in this PEM file, and no others.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Sets how much of a body is read.
    #[must_use]
    pub const fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
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

    /// How long a check may take as a whole.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
            .unwrap_or_else(|| self.interval.min(Self::DEFAULT_DEADLINE))
    }

    /// The pattern that the body must match.
    #[must_use]
    pub const fn body_regexp(&self) -> Option<&Regex> {
        self.body_regexp.as_ref()
    }

    /// The status codes that are expected.
    #[must_use]
    pub const fn expect_status(&self) -> &StatusRanges {
        &self.expect_status
    }

    /// The file of trusted certificate authorities; `None`: those of the system.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// How much of a body is read.
    #[must_use]
    pub const fn max_body_bytes(&self) -> usize {
        self.max_body_bytes
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

fn setting(key: &'static str, problem: impl ToString) -> AgentError {
    AgentError::Setting {
        key,
        problem: problem.to_string(),
    }
}

/// Status codes that are expected: `200`, `200-299`, `2xx`, or several of them with commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(Vec<(u16, u16)>);

impl Default for StatusRanges {
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

impl StatusRanges {
    /// Whether a status code is expected.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|&(first, last)| (first..=last).contains(&status))
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match first == last {
                true => write!(formatter, "{comma}{first}")?,
                false => write!(formatter, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for StatusRanges {
    type Err = AgentError;

    fn from_str(text: &str) -> Result<Self, AgentError> {
        let range = |part: &str| -> Option<(u16, u16)> {
            let (first, last) = match part.strip_suffix("xx") {
                Some(hundreds) => {
                    let first = hundreds.parse::<u16>().ok()?.checked_mul(100)?;
                    (first, first + 99)
                }
                None => {
                    let (first, last) = part.split_once('-').unwrap_or((part, part));
                    (first.trim().parse().ok()?, last.trim().parse().ok()?)
                }
            };
            (first >= 100 && last <= 999 && first <= last).then_some((first, last))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(|part| range(part.trim())).collect();
        let problem = || {
            setting(
                "expect_status",
                format!("{text:?} is not like 200, 200-299, 2xx or 200,301"),
            )
        };
        ranges.map(Self).ok_or_else(problem)
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
    fn what_cannot_be_used_is_refused_and_says_why() {
        let error = CheckSettings::new("gopher://host").expect_err("no such probe");
        assert_eq!(
            error.to_string(),
            "checking the setting url: no probe takes the scheme \"gopher\", only http, https"
        );
        assert!(CheckSettings::new("localhost").is_err());
        let settings = CheckSettings::new("http://localhost").expect("valid");
        assert!(settings.clone().with_name("a\nb").is_err());
        assert!(settings.clone().with_body_regexp("(").is_err());
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

    #[test]
    fn status_ranges_have_a_text_form() {
        let ranges: StatusRanges = "200, 301-302,4xx".parse().expect("valid");
        assert!(
            [200, 301, 302, 400, 499]
                .into_iter()
                .all(|status| ranges.contains(status))
        );
        assert!(
            [199, 201, 300, 303, 500]
                .into_iter()
                .all(|status| !ranges.contains(status))
        );
        assert_eq!(ranges.to_string(), "200,301-302,400-499");
        for bad in ["", "abc", "99", "300-200", "1000", "700xx", "é"] {
            assert!(bad.parse::<StatusRanges>().is_err(), "{bad:?}");
        }
    }
}
