//! `cargo xtask coverage`: which lines the tests reach, also those that only the program run by a test reaches.
//!
//! The compiler counts (`-C instrument-coverage`), cargo-llvm-cov sets it up and LLVM's own tools read the
//! counts. They must be of the compiler's LLVM: those of the toolchain's component `llvm-tools`, or the
//! system's of the same version. A program that a test kills leaves no counts.

use std::env::current_exe;
use std::fs;
use std::path::Path;
use std::process::Command as Process;

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command};

use crate::run::{CannotTry, command, exists, stage, target};
use crate::tools::CARGO_LLVM_COV;

/// Not what ships.
const LEFT_OUT: &str = r"(/tests/|/tests\.rs|crates/(testkit|xtask)/|/examples/)";

pub(crate) fn shape(command: Command) -> Command {
    command.arg(
        Arg::new("what")
            .num_args(0..=2)
            .value_names(["CRATE", "FILTER"])
            .help("As for test: a folder of crates/, a part of the tests' names, or both"),
    )
}

/// Runs the tests counted, prints a table, and writes `target/coverage/lcov.info` and `html/index.html`.
pub(crate) fn coverage(options: &ArgMatches) -> anyhow::Result<bool> {
    let llvm = llvm_tools()?;
    let tool = CARGO_LLVM_COV.installed()?;
    let environment = environment(&tool)?;
    let ours = || {
        let mut cargo = command(&tool);
        cargo.arg("llvm-cov").envs(llvm.clone());
        cargo
    };
    // Counts of an earlier run would be added.
    let mut clean = ours();
    clean
        .args(["clean", "--profraw-only", "--workspace"])
        .envs(environment.clone());
    if !stage("counts of before", &mut clean)? {
        return Ok(false);
    }
    let words: Vec<&String> = options.get_many("what").into_iter().flatten().collect();
    let mut tests = command(current_exe().context("find ourselves")?);
    tests.arg("test").args(words).envs(environment.clone());
    let passed = stage("tests, counted", &mut tests)?;

    let folder = target().join("coverage");
    fs::create_dir_all(&folder).context("make the folder of the report")?;
    let lcov = folder.join("lcov.info").display().to_string();
    let pages = folder.display().to_string();
    for (name, arguments) in [
        ("lcov.info", ["--lcov", "--output-path", &lcov].as_slice()),
        ("pages", &["--html", "--output-dir", &pages]),
        ("coverage", &["--summary-only"]),
    ] {
        let mut report = ours();
        report
            .arg("report")
            .args(["--ignore-filename-regex", LEFT_OUT])
            .args(arguments)
            .envs(environment.clone());
        if !stage(name, &mut report)? {
            return Ok(false);
        }
    }
    println!("{pages}/html/index.html");
    Ok(passed)
}

type Variables = Vec<(String, String)>;

/// What makes cargo build with counting, as `cargo llvm-cov show-env` says it.
fn environment(tool: &Path) -> anyhow::Result<Variables> {
    let mut show = command(tool);
    let output = show
        .args(["llvm-cov", "show-env"])
        .output()
        .context("run cargo-llvm-cov")?;
    if !output.status.success() {
        bail!(
            "cargo llvm-cov show-env: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8(output.stdout).context("read what cargo-llvm-cov says")?;
    let mut variables = parse(&text);
    // It builds in a folder of its own, so that the usual builds stay as they are.
    let folder = target().join("llvm-cov-target").display().to_string();
    variables.push(("CARGO_TARGET_DIR".to_owned(), folder.clone()));
    variables.push(("CARGO_LLVM_COV_TARGET_DIR".to_owned(), folder));
    Ok(variables)
}

/// Lines `NAME=value` or `NAME='value'`.
fn parse(text: &str) -> Variables {
    let variables = text.lines().filter_map(|line| line.split_once('='));
    variables
        .map(|(name, value)| {
            let quotes = |c| c == '\'' || c == '"';
            (name.to_owned(), value.trim_matches(quotes).to_owned())
        })
        .collect()
}

/// Variables that lead to LLVM's tools; none where the toolchain has its own.
fn llvm_tools() -> anyhow::Result<Variables> {
    let about = said(command("rustc").arg("-vV"))?;
    let line = |key: &str| about.lines().find_map(|line| line.strip_prefix(key));
    let host = line("host: ").context("rustc names its host")?;
    let major = line("LLVM version: ").and_then(|version| version.split('.').next());
    let major = major.context("rustc names its LLVM")?;
    let sysroot = said(command("rustc").args(["--print", "sysroot"]))?;
    let own = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(host)
        .join("bin/llvm-cov");
    if own.is_file() {
        return Ok(Variables::new());
    }
    let (cov, profdata) = (
        format!("llvm-cov-{major}"),
        format!("llvm-profdata-{major}"),
    );
    if exists(&cov, "--version") && exists(&profdata, "--version") {
        return Ok(vec![
            ("LLVM_COV".to_owned(), cov),
            ("LLVM_PROFDATA".to_owned(), profdata),
        ]);
    }
    let what = format!(
        "LLVM {major} has no tools here: `rustup component add llvm-tools`, or Debian's package llvm-{major}"
    );
    Err(CannotTry(what).into())
}

fn said(program: &mut Process) -> anyhow::Result<String> {
    let output = program.output().context("run rustc")?;
    String::from_utf8(output.stdout).context("read what rustc says")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn quotes_of_the_shell_are_taken_off() {
        let text = "LLVM_PROFILE_FILE='/t/a-%p-%m.profraw'\nCARGO_LLVM_COV=1\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wanted = [
            pair("LLVM_PROFILE_FILE", "/t/a-%p-%m.profraw"),
            pair("CARGO_LLVM_COV", "1"),
        ];
        assert_eq!(parse(text), wanted);
    }
}
