//! `cargo xtask bench …`: figures of the release build on real servers.
//!
//! Not tests: nothing passes or fails. Each prints a table, or with `--json` one object, and says
//! what it measured so that it can be measured again.

mod agent;
mod checks;
mod figures;
mod fleet;
mod latency;
mod load;
mod memory;
mod page;
mod process;
mod run_sink;
mod sink;
mod spool;
mod store;
mod target;

use crate::run::{command, stage, target};
use crate::services::{Databases, Servers, fetch, make_enterable};
use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fleet::Shape;
pub(crate) use process::Running;
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
    let program = Arg::new("program")
        .long("program")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Measure this program instead of a release build of this source");
    let common = [program, json];
    bench
        .subcommand_required(true)
        .subcommand(
            Command::new("agent")
                .about("CPU, memory and system calls of `agent` at 1 s and 10 s with Kafka, and of node_exporter")
                .arg(seconds("120", "How long each program is watched"))
                .args(&common),
        )
        .subcommand(
            Command::new("checks")
                .about("HTTP checks per CPU second of the agent, how late they begin; blackbox_exporter and a bare loop beside it")
                .arg(number("targets", "10000", "Targets"))
                .arg(number("interval", "10", "Seconds between two checks of a target"))
                .arg(seconds("180", "How long the agent is watched"))
                .args(&common),
        )
        .subcommand(
            Command::new("latency")
                .about("From a sample's time to a reader in PostgreSQL that sees it, at a steady load")
                .arg(
                    number("rates", "1000,50000", "Points per second, one load after the other")
                        .value_delimiter(','),
                )
                .arg(seconds("30", "How long each load is measured"))
                .arg(encoding())
                .args(&common),
        )
        .subcommand(
            Command::new("spool")
                .about("Durable batches per second, against the same bytes with fdatasync; a spool drained")
                .arg(number("rounds", "5", "Rounds; the median is printed"))
                .args(&common),
        )
        .subcommand(
            Command::new("memory")
                .about("Peak memory of the sink with messages that are large, and with garbage")
                .args(&common),
        )
        .subcommand(
            Command::new("store")
                .about("Bytes on disk per value after a day of the default collectors")
                .arg(number("hosts", "10", "Hosts that collect"))
                .arg(number("interval", "10", "Seconds between two collections"))
                .arg(
                    Arg::new("store")
                        .long("store")
                        .value_name("WORD")
                        .action(ArgAction::Append)
                        .value_parser(PossibleValuesParser::new(Kind::WORDS))
                        .help("Only this database; may be repeated"),
                )
                .args(&common),
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
                .args(&common),
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

fn seconds(default: &'static str, help: &'static str) -> Arg {
    Arg::new("seconds")
        .long("seconds")
        .value_name("NUMBER")
        .value_parser(value_parser!(u64).range(5..))
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
    let (bench, options) = matches.subcommand().context("a bench")?;
    let number = |name: &str| options.get_one::<u64>(name).copied().unwrap_or(1);
    let json = options.get_flag("json");
    let program = match options.get_one::<PathBuf>("program") {
        Some(program) => std::path::absolute(program)?,
        None => release_build()?,
    };
    match bench {
        "agent" => agent::agent(&program, Duration::from_secs(number("seconds")), json),
        "checks" => checks::checks(&checks::Options {
            program,
            targets: number("targets"),
            interval: Duration::from_secs(number("interval")),
            watch: Duration::from_secs(number("seconds")),
            json,
        }),
        "latency" => latency::latency(&latency::Options {
            program,
            rates: all(options, "rates"),
            seconds: number("seconds"),
            encoding: given(options, "encoding"),
            json,
        }),
        "memory" => memory::memory(&program, json),
        "sink" => sink::sink(&sink::Options {
            program,
            points: number("points"),
            partitions: i32::try_from(number("partitions"))?,
            encoding: given(options, "encoding"),
            shape: Shape::by_word(&given(options, "shape"))?,
            store: Kind::by_word(&given(options, "store"))?,
            rounds: usize::try_from(number("rounds"))?,
            profile: options.get_flag("profile"),
            json,
        }),
        // The spool is measured within this program, which `cargo xtask` builds without optimisation.
        "spool" if cfg!(debug_assertions) => again_as_release(),
        "spool" => spool::spool(&spool::Options {
            program,
            rounds: usize::try_from(number("rounds"))?,
            json,
        }),
        "store" => store::store(&store::Options {
            program,
            hosts: number("hosts"),
            interval_seconds: number("interval"),
            stores: store::kinds(&all(options, "store"))?,
            json,
        }),
        other => Err(crate::run::CannotTry(format!("no such bench: {other}")).into()),
    }
}

/// All values of an option that may be repeated.
fn all<T: Clone + Send + Sync + 'static>(options: &ArgMatches, name: &str) -> Vec<T> {
    let values = options.get_many::<T>(name);
    values
        .map(|values| values.cloned().collect())
        .unwrap_or_default()
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

/// The same command line by a release build of this program.
fn again_as_release() -> anyhow::Result<bool> {
    let mut again = command("cargo");
    again
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "tidegauge-xtask",
            "--",
        ])
        .args(std::env::args_os().skip(1));
    let status = again
        .status()
        .context("run a release build of this program")?;
    Ok(status.success())
}

/// A broker alone, of this run's own, and the folder that it and the programs may use.
pub(crate) fn broker() -> anyhow::Result<(TempDir, Servers)> {
    servers(&[])
}

/// A broker and the databases that are measured, of this run's own, and the folder that they and the
/// programs may use. Bound in this order, the servers stop before their folder goes.
fn servers(stores: &[Kind]) -> anyhow::Result<(TempDir, Servers)> {
    let distribution = fetch()?;
    let folder = tempfile::Builder::new()
        .prefix("tidegauge-bench-")
        .tempdir()
        .context("make a folder")?;
    make_enterable(folder.path())?;
    // Only what is measured runs: another server would take its share of the machine.
    let databases = Databases {
        postgres: stores.contains(&Kind::Postgres),
        mariadb: stores.contains(&Kind::Mysql),
    };
    let servers = Servers::start(
        &distribution,
        Lifetime::ThisProcess,
        folder.path(),
        databases,
    )?;
    Ok((folder, servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_be_left_out_and_lists_may_be_given() {
        let parse =
            |words: &str| shape(Command::new("bench")).try_get_matches_from(words.split(' '));
        let rates = |words: &str| {
            let matches = parse(words).expect("options");
            let (_, options) = matches.subcommand().expect("a bench");
            all::<u64>(options, "rates")
        };
        assert_eq!(rates("bench latency"), [1_000, 50_000]);
        assert_eq!(rates("bench latency --rates 7,8 --seconds 5"), [7, 8]);
        let matches = parse("bench sink --store sqlite --shape narrow").expect("options");
        let (_, options) = matches.subcommand().expect("a bench");
        assert_eq!(given(options, "store"), "sqlite");
        assert_eq!(given(options, "encoding"), "json");
        assert!(parse("bench sink --store oracle").is_err());
        assert!(parse("bench sink --shape wide").is_err());
        assert!(parse("bench store --hosts 0").is_err());
    }
}
