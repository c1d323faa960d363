//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, one after the other, for some seconds each.
//!
//! They are built as `cargo fuzz --sanitizer none` builds them, with the pinned toolchain and
//! nothing to install: libFuzzer comes with a crate, and coverage needs stable options only. The
//! address sanitizer would need a nightly compiler, and our code has no `unsafe` for it to watch.
//! Inputs that were found useful are kept in `target/fuzz/corpus`, the golden files are the seeds;
//! an input that fails is written to `fuzz/artifacts/<target>`.

use crate::run::{CannotTry, command, root, stage, target};
use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use std::fs;
use std::path::PathBuf;

/// The targets, and the folder with the seeds of each.
const TARGETS: &[(&str, Option<&str>)] = &[
    ("json", Some("json/v1")),
    ("compact", Some("compact/v1")),
    ("influx", Some("influx/v1")),
    ("telegraf_json", Some("telegraf-json/v1")),
    (
        "prometheus_remote_write",
        Some("prometheus-remote-write/v1"),
    ),
    ("otlp", Some("otlp/v1")),
    ("openmetrics", Some("openmetrics/v1")),
    ("statsd", None),
    ("collectors", None),
    ("spool", None),
];

/// What `cargo fuzz` sets, without a sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing -Cdebug-assertions \
    -Ccodegen-units=1";

pub(crate) fn shape(command: Command) -> Command {
    let names = TARGETS.iter().map(|(name, _)| *name);
    command
        .arg(
            Arg::new("target")
                .num_args(0..)
                .value_parser(clap::builder::PossibleValuesParser::new(names))
                .help("The targets to run; all if none is named"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_parser(clap::value_parser!(u32).range(1..))
                .default_value("60")
                .help("How long each runs"),
        )
}

/// Runs the targets; false when one found an input that fails.
pub(crate) fn fuzz(options: &ArgMatches) -> anyhow::Result<bool> {
    let named: Vec<&String> = options.get_many("target").into_iter().flatten().collect();
    let seconds: &u32 = options.get_one("seconds").context("there is a default")?;
    let chosen = TARGETS
        .iter()
        .filter(|(name, _)| named.is_empty() || named.iter().any(|named| named == name));
    if !stage("building the fuzz targets", &mut build()?)? {
        return Ok(false);
    }
    let mut failed = Vec::new();
    for (name, seeds) in chosen {
        if !stage(
            &format!("fuzzing {name}"),
            &mut run(name, *seeds, *seconds)?,
        )? {
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        eprintln!(
            "=== inputs that fail are in fuzz/artifacts: {}",
            failed.join(", ")
        );
    }
    Ok(failed.is_empty())
}

fn build() -> anyhow::Result<std::process::Command> {
    let host = host()?;
    let mut build = command("cargo");
    build
        .args(["build", "--release", "--locked", "--target", &host])
        .arg("--manifest-path")
        .arg(root().join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(target().join("fuzz"))
        .env("RUSTFLAGS", FLAGS);
    Ok(build)
}

fn run(name: &str, seeds: Option<&str>, seconds: u32) -> anyhow::Result<std::process::Command> {
    let made = |folder: PathBuf| -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    };
    let corpus = made(target().join("fuzz/corpus").join(name))?;
    let artifacts = made(root().join("fuzz/artifacts").join(name))?;
    let mut run = command(
        target()
            .join("fuzz")
            .join(host()?)
            .join("release")
            .join(name),
    );
    run.arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0", "-timeout=10"])
        .arg(corpus);
    if let Some(seeds) = seeds {
        run.arg(root().join("crates/wire/golden").join(seeds));
    }
    Ok(run)
}

/// The compiler's own target, said by name so that the flags do not reach build scripts.
fn host() -> anyhow::Result<String> {
    let output = command("rustc").arg("-vV").output().context("run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| CannotTry("rustc does not say its host".to_owned()))?;
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_in_the_table_and_its_seeds_are_there() {
        let folder = root().join("fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("it is there");
        let declared = manifest.matches("[[bin]]").count();
        assert_eq!(declared, TARGETS.len());
        for (name, seeds) in TARGETS {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(folder.join(format!("fuzz_targets/{name}.rs")).is_file());
            let seeds = seeds.map(|seeds| root().join("crates/wire/golden").join(seeds));
            assert!(seeds.is_none_or(|seeds| seeds.is_dir()), "{name}");
        }
        for encoding in tidegauge_wire::ENCODINGS {
            let name = encoding.name().replace('-', "_");
            assert!(TARGETS.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
