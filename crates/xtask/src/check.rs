//! `cargo xtask check`: what a change must pass before it is proposed, without running tests.

use crate::run::{command, exists, stage};
use crate::tidy;

/// Runs all stages, also when one fails; `false` when one did.
pub(crate) fn check() -> anyhow::Result<bool> {
    let mut good = stage(
        "format",
        command("cargo").args(["fmt", "--all", "--", "--check"]),
    )?;
    good &= stage(
        "clippy",
        command("cargo").args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    good &= tidy::tidy()?;
    if exists("cargo-deny", "--version") {
        good &= stage(
            "deny",
            command("cargo").args(["deny", "check", "bans", "licenses", "sources"]),
        )?;
    } else {
        eprintln!(
            "deny: left out, cargo-deny is not installed (cargo install cargo-deny --locked)"
        );
    }
    Ok(good)
}
