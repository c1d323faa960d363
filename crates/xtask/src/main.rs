//! The project's own commands, `cargo xtask …`: check, test, coverage, bench, faults, fuzz,
//! services, layout, package, release, hooks, tidy, docs.
//!
//! Nothing of it ships. Progress goes to stderr, results to stdout; the exit status is 0 when all
//! is well, 1 when something was found or failed, 2 when it could not be tried (bad usage, a
//! program that is missing).

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

mod bench;
mod check;
mod coverage;
mod docs;
mod faults;
mod fuzz;
mod hooks;
mod interrupt;
mod layout;
mod package;
mod release;
mod run;
mod services;
mod skips;
mod test;
mod tidy;
mod tools;
mod web;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use run::CannotTry;

fn main() -> ExitCode {
    let matches = command().get_matches();
    match dispatch(&matches) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<CannotTry>() { 2 } else { 1 })
        }
    }
}

/// Runs one command; `false` means that it ran and found something.
fn dispatch(matches: &ArgMatches) -> anyhow::Result<bool> {
    match matches.subcommand() {
        Some(("check", _)) => check::check(),
        Some(("bench", options)) => bench::bench(options),
        Some(("faults", options)) => faults::faults(options),
        Some(("faults-producer", options)) => faults::producer(options),
        Some(("test", options)) if options.get_flag("coverage") => coverage::coverage(options),
        Some(("test", options)) => test::test(&test::Options {
            what: options
                .get_many::<String>("what")
                .map(|words| words.cloned().collect())
                .unwrap_or_default(),
            services: !options.get_flag("no-services"),
            counting: None,
        }),
        Some(("coverage", options)) => coverage::coverage(options),
        Some(("services", services)) => match services.subcommand_name() {
            Some("fetch") => services::fetch_only(),
            Some("up") => services::up(),
            Some("down") => services::down(),
            _ => services::status(),
        },
        Some(("layout", options)) => layout::layout(options),
        Some(("package", options)) => package::package(options),
        Some(("release", options)) => release::release(options),
        Some(("hooks", options)) => hooks::install(options.get_flag("remove")),
        Some(("fuzz", options)) => fuzz::fuzz(options),
        Some(("docs", options)) => docs::docs(options.get_flag("check")),
        Some(("tidy", _)) => tidy::tidy(),
        other => Err(CannotTry(format!("no such command: {other:?}")).into()),
    }
}

fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    let tests = || {
        [
            Arg::new("what")
                .num_args(0..=2)
                .value_names(["CRATE", "FILTER"])
                .help("A folder of crates/, a part of the tests' names, or both"),
            flag(
                "no-services",
                "Start no servers; tests that need one are skipped",
            ),
        ]
    };
    Command::new("cargo xtask")
        .about("The project's own commands")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("check").about("Format, clippy, tidy, and cargo-deny if it is there"),
        )
        .subcommand(
            Command::new("test")
                .about("Run all tests on real servers, which are started and stopped by it")
                .args(tests())
                .arg(flag(
                    "coverage",
                    "Count which lines run; the report is in target/coverage",
                )),
        )
        .subcommand(
            Command::new("coverage")
                .about("Short for `test --coverage`")
                .args(tests()),
        )
        .subcommand(bench::shape(
            Command::new("bench").about("Figures of the release build"),
        ))
        .subcommand(faults::shape(Command::new("faults").about(
            "Random faults on real servers while samples flow: is anything lost or doubled?",
        )))
        .subcommand(faults::producer_shape(Command::new("faults-producer")))
        .subcommand(
            Command::new("services")
                .about("Real servers in the background, for runs by hand")
                .subcommand_required(true)
                .subcommand(Command::new("fetch").about("Fetch the servers with Maven, once"))
                .subcommand(
                    Command::new("up").about("Start them; prints variables for `eval \"$(…)\"`"),
                )
                .subcommand(Command::new("down").about("Stop them and throw their data away"))
                .subcommand(Command::new("status").about("Say which run")),
        )
        .subcommand(layout::shape(Command::new("layout").about(
            "Write which functions the linker puts side by side: what started programs run",
        )))
        .subcommand(package::shape(Command::new("package").about(
            "Make the packages of a release in target/package: tarball, deb, rpm, SBOM, checksums",
        )))
        .subcommand(release::shape(Command::new("release").about(
            "Build and check everything that a release is made of; publishes nothing",
        )))
        .subcommand(
            Command::new("hooks")
                .about("Install the pre-commit hook of .githooks (format, lint)")
                .arg(flag("remove", "Take it out again")),
        )
        .subcommand(fuzz::shape(Command::new("fuzz").about(
            "Feed the decoders and the spool's reader with whatever reaches new code",
        )))
        .subcommand(Command::new("tidy").about("Check the rules that no compiler knows"))
        .subcommand(
            Command::new("docs")
                .about("Write the generated pages of docs/")
                .arg(flag(
                    "check",
                    "Write nothing; fail when a page is out of date",
                )),
        )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_commands_are_consistent() {
        super::command().debug_assert();
    }
}
