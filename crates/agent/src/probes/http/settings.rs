//! The settings of the probe `http` alone.

use super::super::AgentError;
use super::super::keys::{
    CA_FILE, CERTIFICATE_FILE, KEY_FILE, KeyKind, MAX_TIME, MIN_DAYS_LEFT, PASSWORD, PASSWORD_FILE,
    ProbeKey, SERVER_NAME, USERNAME,
};
use super::super::settings::{CheckSettings, setting};
use super::http2::HTTP_VERSION;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

pub(super) const KEYS: &[ProbeKey] = &[
    key(
        "method",
        KeyKind::Text,
        "The method of the request; by default GET.",
    ),
    key(
        "headers",
        KeyKind::Pairs,
        "Headers of the request, also in place of Host, Accept and User-Agent.",
    ),
    key("body", KeyKind::Text, "The body of the request."),
    key(
        "body_file",
        KeyKind::Path,
        "A file with the body of the request.",
    ),
    USERNAME,
    PASSWORD,
    PASSWORD_FILE,
    key(
        "bearer_token",
        KeyKind::Secret,
        "The token to authenticate with; better in a file.",
    ),
    key(
        "bearer_token_file",
        KeyKind::Path,
        "A file with the token to authenticate with.",
    ),
    CERTIFICATE_FILE,
    KEY_FILE,
    HTTP_VERSION,
    key(
        "proxy",
        KeyKind::Text,
        "The proxy to go through, as http://host:port, also with a user and password.",
    ),
    key(
        "follow_redirects",
        KeyKind::Flag,
        "Whether redirects are followed; by default they are answers like any other.",
    ),
    key(
        "max_redirects",
        KeyKind::Count,
        "How many redirects are followed, at most 100; by default 10.",
    ),
    key(
        "allow_redirects_to",
        KeyKind::List,
        "Networks that redirects may lead to though they are link-local, loopback or metadata services.",
    ),
    key(
        "expect_status",
        KeyKind::List,
        "The status codes that are fine; by default 200 to 399.",
    ),
    key(
        "expect_headers",
        KeyKind::Pairs,
        "Regular expressions that headers of the answer must match, by name.",
    ),
    key(
        "expect_headers_absent",
        KeyKind::Pairs,
        "Regular expressions that no header of that name may match.",
    ),
    key(
        "body_regexp",
        KeyKind::Regexp,
        "A regular expression that the body must match.",
    ),
    key(
        "body_regexp_absent",
        KeyKind::Regexp,
        "A regular expression that the body must not match.",
    ),
    key(
        "json_pointer",
        KeyKind::Text,
        "The place of a value in a body of JSON (RFC 6901), as /status.",
    ),
    key(
        "json_equals",
        KeyKind::Text,
        "What that value must be, as text or as JSON.",
    ),
    key(
        "min_body_bytes",
        KeyKind::Bytes,
        "The body must have so many bytes.",
    ),
    key(
        "expect_max_body_bytes",
        KeyKind::Bytes,
        "The body must have no more bytes.",
    ),
    key(
        "max_body_bytes",
        KeyKind::Bytes,
        "How much of a body is read; by default 1MiB.",
    ),
    MIN_DAYS_LEFT,
    MAX_TIME,
    SERVER_NAME,
    CA_FILE,
];

const fn key(key: &'static str, kind: KeyKind, help: &'static str) -> ProbeKey {
    ProbeKey { key, kind, help }
}

/// How much of a body is read unless told otherwise.
pub(super) const DEFAULT_MAX_BODY_BYTES: usize = 1024 * 1024;

/// The short ways to what is set most.
impl CheckSettings {
    /// Expects the body to match a regular expression, anywhere in it.
    ///
    /// # Errors
    /// When it is no regular expression, or the probe reads no body.
    pub fn with_body_regexp(self, pattern: &str) -> Result<Self, AgentError> {
        self.with("body_regexp", pattern)
    }

    /// Sets which status codes are expected; 200 to 399 by default.
    ///
    /// # Errors
    /// When the probe knows no status.
    pub fn with_expect_status(self, ranges: &StatusRanges) -> Result<Self, AgentError> {
        self.with("expect_status", ranges.to_string().as_str())
    }

    /// Trusts the certificate authorities in this PEM file, and no others.
    ///
    /// # Errors
    /// When the path is no UTF-8, or the probe speaks no TLS.
    pub fn with_ca_file(self, path: impl AsRef<Path>) -> Result<Self, AgentError> {
        let path = path.as_ref().to_str();
        self.with(
            "ca_file",
            path.ok_or_else(|| setting("ca_file", "the path must be UTF-8"))?,
        )
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
