//! `tidegauge reload`: tells the program that runs with a state folder to read its settings again, and
//! prints what became of it.

use crate::instance::Running;
use crate::settings::{Settings, UsageError};
use crate::state_dir;
use clap::{ArgMatches, Command};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the answer is waited for: thousands of targets take their time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

pub(in super::super) fn shape(command: Command) -> Command {
    command
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command's answer"
)]
pub(in super::super) fn run(
    settings: &Settings,
    _matches: &ArgMatches,
) -> anyhow::Result<ExitCode> {
    let folder = state_dir::path(settings)?;
    let Some(running) = Running::with(&folder)? else {
        let folder = folder.display();
        let problem = format!(
            "no `agent` or `up` runs with the state folder {folder}; say the one of yours by --state-dir, and \
             tell a service by `systemctl reload`"
        );
        return Err(UsageError::one(problem).into());
    };
    let number = |running: &Running| running.outcome().map_or(0, |outcome| outcome.number);
    let before = number(&running);
    running.hang_up()?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if number(&running) > before
            && let Some(outcome) = running.outcome()
        {
            if outcome.is_refused {
                eprintln!("tidegauge: refused, nothing has changed: {}", outcome.text);
                return Ok(ExitCode::FAILURE);
            }
            println!("{}", outcome.text);
            return Ok(ExitCode::SUCCESS);
        }
        anyhow::ensure!(
            Running::with(&folder)?.is_some_and(|now| now.id() == running.id()),
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
