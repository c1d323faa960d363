//! A fresh Debian with systemd as its first process, in namespaces of its own: where packages are tried. The
//! network is ours, so its services reach servers on loopback, and apt reaches Debian.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::succeed;
use crate::interrupt;
use crate::run::command;

/// Where this machine is no Debian: the newest, whose C library is likely to be new enough.
const OTHERWISE: &str = "stable";
const PACKAGES: &str = "systemd,systemd-sysv,passwd,ca-certificates";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A booted machine; dropped, it is shut down and its files go away.
pub(super) struct Machine {
    nspawn: Child,
    /// Its first process, as we see it.
    init: String,
    folder: TempDir,
}

impl Machine {
    /// Boots a copy of the Debian that is kept in `cache`, where it is fetched at the first time.
    pub(super) fn boot(cache: &Path) -> anyhow::Result<Self> {
        let pristine = fetched(cache)?;
        let folder = tempfile::tempdir_in(cache).context("make a folder for the machine")?;
        let root = folder.path().join("root");
        let mut copy = command("cp");
        copy.args(["--archive", "--reflink=auto"])
            .arg(pristine)
            .arg(&root);
        succeed("a fresh Debian", &mut copy)?;
        let log = fs::File::create(folder.path().join("console")).context("begin its console")?;
        let mut nspawn = command("systemd-nspawn");
        nspawn
            .args([
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--link-journal=no",
            ])
            .args([
                "--resolv-conf=replace-host",
                "--machine=tidegauge-rehearsal",
                "--directory",
            ])
            .arg(&root)
            .stdout(log.try_clone().context("share its console")?)
            .stderr(log);
        let nspawn = interrupt::spawn(&mut nspawn)?;
        let mut machine = Self {
            nspawn,
            init: String::new(),
            folder,
        };
        machine.wait_until_it_runs()?;
        Ok(machine)
    }

    fn wait_until_it_runs(&mut self) -> anyhow::Result<()> {
        let id = self.nspawn.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let begin = Instant::now();
        loop {
            interrupt::check()?;
            let ended = self.nspawn.try_wait().context("look at the machine")?;
            let children = fs::read_to_string(&children).unwrap_or_default();
            if let Some(init) = children.split_whitespace().next() {
                init.clone_into(&mut self.init);
                let state = self.ask(&["systemctl", "is-system-running"])?;
                let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
                if ["running", "degraded"].contains(&&*state) {
                    return Ok(());
                }
            }
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let console = fs::read_to_string(self.folder.path().join("console"));
                bail!(
                    "the machine does not boot ({ended:?}):\n{}",
                    console.unwrap_or_default()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// A path of the machine as we reach it.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.folder
            .path()
            .join("root")
            .join(inside.trim_start_matches('/'))
    }

    /// Runs a program in the machine, whatever its exit status.
    pub(super) fn ask<S: AsRef<OsStr>>(&self, words: &[S]) -> anyhow::Result<Output> {
        let output = Command::new("nsenter")
            .args(["--all", "--target", &self.init, "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output();
        output.context("run nsenter")
    }

    /// Runs a line of shell that must succeed; what it prints.
    pub(super) fn run(&self, line: &str) -> anyhow::Result<String> {
        let output = self.ask(&["/bin/sh", "-ec", line])?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{line}: {}\n{text}\n{said}\n{}",
                output.status,
                self.journal()
            );
        }
        Ok(text)
    }

    /// What the services have said.
    pub(super) fn journal(&self) -> String {
        let asked = [
            "journalctl",
            "--no-pager",
            "--lines=60",
            "--unit=tidegauge-*",
        ];
        let output = self.ask(&asked);
        output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // To systemd-nspawn this means an orderly shutdown.
        let id = rustix::process::Pid::from_child(&self.nspawn);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).ok();
        let begin = Instant::now();
        while self.nspawn.try_wait().is_ok_and(|ended| ended.is_none()) {
            if begin.elapsed() > PATIENCE {
                self.nspawn.kill().ok();
            }
            thread::sleep(POLL);
        }
    }
}

/// The Debian of this machine: the program needs the C library that it was built with, or a newer one.
fn suite() -> String {
    let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| about.lines().find_map(|line| line.strip_prefix(key));
    match (value("ID="), value("VERSION_CODENAME=")) {
        (Some("debian"), Some(name)) => name.to_owned(),
        _ => OTHERWISE.to_owned(),
    }
}

/// The Debian that copies are made of.
fn fetched(cache: &Path) -> anyhow::Result<PathBuf> {
    let suite = suite();
    let pristine = cache.join(format!("debian-{suite}"));
    if !pristine.is_dir() {
        // Renamed when it is whole, so that one that was interrupted is not taken for it.
        let part = cache.join(format!("debian-{suite}.part"));
        if part.exists() {
            fs::remove_dir_all(&part).context("remove a Debian that is not whole")?;
        }
        let mut debootstrap = command("debootstrap");
        debootstrap
            .args([
                "--variant=minbase",
                &format!("--include={PACKAGES}"),
                &suite,
            ])
            .arg(&part)
            .stdout(Stdio::null());
        succeed("fetch a Debian (minutes, once)", &mut debootstrap)?;
        fs::rename(&part, &pristine).context("keep the Debian")?;
    }
    Ok(pristine)
}
