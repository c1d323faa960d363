//! `tidegauge config`: whether the settings are sound, what is in effect and where it comes from,
//! and what there is to set. It makes no connection and changes nothing.

#[cfg(feature = "stores")]
mod import;
mod show;

use crate::settings::{Place, Settings, UsageError, example, schema};
use clap::{Arg, ArgMatches, Command};
use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;
use tidegauge_agent::probes::{Check, CheckSettings, ProbeContext};

pub(super) fn shape(command: Command) -> Command {
    let format = Arg::new("format")
        .long("format")
        .value_name("WORD")
        .value_parser(["table", "json", "toml"])
        .default_value("table")
        .help("How they are printed");
    // It is run once, where the whole program is; the one for agents alone is small.
    #[cfg(feature = "stores")]
    let command = command.subcommand(import::shape(Command::new("import")));
    command
        .subcommand_required(true)
        .subcommand(Command::new("check").about(
            "Check the settings as far as it goes without a connection, and say all that is wrong; exit status 2 if anything is",
        ))
        .subcommand(
            Command::new("show")
                .about("Print the settings that are in effect and where each comes from, secrets masked")
                .arg(format),
        )
        .subcommand(
            Command::new("hash-password")
                .about("Read a password from stdin and print its line for a users_file")
                .arg(
                    Arg::new("name")
                        .value_name("NAME")
                        .required(true)
                        .help("The user's name, without a colon"),
                ),
        )
        .subcommand(Command::new("schema").about("Print a JSON Schema of the configuration file"))
        .subcommand(Command::new("example").about("Print a configuration file with every setting, its default and its meaning"))
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("check", _)) => {
            let problems = problems(settings);
            if !problems.is_empty() {
                return Err(UsageError(problems).into());
            }
            say!("the settings are sound")?;
        }
        Some(("show", matches)) => {
            if !settings.problems().is_empty() {
                return Err(UsageError(settings.problems().to_vec()).into());
            }
            let format = matches.get_one::<String>("format").map(String::as_str);
            say_text!("{}", show::page(settings, format.unwrap_or("table"))?)?;
        }
        Some(("hash-password", matches)) => {
            let name = matches.get_one::<String>("name").map(String::as_str);
            say!("{}", user_line(name.unwrap_or_default())?)?;
        }
        #[cfg(feature = "stores")]
        Some(("import", matches)) => {
            let imported = import::run(settings, matches)?;
            imported.notes.iter().for_each(|note| eprint_line(note));
            say_text!("{}", imported.text)?;
        }
        Some(("schema", _)) => say!("{:#}", schema())?,
        Some(("example", _)) => say_text!("{}", example())?,
        _ => unreachable!("clap asks for a subcommand"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A user with the hash of the password that comes on stdin.
fn user_line(name: &str) -> anyhow::Result<String> {
    let is_plain = |character: char| !character.is_control() && character != ':';
    if name.trim() != name
        || name.is_empty()
        || name.starts_with('#')
        || !name.chars().all(is_plain)
    {
        let problem = "a name has no colon, no blank at its ends and no # at its beginning";
        return Err(UsageError::one(format!("hash-password: {name:?}: {problem}")).into());
    }
    let refused = |problem: String| UsageError::one(format!("hash-password: {problem}"));
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint_line("The password, shown as it is typed:");
    }
    let mut password = String::new();
    stdin
        .lock()
        .read_line(&mut password)
        .map_err(|error| refused(format!("the password cannot be read: {error}")))?;
    let password = password.trim_end_matches(['\r', '\n']);
    let hash = tidegauge_serve::hash_password(password).map_err(refused)?;
    Ok(format!("{name}:{hash}"))
}

#[expect(
    clippy::print_stderr,
    reason = "what a person at a terminal is asked or told"
)]
fn eprint_line(text: &str) {
    eprintln!("{text}");
}

/// All that is wrong: first what stands in files, line by line.
fn problems(settings: &Settings) -> Vec<String> {
    let mut problems = settings.problems().to_vec();
    problems.extend(unusable(settings));
    let place = |problem: &String| {
        let mut parts = problem.splitn(3, ':');
        let path = parts.next().unwrap_or_default().to_owned();
        let line = parts.next().and_then(|line| line.parse::<usize>().ok());
        line.map_or((true, String::new(), 0), |line| (false, path, line))
    };
    problems.sort_by_cached_key(place);
    problems.dedup();
    problems
}

/// What the commands would refuse of values that are sound by themselves. What is not said at all
/// is left to the command that needs it.
fn unusable(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    let checks = super::host::sound_checks(settings, &mut problems);
    unreadable(checks, &mut problems);
    let mut look = |tried: Result<(), UsageError>| {
        if let Err(UsageError(more)) = tried {
            problems.extend(more);
        }
    };
    look(super::host::collectors(settings).map(drop));
    look(super::host::labels(settings).map(drop));
    look(super::listeners::listeners(settings).map(drop));
    look(crate::serve::door(settings, "web").map(drop));
    look(super::kafka::encoding(settings).map(drop));
    let of_kafka = ["kafka.tls", "kafka.sasl", "kafka.properties"];
    if of_kafka.iter().any(|section| settings.is_said(section))
        || settings.text("kafka.brokers").is_some()
    {
        look(super::kafka::kafka(settings).map(drop));
    }
    #[cfg(feature = "stores")]
    {
        look(super::sink::sink_settings(settings).map(drop));
        look(super::upkeep::upkeep_settings(settings, None).map(drop));
        look(super::store::named(settings).map(drop));
    }
    problems
}

/// Reads the files that checks name.
fn unreadable(checks: Vec<(CheckSettings, Place)>, problems: &mut Vec<String>) {
    let context = ProbeContext::new();
    for (check, place) in checks {
        let name = check.name().to_owned();
        // A service is as sound as a target of it.
        let check = match check.service() {
            Some(_) => check.at("localhost", 1),
            None => Ok(check),
        };
        if let Err(error) = check.and_then(|check| Check::new(check, &context)) {
            let error = anyhow::Error::new(error);
            let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
            problems.push(format!(
                "{place}: the check {name:?}: {}",
                causes.join(": ")
            ));
        }
    }
}
