//! `cargo xtask bench …`: figures of the release build on real servers.
//!
//! Not tests: nothing passes or fails. Each prints a table, or with `--json` one object, and says
//! what it measured so that it can be measured again.

mod footprint;
mod process;

use crate::run::{command, stage, target};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::time::Duration;

/// The command line.
pub(crate) fn shape(bench: Command) -> Command {
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print one JSON object");
    let seconds = Arg::new("seconds")
        .long("seconds")
        .value_name("NUMBER")
        .value_parser(value_parser!(u64).range(5..))
        .default_value("120")
        .help("How long each program is watched");
    bench.subcommand_required(true).subcommand(
        Command::new("footprint")
            .about("CPU and memory of `agent` at 10 s with Kafka, and of `up` at 1 s")
            .arg(seconds)
            .arg(json),
    )
}

/// Runs one bench.
pub(crate) fn bench(matches: &ArgMatches) -> anyhow::Result<bool> {
    match matches.subcommand() {
        Some(("footprint", options)) => {
            let seconds = options.get_one::<u64>("seconds").copied().unwrap_or(120);
            footprint::footprint(Duration::from_secs(seconds), options.get_flag("json"))
        }
        other => Err(crate::run::CannotTry(format!("no such bench: {other:?}")).into()),
    }
}

/// The program as users build it.
fn release_build() -> anyhow::Result<PathBuf> {
    let mut build = command("cargo");
    build.args(["build", "--release", "--package", "tidegauge-cli"]);
    anyhow::ensure!(
        stage("release build", &mut build)?,
        "the release build failed"
    );
    Ok(target().join("release/tidegauge"))
}
