//! Tools from crates.io, at pinned versions, in a folder of our own: what is installed for
//! other projects stays as it is.

use std::path::PathBuf;

use anyhow::bail;

use crate::run::{command, stage, target};

/// A program from crates.io.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

pub(crate) const CARGO_DEB: Tool = Tool::new("cargo-deb", "3.8.0");
pub(crate) const CARGO_GENERATE_RPM: Tool = Tool::new("cargo-generate-rpm", "0.21.1");
pub(crate) const CARGO_CYCLONEDX: Tool = Tool::new("cargo-cyclonedx", "0.5.9");

impl Tool {
    const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version }
    }

    /// Where it is; it is built first where this version is not there.
    pub(crate) fn installed(self) -> anyhow::Result<PathBuf> {
        let folder = target().join(format!("tools/{}-{}", self.name, self.version));
        let program = folder.join("bin").join(self.name);
        if !program.is_file() {
            let wanted = format!("{}@{}", self.name, self.version);
            let mut cargo = command("cargo");
            cargo
                .args(["install", "--quiet", "--locked", &wanted, "--root"])
                .arg(&folder)
                .env("CARGO_TARGET_DIR", target().join("tools/build"));
            if !stage(&format!("install {wanted}"), &mut cargo)? {
                bail!("{wanted} could not be installed");
            }
        }
        Ok(program)
    }
}
