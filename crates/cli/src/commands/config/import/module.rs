//! The modules of a blackbox_exporter's file, each as what its checks have in common.

use super::part::{Note, Part};
use super::{http, others};
use crate::settings::UsageError;
use crate::settings::targets::{Node, NodeValue, read_node};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::probes::CheckSettings;

/// A module.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) file: Arc<str>,
    pub(super) line: usize,
    pub(super) probe: Probe,
    /// The settings of its checks, beside `url`.
    pub(super) keys: Keys,
    pub(super) notes: Vec<Note>,
    timeout: Option<Duration>,
}

/// What a module checks by, and how a target becomes a URL.
#[derive(Debug, PartialEq)]
pub(super) enum Probe {
    Http,
    Tcp,
    Icmp,
    /// What is asked for: path and query of the URL.
    Dns(String),
    /// The scheme, and the service.
    Grpc(&'static str, String),
    /// One that this program does not have.
    Other(String),
}

/// Settings by key, in the order in which they are printed.
#[derive(Default)]
pub(super) struct Keys(Vec<(&'static str, Value)>);

impl Keys {
    /// Sets a key, in place of what it had.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
    }

    /// Sets one name of a key that has pairs.
    pub(super) fn set_pair(&mut self, key: &'static str, name: &str, text: &str) {
        if !self.has(key) {
            self.set(key, serde_json::Map::new());
        }
        let found = self.0.iter_mut().find(|(known, _)| *known == key);
        if let Some((_, Value::Object(pairs))) = found {
            pairs.insert(name.to_owned(), text.into());
        }
    }

    /// The text of one name of a key that has pairs; names of headers have no case.
    pub(super) fn pair(&self, key: &str, name: &str) -> Option<&str> {
        let (_, pairs) = self.0.iter().find(|(known, _)| *known == key)?;
        let mut pairs = pairs.as_object()?.iter();
        let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.and_then(|(_, text)| text.as_str())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(&'static str, Value)> {
        self.0.iter()
    }
}

/// What a module has that says nothing beside its prober.
static NOTHING: BTreeMap<String, Node> = BTreeMap::new();

/// Reads a file of modules.
///
/// # Errors
/// When it cannot be read, or is no such file.
pub(super) fn read(path: &Path) -> Result<Vec<Module>, UsageError> {
    let file: Arc<str> = path.display().to_string().into();
    let refused = |line: usize, problem: &str| UsageError::one(format!("{file}:{line}: {problem}"));
    let root = read_node(path, "the file of modules")?;
    let NodeValue::Object(top) = &root.value else {
        return Err(refused(
            root.line,
            "expected `modules`, with a name for each",
        ));
    };
    if let Some((key, node)) = top.iter().find(|(key, _)| *key != "modules") {
        let problem = format!("unknown key `{key}`: a file of modules has `modules` alone");
        return Err(refused(node.line, &problem));
    }
    let modules = match top.get("modules") {
        Some(Node {
            value: NodeValue::Object(modules),
            ..
        }) if !modules.is_empty() => modules,
        _ => return Err(refused(root.line, "expected modules, with a name for each")),
    };
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for (name, node) in modules {
        match &node.value {
            NodeValue::Object(object) => {
                let part = Part::new(&file, "", node.line, object);
                match module(name, &file, part) {
                    Ok(module) => found.push(module),
                    Err(UsageError(more)) => problems.extend(more),
                }
            }
            _ => problems.push(format!(
                "{file}:{}: module {name}: expected `prober`",
                node.line
            )),
        }
    }
    found.sort_by_key(|module| module.line);
    match problems.is_empty() {
        true => Ok(found),
        false => Err(UsageError(problems)),
    }
}

fn module(name: &str, file: &Arc<str>, mut part: Part<'_>) -> Result<Module, UsageError> {
    const PROBERS: [&str; 7] = ["http", "tcp", "dns", "icmp", "grpc", "unix", "websocket"];
    let line = part.line;
    let Some(prober) = part.text("prober").filter(|word| PROBERS.contains(word)) else {
        let problem = format!("expected a `prober`, one of {}", PROBERS.join(", "));
        return Err(UsageError::one(format!(
            "{file}:{line}: module {name}: {problem}"
        )));
    };
    let timeout = part.text("timeout").map(duration);
    if timeout == Some(None) {
        part.note("timeout", "left out: a duration was expected, as 5s");
    }
    let mut keys = Keys::default();
    let mut probe = None;
    for known in PROBERS {
        if known != prober {
            let why = format!("left out: the prober is {prober}");
            part.without_counterpart(known, "", &why);
            continue;
        }
        let own = part.part(known);
        let mut own = own.unwrap_or_else(|| Part::new(file, &format!("{known}."), line, &NOTHING));
        probe = Some(match known {
            "http" => http::read(&mut own, &mut keys),
            "tcp" => others::tcp(&mut own, &mut keys),
            "dns" => others::dns(&mut own, &mut keys),
            "icmp" => others::icmp(&mut own, &mut keys),
            "grpc" => others::grpc(&mut own, &mut keys),
            _ => Probe::Other(known.to_owned()),
        });
        match probe {
            // All of it has no counterpart, which is said once.
            Some(Probe::Other(_)) => part.note("prober", "left out: there is no such check here"),
            _ => part.take_back(own),
        }
    }
    Ok(Module {
        name: name.to_owned(),
        file: Arc::clone(file),
        line,
        probe: probe.expect("the prober is one of them"),
        keys,
        notes: part.into_notes(),
        timeout: timeout.flatten(),
    })
}

impl Module {
    /// Sets interval and deadline: a deadline is never longer than the interval.
    pub(super) fn set_interval(&mut self, said: Option<Duration>) {
        let interval = said.unwrap_or(CheckSettings::DEFAULT_INTERVAL);
        let mut note = |text: String| {
            self.notes.push(Note {
                file: Arc::clone(&self.file),
                line: self.line,
                key: "timeout".to_owned(),
                text,
            });
        };
        let told = match (said, self.timeout) {
            (Some(_), Some(timeout)) if timeout > interval => {
                note("taken as long as the interval: it is longer".to_owned());
                (said, Some(interval))
            }
            (None, Some(timeout)) if timeout > interval => {
                note("it is longer than the usual interval, so it is the interval too".to_owned());
                (Some(timeout), Some(timeout))
            }
            (_, timeout) => (said, timeout),
        };
        for (key, value) in [("interval", told.0), ("deadline", told.1)] {
            if let Some(value) = value {
                self.keys.set(key, duration_text(value));
            }
        }
    }

    /// The URL of a target, as the exporter takes it.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub(super) fn url(&self, target: &str) -> Result<String, String> {
        let bare = match target.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => target.to_owned(),
        };
        let with_scheme = |scheme: &str| match bare.split_once("://") {
            None => Ok(format!("{scheme}://{bare}")),
            Some((known, _)) if known.eq_ignore_ascii_case(scheme) => Ok(bare.clone()),
            Some(_) => Err(format!("it is no target of {}", self.probe_name())),
        };
        match &self.probe {
            Probe::Http => Ok(match bare.contains("://") {
                true => bare,
                false => format!("http://{bare}"),
            }),
            Probe::Tcp => with_scheme("tcp"),
            Probe::Icmp => with_scheme("icmp"),
            Probe::Dns(question) => {
                Ok(with_scheme("dns")?.trim_end_matches('/').to_owned() + question)
            }
            Probe::Grpc(scheme, service) => Ok(format!(
                "{}/{service}",
                with_scheme(scheme)?.trim_end_matches('/')
            )),
            Probe::Other(name) => Err(format!("there is no check for {name}")),
        }
    }

    /// A URL for a template.
    pub(super) fn example(&self) -> Option<String> {
        let host = match &self.probe {
            Probe::Http => "https://example.org/",
            Probe::Tcp | Probe::Grpc(..) => "example.org:443",
            Probe::Icmp => "example.org",
            Probe::Dns(_) => "192.0.2.53",
            Probe::Other(_) => return None,
        };
        self.url(host).ok()
    }

    fn probe_name(&self) -> &str {
        match &self.probe {
            Probe::Http => "http",
            Probe::Tcp => "tcp",
            Probe::Icmp => "icmp",
            Probe::Dns(_) => "dns",
            Probe::Grpc(..) => "grpc",
            Probe::Other(name) => name,
        }
    }
}

/// A duration as Go writes it: `1m30s`, `500ms`, `1.5s`; above 0.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, tail) = rest.split_at(number);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        seconds += digits.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (0.001..1e9)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// In whole seconds where it is that, else in milliseconds.
fn duration_text(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("5s", Some("5s")),
            ("1m30s", Some("90s")),
            ("1.5s", Some("1500ms")),
            ("500ms", Some("500ms")),
            ("2h", Some("7200s")),
            ("0s", None),
            ("5", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("5x", None),
        ] {
            let found = duration(text).map(duration_text);
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }
}
