//! The state folder: what is given, else `$STATE_DIRECTORY` (systemd), else /var/lib/tidegauge for
//! root, else the XDG state folder (XDG Base Directory Specification 0.8).

use crate::settings::{Settings, UsageError};
use anyhow::Context;
use std::path::PathBuf;

/// The state folder by the rules of the module head; it need not be there.
///
/// # Errors
/// [`UsageError`] when there is no home folder to put it in.
pub(crate) fn path(settings: &Settings) -> Result<PathBuf, UsageError> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
    };
    if let Some(given) = settings.path("general.state_dir") {
        return Ok(given);
    }
    if let Some(systemd) = variable("STATE_DIRECTORY") {
        return Ok(systemd);
    }
    if let Some(xdg) = variable("XDG_STATE_HOME").filter(|path| path.is_absolute()) {
        return Ok(xdg.join("tidegauge"));
    }
    let home = variable("HOME").filter(|home| home.is_absolute());
    if variable("INVOCATION_ID").is_some() && home.as_deref().is_none_or(|home| home == "/root") {
        return Ok(PathBuf::from("/var/lib/tidegauge"));
    }
    home.map(|home| home.join(".local/state/tidegauge")).ok_or_else(|| {
        UsageError::one("there is no home folder for the state; say --state-dir or set TIDEGAUGE_GENERAL_STATE_DIR")
    })
}

/// The state folder, made if it is missing, for this user alone.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn prepare(settings: &Settings) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let path = path(settings)?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("making the state folder {}", path.display()))?;
    Ok(path)
}
