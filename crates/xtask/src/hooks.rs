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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::Command;

    use crate::run::root;

    /// A commit in a repository of its own with our hook, and a `cargo` that notes what it is asked for and fails
    /// where the word `bad` is among it.
    fn commit(folder: &Path, bad: &str) -> (bool, String) {
        let (tree, programs, asked) = (
            folder.join("tree"),
            folder.join("programs"),
            folder.join("asked"),
        );
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(&programs).unwrap();
        let cargo = programs.join("cargo");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> '{}'\ncase \"$1\" in {bad}) exit 1;; esac\n",
            asked.display()
        );
        fs::write(&cargo, script).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&asked, "").unwrap();
        let path = std::env::var("PATH").unwrap();
        let git = |arguments: &[&str]| {
            let hooks = format!("core.hooksPath={}", root().join(".githooks").display());
            let output = Command::new("git")
                .args([
                    "-c",
                    "user.name=n",
                    "-c",
                    "user.email=n@example.org",
                    "-c",
                    &hooks,
                ])
                .args(arguments)
                .current_dir(&tree)
                .env("PATH", format!("{}:{path}", programs.display()))
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .output()
                .unwrap();
            output.status.success()
        };
        assert!(git(&["init", "--quiet"]));
        let made = git(&["commit", "--quiet", "--allow-empty", "--message", "m"]);
        (made, fs::read_to_string(asked).unwrap())
    }

    #[test]
    fn a_commit_is_made_only_when_format_and_lints_are_well() {
        let folder = tempfile::tempdir().unwrap();
        let format = "fmt --all -- --check\n";
        let lints = "clippy --quiet --workspace --all-targets -- -D warnings\n";
        for (bad, made, asked) in [
            ("none", true, [format, lints].concat()),
            ("fmt", false, format.to_owned()),
            ("clippy", false, [format, lints].concat()),
        ] {
            assert_eq!(commit(folder.path(), bad), (made, asked), "{bad}");
        }
    }
}
