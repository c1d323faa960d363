//! The tarball: for systems without dpkg and rpm, and for whoever wants to look first.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Release, succeed};
use crate::run::{command, root};

/// Makes `tidegauge-VERSION-ARCH-linux.tar.gz` with one folder of the same name in it.
pub(super) fn pack(release: &Release, documents: &Path) -> anyhow::Result<PathBuf> {
    let arch = std::env::consts::ARCH;
    let name = format!("tidegauge-{}-{arch}-linux", release.version);
    let scratch = tempfile::tempdir_in(&release.folder).context("make a folder for the tarball")?;
    let inner = scratch.path().join(&name);
    let root = root();
    copy(&release.program(), &inner.join("bin/tidegauge"))?;
    for (from, to) in [
        (documents.join("completions"), "completions"),
        (documents.join("man"), "man"),
        (documents.join("THIRD-PARTY"), "THIRD-PARTY"),
        (root.join("LICENSE"), "LICENSE"),
        (root.join("README.md"), "README.md"),
        (root.join("CHANGELOG.md"), "CHANGELOG.md"),
        (root.join("docs"), "docs"),
        (root.join("config/example.toml"), "config/example.toml"),
        (root.join("deploy/systemd"), "systemd"),
        (root.join("deploy/config"), "config"),
    ] {
        copy(&from, &inner.join(to))?;
    }
    let file = release.folder.join(format!("{name}.tar.gz"));
    let mut tar = command("tar");
    tar.args([
        "--create",
        "--gzip",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ])
    .arg("--mode=u+rw,go+r,go-w,a+X")
    .arg(format!("--mtime=@{}", release.epoch))
    .arg("--file")
    .arg(&file)
    .arg("--directory")
    .arg(scratch.path())
    .arg(&name)
    // Without the time of the compression.
    .env("GZIP", "-n");
    succeed("the tarball", &mut tar)?;
    Ok(file)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let doing = || format!("copy {} to {}", from.display(), to.display());
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(doing)? {
            let entry = entry.with_context(doing)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(doing)?;
    fs::copy(from, to).with_context(doing)?;
    Ok(())
}
