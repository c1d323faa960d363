//! The commands, one file each; the command line is made from the settings table.

mod agent;
mod check;
mod collect;
mod config;
#[cfg(feature = "stores")]
mod dashboard;
#[cfg(feature = "stores")]
mod dead_letters;
mod doctor;
mod generate;
mod host;
mod kafka;
mod listeners;
#[cfg(feature = "stores")]
mod query;
pub(crate) mod reload;
pub(crate) mod secrets;
#[cfg(feature = "stores")]
mod sink;
#[cfg(feature = "stores")]
mod sink_view;
#[cfg(feature = "stores")]
mod store;
#[cfg(feature = "stores")]
mod up;
#[cfg(feature = "stores")]
mod upkeep;

use crate::settings::{For, Settings, with_flags};
use crate::version;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// One command.
struct Entry {
    of: For,
    name: &'static str,
    about: &'static str,
    /// Adds what is not in the settings table: positional arguments and subcommands.
    shape: fn(Command) -> Command,
    run: fn(&Settings, &ArgMatches) -> anyhow::Result<ExitCode>,
}

const COMMANDS: &[Entry] = &[
    #[cfg(feature = "stores")]
    Entry {
        of: For::Up,
        name: "up",
        about: "Measure this machine, store into SQLite, serve the page; needs nothing else",
        shape: up::shape,
        run: up::run,
    },
    Entry {
        of: For::Agent,
        name: "agent",
        about: "Measure this machine and check URLs; publish to Kafka",
        shape: agent::shape,
        run: agent::run,
    },
    #[cfg(feature = "stores")]
    Entry {
        of: For::Sink,
        name: "sink",
        about: "Read from Kafka; store into a database, exactly once",
        shape: sink::shape,
        run: sink::run,
    },
    #[cfg(feature = "stores")]
    Entry {
        of: For::Dashboard,
        name: "dashboard",
        about: "Serve the page over a store",
        shape: dashboard::shape,
        run: dashboard::run,
    },
    Entry {
        of: For::Collect,
        name: "collect",
        about: "Run the collectors once and print the points",
        shape: collect::shape,
        run: collect::run,
    },
    Entry {
        of: For::Check,
        name: "check",
        about: "Check URLs once; exit status 1 when one fails",
        shape: check::shape,
        run: check::run,
    },
    Entry {
        of: For::Doctor,
        name: "doctor",
        about: "Look at all that the program needs and say what to do; exit status 1 when a check failed",
        shape: doctor::shape,
        run: doctor::run,
    },
    Entry {
        of: For::Config,
        name: "config",
        about: "Check the settings, show what is in effect, print a schema or an example",
        shape: config::shape,
        run: config::run,
    },
    #[cfg(feature = "stores")]
    Entry {
        of: For::Query,
        name: "query",
        about: "Print series, ranges and rates from a store",
        shape: query::shape,
        run: query::run,
    },
    #[cfg(feature = "stores")]
    Entry {
        of: For::Store,
        name: "store",
        about: "Look after a store: migrate, ledger, freshness, settle, retention",
        shape: store::shape,
        run: store::run,
    },
    #[cfg(feature = "stores")]
    Entry {
        of: For::DeadLetters,
        name: "dead-letters",
        about: "Look at messages and points that could not be stored",
        shape: dead_letters::shape,
        run: dead_letters::run,
    },
    Entry {
        of: For::Reload,
        name: "reload",
        about: "Have a running `agent`, `up`, `sink` or `dashboard` read its settings again, and print what changed; exit status 1 when they were refused, 2 when none runs",
        shape: reload::shape,
        run: reload::run,
    },
    Entry {
        of: For::Generate,
        name: "generate",
        about: "Write completions and manual pages into a folder",
        shape: generate::shape,
        run: generate::run,
    },
];

/// The whole command line.
pub(crate) fn command_line() -> Command {
    let mut line = Command::new("tidegauge")
        .version(version::VERSION)
        .long_version(version::long())
        .about("Host and uptime measurements over Apache Kafka into a SQL database, exactly once")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new("config")
                .long("config")
                .global(true)
                .value_name("FILE")
                .help("Configuration file (TOML) [env: TIDEGAUGE_CONFIG]"),
        )
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .global(true)
                .action(ArgAction::Count)
                .help("Say more; may be repeated"),
        );
    for entry in COMMANDS {
        let command = Command::new(entry.name).about(entry.about);
        line = line.subcommand((entry.shape)(with_flags(command, entry.of)));
    }
    line
}

/// Runs the command that was asked for.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (name, matches) = matches.subcommand().expect("clap asks for a command");
    let entry = COMMANDS
        .iter()
        .find(|entry| entry.name == name)
        .expect("clap knows these only");
    let variable = |name: &str| std::env::var(name).ok();
    // The innermost subcommand has all flags, wherever they stood.
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let config = innermost
        .get_one::<String>("config")
        .cloned()
        .or_else(|| variable("TIDEGAUGE_CONFIG"));
    let config = config.map(PathBuf::from);
    let settings = match entry.of {
        // It tells the problems itself, with others.
        // And the one that runs tells those of its own.
        For::Config | For::Reload => {
            Settings::with_problems(entry.of, innermost, &variable, config.as_deref())
        }
        of => Settings::resolve(of, innermost, &variable, config.as_deref())?,
    };
    crate::logging::begin(
        innermost.get_count("verbose"),
        settings.text("log.level"),
        settings.text("log.format") == Some("json"),
    );
    // Two TLS libraries are in the program's reach of one crate's features; ours is chosen here.
    let _already = rustls::crypto::ring::default_provider().install_default();
    (entry.run)(&settings, matches)
}

/// How long a thread for blocking work waits for more of it. An agent has some at every collection: its threads
/// outlast the usual intervals instead of being made anew each time.
const BLOCKING_THREADS_KEPT: Duration = Duration::from_secs(75);

/// A runtime for a command.
fn runtime(workers: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_keep_alive(BLOCKING_THREADS_KEPT)
        .enable_all()
        .build()?)
}

/// An empty table in the style of all commands.
fn table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table
}

/// Microseconds since 1970 as people and databases read them.
#[cfg(feature = "stores")]
fn time(time_us: i64) -> String {
    match jiff::Timestamp::from_microsecond(time_us) {
        Ok(_) if time_us <= 0 => "-".to_owned(),
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string(),
        Err(_) => time_us.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }
}
