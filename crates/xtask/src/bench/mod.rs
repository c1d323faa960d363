//! `cargo xtask bench …`: figures of the release build on real servers.
//!
//! Not tests: nothing passes or fails. Each prints a table, or with `--json` one object, and says
//! what it measured so that it can be measured again.

mod figures;
mod fleet;
mod footprint;
mod load;
mod process;
mod sink;
mod target;

use crate::run::{command, stage, target};
use crate::services::{Servers, fetch, make_enterable};
use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fleet::Shape;
use std::path::PathBuf;
use std::time::Duration;
use target::Kind;
use tempfile::TempDir;
use tidegauge_testkit::servers::Lifetime;

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
    bench
        .subcommand_required(true)
        .subcommand(
            Command::new("footprint")
                .about("CPU and memory of `agent` at 10 s with Kafka, and of `up` at 1 s")
                .arg(seconds)
                .arg(json.clone()),
        )
        .subcommand(
            Command::new("sink")
                .about(
                    "Rows per second from Kafka to a database, against what it takes of the same rows",
                )
                .arg(number("points", "2000000", "Points in the topic"))
                .arg(number("partitions", "1", "Partitions of the topic"))
                .arg(number("rounds", "3", "Rounds; the median is printed"))
                .arg(encoding())
                .arg(word("store", &Kind::WORDS, "The database"))
                .arg(word(
                    "shape",
                    &Shape::WORDS,
                    "Points of the default collectors, or of eight numbers and two tags",
                ))
                .arg(
                    Arg::new("profile")
                        .long("profile")
                        .action(ArgAction::SetTrue)
                        .help("Watch the sinks with perf; figures are less good then"),
                )
                .arg(json),
        )
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("NUMBER")
        .value_parser(value_parser!(u64).range(1..))
        .default_value(default)
        .help(help)
}

fn encoding() -> Arg {
    Arg::new("encoding")
        .long("encoding")
        .value_name("WORD")
        .default_value("json")
        .help("Encoding of the messages")
}

/// One of some words, the first one by default.
fn word(name: &'static str, words: &[&'static str], help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("WORD")
        .value_parser(PossibleValuesParser::new(words.to_vec()))
        .default_value(words[0])
        .help(help)
}

/// What was given for an option that has a default.
fn given(options: &ArgMatches, name: &str) -> String {
    options.get_one::<String>(name).cloned().unwrap_or_default()
}

/// Runs one bench.
pub(crate) fn bench(matches: &ArgMatches) -> anyhow::Result<bool> {
    match matches.subcommand() {
        Some(("footprint", options)) => {
            let seconds = options.get_one::<u64>("seconds").copied().unwrap_or(120);
            footprint::footprint(Duration::from_secs(seconds), options.get_flag("json"))
        }
        Some(("sink", options)) => {
            let number = |name: &str| options.get_one::<u64>(name).copied().unwrap_or(1);
            sink::sink(&sink::Options {
                points: number("points"),
                partitions: i32::try_from(number("partitions"))?,
                encoding: given(options, "encoding"),
                shape: Shape::by_word(&given(options, "shape"))?,
                store: Kind::by_word(&given(options, "store"))?,
                profile: options.get_flag("profile"),
                rounds: usize::try_from(number("rounds"))?,
                json: options.get_flag("json"),
            })
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

/// A broker and databases of this run's own, and the folder that they and the programs may use.
/// Bound in this order, the servers stop before their folder goes.
fn servers() -> anyhow::Result<(TempDir, Servers)> {
    let distribution = fetch()?;
    let folder = tempfile::Builder::new()
        .prefix("tidegauge-bench-")
        .tempdir()
        .context("make a folder")?;
    make_enterable(folder.path())?;
    let servers = Servers::start(&distribution, Lifetime::ThisProcess, folder.path())?;
    Ok((folder, servers))
}
