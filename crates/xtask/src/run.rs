//! Running other programs, with their names said on stderr, and the workspace's folders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;

/// An error whose exit status is 2: the work could not be tried, and what to do about it.
#[derive(Debug)]
pub(crate) struct CannotTry(pub(crate) String);

impl std::fmt::Display for CannotTry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CannotTry {}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies in crates/")
        .to_owned()
}

/// Cargo's folder for what is built.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the workspace's folder. Cargo's own variables of this build are taken out: left
/// in, they would make a nested cargo build everything again.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a stage, says its name and how long it took; `false` when it failed.
pub(crate) fn stage(name: &str, command: &mut Command) -> anyhow::Result<bool> {
    eprintln!("=== {name}");
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("run {}", command.get_program().display()))?;
    let outcome = if status.success() { "ok" } else { "failed" };
    eprintln!(
        "=== {name}: {outcome}, {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(status.success())
}

/// Whether a program is there and runs with `argument`.
pub(crate) fn exists(program: &str, argument: &str) -> bool {
    command(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
