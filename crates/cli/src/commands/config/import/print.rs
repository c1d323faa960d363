//! What is printed: TOML with a comment for each thing that was left out. Each check is read back first, as
//! the program reads it.

use super::module::{Module, Probe};
use super::part::Note;
use super::targets::Wanted;
use super::{Imported, one_line};
use crate::commands::config::show::toml_value;
use crate::commands::host;
use crate::settings::{Settings, UsageError, targets};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use tidegauge_agent::probes::{Check, ProbeContext};

/// What the text is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The configuration file.
    Config,
    /// A file of targets.
    Targets,
}

impl Form {
    const fn header(self) -> &'static str {
        match self {
            Self::Config => "[[agent.checks]]",
            Self::Targets => "[[checks]]",
        }
    }
}

pub(super) struct Printer<'a> {
    settings: &'a Settings,
    context: ProbeContext,
    form: Form,
    text: String,
    notes: Vec<String>,
    /// The module that a name is checked with.
    names: HashMap<String, String>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(settings: &'a Settings, form: Form) -> Self {
        Self {
            settings,
            context: ProbeContext::new(),
            form,
            text: String::new(),
            notes: Vec::new(),
            names: HashMap::new(),
        }
    }

    pub(super) fn begin(&mut self, file: &Path, targets: Option<&Path>) {
        let files = match targets {
            None => file.display().to_string(),
            Some(targets) => format!(
                "{} with the targets of {}",
                file.display(),
                targets.display()
            ),
        };
        let (tool, form) = ("tidegauge config import blackbox", self.form.header());
        self.comment(&format!("{form} of {files}, by `{tool}`."));
        if targets.is_none() {
            self.comment("Templates: take out the # of what you need, and give each its url. With --targets they are checks.");
        }
    }

    pub(super) fn end(self) -> Imported {
        Imported {
            text: self.text,
            notes: self.notes,
        }
    }

    fn comment(&mut self, text: &str) {
        // Writing to a text does not fail.
        writeln!(self.text, "# {}", one_line(text)).ok();
    }

    /// Tells what was left out, on stderr and as a comment.
    pub(super) fn note(&mut self, note: &Note) {
        self.tell(note, None);
    }

    fn tell(&mut self, note: &Note, module: Option<&str>) {
        let Note {
            file,
            line,
            key,
            text,
        } = note;
        let of = module.map_or_else(String::new, |name| format!("module {name}: "));
        let key = match key.is_empty() {
            true => String::new(),
            false => format!("{key}: "),
        };
        self.notes
            .push(one_line(&format!("{file}:{line}: {of}{key}{text}")));
        self.comment(&format!("{key}{text} ({file}:{line})"));
    }

    fn module(&mut self, module: &Module) {
        self.text.push('\n');
        let (name, file, line) = (&module.name, &module.file, module.line);
        self.comment(&format!("Module {name}, {file}:{line}."));
        for note in &module.notes {
            self.tell(note, Some(name));
        }
    }

    /// A module without targets.
    pub(super) fn template(&mut self, module: &Module) {
        self.module(module);
        if let Some(url) = module.example() {
            let text = self.check(module, &url, None, &[]);
            if let Err(problem) = self.accepted(&text) {
                self.refused(module, &problem);
            }
            self.commented(&text);
        }
    }

    /// The checks of a module.
    pub(super) fn checks(&mut self, module: &Module, wanted: &[&Wanted]) {
        self.module(module);
        if let Probe::Other(_) = module.probe {
            for one in wanted {
                self.comment(&format!("Not checked: the target at {}", one.place));
            }
            return;
        }
        for one in wanted {
            let left_out = |problem: String| Note {
                file: one
                    .place
                    .rsplit_once(':')
                    .map_or("", |(file, _)| file)
                    .into(),
                line: one
                    .place
                    .rsplit_once(':')
                    .and_then(|(_, line)| line.parse().ok())
                    .unwrap_or(1),
                key: String::new(),
                text: problem,
            };
            let url = match module.url(&one.target) {
                Ok(url) => url,
                Err(problem) => {
                    self.tell(
                        &left_out(format!("left out: {problem}")),
                        Some(&module.name),
                    );
                    continue;
                }
            };
            let name = match self.names.get(&url) {
                None => {
                    self.names.insert(url.clone(), module.name.clone());
                    None
                }
                Some(other) if *other != module.name => {
                    Some(format!("{} {}", without_user(&url), module.name))
                }
                Some(_) => {
                    self.tell(
                        &left_out("left out: this target is there already".to_owned()),
                        Some(&module.name),
                    );
                    continue;
                }
            };
            let text = self.check(module, &url, name.as_deref(), &one.labels);
            match self.accepted(&text) {
                Ok(()) => write!(self.text, "\n{text}").unwrap_or_default(),
                Err(problem) => {
                    self.tell(
                        &left_out(format!("printed as a comment: {problem}")),
                        Some(&module.name),
                    );
                    self.commented(&text);
                }
            }
        }
    }

    fn refused(&mut self, module: &Module, problem: &str) {
        let note = Note {
            file: module.file.clone(),
            line: module.line,
            key: String::new(),
            text: format!("to be changed before it is used: {problem}"),
        };
        self.tell(&note, Some(&module.name));
    }

    fn commented(&mut self, text: &str) {
        self.text.push('\n');
        for line in text.lines() {
            self.comment(line);
        }
    }

    /// The table of a check.
    fn check(
        &self,
        module: &Module,
        url: &str,
        name: Option<&str>,
        labels: &[(String, String)],
    ) -> String {
        let mut text = format!("{}\n", self.form.header());
        let mut line = |key: &str, value: &Value| {
            // Writing to a text does not fail.
            writeln!(text, "{key} = {}", written(value)).ok();
        };
        line("url", &url.into());
        if let Some(name) = name {
            line("name", &name.into());
        }
        for (key, value) in module.keys.iter() {
            line(key, value);
        }
        if !labels.is_empty() {
            let pairs = labels
                .iter()
                .map(|(name, text)| (name.clone(), text.as_str().into()));
            line("labels", &Value::Object(pairs.collect()));
        }
        text
    }

    /// Whether the program takes a check; what it says if not. Files that it names may be on another host.
    fn accepted(&self, text: &str) -> Result<(), String> {
        let listed = text.replacen(self.form.header(), Form::Targets.header(), 1);
        let made = targets::parse("", &listed, Some("toml")).and_then(|tables| {
            let tables = tables.iter();
            let made = tables.map(|table| host::check_of_table(self.settings, table));
            made.collect::<Result<Vec<_>, _>>()
        });
        let plain = |UsageError(problems): UsageError| {
            let said = problems.iter().map(|problem| {
                let place = problem.trim_start_matches(':');
                place
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .trim_start_matches(": ")
                    .to_owned()
            });
            said.collect::<Vec<_>>().join("; ")
        };
        for check in made.map_err(plain)? {
            if text.contains("_file = ") {
                continue;
            }
            Check::new(check, &self.context).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// A value as TOML; JSON writes one control character as it is.
fn written(value: &Value) -> String {
    toml_value(value).replace('\u{7f}', "\\u007f")
}

/// A URL without user and password.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest[..end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[at..])
}
