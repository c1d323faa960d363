//! `cargo xtask test`: everything, on real servers that it starts and stops itself.
//!
//! One build for all (the profile `dev`); then the servers; then the tests of all crates and those
//! of the web page. The closing lines say what was skipped and why, and how many passed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use tidegauge_testkit::SKIPS_FILE;
use tidegauge_testkit::servers::Lifetime;

use crate::coverage::Counting;
use crate::interrupt;
use crate::run::{command, root};
use crate::services::{Databases, Environment, Servers, clients, fetch, make_enterable};
use crate::skips::{self, Skips};
use crate::web;

/// What to run.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// A crate's folder name, a part of the tests' names, or both in this order.
    pub(crate) what: Vec<String>,
    /// Whether to start servers.
    pub(crate) services: bool,
    /// How what runs is counted, if it is.
    pub(crate) counting: Option<&'a Counting>,
}

/// Counts of all test programs together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// `false` when a test failed, or in CI when one was skipped that must not be.
pub(crate) fn test(options: &Options<'_>) -> anyhow::Result<bool> {
    let start = Instant::now();
    interrupt::watch()?;
    let selection = Selection::parse(&options.what);
    let cargo_test = || {
        let mut cargo = selection.cargo_test();
        if let Some(counting) = options.counting {
            counting.apply(&mut cargo);
        }
        cargo
    };
    let folder = tempfile::Builder::new()
        .prefix("tidegauge-test-")
        .tempdir()
        .context("make a folder for the test run")?;
    let list = folder.path().join("skips");
    File::create(&list).context("begin the list of skipped tests")?;

    eprintln!("=== build");
    let mut build = cargo_test();
    build.args(["--no-run", "--quiet"]);
    if !interrupt::wait(&mut interrupt::spawn(&mut build)?)?.success() {
        println!("the tests do not build");
        return Ok(false);
    }
    eprintln!("=== build: ok, {:.0} s", start.elapsed().as_secs_f64());

    let (servers, mut environment) = servers(options, folder.path())?;
    environment.extend(options.counting.map(Counting::variable));
    environment.insert(SKIPS_FILE.to_owned(), list.display().to_string());
    // What a test that was killed leaves behind goes away with the run's folder.
    let scratch = folder.path().join("tmp");
    fs::create_dir(&scratch).context("make the tests' temporary folder")?;
    environment.insert("TMPDIR".to_owned(), scratch.display().to_string());
    let (mut tally, mut left_out) = (Tally::default(), Skips::new());
    let mut good = run_rust_tests(cargo_test(), &selection, &environment, &mut tally)?;
    if selection.is_everything() {
        good &= web::test(&environment, &scratch, &mut tally, &mut left_out)?;
    }
    drop(servers);
    if !good && fs::read_dir(&scratch).is_ok_and(|entries| entries.count() > 0) {
        println!(
            "what the failing tests kept is in {}",
            folder.keep().display()
        );
    }

    let mut skips = skips::read(&list)?;
    // A test that skips itself returns as if it had passed.
    tally.passed = tally.passed.saturating_sub(u64::try_from(skips.len())?);
    skips.append(&mut left_out);
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    good &= skips::report(&skips, in_ci)?;
    println!(
        "{}: {} passed, {} failed, {} skipped in {:.0} s",
        if good { "ok" } else { "FAILED" },
        tally.passed,
        tally.failed,
        skips.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(good)
}

/// Which tests.
#[derive(Debug, PartialEq, Eq)]
struct Selection {
    package: Option<String>,
    filter: Option<String>,
}

impl Selection {
    fn parse(what: &[String]) -> Self {
        let crates = root().join("crates");
        let (package, filter) = match what {
            [first, rest @ ..] if crates.join(first).join("Cargo.toml").is_file() => {
                (Some(format!("tidegauge-{first}")), rest.first().cloned())
            }
            [first, ..] => (None, Some(first.clone())),
            [] => (None, None),
        };
        Self { package, filter }
    }

    fn is_everything(&self) -> bool {
        self.package.is_none() && self.filter.is_none()
    }

    fn cargo_test(&self) -> Command {
        let mut cargo = command("cargo");
        cargo.args(["test", "--no-fail-fast"]);
        match &self.package {
            Some(package) => cargo.args(["--package", package]),
            None => cargo.arg("--workspace"),
        };
        cargo
    }
}

/// The servers of this run, and the variables that lead to them. Servers that the caller's
/// variables name are used as they are.
fn servers(options: &Options<'_>, folder: &Path) -> anyhow::Result<(Option<Servers>, Environment)> {
    let given = ["TEST_KAFKA", "TEST_POSTGRES", "TEST_MYSQL"].map(std::env::var_os);
    if !options.services || given.iter().any(Option::is_some) {
        return Ok((None, Environment::new()));
    }
    let distribution = fetch()?;
    let start = Instant::now();
    make_enterable(folder)?;
    let servers = Servers::start(&distribution, Lifetime::ThisProcess, folder, Databases::ALL)?;
    eprintln!("=== servers: up, {:.1} s", start.elapsed().as_secs_f64());
    interrupt::check()?;
    let mut environment = servers.environment();
    environment.extend([clients()]);
    Ok((Some(servers), environment))
}

fn run_rust_tests(
    mut cargo: Command,
    selection: &Selection,
    environment: &Environment,
    tally: &mut Tally,
) -> anyhow::Result<bool> {
    if let Some(filter) = &selection.filter {
        cargo.arg(filter);
    }
    cargo.envs(environment);
    run_counted("tests", &mut cargo, tally)
}

/// Runs a test program, passes its output on and adds its counts.
pub(crate) fn run_counted(
    name: &str,
    program: &mut Command,
    tally: &mut Tally,
) -> anyhow::Result<bool> {
    eprintln!("=== {name}");
    let start = Instant::now();
    let mut child = interrupt::spawn(program.stdout(Stdio::piped()))?;
    let output = child.stdout.take().expect("stdout was asked for");
    let reader = thread::spawn(move || {
        let mut tally = Tally::default();
        // A line that is no text, or a broken pipe, ends the reading; the exit status decides.
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            tally.add_line(&line);
        }
        tally
    });
    let status = interrupt::wait(&mut child)?;
    let counted = reader.join().expect("reading lines does not panic");
    tally.passed += counted.passed;
    tally.failed += counted.failed;
    let outcome = if status.success() { "ok" } else { "failed" };
    eprintln!(
        "=== {name}: {outcome}, {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(status.success())
}

impl Tally {
    /// Takes `test result: ok. 3 passed; 0 failed; …` of Rust and `Tests  1 failed | 3 passed (4)`
    /// of Vitest.
    fn add_line(&mut self, line: &str) {
        let counts = if let Some(result) = line.strip_prefix("test result: ") {
            result.split_once(". ").map_or("", |(_, counts)| counts)
        } else if let Some(counts) = line.trim_start().strip_prefix("Tests  ") {
            counts
        } else {
            return;
        };
        for count in counts.split([';', '|']) {
            let mut words = count.split_whitespace();
            let number = words
                .next()
                .and_then(|number| number.parse().ok())
                .unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed") => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_both_runners_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 14 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out",
            "test something ... ok",
            " Test Files  2 passed (2)",
            "      Tests  1 failed | 4 passed (5)",
        ] {
            tally.add_line(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 19,
                failed: 3
            }
        );
    }

    #[test]
    fn a_word_is_a_crate_if_there_is_one_of_that_name() {
        let parse = |words: &[&str]| {
            Selection::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let selection = |package: Option<&str>, filter: Option<&str>| Selection {
            package: package.map(str::to_owned),
            filter: filter.map(str::to_owned),
        };
        assert_eq!(parse(&["agent"]), selection(Some("tidegauge-agent"), None));
        assert_eq!(
            parse(&["agent", "cpu"]),
            selection(Some("tidegauge-agent"), Some("cpu"))
        );
        assert_eq!(parse(&["cpu_total"]), selection(None, Some("cpu_total")));
        assert!(parse(&[]).is_everything());
    }
}
