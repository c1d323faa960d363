//! `tidegauge reload`: tells the programs that run with a state folder to read their settings again, and
//! prints what became of it.

use crate::instance::{Outcome, Part, Running};
use crate::settings::{Settings, UsageError};
use crate::state_dir;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the answer is waited for: thousands of targets take their time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

pub(in super::super) fn shape(command: Command) -> Command {
    let names: Vec<_> = Part::ALL.iter().map(|part| part.name()).collect();
    command.arg(
        Arg::new("part")
            .value_name("PART")
            .value_parser(PossibleValuesParser::new(names))
            .help("Only this one of what runs with the state folder; agent is also `up`"),
    )
}

#[expect(clippy::print_stderr, reason = "the command's answer")]
pub(in super::super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder = state_dir::path(settings)?;
    let wanted = matches.get_one::<String>("part");
    let parts = Part::ALL
        .iter()
        .filter(|part| wanted.is_none_or(|name| name == part.name()));
    let running = parts.map(|part| Running::with(&folder, *part));
    let running: Vec<Running> = running
        .filter_map(Result::transpose)
        .collect::<anyhow::Result<_>>()?;
    if running.is_empty() {
        let what = match wanted.map(String::as_str) {
            None => "no `agent`, `up`, `sink` or `dashboard` runs".to_owned(),
            Some("agent") => "no `agent` or `up` runs".to_owned(),
            Some(name) => format!("no `{name}` runs"),
        };
        let folder = folder.display();
        let problem = format!(
            "{what} with the state folder {folder}; say the one of yours by --state-dir, and \
             tell a service by `systemctl reload`"
        );
        return Err(UsageError::one(problem).into());
    }
    let mut code = ExitCode::SUCCESS;
    for one in &running {
        let who = match running.len() {
            1 => String::new(),
            _ => format!("{}: ", one.part().name()),
        };
        let outcome = tell(&folder, one)?;
        if outcome.is_refused {
            eprintln!(
                "tidegauge: {who}refused, nothing has changed: {}",
                outcome.text
            );
            code = ExitCode::FAILURE;
        } else {
            say!("{who}{}", outcome.text)?;
        }
    }
    Ok(code)
}

/// Tells one, and waits for what became of it.
fn tell(folder: &Path, running: &Running) -> anyhow::Result<Outcome> {
    let number = || running.outcome().map_or(0, |outcome| outcome.number);
    let before = number();
    running.hang_up()?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(outcome) = running.outcome()
            && outcome.number > before
        {
            return Ok(outcome);
        }
        anyhow::ensure!(
            Running::with(folder, running.part())?.is_some_and(|now| now.id() == running.id()),
            "process {} has ended, its log says why",
            running.id()
        );
        std::thread::sleep(LOOK);
    }
    anyhow::bail!(
        "process {} did not answer within {} s, its log says why",
        running.id(),
        PATIENCE.as_secs()
    )
}
