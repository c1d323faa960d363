//! The settings in effect as a table, JSON or TOML, without their secrets.

use crate::settings::{FileTable, Settings, TABLES, Type, in_effect};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// What stands for a secret.
const MASK: &str = "***";

/// All settings that have a value, in the order of the reference.
pub(super) fn page(settings: &Settings, format: &str) -> anyhow::Result<String> {
    match format {
        "json" => {
            let text = serde_json::to_string_pretty(&json(settings)).context("writing JSON")?;
            Ok(text + "\n")
        }
        "toml" => Ok(toml(settings)),
        _ => Ok(table(settings)),
    }
}

fn table(settings: &Settings) -> String {
    let mut table = crate::commands::table();
    table.set_header(["setting", "value", "from"]);
    for (setting, place) in in_effect(settings) {
        let texts = shown(setting.key, setting.kind, settings.list(setting.key));
        table.add_row([setting.key, &texts.join(", "), &place.to_string()]);
    }
    for (known, tables) in TABLES
        .iter()
        .map(|known| (known, settings.tables(known.key)))
    {
        for one in tables {
            let pairs = keys_of(known.key, one)
                .map(|(key, texts, _)| format!("{key} = {}", texts.join(", ")));
            let pairs: Vec<_> = pairs.collect();
            let place = one.place("").to_string();
            table.add_row([&format!("[[{}]]", known.key), &pairs.join("\n"), &place]);
        }
    }
    format!("{table}\n")
}

fn json(settings: &Settings) -> Value {
    let mut all = Map::new();
    for (setting, place) in in_effect(settings) {
        let texts = shown(setting.key, setting.kind, settings.list(setting.key));
        let said = json!({"value": json_value(setting.kind, &texts), "from": place.to_string()});
        all.insert(setting.key.to_owned(), said);
    }
    for known in TABLES {
        let tables = settings.tables(known.key).iter().map(|one| {
            let pairs = keys_of(known.key, one)
                .map(|(key, texts, kind)| (key.to_owned(), json_value(kind, &texts)));
            json!({"value": Value::Object(pairs.collect()), "from": one.place("").to_string()})
        });
        let tables: Vec<_> = tables.collect();
        if !tables.is_empty() {
            all.insert(known.key.to_owned(), Value::Array(tables));
        }
    }
    Value::Object(all)
}

fn json_value(kind: Type, texts: &[String]) -> Value {
    let first = texts.first().map_or("", String::as_str);
    match kind {
        Type::List | Type::Urls => json!(texts),
        Type::Pairs => {
            let pairs = texts.iter().filter_map(|pair| pair.split_once('='));
            Value::Object(
                pairs
                    .map(|(name, text)| (name.to_owned(), json!(text)))
                    .collect(),
            )
        }
        Type::Count | Type::Percent => first
            .parse::<u64>()
            .map_or(json!(first), |count| json!(count)),
        Type::Flag => json!(first == "true"),
        _ => json!(first),
    }
}

/// A file that says the same, but for its secrets; JSON's texts, numbers and lists are TOML's too.
fn toml(settings: &Settings) -> String {
    let mut text = String::new();
    let mut section = "";
    for (setting, place) in in_effect(settings) {
        let (own, key) = setting.key.rsplit_once('.').unwrap_or_default();
        if own != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = own;
            writeln!(text, "{gap}[{section}]").expect("into memory");
        }
        let texts = shown(setting.key, setting.kind, settings.list(setting.key));
        let value = toml_value(&json_value(setting.kind, &texts));
        writeln!(text, "{key} = {value} # {place}").expect("into memory");
    }
    for known in TABLES {
        for one in settings.tables(known.key) {
            write!(text, "\n[[{}]] # {}\n", known.key, one.place("")).expect("into memory");
            for (key, texts, kind) in keys_of(known.key, one) {
                let value = toml_value(&json_value(kind, &texts));
                writeln!(text, "{key} = {value}").expect("into memory");
            }
        }
    }
    text
}

/// A value of JSON as TOML.
pub(super) fn toml_value(value: &Value) -> String {
    match value {
        Value::Object(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(name, text)| format!("{} = {text}", json!(name)));
            let pairs: Vec<_> = pairs.collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn keys_of<'a>(
    table: &'a str,
    one: &'a FileTable,
) -> impl Iterator<Item = (&'static str, Vec<String>, Type)> + 'a {
    let known = TABLES.iter().find(|known| known.key == table);
    let keys = known.map(|known| (known.keys)()).unwrap_or_default();
    let said = keys.into_iter().filter(|key| !one.list(key.key).is_empty());
    said.map(move |key| {
        let full = format!("{table}.{}", key.key);
        (key.key, shown(&full, key.kind, one.list(key.key)), key.kind)
    })
}

/// The texts of a setting without what is secret in them: secrets as a whole, the user and password
/// of URLs, and the texts of pairs that may be passwords.
fn shown(key: &str, kind: Type, texts: &[String]) -> Vec<String> {
    let masked = |text: &String| match kind {
        Type::Secret => MASK.to_owned(),
        Type::Pairs => match text.split_once('=') {
            Some((name, _)) if is_secret(key, name) => format!("{name}={MASK}"),
            _ => text.clone(),
        },
        _ => without_user(text),
    };
    texts.iter().map(masked).collect()
}

/// Whether the text of a pair may be a password.
fn is_secret(key: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    let telling = [
        "password",
        "secret",
        "token",
        "jaas",
        "pem",
        "authorization",
        "cookie",
        "key",
    ];
    // What a program finds in its environment is not ours to tell.
    // Nor what a check sends.
    matches!(key, "exec.programs.environment" | "agent.checks.headers")
        || telling.iter().any(|part| name.contains(part))
}

/// A text whose URL, if it is one, has `***` in place of user and password.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let one = |key: &str, kind, text: &str| shown(key, kind, &[text.to_owned()]).remove(0);
        for (key, kind, text, expected) in [
            ("store.url", Type::Secret, "postgres://u:p@h/d", "***"),
            (
                "agent.check",
                Type::Urls,
                "http://u:p@ss@h/x?y#z",
                "http://***@h/x?y#z",
            ),
            ("agent.check", Type::Urls, "http://h/a@b", "http://h/a@b"),
            (
                "agent.checks.url",
                Type::Text,
                "tcp://u:p@h:1",
                "tcp://***@h:1",
            ),
            (
                "kafka.properties",
                Type::Pairs,
                "ssl.key.password=x",
                "ssl.key.password=***",
            ),
            (
                "kafka.properties",
                Type::Pairs,
                "fetch.min.bytes=1",
                "fetch.min.bytes=1",
            ),
            (
                "exec.programs.environment",
                Type::Pairs,
                "HOME=/x",
                "HOME=***",
            ),
            ("agent.host", Type::Text, "web-1", "web-1"),
        ] {
            assert_eq!(one(key, kind, text), expected);
        }
    }
}
