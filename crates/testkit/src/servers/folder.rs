//! Where a server keeps its data and its log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// Where the folder of a server is and who removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// A new temporary folder that goes away with the server.
    #[default]
    Temporary,
    /// This folder, which stays.
    Kept(PathBuf),
}

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Folder {
    pub(crate) fn make(place: &Place) -> anyhow::Result<Self> {
        let folder = match place {
            Place::Temporary => {
                let temporary = tempfile::Builder::new()
                    .prefix("tidegauge-server-")
                    .tempdir()
                    .context("make a temporary folder for a server")?;
                Self {
                    path: temporary.path().to_owned(),
                    temporary: Some(temporary),
                }
            }
            Place::Kept(path) => {
                fs::create_dir_all(path)
                    .with_context(|| format!("make the server's folder {}", path.display()))?;
                Self {
                    path: path.clone(),
                    temporary: None,
                }
            }
        };
        // The server may run as another user than the one who made the folder.
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("open the server's folder {}", folder.path.display()))?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A failing test wants to read the log of its server.
        if std::thread::panicking()
            && let Some(temporary) = self.temporary.take()
        {
            let kept = temporary.keep();
            crate::skips::say(&format!("the server's folder is kept: {}", kept.display()));
        }
    }
}
