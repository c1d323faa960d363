//! `cargo xtask coverage`: the tests as `cargo xtask test` runs them, on a build that counts which lines run, in
//! the test programs and in every `tidegauge` that they start.
//!
//! rustc counts by itself (`-C instrument-coverage`); the toolchain's own LLVM tools read it, so no other tool has to
//! fit the compiler. Only the crates of this workspace are built anew for it, beside the usual build. A
//! process that is killed by SIGKILL, as crash tests do, leaves no counts.
//!
//! In `target/coverage`: `summary.txt` (a line per crate), `lcov.info`, `html/index.html`.

mod lines;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use cargo_metadata::Message;
use clap::ArgMatches;

use crate::run::{CannotTry, command, root, stage, target};
use crate::test;

/// What `RUSTC_WORKSPACE_WRAPPER` names: rustc that counts. Build scripts run while building, which is no test.
const COUNTING_RUSTC: &str = "#!/bin/sh
case \" $* \" in
  *' --crate-name build_script_'*) exec \"$@\" ;;
esac
exec \"$@\" -C instrument-coverage
";

/// What is not ours, and files that hold nothing but tests.
const NOT_SHOWN: &str = r"/\.cargo/|/rustc/|/rustlib/|/target/|/tests/|/tests\.rs$|/build\.rs$";

/// The variable that says where a program writes its counts.
pub(crate) const COUNTS_FILE: &str = "LLVM_PROFILE_FILE";

/// Where and how what runs is counted.
#[derive(Debug)]
pub(crate) struct Counting {
    folder: PathBuf,
    wrapper: PathBuf,
}

/// Runs the tests and writes the report; `false` when a test failed.
pub(crate) fn coverage(options: &ArgMatches) -> anyhow::Result<bool> {
    let tools = Tools::find()?;
    let counting = Counting::begin(target().join("coverage"))?;
    let good = test::test(&test::Options {
        what: options
            .get_many::<String>("what")
            .map(|words| words.cloned().collect())
            .unwrap_or_default(),
        services: !options.get_flag("no-services"),
        counting: Some(&counting),
    })?;
    counting.report(&tools)?;
    Ok(good)
}

impl Counting {
    fn begin(folder: PathBuf) -> anyhow::Result<Self> {
        // Counts of another run are of other lines.
        if folder.exists() {
            fs::remove_dir_all(&folder).context("remove the report of before")?;
        }
        fs::create_dir_all(folder.join("raw")).context("make the folder of the counts")?;
        let wrapper = folder.join("rustc");
        fs::write(&wrapper, COUNTING_RUSTC)
            .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("write {}", wrapper.display()))?;
        Ok(Self { folder, wrapper })
    }

    /// Has a cargo build programs that count.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        cargo.env("RUSTC_WORKSPACE_WRAPPER", &self.wrapper);
    }

    /// The variable by which programs know where to write: few files, into which each adds its counts.
    pub(crate) fn variable(&self) -> (String, String) {
        let files = self.folder.join("raw/%8m.profraw");
        (COUNTS_FILE.to_owned(), files.display().to_string())
    }

    fn report(&self, tools: &Tools) -> anyhow::Result<()> {
        let counts = self.folder.join("counts.profdata");
        let mut merge = command(&tools.profdata);
        // A process that was killed while it wrote must not spoil the rest.
        merge.args(["merge", "-sparse", "-failure-mode=all", "-o"]);
        merge.arg(&counts).args(self.raw()?);
        succeed("the counts, merged", &mut merge)?;

        let programs = self.programs()?;
        let (first, others) = programs.split_first().context("there are no programs")?;
        let cov = |what: &[&str]| {
            let mut cov = command(&tools.cov);
            cov.args(what)
                .arg(first)
                .args(
                    others
                        .iter()
                        .flat_map(|file| [OsString::from("-object"), file.into()]),
                )
                .arg(format!("-instr-profile={}", counts.display()))
                .arg(format!("-ignore-filename-regex={NOT_SHOWN}"));
            cov
        };
        let lcov = self.folder.join("lcov.info");
        let mut export = cov(&["export", "-format=lcov"]);
        export.stdout(fs::File::create(&lcov).context("begin lcov.info")?);
        succeed("lcov.info", &mut export)?;
        let mut show = cov(&["show", "-format=html", "-show-line-counts-or-regions=false"]);
        show.arg(format!(
            "-output-dir={}",
            self.folder.join("html").display()
        ));
        succeed("html", &mut show)?;

        let text = fs::read_to_string(&lcov).context("read lcov.info")?;
        let summary = lines::Summary::of(&text, &root())?.to_string();
        fs::write(self.folder.join("summary.txt"), &summary).context("write summary.txt")?;
        fs::remove_dir_all(self.folder.join("raw")).context("remove the raw counts")?;
        print!("{summary}");
        println!("{}", self.folder.join("html/index.html").display());
        Ok(())
    }

    fn raw(&self) -> anyhow::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.folder.join("raw")).context("look for counts")?;
        let files: Result<Vec<_>, _> = entries.map(|entry| entry.map(|at| at.path())).collect();
        let files = files.context("look for counts")?;
        ensure!(!files.is_empty(), "no program wrote counts");
        Ok(files)
    }

    /// What counted: the test programs, and the programs that they start.
    fn programs(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut cargo = command("cargo");
        cargo.args(["test", "--workspace", "--no-run", "--quiet"]);
        cargo.arg("--message-format=json");
        self.apply(&mut cargo);
        let output = cargo
            .stderr(Stdio::inherit())
            .output()
            .context("ask cargo for the programs")?;
        ensure!(output.status.success(), "the tests do not build");
        let mut programs: Vec<PathBuf> = Vec::new();
        for message in Message::parse_stream(&output.stdout[..]) {
            if let Message::CompilerArtifact(artifact) = message.context("read cargo's answer")? {
                programs.extend(artifact.executable.map(PathBuf::from));
            }
        }
        Ok(programs)
    }
}

/// LLVM's tools of the very toolchain.
#[derive(Debug)]
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Tools {
    fn find() -> anyhow::Result<Self> {
        let folder = tools_folder()?;
        let tools = |folder: &Path| Self {
            profdata: folder.join("llvm-profdata"),
            cov: folder.join("llvm-cov"),
        };
        let found = tools(&folder);
        if found.cov.is_file() && found.profdata.is_file() {
            return Ok(found);
        }
        let mut rustup = command("rustup");
        rustup.args(["component", "add", "llvm-tools"]);
        if stage("rustup component add llvm-tools", &mut rustup).is_ok_and(|added| added)
            && found.cov.is_file()
        {
            return Ok(found);
        }
        Err(CannotTry(format!(
            "the toolchain has no llvm-cov and llvm-profdata ({}), and `rustup component add llvm-tools` did not bring \
             them: without rustup install what your distribution has of the same LLVM (`rustc -vV` says which) and \
             link both programs there",
            folder.display()
        ))
        .into())
    }
}

/// Where rustup puts them.
fn tools_folder() -> anyhow::Result<PathBuf> {
    let asked = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = command("rustc")
            .args(arguments)
            .output()
            .context("ask rustc")?;
        ensure!(output.status.success(), "rustc {arguments:?} failed");
        Ok(String::from_utf8(output.stdout)?)
    };
    let version = asked(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc says its host")?;
    let sysroot = asked(&["--print", "sysroot"])?;
    Ok(Path::new(sysroot.trim()).join(format!("lib/rustlib/{host}/bin")))
}

fn succeed(name: &str, command: &mut Command) -> anyhow::Result<()> {
    match stage(name, command)? {
        true => Ok(()),
        false => bail!("{name}: failed"),
    }
}
