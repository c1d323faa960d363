//! `cargo xtask release --check`: is this tree a release? Publishes nothing: that is a person's decision
//! (docs/releasing.md).

use std::fs;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::package::{self, Release};
use crate::run::{CannotTry, command, root};
use crate::{check, test};

/// Files that name the image of this version.
const NAME_THE_IMAGE: &[&str] = &[
    "compose.yaml",
    "deploy/kubernetes/agent.yaml",
    "deploy/kubernetes/sink.yaml",
    "deploy/kubernetes/dashboard.yaml",
];

pub(crate) fn shape(command: Command) -> Command {
    command.arg(
        Arg::new("check")
            .long("check")
            .action(ArgAction::SetTrue)
            .help("Build and check everything; there is nothing else that it does"),
    )
}

/// Checks what costs nothing first, and goes on to what takes long only if all of it is well.
pub(crate) fn release(options: &ArgMatches) -> anyhow::Result<bool> {
    if !options.get_flag("check") {
        let what = "say --check: publishing is done by hand, as docs/releasing.md tells";
        return Err(CannotTry(what.to_owned()).into());
    }
    let release = Release::of_this_tree()?;
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).context("read CHANGELOG.md")?;
    let mut problems = problems_of_changelog(&changelog, &release.version);
    problems.extend(changed_files()?);
    for file in NAME_THE_IMAGE {
        let text = fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"))?;
        if !text.contains(&format!("tidegauge:{}\n", release.version)) {
            problems.push(format!("{file} names no image of {}", release.version));
        }
    }
    for problem in &problems {
        println!("release: {problem}");
    }
    if !problems.is_empty() {
        return Ok(false);
    }
    let everything = test::Options {
        what: Vec::new(),
        services: true,
        counting: None,
    };
    if !(check::check()? && test::test(&everything)?) {
        return Ok(false);
    }
    release.make()?;
    let good = package::check_sums(&release.folder)?;
    if good {
        let (version, folder) = (&release.version, release.folder.display());
        println!("{version} can be released: its files are in {folder}");
    }
    Ok(good)
}

/// What git finds changed or new.
fn changed_files() -> anyhow::Result<Vec<String>> {
    let mut status = command("git");
    let output = status
        .args(["status", "--porcelain"])
        .output()
        .context("run git")?;
    if !output.status.success() {
        return Err(CannotTry("this is no clone of the repository".to_owned()).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(|line| format!("not committed: {}", line.trim()))
        .collect())
}

/// The version's heading is the first behind an empty "Unreleased", has a date, and something below it.
fn problems_of_changelog(changelog: &str, version: &str) -> Vec<String> {
    let mut sections = changelog.split("\n## ").skip(1);
    let mut problems = Vec::new();
    match sections.next().and_then(|section| section.split_once('\n')) {
        Some(("[Unreleased]", text)) if text.trim().is_empty() => {}
        Some(("[Unreleased]", _)) => problems.push(format!(
            "CHANGELOG.md has changes under [Unreleased]: put `## [{version}] - DATE` above them"
        )),
        _ => problems.push("CHANGELOG.md does not begin with ## [Unreleased]".to_owned()),
    }
    let (heading, text) = sections
        .next()
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .unwrap_or_default();
    let date = heading.strip_prefix(&format!("[{version}] - "));
    let is_date = |date: &str| {
        let shape = "0000-00-00".bytes();
        let fits = |(found, wanted): (u8, u8)| match wanted {
            b'0' => found.is_ascii_digit(),
            other => found == other,
        };
        date.len() == shape.len() && date.bytes().zip(shape).all(fits)
    };
    if !date.is_some_and(is_date) {
        problems.push(format!(
            "CHANGELOG.md has no heading `## [{version}] - YYYY-MM-DD` below [Unreleased], but `{heading}`"
        ));
    } else if text.trim().is_empty() {
        problems.push(format!("CHANGELOG.md tells nothing of {version}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::problems_of_changelog;

    #[test]
    fn a_changelog_that_is_ready_has_no_problem() {
        let ready = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-26\n\n### Added\n- x\n\n## [0.1.0] - 2026-01-01\n";
        assert_eq!(problems_of_changelog(ready, "0.2.0"), [""; 0]);
    }

    #[test]
    fn each_problem_of_a_changelog_is_told_with_what_to_do() {
        let unreleased =
            "# Changelog\n\n## [Unreleased]\n\n### Added\n- x\n\n## [0.1.0] - 2026-01-01\n- y\n";
        let told = problems_of_changelog(unreleased, "0.2.0").join("\n");
        assert!(
            told.contains("put `## [0.2.0] - DATE` above them"),
            "{told}"
        );
        assert!(told.contains("but `[0.1.0] - 2026-01-01`"), "{told}");
        let empty = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-26\n";
        assert_eq!(
            problems_of_changelog(empty, "0.2.0"),
            ["CHANGELOG.md tells nothing of 0.2.0"]
        );
        let no_date = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - soon\n- x\n";
        assert_eq!(problems_of_changelog(no_date, "0.2.0").len(), 1);
    }
}
