//! `cargo xtask hooks`: the pre-commit hook of the tree.

use anyhow::ensure;

use crate::run::command;

/// Points git to `.githooks`, or back to its own folder.
pub(crate) fn install(remove: bool) -> anyhow::Result<bool> {
    let mut git = command("git");
    git.arg("config");
    if remove {
        git.args(["--unset", "core.hooksPath"]);
    } else {
        git.args(["core.hooksPath", ".githooks"]);
    }
    let status = git.status()?;
    // 5: there was nothing to unset.
    ensure!(
        status.success() || (remove && status.code() == Some(5)),
        "git config failed ({status})"
    );
    eprintln!(
        "{}",
        if remove {
            "hooks: removed"
        } else {
            "hooks: installed; `git commit --no-verify` passes one commit by them"
        }
    );
    Ok(true)
}
