//! `cargo xtask layout`: writes `crates/cli/layout.ld` anew, by which the linker puts side by side what a started
//! program runs.
//!
//! Release build and small agent run under valgrind's callgrind, with symbols, as they are used: with a broker, with
//! one that is not there, alone. It counts from when they are started until before they are ended, so that what only
//! start and end run is not in it.

mod callgrind;
mod script;
mod section;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use rustix::process::{Pid, Signal, kill_process};
use tidegauge_testkit::random_topic;
use tidegauge_testkit::servers::free_port;

use crate::bench::{Running, broker};
use crate::interrupt;
use crate::package::small;
use crate::run::{CannotTry, command, exists, root, stage, target};

pub(crate) use section::{Least, check};

const FILE: &str = "crates/cli/layout.ld";
/// Until what only the start runs is over, in a program that is slowed down.
const START: Duration = Duration::from_secs(60);
/// A program under callgrind answers late.
const END_WITHIN: Duration = Duration::from_secs(60);
const FOR_PROFILER: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
    ("CARGO_PROFILE_SMALL_STRIP", "none"),
    ("TIDEGAUGE_LAYOUT", "none"),
];
/// Fewer have run only where their names were not understood.
const LEAST_FUNCTIONS: usize = 500;
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn shape(command: Command) -> Command {
    command.arg(
        Arg::new("seconds")
            .long("seconds")
            .value_name("NUMBER")
            .value_parser(value_parser!(u64).range(10..))
            // librdkafka asks for its metadata every five minutes.
            .default_value("300")
            .help("How long it is looked at what runs"),
    )
}

/// What is run: its name in the file, the program, how it is started.
struct Run<'a> {
    name: &'static str,
    program: &'a Path,
    arguments: Vec<&'a str>,
}

/// Writes the file.
pub(crate) fn layout(options: &ArgMatches) -> anyhow::Result<bool> {
    needs()?;
    let watch = Duration::from_secs(options.get_one("seconds").copied().unwrap_or_default());
    interrupt::watch()?;
    let (whole, small) = builds()?;
    let (folder, servers) = broker()?;
    let kafka = &servers.environment()["TEST_KAFKA"];
    let away = format!("127.0.0.1:{}", free_port());
    let page = format!("127.0.0.1:{}", free_port());
    let (topic, http) = (random_topic("layout"), format!("http://{page}/metrics"));
    let agent = |name, program, broker| {
        let arguments = vec!["agent", "--topic", &topic, "--brokers", broker];
        Run {
            name,
            program,
            arguments,
        }
    };
    let mut checks = agent("agent with checks and /metrics", &whole, kafka);
    let tcp = format!("tcp://{kafka}");
    let listen_and_check = ["--listen", &page, "--check", &http, "--check", &tcp];
    checks.arguments.extend(listen_and_check);
    checks.arguments.extend(["--check-interval", "2s"]);
    let runs = [
        Run {
            name: "up",
            program: &whole,
            arguments: vec!["up", "--listen", "127.0.0.1:0"],
        },
        agent("agent", &whole, kafka),
        agent("agent without a broker", &whole, &away),
        agent("small agent", &small, kafka),
        agent("small agent without a broker", &small, &away),
        checks,
    ];
    let ran = look(&runs, folder.path(), watch)?;
    let programs: Vec<_> = runs.iter().map(|run| run.name).zip(ran).collect();
    for (name, symbols) in &programs {
        println!("{name}: {} functions", symbols.len());
    }
    let mut sizes = BTreeMap::new();
    for program in [&whole, &small] {
        sizes.extend(script::sizes(&symbol_table(program)?));
    }
    let script = script::script(&programs, &sizes);
    fs::write(root().join(FILE), script).context("write the layout")?;
    println!("wrote {FILE}");
    Ok(true)
}

/// Which programs must be there.
fn needs() -> anyhow::Result<()> {
    for (program, package) in [
        ("valgrind", "valgrind"),
        ("callgrind_control", "valgrind"),
        ("nm", "binutils"),
    ] {
        if !exists(program, "--version") {
            let what = format!("{program} is not installed (Debian: {package})");
            return Err(CannotTry(what).into());
        }
    }
    Ok(())
}

/// All functions of a program and their sizes.
fn symbol_table(program: &Path) -> anyhow::Result<String> {
    let mut nm = command("nm");
    nm.args(["--defined-only", "--portability"]).arg(program);
    let output = nm.output().context("run nm")?;
    ensure!(output.status.success(), "nm: {}", output.status);
    String::from_utf8(output.stdout).context("understand nm")
}

/// The release build and the small agent, with their symbols, in folders of their own; not laid out, as valgrind
/// knows the functions of `.text` alone.
fn builds() -> anyhow::Result<(PathBuf, PathBuf)> {
    let folder = target().join("layout");
    let mut cargo = command("cargo");
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "tidegauge-cli",
        ])
        .env("CARGO_TARGET_DIR", &folder)
        .envs(FOR_PROFILER);
    let built = stage("release build with symbols (minutes)", &mut cargo)?;
    ensure!(built, "the release build failed");
    let small = small::build_for_profiler(&folder, &FOR_PROFILER)?;
    Ok((folder.join("release/tidegauge"), small))
}

/// What each of them ran over the time of `watch`, all at the same time.
fn look(runs: &[Run<'_>], folder: &Path, watch: Duration) -> anyhow::Result<Vec<BTreeSet<String>>> {
    let profile = |index: usize| folder.join(format!("callgrind-{index}"));
    let mut running = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        running.push(start(run, &profile(index), folder)?);
    }
    let seconds = (START + watch).as_secs();
    eprintln!("=== {} programs under callgrind: {seconds} s", runs.len());
    rest(START)?;
    count(&running, "on")?;
    rest(watch)?;
    count(&running, "off")?;
    let mut ran = Vec::new();
    for (index, (run, running)) in runs.iter().zip(&mut running).enumerate() {
        end(&mut running.0).with_context(|| format!("end `{}`", run.name))?;
        let text = fs::read_to_string(profile(index)).context("read what callgrind wrote")?;
        let object = fs::canonicalize(run.program).context("look for the program")?;
        let symbols = callgrind::functions_that_ran(&text, &object.display().to_string());
        let count = symbols.len();
        ensure!(
            count >= LEAST_FUNCTIONS,
            "`{}` ran {count} functions alone",
            run.name
        );
        ran.push(symbols);
    }
    Ok(ran)
}

fn start(run: &Run<'_>, profile: &Path, folder: &Path) -> anyhow::Result<Running> {
    let state = tempfile::tempdir_in(folder).context("make a state folder")?;
    let log = fs::File::create(profile.with_extension("log")).context("make a log")?;
    let mut valgrind = command("valgrind");
    valgrind
        .args(["--tool=callgrind", "--demangle=no", "--instr-atstart=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(run.program)
        .args(&run.arguments)
        .args(["--interval", "2s", "--state-dir"])
        .arg(state.keep())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(Running(valgrind.spawn().context("start valgrind")?))
}

/// Has callgrind begin or end counting.
fn count(running: &[Running], word: &str) -> anyhow::Result<()> {
    for Running(child) in running {
        let mut control = command("callgrind_control");
        control
            .arg(format!("--instr={word}"))
            .arg(child.id().to_string())
            .stdout(Stdio::null());
        let status = control.status().context("run callgrind_control")?;
        ensure!(status.success(), "callgrind_control failed");
    }
    Ok(())
}

/// By SIGTERM: callgrind writes when its program ends.
fn end(child: &mut Child) -> anyhow::Result<()> {
    kill_process(Pid::from_child(child), Signal::TERM).context("send SIGTERM")?;
    let begin = Instant::now();
    while begin.elapsed() < END_WITHIN {
        if let Some(status) = child.try_wait().context("wait")? {
            ensure!(status.success(), "it ended with {status}");
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    bail!("it did not end within {} s", END_WITHIN.as_secs())
}

fn rest(time: Duration) -> anyhow::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::thread::sleep(POLL);
        interrupt::check()?;
    }
    Ok(())
}
