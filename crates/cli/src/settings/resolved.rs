//! The effective values, by key.

use super::file::{self, FileTable, FileValues};
use super::tables::{TABLES, TableSetting};
use super::value::{self, Type};
use super::{For, Place, SETTINGS, Setting, UsageError};
use clap::{Arg, ArgAction, ArgMatches};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The effective settings of one command.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    of: For,
    flags: ArgMatches,
    config: Option<PathBuf>,
    values: HashMap<&'static str, (Vec<String>, Place)>,
    /// Thousands of targets, perhaps: clones share them.
    tables: Arc<HashMap<&'static str, Vec<FileTable>>>,
    problems: Vec<String>,
}

/// Adds the settings' flags that a command takes.
pub(crate) fn with_flags(mut command: clap::Command, of: For) -> clap::Command {
    for setting in SETTINGS.iter().filter(|setting| setting.is_for(of)) {
        let Some(flag) = setting.flag else { continue };
        let mut help = setting.help.trim_end_matches('.').to_owned();
        if let Some(default) = setting.default {
            help = format!("{help} [default: {default}]");
        }
        help = format!("{help} [env: {}]", setting.variable());
        // Global: it may stand before or behind a subcommand.
        let arg = Arg::new(setting.key).long(flag).help(help).global(true);
        command = command.arg(match setting.kind {
            Type::Flag => arg.action(ArgAction::SetTrue),
            kind if kind.is_many() => arg.action(ArgAction::Append).value_name(kind.placeholder()),
            kind => arg.action(ArgAction::Set).value_name(kind.placeholder()),
        });
    }
    command
}

impl Settings {
    /// Resolves the settings of a command: flag, environment, file, default.
    ///
    /// # Errors
    /// All problems together.
    pub(crate) fn resolve(
        of: For,
        flags: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
        config: Option<&Path>,
    ) -> Result<Self, UsageError> {
        let settings = Self::with_problems(of, flags, environment, config);
        match settings.problems.is_empty() {
            true => Ok(settings),
            false => Err(UsageError(settings.problems)),
        }
    }

    /// The same for `config`: those that are sound, and the problems of the others.
    pub(crate) fn with_problems(
        of: For,
        flags: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
        config: Option<&Path>,
    ) -> Self {
        let mut problems = Vec::new();
        let file = config.map_or_else(FileValues::default, |path| file::read(path, &mut problems));
        let mut values = HashMap::new();
        for setting in SETTINGS {
            let taken = setting.is_for(of);
            let found = (taken.then(|| from_flag(setting, flags)).flatten())
                .or_else(|| from_variable(setting, environment, &mut problems))
                .or_else(|| file.values.get(setting.key).cloned())
                .or_else(|| {
                    setting
                        .default
                        .map(|text| (vec![text.to_owned()], Place::Default))
                });
            let Some((texts, place)) = found else {
                continue;
            };
            match file::checked(split(setting.kind, &texts), setting.kind) {
                Ok(texts) => {
                    values.insert(setting.key, (texts, place));
                }
                Err(problem) => problems.push(format!("{place}: {}: {problem}", setting.key)),
            }
        }
        Self {
            of,
            flags: flags.clone(),
            config: config.map(Path::to_owned),
            values,
            tables: Arc::new(file.tables),
            problems,
        }
    }

    /// What is wrong with them; nothing unless they are those of `config`.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The settings as they are now: the file is read again, flags and environment are as they were.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub(crate) fn reread(&self) -> Result<Self, UsageError> {
        let variable = |name: &str| std::env::var(name).ok();
        Self::resolve(self.of, &self.flags, &variable, self.config.as_deref())
    }

    /// The keys of this command whose values are others in `other`, wherever they are said.
    pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
        let of_command = |setting: &&Setting| setting.is_for(self.of);
        let keys = SETTINGS
            .iter()
            .filter(of_command)
            .map(|setting| setting.key);
        let mut found: Vec<_> = keys
            .filter(|key| self.list(key) != other.list(key))
            .collect();
        let of_command = |table: &&TableSetting| table.commands.contains(&self.of);
        let keys = TABLES.iter().filter(of_command).map(|table| table.key);
        found.extend(keys.filter(|key| {
            let (before, after) = (self.tables(key), other.tables(key));
            let same = |(one, other): (&FileTable, &FileTable)| one.says_the_same(other);
            before.len() != after.len() || !before.iter().zip(after).all(same)
        }));
        found
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// Names the setting in all its forms.
    pub(crate) fn required(&self, key: &str) -> Result<&str, UsageError> {
        self.text(key).ok_or_else(|| {
            let setting = super::table::setting(key).expect("keys are written in the table");
            let flag = setting
                .flag
                .map_or_else(String::new, |flag| format!("--{flag}, "));
            UsageError::one(format!(
                "`{key}` is missing: say {flag}{} or `{key}` in the configuration file",
                setting.variable()
            ))
        })
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.values
            .get(key)
            .and_then(|(texts, _)| texts.first())
            .map(String::as_str)
    }

    /// A list, or the parts of pairs.
    pub(crate) fn list(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], |(texts, _)| texts)
    }

    /// The tables `[[key]]` of the file.
    pub(crate) fn tables(&self, key: &str) -> &[FileTable] {
        self.tables.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether anything of a section is said, by other than a default.
    pub(crate) fn is_said(&self, section: &str) -> bool {
        let beginning = format!("{section}.");
        let mut said = self.values.iter();
        said.any(|(key, (_, place))| key.starts_with(&beginning) && *place != Place::Default)
    }

    /// Where a value came from.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.values
            .get(key)
            .map_or(Place::Default, |(_, place)| place.clone())
    }

    /// A path.
    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// A number.
    pub(crate) fn count(&self, key: &str) -> Option<u64> {
        self.text(key).and_then(|text| value::count(text).ok())
    }

    /// A size in bytes.
    pub(crate) fn bytes(&self, key: &str) -> Option<u64> {
        self.text(key).and_then(|text| value::bytes(text).ok())
    }

    /// A duration.
    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        self.text(key).and_then(|text| value::duration(text).ok())
    }

    /// A truth value; absent is false.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.text(key)
            .is_some_and(|text| value::flag(text) == Ok(true))
    }

    /// An address to listen on.
    pub(crate) fn address(&self, key: &str) -> Option<SocketAddr> {
        self.text(key).and_then(|text| value::address(text).ok())
    }
}

/// The settings that have a value, in the order of the reference, and where each comes from.
pub(crate) fn in_effect(settings: &Settings) -> impl Iterator<Item = (&'static Setting, &Place)> {
    SETTINGS.iter().filter_map(|setting| {
        let (_, place) = settings.values.get(setting.key)?;
        Some((setting, place))
    })
}

fn from_flag(setting: &Setting, flags: &ArgMatches) -> Option<(Vec<String>, Place)> {
    let place = Place::Flag(setting.flag?);
    if setting.kind == Type::Flag {
        return flags
            .get_flag(setting.key)
            .then(|| (vec!["true".to_owned()], place));
    }
    let texts: Vec<String> = flags.get_many::<String>(setting.key)?.cloned().collect();
    Some((texts, place))
}

fn from_variable(
    setting: &Setting,
    environment: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> Option<(Vec<String>, Place)> {
    let variable = setting.variable();
    let text = environment(&variable)?;
    if text.is_empty() {
        problems.push(format!(
            "{variable}: it is set, but empty; unset it to use the default"
        ));
        return None;
    }
    Some((vec![text], Place::Variable(variable)))
}

fn split(kind: Type, texts: &[String]) -> Vec<String> {
    if !kind.is_many() {
        return texts.to_vec();
    }
    let between = |c: char| {
        if kind == Type::Urls {
            c.is_whitespace()
        } else {
            c == ','
        }
    };
    let parts = texts.iter().flat_map(|text| text.split(between));
    parts
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        flags: &[&str],
        variables: &[(&str, &str)],
        file: &str,
    ) -> Result<Settings, UsageError> {
        let command = with_flags(clap::Command::new("agent"), For::Agent);
        let flags = command.get_matches_from(std::iter::once("agent").chain(flags.iter().copied()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        std::fs::write(&path, file).unwrap();
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, text)| (*text).to_owned())
        };
        Settings::resolve(For::Agent, &flags, &variable, Some(&path))
    }

    #[test]
    fn flag_then_environment_then_file_then_default() {
        let file = "[kafka]\ntopic = \"file\"\n[agent]\ninterval = \"3s\"\n";
        let all = resolve(
            &["--topic", "flag"],
            &[("TIDEGAUGE_KAFKA_TOPIC", "variable")],
            file,
        )
        .unwrap();
        assert_eq!(
            (all.text("kafka.topic"), all.place("kafka.topic")),
            (Some("flag"), Place::Flag("topic"))
        );
        let two = resolve(&[], &[("TIDEGAUGE_KAFKA_TOPIC", "variable")], file).unwrap();
        assert_eq!(two.text("kafka.topic"), Some("variable"));
        assert_eq!(two.duration("agent.interval"), Some(Duration::from_secs(3)));
        assert_eq!(
            resolve(&[], &[], "").unwrap().text("kafka.topic"),
            Some("tidegauge")
        );
    }

    #[test]
    fn brokers_are_a_list_in_every_form() {
        for settings in [
            resolve(&["--brokers", "a:1,b:2"], &[], ""),
            resolve(&["--brokers", "a:1", "--brokers", "b:2"], &[], ""),
            resolve(&[], &[("TIDEGAUGE_KAFKA_BROKERS", "a:1, b:2")], ""),
            resolve(&[], &[], "[kafka]\nbrokers = [\"a:1\", \"b:2\"]\n"),
            resolve(&[], &[], "[kafka]\nbrokers = \"a:1,b:2\"\n"),
        ] {
            assert_eq!(settings.unwrap().list("kafka.brokers"), ["a:1", "b:2"]);
        }
    }

    #[test]
    fn differences_are_those_of_values_not_of_places() {
        let file = "[kafka]\ntopic = \"a\"\n[agent]\ninterval = \"3s\"\n[sink]\ngroup = \"x\"\n\
                    [[agent.checks]]\nurl = \"http://a/\"\n";
        let first = resolve(&["--topic", "flag"], &[], file).unwrap();
        let moved = format!(
            "# a comment\n\n{}",
            file.replace("\"a\"", "\"b\"").replace("\"x\"", "\"y\"")
        );
        let same = resolve(&["--topic", "flag"], &[], &moved).unwrap();
        assert_eq!(
            first.differences(&same),
            [""; 0],
            "the flag goes first, and the sink's are not the agent's"
        );
        let other = file.replace("3s", "4s").replace("//a/", "//b/");
        let other = resolve(&["--topic", "flag"], &[], &other).unwrap();
        assert_eq!(
            first.differences(&other),
            ["agent.interval", "agent.checks"]
        );
        let fewer = resolve(&["--topic", "flag"], &[], "[agent]\ninterval = \"3s\"\n").unwrap();
        assert_eq!(first.differences(&fewer), ["agent.checks"]);
    }

    #[test]
    fn problems_name_their_place_and_come_together() {
        let error = resolve(
            &["--interval", "0s"],
            &[("TIDEGAUGE_AGENT_SPOOL_AGE", "x")],
            "[agent]\nx = 1\n",
        )
        .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("--interval: agent.interval: `0s`: expected a duration above 0"),
            "{text}"
        );
        assert!(
            text.contains("TIDEGAUGE_AGENT_SPOOL_AGE: agent.spool_age: `x`"),
            "{text}"
        );
        assert!(text.contains("t.toml:2: unknown key `agent.x`"), "{text}");
        let missing = resolve(&[], &[], "").unwrap();
        let text = missing.required("kafka.brokers").unwrap_err().to_string();
        assert!(
            text.contains("--brokers") && text.contains("TIDEGAUGE_KAFKA_BROKERS"),
            "{text}"
        );
    }
}
