//! The settings that one probe has and others do not: a table of keys per probe, and their values,
//! checked by type as they are set. What they mean together is checked where the probe is made.

use super::AgentError;
use super::settings::setting;
use regex::bytes::Regex;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// One setting of a probe.
#[derive(Debug)]
pub struct ProbeKey {
    /// Its key in `[[agent.checks]]`.
    pub key: &'static str,
    /// What its value must be.
    pub kind: KeyKind,
    /// What it does, one sentence.
    pub help: &'static str,
}

/// What the value of a [`ProbeKey`] must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A text that is not empty.
    Text,
    /// A regular expression.
    Regexp,
    /// The path of a file.
    Path,
    /// A text that is never shown.
    Secret,
    /// Texts, at least one.
    List,
    /// Pairs name=text, at least one; no name twice.
    Pairs,
    /// A whole number from 1 on.
    Count,
    /// A share in percent, a whole number from 0 to 100.
    Percent,
    /// A size in bytes, at least one.
    Bytes,
    /// A duration.
    Duration,
    /// True or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The value of a [`ProbeKey`].
#[derive(Clone, PartialEq, Eq)]
pub enum KeyValue {
    /// Of a text, a regular expression, a path, a word, a list, or pairs as name=text.
    Texts(Vec<String>),
    /// Of a number, a share or a size.
    Count(u64),
    /// Of a duration.
    Duration(Duration),
    /// Of a flag.
    Flag(bool),
}

impl From<&str> for KeyValue {
    fn from(text: &str) -> Self {
        Self::Texts(vec![text.to_owned()])
    }
}

impl From<u64> for KeyValue {
    fn from(number: u64) -> Self {
        Self::Count(number)
    }
}

impl From<bool> for KeyValue {
    fn from(truth: bool) -> Self {
        Self::Flag(truth)
    }
}

/// A PEM file of authorities, for every probe that speaks TLS.
pub(super) const CA_FILE: ProbeKey = ProbeKey {
    key: "ca_file",
    kind: KeyKind::Path,
    help: "A PEM file with the certificates to trust instead of the platform's.",
};

/// How long certificates must be valid yet, for probes that judge them.
pub(super) const MIN_DAYS_LEFT: ProbeKey = ProbeKey {
    key: "min_days_left",
    kind: KeyKind::Count,
    help: "The certificate and its chain must be valid for so many days yet.",
};

/// How long a check may take and still be good.
pub(super) const MAX_TIME: ProbeKey = ProbeKey {
    key: "max_time",
    kind: KeyKind::Duration,
    help: "The whole check must not take longer; it is not broken off, as it is by the deadline.",
};

/// The name of a server that is reached by another one.
pub(super) const SERVER_NAME: ProbeKey = ProbeKey {
    key: "server_name",
    kind: KeyKind::Text,
    help: "The name that is asked for in TLS and that the certificate must have; by default the host of the URL.",
};

/// Whether TLS is spoken, where the scheme does not say it.
pub(super) const TLS: ProbeKey = ProbeKey {
    key: "tls",
    kind: KeyKind::Flag,
    help: "Whether TLS is spoken from the beginning.",
};

/// The certificate of this side.
pub(super) const CERTIFICATE_FILE: ProbeKey = ProbeKey {
    key: "certificate_file",
    kind: KeyKind::Path,
    help: "A PEM file with the certificate to show to the server, and its chain.",
};

/// And its key.
pub(super) const KEY_FILE: ProbeKey = ProbeKey {
    key: "key_file",
    kind: KeyKind::Path,
    help: "A PEM file with the key of that certificate.",
};

/// Who the check is to the server.
pub(super) const USERNAME: ProbeKey = ProbeKey {
    key: "username",
    kind: KeyKind::Text,
    help: "The user to log in as, with a password; for HTTP that of basic authentication.",
};

/// The user's password.
pub(super) const PASSWORD: ProbeKey = ProbeKey {
    key: "password",
    kind: KeyKind::Secret,
    help: "The user's password; better in a file.",
};

/// The same in a file.
pub(super) const PASSWORD_FILE: ProbeKey = ProbeKey {
    key: "password_file",
    kind: KeyKind::Path,
    help: "A file with the user's password.",
};

/// What probes of databases have.
pub(super) const DATABASE_KEYS: &[ProbeKey] = &[
    USERNAME,
    PASSWORD,
    PASSWORD_FILE,
    ProbeKey {
        key: "query",
        kind: KeyKind::Text,
        help: "The statement that a database is asked; by default `select 1`.",
    },
    ProbeKey {
        key: "query_equals",
        kind: KeyKind::Text,
        help: "What the first column of the first row must be, as text; by default anything is fine, no row too.",
    },
    ProbeKey {
        key: "sslmode",
        kind: KeyKind::Choice(&["disable", "verify-full"]),
        help: "Whether TLS is spoken to a database; by default verify-full, and disable where the host is this machine.",
    },
    MAX_TIME,
    SERVER_NAME,
    CA_FILE,
];

/// Values of one check, in the order in which they were set.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Values(Vec<(&'static str, KeyValue)>);

impl Values {
    /// Sets the value of a key, in place of an earlier one.
    ///
    /// # Errors
    /// [`AgentError::Setting`] when the value is of another kind.
    pub(super) fn set(&mut self, key: &ProbeKey, value: KeyValue) -> Result<(), AgentError> {
        check(key.kind, &value).map_err(|problem| setting(key.key, problem))?;
        self.0.retain(|(known, _)| *known != key.key);
        self.0.push((key.key, value));
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&KeyValue> {
        let found = self.0.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value)
    }

    /// The texts of a list; none when it was not set.
    pub(super) fn texts(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(KeyValue::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The names and texts of pairs; each was checked when it was set.
    pub(super) fn pairs(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.texts(key).iter();
        texts.filter_map(|pair| pair.split_once('='))
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.texts(key).first().map(String::as_str)
    }

    pub(super) fn path(&self, key: &str) -> Option<&Path> {
        self.text(key).map(Path::new)
    }

    /// The regular expression; it was compiled once when it was set, so it is one.
    pub(super) fn regexp(&self, key: &str) -> Option<Regex> {
        self.text(key).and_then(|pattern| Regex::new(pattern).ok())
    }

    pub(super) fn count(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(KeyValue::Count(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key) {
            Some(KeyValue::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key) == Some(&KeyValue::Flag(true))
    }
}

/// # Errors
/// What is wrong with the value, without quoting it, because it may be a secret.
fn check(kind: KeyKind, value: &KeyValue) -> Result<(), String> {
    match (kind, value) {
        (KeyKind::List, KeyValue::Texts(texts)) if !texts.is_empty() => Ok(()),
        (KeyKind::Pairs, KeyValue::Texts(texts)) if !texts.is_empty() => {
            let names = texts
                .iter()
                .map(|pair| pair.split_once('=').map_or("", |(name, _)| name));
            let mut seen = BTreeSet::new();
            match names
                .into_iter()
                .all(|name| !name.is_empty() && seen.insert(name.to_lowercase()))
            {
                true => Ok(()),
                false => Err("expected texts with names, each name once".to_owned()),
            }
        }
        (KeyKind::Text | KeyKind::Path | KeyKind::Secret, KeyValue::Texts(texts)) => {
            match texts.as_slice() {
                [text] if !text.is_empty() => Ok(()),
                _ => Err("expected one text".to_owned()),
            }
        }
        (KeyKind::Regexp, KeyValue::Texts(texts)) => match texts.as_slice() {
            [pattern] => Regex::new(pattern)
                .map(drop)
                .map_err(|error| error.to_string()),
            _ => Err("expected one regular expression".to_owned()),
        },
        (KeyKind::Choice(words), KeyValue::Texts(texts)) => match texts.as_slice() {
            [word] if words.contains(&word.as_str()) => Ok(()),
            _ => Err(format!("expected one of {}", words.join(", "))),
        },
        (KeyKind::Count | KeyKind::Bytes, KeyValue::Count(1..))
        | (KeyKind::Percent, KeyValue::Count(0..=100))
        | (KeyKind::Duration, KeyValue::Duration(_))
        | (KeyKind::Flag, KeyValue::Flag(_)) => Ok(()),
        _ => Err(format!("expected {}", expected(kind))),
    }
}

const fn expected(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Text | KeyKind::Path | KeyKind::Secret | KeyKind::Choice(_) => "a text",
        KeyKind::Regexp => "a regular expression",
        KeyKind::List => "a list of texts",
        KeyKind::Pairs => "texts with names",
        KeyKind::Percent => "a whole number from 0 to 100",
        KeyKind::Count | KeyKind::Bytes => "a whole number from 1 on",
        KeyKind::Duration => "a duration",
        KeyKind::Flag => "true or false",
    }
}

/// What is in a file that a setting names.
///
/// # Errors
/// [`AgentError::Setting`] when it cannot be read.
pub(super) fn own_file(key: &'static str, path: &Path) -> Result<Vec<u8>, AgentError> {
    std::fs::read(path).map_err(|error| {
        let path = path.display();
        setting(key, format!("{path}: the file cannot be read: {error}"))
    })
}

/// A secret, said as a text or in a file that has it as its only line.
///
/// # Errors
/// [`AgentError::Setting`], which does not quote it.
pub(super) fn secret(
    own: &Values,
    key: &'static str,
    file_key: &'static str,
) -> Result<Option<String>, AgentError> {
    let text = match (own.text(key), own.path(file_key)) {
        (Some(_), Some(_)) => {
            return Err(setting(
                file_key,
                format!("`{key}` is said too: take one of them"),
            ));
        }
        (Some(text), None) => return Ok(Some(text.to_owned())),
        (None, Some(path)) => own_file(file_key, path)?,
        (None, None) => return Ok(None),
    };
    let text = String::from_utf8(text).unwrap_or_default();
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains(['\r', '\n', '\0']) {
        return Err(setting(
            file_key,
            "the file must have one line of text, the secret",
        ));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let words = KeyKind::Choice(&["a", "b"]);
        let texts = |texts: &[&str]| KeyValue::Texts(texts.iter().map(|&t| t.into()).collect());
        for (kind, value, fits) in [
            (KeyKind::Text, "x".into(), true),
            (KeyKind::Text, "".into(), false),
            (KeyKind::Text, 1.into(), false),
            (KeyKind::List, texts(&["x", "y"]), true),
            (KeyKind::List, texts(&[]), false),
            (KeyKind::Path, texts(&["x", "y"]), false),
            (KeyKind::Regexp, "(".into(), false),
            (KeyKind::Regexp, "(a)".into(), true),
            (words, "b".into(), true),
            (words, "c".into(), false),
            (KeyKind::Count, 1.into(), true),
            (KeyKind::Count, 0.into(), false),
            (KeyKind::Percent, 0.into(), true),
            (KeyKind::Percent, 101.into(), false),
            (KeyKind::Pairs, texts(&["a=b", "c="]), true),
            (KeyKind::Pairs, texts(&["=b"]), false),
            (KeyKind::Pairs, "a".into(), false),
            (KeyKind::Bytes, 0.into(), false),
            (KeyKind::Flag, true.into(), true),
            (KeyKind::Duration, KeyValue::Duration(Duration::ZERO), true),
            (KeyKind::Duration, true.into(), false),
        ] {
            assert_eq!(check(kind, &value).is_ok(), fits, "{kind:?}");
        }
    }

    #[test]
    fn the_last_value_counts() {
        let mut values = Values::default();
        for path in ["a", "b"] {
            values.set(&CA_FILE, path.into()).expect("a path");
        }
        assert_eq!(values.path("ca_file"), Some(Path::new("b")));
        assert_eq!(values.count("ca_file"), None);
        assert!(values.set(&CA_FILE, 1.into()).is_err());
    }
}
