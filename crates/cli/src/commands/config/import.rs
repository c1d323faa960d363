//! `tidegauge config import blackbox`: checks from the modules of a blackbox_exporter and the targets that
//! Prometheus has for them, as TOML for the configuration file or for a file of targets.
//!
//! What has no counterpart is left out and told, on stderr and as a comment in what is printed. Each check
//! is read back as the program reads it; one that it would refuse is printed as a comment.

mod http;
mod module;
mod others;
mod part;
mod print;
mod targets;

use crate::settings::{Place, Settings, UsageError};
use clap::{Arg, ArgAction, ArgMatches, Command};
use module::Module;
use print::{Form, Printer};
use std::path::{Path, PathBuf};
use std::time::Duration;
use targets::Wanted;

pub(super) fn shape(command: Command) -> Command {
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .help("The file of modules, as blackbox.yml");
    let module = Arg::new("module")
        .long("module")
        .value_name("NAME")
        .action(ArgAction::Append)
        .help("The module to check the targets with, where their label `__param_module` or `module` does not say it; may be repeated");
    let format = Arg::new("format")
        .long("format")
        .value_name("WORD")
        .value_parser(["config", "targets"])
        .default_value("config")
        .help("Whether it is for the configuration file, as [[agent.checks]], or for a file of targets, as [[checks]]");
    let blackbox = Command::new("blackbox")
        .about("Print checks as a blackbox_exporter makes them, of the targets in --targets (Prometheus' file_sd as JSON or YAML, or a URL or host a line); without it a commented template of each module")
        .args([file, module, format]);
    command
        .about("Print the checks of another program as those of this one; what cannot be taken over is said on stderr and as a comment")
        .subcommand_required(true)
        .subcommand(blackbox)
}

/// What is printed on stdout, and what was left out, for stderr.
pub(super) struct Imported {
    pub(super) text: String,
    pub(super) notes: Vec<String>,
}

/// Reads the files and makes the text.
///
/// # Errors
/// When a file cannot be read or is not what it should be, or it is not said which module a target has.
pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> Result<Imported, UsageError> {
    let Some(("blackbox", matches)) = matches.subcommand() else {
        unreachable!("clap asks for a subcommand");
    };
    let file = matches.get_one::<String>("file").map(PathBuf::from);
    let file = file.unwrap_or_default();
    // The file of targets that is in use is not what is imported.
    let said = |key: &str| matches!(settings.place(key), Place::Flag(_));
    let targets = settings
        .path("agent.targets")
        .filter(|_| said("agent.targets"));
    let interval = settings.duration("agent.check_interval");
    let chosen = matches.get_many::<String>("module").into_iter().flatten();
    let chosen: Vec<&str> = chosen.map(String::as_str).collect();
    let form = match matches.get_one::<String>("format").map(String::as_str) {
        Some("targets") => Form::Targets,
        _ => Form::Config,
    };
    let interval = Interval {
        said: interval.filter(|_| said("agent.check_interval")),
    };
    import(settings, &file, targets.as_deref(), &chosen, interval, form)
}

/// How often the checks are to be made.
#[derive(Clone, Copy)]
struct Interval {
    /// If it is said for all of them.
    said: Option<Duration>,
}

fn import(
    settings: &Settings,
    file: &Path,
    targets: Option<&Path>,
    chosen: &[&str],
    interval: Interval,
    form: Form,
) -> Result<Imported, UsageError> {
    let mut modules = module::read(file)?;
    for name in chosen {
        if !modules.iter().any(|module| module.name == *name) {
            let problem = format!("--module: {name:?} is not there; {}", list(&modules));
            return Err(UsageError::one(problem));
        }
    }
    for module in &mut modules {
        module.set_interval(interval.said);
    }
    let mut printer = Printer::new(settings, form);
    printer.begin(file, targets);
    match targets {
        None => {
            let wanted =
                |module: &&Module| chosen.is_empty() || chosen.contains(&module.name.as_str());
            for module in modules.iter().filter(wanted) {
                printer.template(module);
            }
        }
        Some(path) => {
            let (wanted, notes) = targets::read(path)?;
            notes.iter().for_each(|note| printer.note(note));
            let assigned = assign(&modules, &wanted, chosen)?;
            for (at, module) in modules.iter().enumerate() {
                let own = assigned.iter().filter(|(which, _)| *which == at);
                let own: Vec<&Wanted> = own.map(|(_, wanted)| *wanted).collect();
                if !own.is_empty() {
                    printer.checks(module, &own);
                }
            }
        }
    }
    Ok(printer.end())
}

/// Which module each target is checked with; one with several modules is there several times.
fn assign<'a>(
    modules: &[Module],
    wanted: &'a [Wanted],
    chosen: &[&str],
) -> Result<Vec<(usize, &'a Wanted)>, UsageError> {
    let at = |name: &str| modules.iter().position(|module| module.name == name);
    let mut problems = Vec::new();
    let mut assigned = Vec::new();
    let mut is_told = false;
    for one in wanted {
        if let Some(name) = one.module() {
            match at(name) {
                Some(at) => assigned.push((at, one)),
                None => problems.push(format!(
                    "{}: the module {name:?} of its label is not there; {}",
                    one.place,
                    list(modules)
                )),
            }
        } else if !chosen.is_empty() {
            assigned.extend(
                chosen
                    .iter()
                    .filter_map(|name| at(name))
                    .map(|at| (at, one)),
            );
        } else if modules.len() == 1 {
            assigned.push((0, one));
        } else if !is_told {
            is_told = true;
            problems.push(format!(
                "{}: which module is it checked with? Say --module NAME, or give the targets a label `module`; {}",
                one.place,
                list(modules)
            ));
        }
    }
    match problems.is_empty() {
        true => Ok(assigned),
        false => Err(UsageError(problems)),
    }
}

fn list(modules: &[Module]) -> String {
    let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
    format!("there are {}", names.join(", "))
}

/// A text as one line, so that nothing in it leaves a comment.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ")
}
