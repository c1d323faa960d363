//! The tables of the file that may be there many times, and their keys.

use super::table::{AGENTS, For};
use super::value::Type;
use tidegauge_agent::listeners::exec::OutputFormat;
use tidegauge_agent::probes::{AddressFamily, KeyKind, PROBES};

/// One key of a [`TableSetting`].
#[derive(Clone, Copy)]
pub(crate) struct TableKey {
    pub(crate) key: &'static str,
    pub(crate) kind: Type,
    pub(crate) help: &'static str,
}

/// Tables of the file that may be there many times, as `[[agent.checks]]`.
pub(crate) struct TableSetting {
    /// Section and key.
    pub(crate) key: &'static str,
    /// What one of them is.
    pub(crate) what: &'static str,
    /// The keys that each needs.
    pub(crate) required: &'static [&'static str],
    /// The commands that take them.
    pub(crate) commands: &'static [For],
    pub(crate) keys: fn() -> Vec<TableKey>,
}

/// All of them, in the order of the reference.
pub(crate) const TABLES: &[TableSetting] = &[
    TableSetting {
        key: "agent.checks",
        what: "a check",
        required: &["url"],
        commands: AGENTS,
        keys: check_keys,
    },
    TableSetting {
        key: "prometheus.targets",
        what: "a target",
        required: &["url"],
        commands: AGENTS,
        keys: || TARGET_KEYS.to_vec(),
    },
    TableSetting {
        key: "exec.programs",
        what: "a program",
        required: &["name", "command"],
        commands: AGENTS,
        keys: || PROGRAM_KEYS.to_vec(),
    },
    TableSetting {
        key: "heartbeat.jobs",
        what: "a job",
        required: &["name", "period"],
        commands: AGENTS,
        keys: || JOB_KEYS.to_vec(),
    },
];

/// The keys of `[[heartbeat.jobs]]`.
#[rustfmt::skip]
const JOB_KEYS: &[TableKey] = &[
    table_key("name", Type::Text, "Its name, the last part of the path and the tag `target`."),
    table_key("period", Type::Duration, "The longest time between two calls."),
    table_key("grace", Type::Duration, "How much later than that a call may come; by default not at all."),
    table_key("labels", Type::Pairs, "Tags of its points."),
];

const fn table_key(key: &'static str, kind: Type, help: &'static str) -> TableKey {
    TableKey { key, kind, help }
}

/// The keys of `[[prometheus.targets]]`.
#[rustfmt::skip]
const TARGET_KEYS: &[TableKey] = &[
    table_key("url", Type::Text, "The page, as http://127.0.0.1:9100/metrics."),
    table_key("name", Type::Text, "Its name, the tag `target`; by default the URL."),
    table_key("interval", Type::Duration, "Time between two fetches; by default `prometheus.interval`."),
    table_key("deadline", Type::Duration, "The longest that a fetch may take; by default its interval, but at most 10s."),
    table_key("ca_file", Type::Path, "A PEM file with the certificates to trust instead of the platform's."),
    table_key("token_file", Type::Path, "A file with the token to send (`Authorization: Bearer`)."),
    table_key("user", Type::Text, "The user to send, with `password_file`."),
    table_key("password_file", Type::Path, "A file with the user's password."),
    table_key("max_bytes", Type::Bytes, "The largest page that is taken; by default `listeners.message_bytes`."),
    table_key("labels", Type::Pairs, "Tags of all its points, beside `target`."),
    table_key("prefix", Type::Text, "A name that is put before all its measurements, with `_` between them."),
];

/// The keys of `[[exec.programs]]`.
#[rustfmt::skip]
const PROGRAM_KEYS: &[TableKey] = &[
    table_key("name", Type::Text, "Its name, the tag `program`."),
    table_key("command", Type::List, "The program and its arguments, each as it is: there is no shell."),
    table_key("format", Type::Choice(OutputFormat::WORDS), "What it prints; by default influx."),
    table_key("interval", Type::Duration, "Time between two runs; by default `exec.interval`."),
    table_key("deadline", Type::Duration, "How long it may run, then it is killed with all that it started; by default 0.8 of its interval."),
    table_key("environment", Type::Pairs, "Its environment, beside PATH."),
    table_key("folder", Type::Path, "Its working folder; by default the agent's."),
    table_key("prefix", Type::Text, "A name that is put before all its measurements, with `_` between them."),
];

/// The keys of `[[agent.checks]]` that all probes have.
#[rustfmt::skip]
const COMMON_CHECK_KEYS: &[TableKey] = &[
    table_key("url", Type::Text, "What is checked."),
    table_key("name", Type::Text, "Its name, the tag `target`; by default the URL."),
    table_key("interval", Type::Duration, "Time between two checks."),
    table_key("deadline", Type::Duration, "The longest that one check may take."),
    table_key("labels", Type::Pairs, "Labels of the target, tags of its points."),
    table_key("attempts", Type::Count, "How often a check that fails is tried at once; by default 1."),
    table_key("confirm_after", Type::Count, "After how many failures in a row the target is down; by default 1."),
    table_key("recover_after", Type::Count, "After how many successes in a row it is up again; by default 1."),
    table_key("address_family", Type::Choice(AddressFamily::WORDS), "Which addresses of a name are used: all, those of one family first, or those alone; by default any, which tries IPv4 first."),
    table_key("source_address", Type::Text, "The address of this host to check from."),
];

/// The keys of `[[agent.checks]]`: those of all probes, then those that some have.
fn check_keys() -> Vec<TableKey> {
    let mut keys = COMMON_CHECK_KEYS.to_vec();
    for own in PROBES.iter().flat_map(|probe| probe.keys) {
        let kind = match own.kind {
            KeyKind::Text | KeyKind::Regexp => Type::Text,
            KeyKind::Secret => Type::Secret,
            KeyKind::Pairs => Type::Pairs,
            KeyKind::Percent => Type::Percent,
            KeyKind::Path => Type::Path,
            KeyKind::List => Type::List,
            KeyKind::Count => Type::Count,
            KeyKind::Bytes => Type::Bytes,
            KeyKind::Duration => Type::Duration,
            KeyKind::Flag => Type::Flag,
            KeyKind::Choice(words) => Type::Choice(words),
        };
        if keys.iter().all(|known| known.key != own.key) {
            keys.push(table_key(own.key, kind, own.help));
        }
    }
    keys
}
