//! `cargo xtask package`: everything that a release ships, in `target/package`: tarball, `.deb`, `.rpm`, SBOM,
//! checksums.
//!
//! What goes into them is said in `crates/cli/Cargo.toml` (deb, rpm) and in [`tarball`]. The program is linked
//! with the system's OpenSSL 3, which the distributions keep safe, and built in a folder of its own, so that
//! no other build of this tree is thrown away. Times in the archives are the commit's: the same commit and the
//! same tools make the same bytes.

mod licences;
mod machine;
#[cfg(test)]
mod manifests;
mod rehearsal;
pub(crate) mod small;
mod tarball;
#[cfg(test)]
mod units;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use cargo_metadata::MetadataCommand;
use clap::{Arg, ArgAction, ArgMatches};
use sha2::{Digest, Sha256};

use crate::layout;
use crate::run::{CannotTry, command, exists, root, stage, target};
use crate::tools::{CARGO_CYCLONEDX, CARGO_DEB, CARGO_GENERATE_RPM};

const PACKAGE: &str = "tidegauge-cli";
const SUMS: &str = "SHA256SUMS";
/// It had 3.7 MB when the layout was made.
const LAID_OUT: layout::Least = layout::Least(2_000_000);

pub(crate) fn shape(command: clap::Command) -> clap::Command {
    command
        .arg(
            Arg::new("test")
                .long("test")
                .action(ArgAction::SetTrue)
                .help("Then install, run, upgrade and purge them on a fresh Debian (as root)"),
        )
        .arg(
            Arg::new("small-agent")
                .long("small-agent")
                .action(ArgAction::SetTrue)
                .conflicts_with("test")
                .help("Build the agent alone instead, as small as it gets, and say its size"),
        )
}

/// Makes the packages, and with `--test` tries them.
pub(crate) fn package(options: &ArgMatches) -> anyhow::Result<bool> {
    if options.get_flag("small-agent") {
        let (program, bytes) = small::build()?;
        println!("{}: {bytes} bytes", program.display());
        return Ok(true);
    }
    let release = Release::of_this_tree()?;
    if options.get_flag("test") {
        rehearsal::needs()?;
    }
    let made = release.make()?;
    for file in &made {
        let bytes = fs::metadata(file).context("look at a package")?.len();
        println!("{}: {:.1} MB", file.display(), bytes as f64 / 1e6);
    }
    if options.get_flag("test") {
        rehearsal::rehearse(&release)?;
    }
    Ok(true)
}

/// What is packaged, and where.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) version: String,
    /// The commit, with `-dirty` behind it where files differ from it, or `TIDEGAUGE_COMMIT`.
    commit: String,
    /// Seconds since 1970: the commit's time, or `SOURCE_DATE_EPOCH`.
    epoch: String,
    /// Where the packages come.
    pub(crate) folder: PathBuf,
    /// The target folder of the build.
    build: PathBuf,
}

impl Release {
    pub(crate) fn of_this_tree() -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("ask cargo for the version")?;
        let cli = metadata
            .packages
            .iter()
            .find(|package| package.name == PACKAGE);
        let folder = target().join("package");
        // `--exclude`: the commit alone, no tag.
        let describe = [
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ];
        // Whoever packages a source archive, without git, says these two.
        let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Ok(Self {
            version: cli
                .context("the program is in the workspace")?
                .version
                .to_string(),
            commit: given("TIDEGAUGE_COMMIT")
                .or_else(|| git(&describe))
                .unwrap_or_else(|| "unknown".to_owned()),
            epoch: given("SOURCE_DATE_EPOCH")
                .or_else(|| git(&["log", "-1", "--format=%ct"]))
                .unwrap_or_else(|| "0".to_owned()),
            build: folder.join("build"),
            folder,
        })
    }

    /// Builds the program and packs it; the files that were made, the checksums last.
    pub(crate) fn make(&self) -> anyhow::Result<Vec<PathBuf>> {
        can_build()?;
        let tools = [CARGO_DEB, CARGO_GENERATE_RPM, CARGO_CYCLONEDX];
        let [deb, rpm, sbom] = tools.map(|tool| tool.installed());
        let (deb, rpm, sbom) = (deb?, rpm?, sbom?);
        for old in fs::read_dir(&self.folder).into_iter().flatten() {
            let old = old.context("look at the packages of before")?;
            if old.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::remove_file(old.path()).context("remove a package of before")?;
            }
        }
        self.build()?;
        let documents = self.documents()?;
        let mut made = vec![
            tarball::pack(self, &documents)?,
            self.deb(&deb, &format!("{}-1", self.version), &self.folder)?,
            self.rpm(&rpm)?,
            self.sbom(&sbom)?,
        ];
        made.push(sums(&self.folder, &made)?);
        Ok(made)
    }

    /// The program that was built.
    pub(crate) fn program(&self) -> PathBuf {
        self.build.join("release/tidegauge")
    }

    fn build(&self) -> anyhow::Result<()> {
        let mut cargo = command("cargo");
        cargo
            .args(["build", "--release", "--locked", "--package", PACKAGE])
            .env("OPENSSL_NO_VENDOR", "1")
            .env("CARGO_TARGET_DIR", &self.build)
            .env("TIDEGAUGE_COMMIT", &self.commit);
        succeed("the program (minutes, the first time)", &mut cargo)?;
        layout::check(&self.program(), LAID_OUT)
    }

    /// Has the program write its completions and manual pages, and adds the licences of what it holds.
    fn documents(&self) -> anyhow::Result<PathBuf> {
        let documents = self.build.join("release/documents");
        if documents.exists() {
            fs::remove_dir_all(&documents).context("remove the documents of before")?;
        }
        let mut generate = command(self.program());
        generate.arg("generate").arg(&documents);
        succeed("completions and manual pages", &mut generate)?;
        let mut gzip = command("gzip");
        gzip.args(["-9", "--no-name", "--recursive"])
            .arg(documents.join("man"));
        succeed("the manual pages, compressed", &mut gzip)?;
        fs::write(documents.join("THIRD-PARTY"), licences::page(&self.build)?)
            .context("write the licences of what the program holds")?;
        Ok(documents)
    }

    /// The `.deb` of this version, which may be another than the tree's where upgrades are tried.
    fn deb(&self, tool: &Path, version: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        let file = folder.join(format!("tidegauge_{version}_{}.deb", debian_arch()));
        let mut deb = self.tool(tool);
        deb.args([
            "--package",
            PACKAGE,
            "--no-build",
            "--no-strip",
            "--no-dbgsym",
            "--quiet",
        ])
        .args(["--deb-version", version, "--output"])
        .arg(&file);
        succeed("the package for Debian", &mut deb)?;
        Ok(file)
    }

    fn rpm(&self, tool: &Path) -> anyhow::Result<PathBuf> {
        let name = format!(
            "tidegauge-{}-1.{}.rpm",
            self.version,
            std::env::consts::ARCH
        );
        let file = self.folder.join(name);
        let mut rpm = self.tool(tool);
        // `builtin`: by ldd, the same wherever it is built.
        rpm.args(["--package", "crates/cli", "--auto-req", "builtin"])
            .args(["--set-metadata", "release = \"1\"", "--output"])
            .arg(&file);
        succeed("the package for RPM", &mut rpm)?;
        Ok(file)
    }

    /// What the program is made of, with versions, checksums and licences, in CycloneDX' JSON.
    fn sbom(&self, tool: &Path) -> anyhow::Result<PathBuf> {
        let name = format!("tidegauge-{}", self.version);
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut sbom = self.tool(tool);
        sbom.args([
            "cyclonedx",
            "--manifest-path",
            "Cargo.toml",
            "--format",
            "json",
        ])
        .args(["--spec-version", "1.5", "--target", &target, "--quiet"])
        .args(["--override-filename", &name]);
        succeed("the SBOM", &mut sbom)?;
        let file = self.folder.join(format!("{name}.cdx.json"));
        // It writes one beside each manifest of the workspace; the program's is what ships.
        for member in fs::read_dir(root().join("crates")).context("look for the SBOM")? {
            let member = member?;
            let written = member.path().join(format!("{name}.json"));
            if member.file_name() == "cli" {
                fs::copy(&written, &file).context("take the SBOM")?;
            }
            remove(&written)?;
        }
        remove(&root().join(format!("examples/{name}.json")))?;
        Ok(file)
    }

    fn tool(&self, tool: &Path) -> Command {
        let mut command = command(tool);
        command
            .env("CARGO_TARGET_DIR", &self.build)
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        command
    }
}

/// What the build leaves out silently where it is missing must be there for a release.
fn can_build() -> anyhow::Result<()> {
    for (program, why) in [
        ("npm", "the page is built with Node 20 or newer"),
        ("tar", "the tarball is made by GNU tar"),
        ("gzip", "manual pages are compressed"),
        ("readelf", "it tells how the program is laid out"),
        ("pkg-config", "it finds the system's OpenSSL"),
    ] {
        if !exists(program, "--version") {
            return Err(CannotTry(format!("{program} is not installed: {why}")).into());
        }
    }
    let openssl = ["--exists", "openssl >= 3"];
    if !command("pkg-config")
        .args(openssl)
        .status()
        .is_ok_and(|status| status.success())
    {
        let what = "the headers of OpenSSL 3 are not installed (Debian's package libssl-dev)";
        return Err(CannotTry(what.to_owned()).into());
    }
    Ok(())
}

/// Removes a file that need not be there.
fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Checks the checksums as whoever downloads the packages does.
pub(crate) fn check_sums(folder: &Path) -> anyhow::Result<bool> {
    let mut check = command("sha256sum");
    check
        .args(["--check", "--strict", SUMS])
        .current_dir(folder);
    stage("checksums", &mut check)
}

/// Runs a stage whose failure ends the packaging.
fn succeed(name: &str, command: &mut Command) -> anyhow::Result<()> {
    match stage(name, command)? {
        true => Ok(()),
        false => bail!("{name}: failed"),
    }
}

/// What git prints, if it is there and succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = command("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The architecture as Debian names it.
fn debian_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes the checksums as `sha256sum --check` reads them.
fn sums(folder: &Path, files: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let mut text = String::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let sum: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = file.file_name().context("a package has a name")?;
        text.push_str(&format!("{sum}  {}\n", name.display()));
    }
    let path = folder.join(SUMS);
    fs::write(&path, text).context("write the checksums")?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.deb");
        fs::write(&file, "abc").unwrap();
        let sums = sums(folder.path(), &[file]).unwrap();
        let check = Command::new("sha256sum")
            .args(["--check", "--strict"])
            .arg(sums)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(check.status.success(), "{check:?}");
    }
}
