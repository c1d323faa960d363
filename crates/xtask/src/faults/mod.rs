//! `cargo xtask faults`: random faults on a real broker and a real database while numbered samples
//! flow, and a judge that says whether one of them was lost or doubled.
//!
//! ```text
//! plan (of the seed) ──> faults ──┐
//! agents, producers ──> topic ──> sinks ──> tables      (real processes, real servers)
//!    │ spools, journals   │                   │
//!    └────────────────────┴───> oracle <──────┘  0 lost, 0 doubled, every drop told
//! ```
//! The servers are started once; each run has a topic, a database, a group and state folders of its
//! own. A seed gives the same plan every time. What the processes make of it is up to the machine,
//! so a seed that failed once may have to be run a few times.

mod actions;
mod fleet;
mod journal;
mod oracle;
mod plan;
mod producer;
mod run;
mod servers;
mod tables;
mod topic;

use crate::interrupt;
use crate::run::{CannotTry, command, stage, target};
use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use oracle::{Counts, Finding};
use plan::{KINDS, Kind, Plan};
use run::Programs;
use serde::Serialize;
use servers::Servers;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, SystemClock};

/// Findings of one run that are shown; all of them are in its folder.
const SHOWN: usize = 10;

/// The command line.
pub(crate) fn shape(faults: Command) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    faults
        .arg(
            Arg::new("runs")
                .long("runs")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64).range(1..))
                .default_value("1")
                .help("Runs; each has the seed after that of the one before"),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("NUMBER")
                .value_parser(value_parser!(u64))
                .help("The seed of the first run; by default from the clock"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("KIND")
                .value_delimiter(',')
                .help("Only faults of this kind; or of several, divided by commas"),
        )
        .arg(flag("list", "List the kinds of faults"))
        .arg(flag("json", "Print one JSON object per run"))
        .arg(flag("release", "Test the release build, not the debug one"))
        .arg(flag(
            "verbose",
            "The sinks and their Kafka client log what they do, and the logs of every run are kept",
        ))
}

/// The part of the command line that only the runs themselves use.
pub(crate) fn producer_shape(producer: Command) -> Command {
    producer.hide(true).arg(Arg::new("settings").required(true))
}

/// `cargo xtask faults-producer`.
pub(crate) fn producer(options: &ArgMatches) -> anyhow::Result<bool> {
    let settings = options.get_one::<String>("settings");
    producer::produce(settings.map_or("", String::as_str))
}

/// What is printed of a run.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    /// As [`oracle::verdict`] says, or `broken` when the run itself could not be made.
    verdict: &'static str,
    seconds: f64,
    /// How many of them the sinks needed to store the rest, after all was sent.
    rest_seconds: f64,
    sinks: usize,
    faults: Vec<&'static str>,
    #[serde(flatten)]
    counts: Counts,
    findings: Vec<Finding>,
    /// Where the logs are, if they were kept.
    folder: Option<PathBuf>,
}

/// `cargo xtask faults`; `false` when a run failed.
pub(crate) fn faults(options: &ArgMatches) -> anyhow::Result<bool> {
    if options.get_flag("list") {
        for (_, name, about) in KINDS {
            println!("{name:<20} {about}");
        }
        return Ok(true);
    }
    let mut only = Vec::new();
    for name in options.get_many::<String>("only").unwrap_or_default() {
        only.push(Kind::of_name(name).ok_or_else(|| {
            CannotTry(format!("there is no fault `{name}`; `--list` shows them"))
        })?);
    }
    let first = options.get_one::<u64>("seed").copied();
    let first = first.unwrap_or_else(|| SystemClock.now_us().unsigned_abs() / 1_000_000);
    let runs = options.get_one::<u64>("runs").copied().unwrap_or(1);
    let json = options.get_flag("json");
    interrupt::watch()?;
    let servers = Servers::start()?;
    // All runs have one build, whatever is built meanwhile; the build itself may replace this program.
    let xtask = servers.keep_program(&std::env::current_exe().context("find this program")?)?;
    let tidegauge = servers.keep_program(&build(options.get_flag("release"))?)?;
    let programs = Programs {
        tidegauge: &tidegauge,
        xtask: &xtask,
        verbose: options.get_flag("verbose"),
    };
    eprintln!("=== {runs} runs from seed {first} on");
    let mut failed = Vec::new();
    for seed in first..first.saturating_add(runs) {
        interrupt::check()?;
        let report = one(&servers, &programs, &Plan::of_seed(seed, &only))?;
        if report.verdict != "ok" {
            failed.push(seed);
        }
        print(&report, json)?;
    }
    match &failed[..] {
        [] => eprintln!("=== all {runs} runs from seed {first} on are clean"),
        _ => eprintln!(
            "=== {} of {runs} runs failed; repeat one with `cargo xtask faults --seed {}`",
            failed.len(),
            failed[0]
        ),
    }
    Ok(failed.is_empty())
}

/// Builds the program. By default without optimisation: CI has that build from its tests, it has
/// the checks of overflow and the debug assertions, and what is slower is longer in the middle of
/// something when it is killed.
fn build(release: bool) -> anyhow::Result<PathBuf> {
    let mut build = command("cargo");
    build.args(["build", "--quiet"]);
    match release {
        true => build.args(["--release", "--package", "tidegauge-cli"]),
        // The whole workspace, as the tests are built: another selection has other features.
        false => build.args(["--workspace", "--bins"]),
    };
    anyhow::ensure!(stage("build", &mut build)?, "the program does not build");
    let profile = if release { "release" } else { "debug" };
    Ok(target().join(profile).join("tidegauge"))
}

/// One run; its folder is kept if it failed, or if much is to be told.
fn one(servers: &Servers, programs: &Programs<'_>, plan: &Plan) -> anyhow::Result<Report> {
    let began = Instant::now();
    let folder = target().join("faults").join(plan.seed.to_string());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let outcome = run::run(servers, programs, plan, &folder);
    interrupt::check()?;
    let (verdict, findings, counts, rest) = match outcome {
        Ok(outcome) => {
            let verdict = oracle::verdict(&outcome.findings);
            (verdict, outcome.findings, outcome.counts, outcome.rest)
        }
        Err(error) => {
            servers.keep_logs(&folder);
            let detail = format!("{error:#}");
            let kind = "broken";
            let findings = vec![Finding { kind, detail }];
            (kind, findings, Counts::default(), Duration::ZERO)
        }
    };
    let kept = verdict != "ok" || programs.verbose;
    if kept {
        let lines: Vec<String> = findings.iter().map(line).collect();
        fs::write(folder.join("findings"), lines.join("\n")).context("write the findings")?;
    } else {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let report = Report {
        seed: plan.seed,
        verdict,
        seconds: tenths(began.elapsed()),
        rest_seconds: tenths(rest),
        sinks: plan.sinks,
        faults: plan.faults.iter().map(|fault| fault.kind.name()).collect(),
        counts,
        findings,
        folder: kept.then_some(folder),
    };
    if verdict == "broken" {
        // A server that a fault left down would fail all runs that follow.
        bring_back(servers)?;
    }
    Ok(report)
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

fn bring_back(servers: &Servers) -> anyhow::Result<()> {
    servers.clear();
    let mut kafka = servers.kafka();
    if kafka.process_id().is_none() {
        kafka.start_again()?;
    }
    let mut postgres = servers.postgres();
    if postgres.process_id().is_none() {
        postgres.start_again()?;
    }
    Ok(())
}

fn line(finding: &Finding) -> String {
    format!("{}: {}", finding.kind, finding.detail)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    let Report {
        seed,
        verdict,
        seconds,
        rest_seconds,
        sinks,
        faults,
        counts,
        findings,
        folder,
    } = report;
    let Counts {
        batches,
        points,
        repeated,
        dropped,
        epochs,
    } = counts;
    println!(
        "seed {seed} {verdict} in {seconds:.1} s, {rest_seconds:.1} s of it for the rest: {sinks} sinks, \
         {epochs} epochs, {batches} batches ({dropped} dropped and told, {repeated} repeated), \
         {points} points; {}",
        faults.join(", ")
    );
    for finding in findings.iter().take(SHOWN) {
        println!("  {}", line(finding));
    }
    if findings.len() > SHOWN {
        println!("  and {} more", findings.len() - SHOWN);
    }
    if let Some(folder) = folder {
        println!("  logs: {}", folder.display());
    }
    Ok(())
}
